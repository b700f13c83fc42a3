"""Settings of a build: their defaults, help and bounds, and which constitutions they fit."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

from cai.constitution.plans import empty_round
from cai.data.split import family, side_of
from cai.decoding import BOUNDS, SETTINGS
from cai.errors import UsageError
from cai.options import broken_rule, option
from cai.pipeline.steps import Draws
from cai.types import Constitution, Prompt, Sampling

_OWN = "[default: the model's own, else {}]"


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """Settings of a build. All of them are part of the run's id.

    A sampling setting that is None is left to each model's own `generation_config.json`. SFT data
    and preference data share no prompt; with `pairs` 0 all prompts are for SFT.
    """

    seed: int = option(0, "Random seed: the same seed gives the same run.")
    rounds: int | None = option(
        None, "Rounds of critique and revision.  [default: the constitution's]", least=0
    )
    pairs: int = option(
        1,
        "Pairs of responses to compare for each preference prompt; 0 makes SFT data alone.",
        least=0,
    )
    limit: int | None = option(None, "Use the first N usable prompts.", least=1, metavar="N")
    temperature: float | None = option(
        None,
        f"Sampling temperature; 0 always takes the most likely token.  {_OWN.format('1')}",
        **BOUNDS["temperature"],
    )
    top_p: float | None = option(
        None,
        f"Sample from the most likely tokens that together have this probability."
        f"  {_OWN.format('1')}",
        **BOUNDS["top_p"],
    )
    top_k: int | None = option(
        None,
        f"Sample from the K most likely tokens; 0 is off.  {_OWN.format('off')}",
        **BOUNDS["top_k"],
    )
    min_p: float | None = option(
        None,
        "Drop tokens that are less probable than this share of the most likely one."
        f"  {_OWN.format('off')}",
        **BOUNDS["min_p"],
    )
    repetition_penalty: float | None = option(
        None,
        f"Values above 1 make repeated tokens less likely.  {_OWN.format('1')}",
        **BOUNDS["repetition_penalty"],
    )
    max_new_tokens: int = option(256, "Longest text, in tokens.", least=1)
    max_reasoning_tokens: int = option(
        1024, "Longest reasoning before an answer, in tokens, for models that reason.", least=1
    )
    sft_share: float = option(
        0.5,
        "Share of the prompts for SFT data; the others are for preferences.",
        least=0,
        most=1,
    )
    test_share: float = option(
        0.1, "Share of the prompts held out for evaluation.", least=0, most=1
    )
    revision_pairs: bool = option(
        True, "Also make preferences of the last revision over the first response."
    )
    sft_rows: Literal["last", "all"] = option(
        "last", "Export the last revision, or every revision as in the paper.", ("last", "all")
    )
    judge_revisions: bool = option(
        False,
        "Let the judge label each pair of a revision and its first response.  [default: certain]",
    )
    ties: bool = option(
        False, "Also export pairs whose label is within 0.05 of one half.  [default: left out]"
    )
    export_reasoning: bool = option(
        False, "Also export a model's reasoning before a response, as `reasoning_content`."
    )
    check_gate: float | None = option(
        None,
        "Export a final response only if the final check gives every principle at least P.",
        least=0,
        most=1,
        metavar="P",
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if rule := broken_rule(item, value):
                raise UsageError(f"{item.name} is {value!r}; it must be {rule}.")
        if self.judge_revisions and not (self.pairs and self.revision_pairs):
            raise UsageError(
                "--judge-revisions asks about pairs of a revision and its first response, and none"
                f" are made: {'--pairs is 0' if not self.pairs else '--no-revision-pairs'}."
            )

    @property
    def draws(self) -> Draws:
        """The run's seed and sampling, for the steps."""
        settings = {name: getattr(self, name) for name in SETTINGS}
        return Draws(
            seed=self.seed,
            max_new_tokens=self.max_new_tokens,
            max_reasoning_tokens=self.max_reasoning_tokens,
            **settings,
        )

    @property
    def sampling(self) -> Sampling:
        """The sampling settings for every model."""
        return Sampling(**{name: getattr(self, name) for name in SETTINGS})

    def asks_judge(self, constitution: Constitution) -> bool:
        """Whether the judge labels anything: pairs of responses, or of revisions."""
        by_contrast = constitution.feedback.mode == "contrast"
        return self.pairs > 0 and (self.judge_revisions or not by_contrast)

    def side(self, prompt: Prompt) -> Literal["sft", "preference"]:
        """Whether a prompt becomes SFT rows or preferences."""
        if self.pairs == 0:
            return "sft"
        return side_of(family(prompt.messages), self.seed, self.sft_share)


def with_rounds(constitution: Constitution, config: BuildConfig) -> Constitution:
    """The constitution with the run's number of rounds in its plan.

    Raises `UsageError` when the constitution has too few principles for the rounds, or no last
    check while `check_gate` needs one.
    """
    if config.check_gate is not None and not constitution.plan.check:
        raise UsageError(
            f"{constitution.id} has no final check, and --check-gate needs one.",
            hint="Set plan.check: true, or leave --check-gate out.",
        )
    if config.rounds is None:
        return constitution
    if constitution.plan.draw == "all":
        raise UsageError(
            f"{constitution.id} draws all its principles, one a round: --rounds has no effect.",
            hint="Leave --rounds out, or set plan.draw: weighted, uniform or fixed.",
        )
    plan = replace(constitution.plan, rounds=config.rounds)
    members = len(constitution.phase("sl"))
    if config.rounds > members and not plan.with_replacement:
        raise UsageError(
            f"{config.rounds} rounds need as many principles, and {constitution.id} has {members}.",
            hint="Ask for fewer rounds, or set plan.with_replacement: true.",
        )
    number = empty_round(constitution.members, plan)
    if plan.draw != "fixed" and number is not None:
        raise UsageError(
            f"Round {number} may have no principle left to draw.",
            hint="Ask for fewer rounds, or change the principles' `rounds` in the constitution.",
        )
    return replace(constitution, plan=plan)
