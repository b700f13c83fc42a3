"""What an evaluation found: counts with intervals, kept a seed at a time, and calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

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


@dataclass
class Findings:
    """Rows of yes and no by seed, and single figures by seed.

    `judged` holds, by mode and part ("fit" or "test"), pairs of a logit and whether it should have
    been positive.
    """

    seed: int
    rows: dict[str, dict[int, Tally]] = field(default_factory=dict)
    figures: dict[str, dict[int, float]] = field(default_factory=dict)
    judged: dict[tuple[str, str], list[tuple[float, bool]]] = field(default_factory=dict)

    def note(self, row: str, values: Iterable[bool]) -> None:
        """Count the true values under a row's name."""
        found = list(values)
        self.rows.setdefault(row, {})[self.seed] = Tally(sum(found), len(found))

    def figure(self, row: str, value: float) -> None:
        """Keep a figure that is no share."""
        self.figures.setdefault(row, {})[self.seed] = value

    def judge(self, mode: str, part: str, logits: Sequence[float], truths: Sequence[bool]) -> None:
        """Keep judgements for the calibration of a mode."""
        rows = zip(logits, truths, strict=True)
        self.judged.setdefault((mode, part), []).extend(rows)

    def add(self, other: Findings) -> None:
        """Take in what another seed, or another part of this seed's evaluation, found."""
        for name, row in other.rows.items():
            self.rows.setdefault(name, {}).update(row)
        for name, values in other.figures.items():
            self.figures.setdefault(name, {}).update(values)
        for key, rows in other.judged.items():
            self.judged.setdefault(key, []).extend(rows)

    def pooled(self, row: str) -> Tally:
        """A row's counts over all seeds."""
        tallies = self.rows[row].values()
        return Tally(sum(t.hits for t in tallies), sum(t.n for t in tallies))

    def spread(self, row: str) -> tuple[float, float]:
        """The smallest and the largest share of a seed."""
        shares = [tally.share for tally in self.rows[row].values()]
        return min(shares), max(shares)

    def calibration(self, mode: str) -> tuple[float, float, int]:
        """(temperature fitted on one part, expected calibration error on the other, its n)."""
        fit, test = self.judged[mode, "fit"], self.judged[mode, "test"]
        temperature = best_temperature(fit)
        return temperature, calibration_error(test, temperature), len(test)

    def to_json(self) -> dict[str, Any]:
        """Everything but single judgements, for a results file."""
        rows = {
            name: {"hits": t.hits, "n": t.n, "share": t.share, "interval": t.interval,
                   "by_seed": {str(s): [v.hits, v.n] for s, v in by_seed.items()}}
            for name, by_seed in self.rows.items() for t in (self.pooled(name),)
        }  # fmt: skip
        modes = sorted({mode for mode, _ in self.judged})
        calibration = {
            mode: dict(zip(("temperature", "ece", "n"), self.calibration(mode), strict=True))
            for mode in modes
        }
        return {"rows": rows, "figures": self.figures, "calibration": calibration}


def sigmoid(logit: float) -> float:
    """The logistic function, without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))


def best_temperature(rows: Sequence[tuple[float, bool]]) -> float:
    """The divisor of the logits under which the truths are likeliest (Guo et al. 2017, §4.2).

    Searched on a grid from 1/8 to 32, 20 steps a doubling.
    """

    def loss(temperature: float) -> float:
        total = 0.0
        for logit, truth in rows:
            p = sigmoid(logit / temperature)
            total -= math.log(max(1e-12, p if truth else 1 - p))
        return total

    grid = [2 ** (step / 20) for step in range(-60, 101)]
    return min(grid, key=loss)


def calibration_error(rows: Sequence[tuple[float, bool]], temperature: float = 1.0) -> float:
    """Expected calibration error of the likelier side's probability (Guo et al. 2017, eq. 3).

    Ten equal bins of confidence; the gap between confidence and accuracy, weighted by the bin.
    """
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for logit, truth in rows:
        confidence = sigmoid(abs(logit) / temperature)
        right = (logit > 0) == truth
        bins[min(BINS - 1, int(confidence * BINS))].append((confidence, right))
    total = 0.0
    for members in bins:
        if members:
            confidence = sum(c for c, _ in members) / len(members)
            accuracy = sum(right for _, right in members) / len(members)
            total += len(members) / len(rows) * abs(confidence - accuracy)
    return total
