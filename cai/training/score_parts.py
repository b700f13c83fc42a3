"""What a score is made of: the principles of a constitution, the terms of a mixed reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cai.stats import spread

_SAME = 1e-6  # of a score: differences this small are float32's rounding


@dataclass(frozen=True, slots=True)
class ScorePart:
    """What one part of a reward says of each response.

    A score is the sum of its parts: Σ weight · value / std.

    name: what people call it. values: one for each response. weight: how much it counts. std: what
    its values are divided by: 1, or their standard deviation at the start. principle_id: of a part
    that is a principle; empty for others.
    """

    name: str
    values: Sequence[float]
    weight: float = 1.0
    std: float = 1.0
    principle_id: str = ""

    @property
    def factor(self) -> float:
        """What a value is multiplied by in the score."""
        return self.weight / self.std

    def row(self, number: int) -> dict[str, Any]:
        """What it says of the response with this number, for `rollouts.jsonl`."""
        principle = {"principle": self.principle_id} if self.principle_id else {}
        value = self.values[number]
        return {"name": self.name, **principle, "value": value, "weight": self.factor}


class Scored(NamedTuple):
    """Scores of responses, in order, and their parts; none where a score has no parts."""

    scores: list[float]
    parts: list[ScorePart]


class WeightedSum:
    """Adds up parts by their weights.

    normalise: divide each part by the standard deviation of its own first values, those of the
    start policy, so that a weight says how much a part counts, whatever its scale.
    """

    def __init__(self, normalise: bool) -> None:
        self.normalise = normalise
        self.stds: list[float] | None = None
        """Standard deviation of each part's first values: the only state."""

    def __call__(self, parts: Sequence[ScorePart]) -> Scored:
        """The sum for each response, and the parts with what they are divided by."""
        if self.stds is None:
            self.stds = [std_or_one(part.values) if self.normalise else 1.0 for part in parts]
        scaled = [replace(part, std=std) for part, std in zip(parts, self.stds, strict=True)]
        factors = [part.factor for part in scaled]
        rows = zip(*(part.values for part in scaled), strict=True)
        return Scored(
            [sum(f * value for f, value in zip(factors, row, strict=True)) for row in rows], scaled
        )


def part_means(parts: Sequence[ScorePart]) -> dict[str, float]:
    """The mean value of each part, as metrics."""
    return {f"score/{part.name}": sum(part.values) / len(part.values) for part in parts}


def std_or_one(values: Sequence[float]) -> float:
    """Standard deviation of scores, to divide them by; 1 if it is only rounding error."""
    deviation = spread(values)
    return 1.0 if is_rounding(deviation, max(map(abs, values))) else deviation


def is_rounding(deviation: float, size: float) -> bool:
    """Whether scores of this size and standard deviation differ by float32's rounding alone."""
    return deviation <= _SAME * max(1.0, abs(size))
