"""How far two principles agree: Cohen's κ, correlation, and where they clearly contradict.

Pure, and seeded. Every interval goes over clusters of prompts, since the verdicts on one prompt are
correlated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cai.evaluation.statistics import Estimate, Floats, percentiles, resamples, share, weighted_sum

MIN_UNITS = 20
"""Fewest pairs or responses that both principles decide, for a word on how they relate."""
MIN_CLUSTERS = 10
"""Fewest prompts that these come from."""
CLEAR = 0.25
"""Distance from one half from which on a verdict is clear: 0.75 or more for one side."""
CLEAR_LOGIT = math.log((0.5 + CLEAR) / (0.5 - CLEAR))

RelationWord: TypeAlias = Literal[
    "too few", "one answer", "the same", "alike", "rather alike", "unrelated", "unclear",
    "rather opposed", "opposed",
]  # fmt: skip
"""How two principles relate, by the whole interval of κ; see `word_of`."""

DRAWS = 1000
"""Resamples behind an interval."""
GROUPS = 1000
"""Most clusters that are drawn: of more, random groups are."""


@dataclass(frozen=True, slots=True)
class VerdictMatrix:
    """Verdicts of several principles on the same units: pairs of responses, or responses.

    logits: (units, principles), NaN where a principle was not asked. sides: (units, principles),
    1 for the first response, or for no problem; -1 for the second, or for a problem; 0 for neither.
    clusters: (units,) whole numbers from 0, one for each prompt family.
    """

    principles: tuple[str, ...]
    logits: Floats
    sides: Floats
    clusters: Sequence[int]


@dataclass(frozen=True, slots=True)
class PrincipleRelation:
    """Two principles on the units that both were asked about.

    units: their number. prompts: the families of prompts behind those that both decide. agree: the
    share of equal decisions, where both decide. kappa: Cohen's, on the same. correlation:
    Pearson's, of their logits on all units. contradict: of the units that both decide clearly, the
    share in which they say the opposite.
    """

    a: str
    b: str
    units: int
    prompts: int
    agree: Estimate
    kappa: Estimate
    correlation: Estimate
    contradict: Estimate

    @property
    def word(self) -> RelationWord:
        """How they relate, in words."""
        return word_of(self)


def word_of(relation: PrincipleRelation) -> RelationWord:
    """A word that holds for the whole interval of κ; bounds by Landis and Koch 1977 (Biometrics
    33:159): above 0.8 almost perfect, above 0.4 moderate, below 0.2 slight.

    the same: the interval of the correlation lies above 0.8, too. κ alone is of the units that both
    decide, and two principles that decide different ones are not the same. too few: less than
    `MIN_UNITS` decided by both, from less than `MIN_CLUSTERS` prompts, or no interval. one answer:
    both give one and the same answer to all, and κ is not defined.
    """
    kappa = relation.kappa
    if relation.agree.n < MIN_UNITS or relation.prompts < MIN_CLUSTERS:
        return "too few"
    if math.isnan(kappa.value):
        return "one answer"
    if math.isnan(kappa.low):
        return "too few"
    if kappa.low > -0.2 and kappa.high < 0.2:
        return "unrelated"
    if kappa.low > 0:
        same = kappa.low > 0.8 and relation.correlation.low > 0.8
        return "the same" if same else "alike" if kappa.low > 0.4 else "rather alike"
    if kappa.high < 0:
        return "opposed" if kappa.high < -0.4 else "rather opposed"
    return "unclear"


def clear_contradictions(matrix: VerdictMatrix, i: int, j: int) -> list[int]:
    """The units on which two principles decide clearly and oppositely, the clearest first: by the
    less clear of the two verdicts."""
    x, y = _logits(matrix, i, j)
    clearness = np.minimum(np.abs(x), np.abs(y))
    found = np.flatnonzero((clearness >= CLEAR_LOGIT) & (x * y < 0))
    return [int(n) for n in sorted(found, key=lambda n: (-clearness[n], n))]


def relations(
    matrix: VerdictMatrix, *, draws: int = DRAWS, seed: int = 0
) -> list[PrincipleRelation]:
    """The relation of every two principles that were asked about common units.

    The intervals of shares are those of `cai.evaluation.statistics.share`; those of κ and of the
    correlation are percentile intervals over resampled clusters, as in `bootstrap` there. Where
    all decisions are equal, or none is, every resample says the same, and the interval of κ comes
    from that of the share at the observed agreement by chance. Of more than a thousand clusters,
    random groups are drawn instead (Wolter 2007, "Introduction to variance estimation", chapter 2).
    """
    pairs = [
        (i, j)
        for i, j in itertools.combinations(range(len(matrix.principles)), 2)
        if _common(matrix, i, j).any()
    ]
    if not pairs:
        return []
    codes = np.asarray(matrix.clusters) % GROUPS
    groups = int(codes.max()) + 1
    sums = np.stack([_cluster_sums(matrix, i, j, codes, groups) for i, j in pairs], axis=1)
    drawn = [
        np.stack(_kappa_and_correlation(weighted_sum(times, sums)))
        for times in resamples(groups, draws, seed, groups + sums[0].size)
    ]
    resampled = np.concatenate(drawn, axis=1)  # (2, draws, pairs)
    values = np.stack(_kappa_and_correlation(sums.sum(axis=0)))
    return [
        _relation(matrix, i, j, values[:, n], resampled[:, :, n]) for n, (i, j) in enumerate(pairs)
    ]


def _relation(
    matrix: VerdictMatrix, i: int, j: int, values: Floats, drawn: Floats
) -> PrincipleRelation:
    """values, drawn: κ and the correlation, of all units and of each resample."""
    common = _common(matrix, i, j)
    clusters = np.asarray(matrix.clusters)
    a, b = matrix.sides[:, i], matrix.sides[:, j]
    decided = _decided(matrix, i, j)
    clear = common & (np.minimum(*np.abs(_logits(matrix, i, j))) >= CLEAR_LOGIT)
    agree = _share((a == b)[decided], clusters[decided])
    intervals = [percentiles(values, len(set(clusters[common]))) for values in drawn]
    kappa = Estimate(float(values[0]), *intervals[0], agree.n)
    if agree.value in (0, 1) and not math.isnan(kappa.value):
        firsts = np.mean(a[decided] == 1), np.mean(b[decided] == 1)
        chance = float(firsts[0] * firsts[1] + (1 - firsts[0]) * (1 - firsts[1]))
        low, high = ((end - chance) / (1 - chance) for end in (agree.low, agree.high))
        kappa = Estimate(kappa.value, low, high, agree.n)
    return PrincipleRelation(
        a=matrix.principles[i],
        b=matrix.principles[j],
        units=int(common.sum()),
        prompts=len(set(clusters[decided])),
        agree=agree,
        kappa=kappa,
        correlation=Estimate(float(values[1]), *intervals[1], int(common.sum())),
        contradict=_share((a != b)[clear], clusters[clear]),
    )


def _share(outcomes: NDArray[np.bool_], clusters: NDArray[np.intp]) -> Estimate:
    return share([float(outcome) for outcome in outcomes], [int(c) for c in clusters])


def _logits(matrix: VerdictMatrix, i: int, j: int) -> tuple[Floats, Floats]:
    """Both principles' logits, 0 where one of them was not asked."""
    common = _common(matrix, i, j)
    x, y = (np.where(common, matrix.logits[:, k], 0.0) for k in (i, j))
    return x, y


