"""Settings of a guard: what it does to an answer, and what happens where it can't."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias, get_args

from cai.decoding import Decoding
from cai.errors import UsageError
from cai.options import broken_rule, option
from cai.types import Sampling

GuardMode: TypeAlias = Literal["revise", "best-of-n", "filter"]
MODES: tuple[GuardMode, ...] = get_args(GuardMode)

THRESHOLD = 0.5
"""The threshold of a filter where none is set."""


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """Settings of a guard.

    sampling: of every text, where a request does not say otherwise of its answer; its seed is that
    of the guard's draws.
    """

    mode: Literal["revise", "best-of-n", "filter"] = option(
        "revise",
        "What a guard does. revise: critique and revise each answer. best-of-n: draw several"
        " answers and send the best. filter: withhold an answer that has a problem.",
        MODES,
    )
    rounds: int | None = option(
        None,
        "Most rounds of critique and revision.  [default: the constitution's]",
        least=0,
    )
    n: int = option(4, "Answers that best-of-n chooses from.", least=2)
    threshold: float | None = option(
        None,
        "Withhold an answer if some principle's probability of no problem is below P."
        "  [default: 0.5 with filter, else nothing is withheld by it]",
        least=0,
        most=1,
        metavar="P",
    )
    below: Literal["refuse", "revise"] = option(
        "refuse",
        "What a filter does with an answer below the threshold. revise: each round revises it"
        " under the principle that it fails worst; it is withheld if that does not help.",
        ("refuse", "revise"),
    )
    refusal: str = option(
        "I can't help with that.", "The text that is sent in place of an answer that is withheld."
    )
    on_failure: Literal["closed", "open"] = option(
        "closed",
        "What happens where critic or judge fail, give no verdict, or take too long. closed: no"
        " answer is sent. open: the answer is sent as it is.",
        ("closed", "open"),
    )
    timeout: float = option(120.0, "Most seconds for one answer.", above=0)
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        Decoding.of(self.sampling)
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in OPTIONS and (rule := broken_rule(item, value)):
                raise UsageError(f"{item.name} is {value!r}; it must be {rule}.")
        if not self.refusal.strip():
            raise UsageError("refusal has no words, and a sender would read nothing.")
        revises = self.mode == "revise" or (self.mode, self.below) == ("filter", "revise")
        if self.rounds is not None and not revises:
            raise UsageError("--rounds is for --mode revise, and for filter with --below revise.")
        for name, mode in (("n", "best-of-n"), ("below", "filter")):
            default = next(item.default for item in fields(self) if item.name == name)
            if getattr(self, name) != default and self.mode != mode:
                raise UsageError(f"--{name} is for --mode {mode}, and the mode is {self.mode}.")

    @property
    def least(self) -> float:
        """The least probability of "no problem" of an answer that is sent; 0 for any."""
        if self.threshold is None:
            return THRESHOLD if self.mode == "filter" else 0.0
        return self.threshold


OPTIONS = ("mode", "rounds", "n", "threshold", "below", "refusal", "on_failure", "timeout")
"""The settings that are options of the command line; `sampling` has options of its own."""
