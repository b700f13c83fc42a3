"""The settings of a loop."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from cai.chain.options import option_words
from cai.errors import UsageError
from cai.options import broken_rule, flag, option

METHODS = ("dpo", "sft", "kto")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Settings of `cai loop`; fields are its options. Raises `UsageError` for a value out of range.

    extra_suites: names and files of suites, a line each.
    """

    method: str = option("dpo", "How each round trains, on what it has built.", METHODS)
    rounds: int = option(3, "Most rounds.", least=1)
    model: str = option(
        "miniature", "The base model: a hub id, a directory, or `miniature`.", short="-m"
    )
    adapter: str | None = option(
        None, "Start from this adapter.  [default: a fresh one on the base]"
    )
    judge: str | None = option(
        None,
        "The model that criticises and labels in every round; it never changes."
        "  [default: the base alone]",
    )
    held_out_judge: str | None = option(
        None,
        "The model that measures: after each round it compares the answers to held-out prompts"
        " with those of the round before. Best one that labels nothing.  [default: --judge]",
    )
    suite: str | None = option(
        None,
        "Also measure each round by this suite of `cai eval`; may be given several times. The loop"
        " stops where one is worse than at the start, beyond chance.",
        short="-s",
        multiple=True,
    )
    held_out: int = option(64, "Held-out prompts; no round trains on them.", least=8)
    reuse_prompts: bool = option(
        False, "Give every round all prompts; by default each has prompts of its own."
    )
    patience: int = option(
        2, "Stop after so many rounds in a row that are not shown to be better.", least=1
    )
    judge_gate: bool = option(
        True, "Stop if the judge is not shown to be better than chance on known cases."
    )
    seed: int = option(0, "Random seed of all steps.", least=0)
    build_options: str = option("", "More options of `cai build-data`, as one text.")
    train_options: str = option("", "More options of `cai train`, as one text.")
    eval_options: str = option("", "More options of `cai eval`, as one text.")

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            if rule := broken_rule(item, getattr(self, item.name)):
                raise UsageError(
                    f"{flag(item.name)} is {getattr(self, item.name)!r}; it must be {rule}."
                )
        for name in _TAKEN:
            self.words(name)

    def words(self, name: str) -> list[str]:
        """The options in one of the texts. Raises `UsageError` as `option_words` does."""
        taken_by = "the loop sets it in every round"
        return option_words(name, getattr(self, name), _TAKEN[name], taken_by)

    @property
    def suites(self) -> list[str]:
        """The suites besides the held-out prompts."""
        return [name for name in (self.suite or "").splitlines() if name]


_SHARED = ("--out", "-o", "--model", "-m", "--adapter", "--seed", "--json")
_TAKEN = {
    "build_options": (
        *_SHARED, "--prompts", "-p", "--constitution", "-c", "--critic", "--judge", "--dry-run",
    ),
    "train_options": (*_SHARED, "--data", "-d", "--dry-run"),
    "eval_options": (*_SHARED, "--suite", "-s", "--judge", "--constitution", "-c"),
}  # fmt: skip
"""Options that the loop sets itself."""
