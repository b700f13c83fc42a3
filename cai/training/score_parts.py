"""What a score is made of, and the unit that it is told in.

The parts of a score are the principles of a constitution, or the terms of a mixed reward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

START_RESPONSES = 256
"""Responses at the start of training whose scores give the unit of all scores."""
_SAME = 1e-6  # of a score: differences this small are float32's rounding


@dataclass
class StartScores:
    """Mean and standard deviation of the scores at the start of training.

    They are those of the first updates, until there are `START_RESPONSES` or more scores, and then
    stay as they are. The responses of one update are too few: where only one in twenty has a
    fault, all of them can be good by chance, and their scores differ by next to nothing.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Σ (score - mean)²."""
    largest: float = 0.0
    """Largest |score|."""

    @property
    def settled(self) -> bool:
        """Whether there are enough of them."""
        return self.count >= START_RESPONSES

    @property
    def std(self) -> float:
        """Sample standard deviation (n - 1); 1 where scores differ by rounding, or are none."""
        deviation = math.sqrt(self.squares / max(1, self.count - 1))
        return 1.0 if is_rounding(deviation, self.largest) else deviation

    def add(self, scores: Sequence[float]) -> None:
        """Count the scores of an update in, if there are too few yet (Chan et al. 1979)."""
        if self.settled or not scores:
            return
        count, mean = self.count + len(scores), sum(scores) / len(scores)
        apart = mean - self.mean
        self.squares += sum((score - mean) ** 2 for score in scores)
        self.squares += apart**2 * self.count * len(scores) / count
        self.mean += apart * len(scores) / count
        self.count = count
        self.largest = max(self.largest, *map(abs, scores))

    def state(self) -> dict[str, float]:
        """All numbers, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ScorePart:
    """What one part of a reward says of each response.

    A score is the sum of its parts: Σ weight · (value - mean) / std.

    name: what people call it. values: one for each response. weight: how much it counts. mean, std:
    what its values are normalised by: 0 and 1, or those at the start. principle_id: of a part that
    is a principle; empty for others.
    """

    name: str
    values: Sequence[float]
    weight: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    principle_id: str = ""

    @property
    def factor(self) -> float:
        """What a value is multiplied by in the score."""
        return self.weight / self.std

    def adds(self, number: int) -> float:
        """What it adds to the score of the response with this number."""
        return self.factor * (self.values[number] - self.mean)

    def row(self, number: int) -> dict[str, Any]:
        """What it says of the response with this number, for `rollouts.jsonl`."""
        principle = {"principle": self.principle_id} if self.principle_id else {}
        mean = {"mean": self.mean} if self.mean else {}
        value = self.values[number]
        return {"name": self.name, **principle, "value": value, **mean, "weight": self.factor}


class Scored(NamedTuple):
    """Scores of responses, in order, and their parts; none where a score has no parts."""

    scores: list[float]
    parts: list[ScorePart]


class WeightedSum:
    """Adds up parts by their weights.

    normalise: put each part to mean 0 and variance 1 by its own values at the start, so that a
    weight says how much a part counts, whatever its scale.
    """

    def __init__(self, normalise: bool) -> None:
        self.normalise = normalise
        self.start: list[StartScores] = []
        """Each part's values at the start, where they are used: the only state."""

    @property
    def settled(self) -> bool:
        """Whether what parts are normalised by stays as it is."""
        return not self.normalise or (bool(self.start) and all(s.settled for s in self.start))

    def __call__(self, parts: Sequence[ScorePart], calibrate: bool = False) -> Scored:
        """The sum for each response, and the parts with what they are normalised by.

        calibrate: the responses are an update's, and count for the start's if it has too few.
        """
        if self.normalise:
            self.start = self.start or [StartScores() for _ in parts]
            for part, start in zip(parts, self.start, strict=True):
                if calibrate:
                    start.add(part.values)
            parts = [
                replace(part, mean=start.mean, std=start.std)
                for part, start in zip(parts, self.start, strict=True)
            ]
        responses = range(len(parts[0].values))
        return Scored([sum(part.adds(n) for part in parts) for n in responses], list(parts))


def part_means(parts: Sequence[ScorePart]) -> dict[str, float]:
    """The mean value of each part, as metrics."""
    return {f"score/{part.name}": sum(part.values) / len(part.values) for part in parts}


def is_rounding(deviation: float, size: float) -> bool:
    """Whether scores of this size and standard deviation differ by float32's rounding alone."""
    return deviation <= _SAME * max(1.0, abs(size))