def _common(matrix: VerdictMatrix, i: int, j: int) -> NDArray[np.bool_]:
    """The units that both principles were asked about."""
    return np.asarray(~np.isnan(matrix.logits[:, i]) & ~np.isnan(matrix.logits[:, j]))


def _decided(matrix: VerdictMatrix, i: int, j: int) -> NDArray[np.bool_]:
    """The units that both principles decide."""
    both = _common(matrix, i, j)
    return np.asarray(both & (matrix.sides[:, i] != 0) & (matrix.sides[:, j] != 0))


def _cluster_sums(
    matrix: VerdictMatrix, i: int, j: int, codes: NDArray[np.intp], groups: int
) -> Floats:
    """What κ and the correlation are made of, summed over each cluster: (groups, 10)."""
    decided = _decided(matrix, i, j)
    a, b = matrix.sides[:, i], matrix.sides[:, j]
    x, y = _logits(matrix, i, j)
    parts = (
        decided, decided & (a == b), decided & (a == 1), decided & (b == 1),
        _common(matrix, i, j), x, y, x * x, y * y, x * y,
    )  # fmt: skip
    return np.stack(
        [np.bincount(codes, weights=part.astype(np.float64), minlength=groups) for part in parts],
        axis=1,
    )


def _kappa_and_correlation(sums: Floats) -> tuple[Floats, Floats]:
    """Cohen's κ (Cohen 1960, equation 1) and Pearson's r from sums (..., 10); NaN if undefined."""
    decided, equal, a, b, n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = (a * b + (decided - a) * (decided - b)) / decided**2
        agreed = equal / decided
        kappa = np.where(chance < 1 - 1e-12, (agreed - chance) / (1 - chance), np.nan)
        spread = (n * xx - x * x) * (n * yy - y * y)
        varies = spread > 1e-12 * (n * xx) * (n * yy)
        correlation = np.where(varies, (n * xy - x * y) / np.sqrt(spread), np.nan)
    return kappa, correlation
