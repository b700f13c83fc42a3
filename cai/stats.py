"""Proportions with confidence intervals, paired changes, and the calibration of probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

BINS = 10


@dataclass(frozen=True, slots=True)
class Proportion:
    """Hits among n trials."""

    hits: int
    n: int

    def __add__(self, other: Proportion) -> Proportion:
        return Proportion(self.hits + other.hits, self.n + other.n)

    @property
    def share(self) -> float:
        """Hits over trials; NaN without trials."""
        return self.hits / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share, by Wilson's score method."""
        return wilson(self.share, self.n)


class IntervalEstimate(Protocol):
    """A share and its 95 % interval, whatever the method."""

    @property
    def share(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float]: ...


def difference(first: IntervalEstimate, second: IntervalEstimate) -> tuple[float, float]:
    """95 % interval of the second share minus the first, for two independent samples
    (Newcombe 1998, Statistics in Medicine 17:873, method 10)."""
    (low_a, high_a), (low_b, high_b) = first.interval, second.interval
    point = second.share - first.share
    below = math.hypot(second.share - low_b, high_a - first.share)
    above = math.hypot(high_b - second.share, first.share - low_a)
    return point - below, point + above


def fisher(first: Proportion, second: Proportion) -> float:
    """One-sided p-value that the first share is larger (Fisher's exact test).

    With all margins fixed, the hits of the first sample are hypergeometric: of N trials K are hits,
    n are the first sample's, and p = Σ_{k ≥ hits} C(K, k) C(N - K, n - k) / C(N, n). 1 where either
    sample is empty.
    """
    hits, trials = first.hits + second.hits, first.n + second.n
    ways = sum(
        math.comb(hits, k) * math.comb(trials - hits, first.n - k)
        for k in range(first.hits, min(hits, first.n) + 1)
    )
    return ways / math.comb(trials, first.n)


def wilson(share: float, n: float) -> tuple[float, float]:
    """95 % score interval of a share in n trials (Wilson 1927); (0, 1) for no trials.

    n need not be whole: `clustered` passes an effective number of trials.
    """
    if n == 0:
        return 0.0, 1.0
    z = 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def clustered(groups: Sequence[Proportion]) -> tuple[float, float]:
    """95 % interval of the pooled share where trials of one group (cluster) are correlated.

    Wilson's interval at the effective number of trials: n over the design effect (Rao and Scott
    1992, Biometrics 48:577) and over (t / 1.96)² with groups - 1 degrees of freedom (Korn and
    Graubard 1998, Survey Methodology 24:193). Never narrower than Wilson's interval of independent
    trials; equal to it where all trials are yes or all no, since the design effect is unknown
    there. (0, 1) for fewer than two groups.
    """
    groups = [group for group in groups if group.n]
    if len(groups) < 2:
        return 0.0, 1.0
    n = sum(group.n for group in groups)
    share = sum(group.hits for group in groups) / n
    independent = share * (1 - share) / n
    if independent == 0:
        return wilson(share, n)
    degrees = len(groups) - 1
    squares = math.fsum((group.hits - share * group.n) ** 2 for group in groups)
    variance = squares * len(groups) / degrees / n**2
    effect = max(1.0, variance / independent * (student(degrees) / 1.96) ** 2)
    return wilson(share, n / effect)


def student(degrees: int) -> float:
    """The 97.5 % point of Student's t."""
    from scipy.special import stdtrit  # here, since light commands import this module

    return float(stdtrit(degrees, 0.975))


