"""Settings of an evaluation: what is asked, and how text is sampled."""

from __future__ import annotations

from dataclasses import dataclass, fields

from cai.decoding import BOUNDS
from cai.errors import UsageError
from cai.options import broken_rule, option
from cai.pipeline.steps import Draws


class SampledText:
    """What settings of sampled text share: their values are validated, and steps draw by them."""

    __slots__ = ()
    temperature: float | None
    top_p: float | None
    max_new_tokens: int
    max_reasoning_tokens: int
    seed: int

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]  # those below are dataclasses
            value = getattr(self, item.name)
            if rule := broken_rule(item, value):
                raise UsageError(f"{item.name} is {value!r}; it must be {rule}.")

    @property
    def draws(self) -> Draws:
        """Seed and sampling, for the steps."""
        return Draws(
            seed=self.seed,
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            max_reasoning_tokens=self.max_reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class EvaluationConfig(SampledText):
    """Settings of `cai eval`. Raises `UsageError` for a value out of range."""

    limit: int | None = option(
        None, "Ask at most N items of each suite, drawn by the seed.", least=1, metavar="N"
    )
    temperature: float = option(
        0.0, "Sampling temperature; 0 always takes the most likely token.", **BOUNDS["temperature"]
    )
    top_p: float | None = option(
        None,
        "Sample from the most likely tokens that together have this probability."
        "  [default: the model's own, else 1]",
        **BOUNDS["top_p"],
    )
    max_new_tokens: int = option(256, "Longest reply, in tokens.", least=1)
    max_reasoning_tokens: int = option(
        1024, "Longest reasoning before an answer, in tokens, for models that reason.", least=1
    )
    seed: int = option(0, "Random seed: the same seed asks the same items and samples alike.")
