"""Shares with intervals, and how far probabilities can be trusted. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BINS = 10


@dataclass(frozen=True, slots=True)
class Tally:
    """So many of so many."""

    hits: int
    n: int

    @property
    def share(self) -> float:
        """NaN for none of none."""
        return self.hits / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval."""
        return wilson(self.share, self.n)


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share seen in n trials (Wilson 1927); all is possible after none."""
    if n == 0:
        return 0.0, 1.0
    z = 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def spread(values: Sequence[float]) -> float:
    """Standard deviation (n - 1); 0 for a single value, and for none."""
    mean = sum(values) / max(1, len(values))
    return math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))


def sigmoid(logit: float) -> float:
    """The logistic function, without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))


def best_temperature(rows: Sequence[tuple[float, float]]) -> float:
    """The divisor of the logits under which the truths are likeliest (Guo et al. 2017, §4.2).

    A row is a logit and its truth, as a yes or no or as the probability of yes. Searched on a
    grid from 1/8 to 32, 20 steps a doubling.
    """

    def loss(temperature: float) -> float:
        total = 0.0
        for logit, truth in rows:
            p = sigmoid(logit / temperature)
            total -= truth * math.log(max(1e-12, p)) + (1 - truth) * math.log(max(1e-12, 1 - p))
        return total

    grid = [2 ** (step / 20) for step in range(-60, 101)]
    return min(grid, key=loss)


def calibration_error(rows: Sequence[tuple[float, float]], temperature: float = 1.0) -> float:
    """Expected calibration error of the likelier side's probability (Guo et al. 2017, eq. 3).

    Ten equal bins of confidence; the gap between confidence and accuracy, weighted by the bin.
    Rows as in `best_temperature`: the accuracy of a probable truth is its probability.
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
