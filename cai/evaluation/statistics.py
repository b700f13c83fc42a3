"""Estimates of an evaluation with 95 % intervals: shares, means, ratios, calibration, agreement.

Items of one cluster (answers to one prompt, questions on one text) are correlated, so intervals go
over clusters; without `clusters`, each item is its own. Pure, and seeded: equal arguments give
equal numbers. What is undefined is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cai.reliability import Match, match_of
from cai.stats import BINS, Proportion, clustered, student

Floats: TypeAlias = NDArray[np.float64]
Clusters: TypeAlias = Sequence[Hashable] | None
"""The cluster of each item; None: each item is its own."""
Statistic: TypeAlias = Callable[..., Floats]
"""Of weights (draws, items) and the arrays of the items: the values (draws,)."""

DRAWS = 2000
"""Resamples behind a bootstrap interval."""
_CELLS = 4_000_000  # weights held at a time: 32 MB


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value from n items, and its 95 % interval; the ends are NaN where there is none."""

    value: float
    low: float
    high: float
    n: int


def share(outcomes: Sequence[float], clusters: Clusters = None) -> Estimate:
    """The share of 1 among 0/1 outcomes.

    Wilson's interval; where clusters repeat, that of `cai.stats.clustered`. It is (0, 1) for no
    outcomes, and for several that are all of one cluster. Raises `ValueError` for other outcomes.
    """
    _require_outcomes(outcomes)
    codes = cluster_codes(clusters, len(outcomes))
    sizes = np.bincount(codes)
    hits = np.bincount(codes, weights=np.asarray(outcomes, dtype=np.float64))
    total = Proportion(round(float(hits.sum())), len(outcomes))
    low, high = total.interval
    if len(sizes) < total.n:  # a cluster has several
        low, high = clustered(
            [Proportion(round(h), int(n)) for h, n in zip(hits, sizes, strict=True)]
        )
    return Estimate(total.share, low, high, total.n)


