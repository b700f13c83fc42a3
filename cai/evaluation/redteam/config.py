"""Settings of `cai redteam`: how many attacks, how they are sampled, how often a target answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cai.decoding import BOUNDS
from cai.errors import UsageError
from cai.evaluation.config import SampledText
from cai.options import option

BATCH = 5
"""Prompts that one request to the generator asks for."""
SURPLUS = 1.5
"""Candidates that are collected for each attack that is wanted: the most diverse are kept."""


@dataclass(frozen=True, slots=True)
class RedteamConfig(SampledText):
    """Settings of `cai redteam`. Raises `UsageError` for a value out of range."""

    per_principle: int = option(
        10, "Attacks to keep for each principle.", least=1, metavar="N", short="-n"
    )
    tries: int | None = option(
        None,
        "Most requests to the generator for a principle's attacks, each for five prompts."
        "  [default: --per-principle, at least 5]",
        least=1,
    )
    samples: int = option(
        1, "Replies of the target to each attack, twin and conversation.", least=1
    )
    temperature: float | None = option(
        None,
        "Sampling temperature of generator and target.  [default: the model's own, else 1]",
        **BOUNDS["temperature"],
    )
    top_p: float | None = option(
        0.95,
        "Sample from the most likely tokens that together have this probability.",
        **BOUNDS["top_p"],
    )
    max_new_tokens: int = option(256, "Longest text, in tokens.", least=1)
    max_reasoning_tokens: int = option(
        1024, "Longest reasoning before an answer, in tokens, for models that reason.", least=1
    )
    seed: int = option(0, "Random seed: the same seed writes the same attacks.")

    def __post_init__(self) -> None:
        SampledText.__post_init__(self)  # slots: super() would look for another class
        if self.samples > 1 and self.temperature == 0:
            raise UsageError(
                f"{self.samples} samples at temperature 0 are all the same",
                hint="Leave --samples out, or raise --temperature.",
            )

    @property
    def most_tries(self) -> int:
        """Requests to the generator for one principle, at most."""
        return self.tries if self.tries is not None else max(5, self.per_principle)

    @property
    def goal(self) -> int:
        """Candidates after which no more are asked for."""
        return math.ceil(SURPLUS * self.per_principle)
