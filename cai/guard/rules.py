"""The constitution as a guard's mode uses it, and whether the models can answer what it asks."""

from __future__ import annotations

from dataclasses import replace

from cai.guard.config import GuardConfig
from cai.pipeline.build import Models
from cai.pipeline.config import BuildConfig, with_rounds
from cai.pipeline.verify_models import verify_models
from cai.types import Constitution


def guard_rules(constitution: Constitution, config: GuardConfig) -> Constitution:
    """The constitution with the guard's rounds, and with the check that a threshold needs.

    Its judging is pointwise, by which n answers can be ranked. Raises `UsageError` where it has too
    few principles for the rounds.
    """
    constitution = with_rounds(constitution, BuildConfig(rounds=config.rounds))
    check = constitution.plan.check or config.least > 0
    return replace(
        constitution,
        plan=replace(constitution.plan, check=check),
        feedback=replace(constitution.feedback, mode="pointwise"),
    )


def verify_guard(rules: Constitution, models: Models, config: GuardConfig, *, ranked: bool) -> None:
    """Have each model try requests like those of the guard. Raises `ModelError` for one that fails.

    ranked: whether a reward model ranks the answers, so that the judge has nothing to do.
    """
    judges = config.mode == "best-of-n" and (not ranked or config.least > 0)
    pairs = 1 if judges else 0
    verify_models(rules, models.by_role, BuildConfig(pairs=pairs, sft_share=1.0 - pairs))