def mean(
    values: Sequence[float], clusters: Clusters = None, *, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """The mean of numbers over items, with the interval of `bootstrap`."""
    return bootstrap(_mean, [values], clusters, draws=draws, seed=seed)


def ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    clusters: Clusters = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """The sum of numerators over the sum of denominators, such as bits per byte of documents.

    NaN where the denominators sum to 0. The interval is that of `bootstrap`.
    """
    return bootstrap(_ratio, [numerators, denominators], clusters, draws=draws, seed=seed)


def expected_calibration_error(
    confidences: Sequence[float],
    right: Sequence[float],
    clusters: Clusters = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Expected calibration error (ECE) of the top choice (Guo et al. 2017, eq. 3).

    confidences: the probability of each item's top choice; right: 1 where that is the answer. Ten
    equal bins of confidence; the gap between accuracy and confidence, weighted by the size of the
    bin. The error of few items is too high, as each bin's noise adds to it (Roelofs et al. 2022),
    and resamples add it once more. So only the high end is the bootstrap's. The low end takes off
    the 97.5 % point of the noise, that is the error of resampled gaps that are 0 on average: by the
    triangle inequality the true error is not below, and 0 is held where a calibrated model could
    show as much.
    """
    _require_pairs(confidences, right)
    gaps = _gaps(np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64))
    error = bootstrap(_total, [gaps], clusters, draws=draws, seed=seed)
    if math.isnan(error.low):
        return error
    noise = bootstrap(_total, [gaps - gaps.mean(0)], clusters, draws=draws, seed=seed)
    low, high = max(0.0, error.value - noise.high), max(error.value, error.high)
    return Estimate(error.value, low, high, error.n)


def agreement(
    a: Sequence[float | None], b: Sequence[float | None], clusters: Clusters = None
) -> Match:
    """The agreement of two judges' 0/1 verdicts on the same items; None, no verdict, is left out.

    Share agreeing, Cohen's κ and its interval: as of two auditors, or by `bootstrap` over clusters
    where some are given. Raises `ValueError` for other verdicts, and where the lengths differ.
    """
    labels = cluster_labels(clusters, len(a))
    kept = [
        (x, y, label)
        for x, y, label in zip(a, b, labels, strict=True)
        if x is not None and y is not None
    ]
    _require_outcomes([verdict for x, y, _ in kept for verdict in (x, y)])
    match = match_of([(str(int(x)), str(int(y))) for x, y, _ in kept])
    if clusters is None or not kept:
        return match
    e = bootstrap(_kappas, [[k[0] for k in kept], [k[1] for k in kept]], [k[2] for k in kept])
    return replace(match, interval=(e.low, e.high))


def _kappas(weights: Floats, a: Floats, b: Floats) -> Floats:
    """Cohen's κ of 0/1 verdicts (items,) for weights (draws, items); NaN where undefined."""
    n = weights.sum(axis=1)
    ones_a, ones_b = weighted_sum(weights, a) / n, weighted_sum(weights, b) / n
    agreed = weighted_sum(weights, (a == b).astype(np.float64)) / n
    chance = ones_a * ones_b + (1 - ones_a) * (1 - ones_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chance < 1 - 1e-12, (agreed - chance) / (1 - chance), np.nan)


def bootstrap(
    statistic: Statistic,
    arrays: Sequence[Sequence[float] | Floats],
    clusters: Clusters = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """A statistic of items, with a bootstrap interval over clusters (Efron 1979).

    statistic: of weights (draws, items) and the arrays (items, ...), the values (draws,): a weight
    is how often the draw has the item. Whole clusters are drawn with replacement, as many as there
    are. The interval is the percentile interval, expanded for few clusters (Hesterberg 2015, The
    American Statistician 69:371): the tail is Φ(-√(G / (G - 1)) · t) for G clusters and t the
    97.5 % point with G - 1 degrees of freedom. BCa corrects for skewness instead, and leaves the
    interval of few clusters too narrow. Draws without a value (NaN) are left out.

    No interval for fewer than two clusters, nor where more than one draw in twenty has no value. It
    is a point where all clusters are alike, however few: show n with it. Raises `ValueError` for
    arrays of different lengths or with values that are not finite.
    """
    columns = [finite(array) for array in arrays]
    n = len(columns[0])
    codes = cluster_codes(clusters, n)
    if any(len(column) != n for column in columns):
        raise ValueError("the arrays have different lengths")
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    value = float(_values(statistic, np.ones((1, n)), columns)[0])
    values = _resampled(statistic, columns, codes, draws, seed)
    low, high = percentiles(values, groups=int(codes.max()) + 1)
    return Estimate(value, low, high, n)


def cluster_labels(clusters: Clusters, n: int) -> Sequence[Hashable]:
    """The cluster of each of n items; `ValueError` for those of another number."""
    if clusters is None:
        return range(n)
    if len(clusters) != n:
        raise ValueError(f"{n} items, but the clusters of {len(clusters)}")
    return clusters


def cluster_codes(clusters: Clusters, n: int) -> NDArray[np.intp]:
    """The clusters as whole numbers from 0, in the order in which they first come."""
    codes: dict[Hashable, int] = {}
    labels = cluster_labels(clusters, n)
    return np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.intp)


def finite(values: Sequence[float] | Floats) -> Floats:
    """As an array; `ValueError` where one is infinite or NaN."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        i = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"value {i + 1} of {array.size} is {array.flat[i]}")
    return array


def require_shares(values: Sequence[float], what: str) -> None:
    """`ValueError` where a value is not from 0 to 1; `what` names it."""
    if strays := [value for value in values if not 0 <= value <= 1]:
        raise ValueError(f"{what} is from 0 to 1, not {strays[0]}")


def weighted_sum(weights: NDArray[Any], values: Floats) -> Floats:
    """Weighted sums: weights (draws, items), values (items, ...) → (draws, ...).

    Not BLAS, whose last digits depend on its threads.
    """
    return np.asarray(np.einsum("dn,n...->d...", weights, values, dtype=np.float64))


def chunks(draws: int, width: int) -> list[int]:
    """Numbers of draws that add up to all, each of which fits in memory."""
    size = max(1, _CELLS // width)
    return [min(size, draws - start) for start in range(0, draws, size)]


def _mean(weights: Floats, values: Floats) -> Floats:
    return np.asarray(weighted_sum(weights, values) / weights.sum(1))


def _ratio(weights: Floats, numerators: Floats, denominators: Floats) -> Floats:
    return np.asarray(weighted_sum(weights, numerators) / weighted_sum(weights, denominators))


def _require_outcomes(values: Sequence[float]) -> None:
    if strays := [value for value in values if value not in (0, 1)]:
        raise ValueError(f"an outcome is 0 or 1, not {strays[0]}")


def _require_pairs(confidences: Sequence[float], right: Sequence[float]) -> None:
    if len(confidences) != len(right):
        raise ValueError(f"{len(confidences)} confidences, but {len(right)} answers")
    require_shares(confidences, "a confidence")
    require_shares(right, "what is right")


def _gaps(confidences: Floats, right: Floats) -> Floats:
    """Right minus confidence, in the column of its bin: (items, bins)."""
    bins = np.minimum(BINS - 1, (confidences * BINS).astype(int))
    gaps = np.zeros((len(bins), BINS))
    gaps[np.arange(len(bins)), bins] = right - confidences
    return gaps


def _total(weights: Floats, gaps: Floats) -> Floats:
    """`cai.stats.calibration_error` for many weights at once."""
    return np.asarray(np.abs(weighted_sum(weights, gaps)).sum(1) / weights.sum(1))


def _values(statistic: Statistic, weights: Floats, columns: Sequence[Floats]) -> Floats:
    """The statistic, NaN where it divides by 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = statistic(weights, *columns)
    return np.where(np.isfinite(values), values, np.nan)


def resamples(groups: int, draws: int, seed: int, width: int) -> Iterator[Floats]:
    """How often each of a number of clusters is in each resample: (some draws, groups) at a time.

    width: cells that a draw needs in what is made of it, so that all of them fit in memory.
    """
    rng = np.random.default_rng(seed)
    for count in chunks(draws, width):
        chosen = rng.integers(0, groups, (count, groups)) + groups * np.arange(count)[:, None]
        times = np.bincount(chosen.ravel(), minlength=count * groups).reshape(count, groups)
        yield times.astype(np.float64)


def _resampled(
    statistic: Statistic, columns: Sequence[Floats], codes: NDArray[np.intp], draws: int, seed: int
) -> Floats:
    """The statistic of each resample of clusters."""
    every = resamples(int(codes.max()) + 1, draws, seed, len(codes))
    return np.concatenate([_values(statistic, times[:, codes], columns) for times in every])


def percentiles(values: Floats, groups: int) -> tuple[float, float]:
    """The expanded percentile interval of draws, of which NaN are left out; see `bootstrap`."""
    known = values[~np.isnan(values)]
    if groups < 2 or len(known) < 0.95 * len(values):
        return math.nan, math.nan
    from scipy.special import ndtr  # here: a report on too few rows has no need of it

    tail = float(ndtr(-math.sqrt(groups / (groups - 1)) * student(groups - 1)))
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)