@dataclass(frozen=True, slots=True)
class Paired:
    """A yes/no outcome of the same n cases before and after an edit.

    both: yes before and after. went: yes before only. came: yes after only.
    """

    n: int
    both: int
    went: int
    came: int

    @classmethod
    def of(cls, answers: Iterable[tuple[bool, bool]]) -> Paired:
        """From (before, after) of each case."""
        counts = Counter(answers)
        n, both = counts.total(), counts[True, True]
        return cls(n, both, went=counts[True, False], came=counts[False, True])

    @property
    def before(self) -> Proportion:
        """The share of yes before."""
        return Proportion(self.both + self.went, self.n)

    @property
    def after(self) -> Proportion:
        """The share of yes after."""
        return Proportion(self.both + self.came, self.n)

    @property
    def change(self) -> float:
        """Share after minus share before; NaN without cases."""
        return (self.came - self.went) / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the change (Newcombe 1998, Statistics in Medicine 17:2635, method 10).

        The Wilson limits of both shares, combined with the correlation of the two outcomes.
        """
        if self.n == 0:
            return -1.0, 1.0
        p, q = self.before, self.after
        (p_low, p_high), (q_low, q_high) = p.interval, q.interval
        phi = self._phi()

        def reach(of_q: float, of_p: float) -> float:
            return math.sqrt(max(0.0, of_q**2 - 2 * phi * of_q * of_p + of_p**2))

        low = self.change - reach(q.share - q_low, p_high - p.share)
        return low, self.change + reach(q_high - q.share, p.share - p_low)

    def _phi(self) -> float:
        """The correlation (φ) of the two outcomes, with Newcombe's continuity correction n/2."""
        neither = self.n - self.both - self.went - self.came
        product: float = self.both * neither - self.went * self.came
        if product > 0:
            product = max(0.0, product - self.n / 2)
        p, q = self.before.hits, self.after.hits
        margins = p * (self.n - p) * q * (self.n - q)
        return product / math.sqrt(margins) if margins else 0.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """An amount measured on the same n cases before and after: both means, and a 95 % interval of
    their ratio."""

    n: int
    before: float
    after: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, amounts: Sequence[tuple[float, float]]) -> Ratio:
        """From (before, after) of each case; the interval by Cochran 1977, section 2.11: r ± 1.96 ·
        √(Σ(after - r·before)² / n(n - 1)) / mean before. (0, ∞) for fewer than two cases."""
        n = len(amounts)
        before = math.fsum(b for b, _ in amounts) / max(1, n)
        after = math.fsum(a for _, a in amounts) / max(1, n)
        if n < 2 or before <= 0:
            return cls(n, before, after, (0.0, math.inf))
        ratio = after / before
        squares = math.fsum((a - ratio * b) ** 2 for b, a in amounts)
        half = 1.96 * math.sqrt(squares / (n * (n - 1))) / before
        return cls(n, before, after, (max(0.0, ratio - half), ratio + half))

    @property
    def ratio(self) -> float:
        """Mean after over mean before; NaN where the mean before is 0."""
        return self.after / self.before if self.before > 0 else float("nan")


def spread(values: Sequence[float]) -> float:
    """Sample standard deviation (n - 1); 0 for fewer than two values."""
    mean = sum(values) / max(1, len(values))
    return math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))


def sigmoid(x: float) -> float:
    """The logistic function 1 / (1 + e^-x), without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def logit(p: float) -> float:
    """ln(p / (1 - p)); probabilities are kept 1e-9 away from 0 and 1."""
    p = min(max(p, 1e-9), 1 - 1e-9)
    return math.log(p / (1 - p))


def best_temperature(rows: Sequence[tuple[float, float]]) -> float:
    """The divisor of the logits that minimises the cross-entropy (Guo et al. 2017, §4.2).

    A row is a logit and its truth, as a yes or no or as the probability of yes. Searched from 1/8
    to 32: the loss is convex in 1 / temperature, so it has one minimum there.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    logits, truths = np.array(rows, dtype=float).T

    def cross_entropy(octaves: float) -> float:
        scaled = logits / 2**octaves
        return float(np.sum(np.logaddexp(0, scaled) - truths * scaled))

    fit = minimize_scalar(cross_entropy, bounds=(-3, 5), method="bounded", options={"xatol": 1e-8})
    return float(2**fit.x)


def calibration_error(rows: Sequence[tuple[float, float]], temperature: float = 1.0) -> float:
    """Expected calibration error (ECE) of the likelier side's probability (Guo et al. 2017, eq. 3).

    Ten equal bins of confidence; the gap between confidence and accuracy, weighted by the size of
    the bin. Rows as in `best_temperature`; a truth given as a probability counts as that accuracy.
    """
    bins: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for logit, truth in rows:
        confidence = sigmoid(abs(logit) / temperature)
        right = truth if logit > 0 else 1 - truth
        bins[min(BINS - 1, int(confidence * BINS))].append((confidence, right))
    total = 0.0
    for members in bins:
        if members:
            confidence = sum(c for c, _ in members) / len(members)
            accuracy = sum(right for _, right in members) / len(members)
            total += len(members) / len(rows) * abs(confidence - accuracy)
    return total
