"""The settings of an ablation that trains."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from cai.chain.options import option_words
from cai.errors import UsageError
from cai.options import broken_rule, flag, option

METHODS = ("sft", "dpo", "kto")


@dataclass(frozen=True, kw_only=True)
class RetrainingConfig:
    """Settings of `cai ablate --train`; fields are its options.

    suite: names and files, a line each. Raises `UsageError` for a value out of range, and for
    settings that mean nothing without `train`.
    """

    train: str | None = option(
        None,
        "Also train a model on the data with and without each principle by this method, and"
        " measure what that changes.",
        METHODS,
    )
    train_options: str = option(
        "", 'More options of `cai train`, as one text, such as "--epochs 2 --adapter runs/sft".'
    )
    suite: str | None = option(
        None,
        "Measure the trained models by this suite of `cai eval`; may be given several times."
        "  [default: all that come with cai]",
        short="-s",
        multiple=True,
    )
    held_out_judge: str | None = option(
        None,
        "A model that judges the trained models' replies, too. --eval-options has to name its"
        " --constitution.",
    )
    eval_options: str = option("", "More options of `cai eval`, as one text.")
    seeds: int = option(1, "Train this many times: with the seeds 0, 1 and so on.", least=1)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if rule := broken_rule(item, value):
                raise UsageError(f"{flag(item.name)} is {value!r}; it must be {rule}.")
            if self.train is None and value != item.default:
                raise UsageError(
                    f"{flag(item.name)} is of a training, and none is asked for",
                    hint="Say how to train: --train sft, dpo or kto.",
                )
        for name in _TAKEN:
            self.words(name)
        names_rules = any(
            word.partition("=")[0] in ("--constitution", "-c")
            for word in self.words("eval_options")
        )
        if self.held_out_judge and not names_rules:
            raise UsageError(
                "--held-out-judge judges by a constitution, and none is named",
                hint='Name the one to judge by: --eval-options "--constitution FILE".',
            )

    def words(self, name: str) -> list[str]:
        """The options in one of the texts. Raises `UsageError` as `option_words` does."""
        taken_by = "it is the same for all models, and set by the command itself"
        return option_words(name, getattr(self, name), _TAKEN[name], taken_by)

    @property
    def suites(self) -> list[str]:
        """The suites to measure by; none for all that come with cai."""
        return [name for name in (self.suite or "").splitlines() if name]

    @property
    def names_base(self) -> bool:
        """Whether the options of the training say which model to train."""
        return any(w.partition("=")[0] in ("--model", "-m") for w in self.words("train_options"))


_TAKEN = {
    "train_options": ("--out", "-o", "--data", "-d", "--seed", "--json", "--dry-run"),
    "eval_options": ("--out", "-o", "--suite", "-s", "--judge", "--json"),
}
"""Options that the ablation sets itself."""
