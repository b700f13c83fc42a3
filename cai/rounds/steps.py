"""The commands of a round, as a user would type them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from cai.chain.step import Step
from cai.rounds.config import LoopConfig

StepKind: TypeAlias = Literal["build", "train", "measure", "compare"]
"""Of a round. measure: the new policy against the start of the loop, on all suites. compare:
against the round before, on held-out prompts alone."""

HELD_OUT = "held-out"
"""The id of the suite of held-out prompts."""


def steps_of(
    config: LoopConfig, constitution: str, out: Path, number: int, previous: str | None
) -> list[Step]:
    """The steps of a round. previous: the adapter that it starts from; None for a fresh one."""
    data, policy = out / f"data-{number}", out / f"{config.method}-{number}"
    judge = config.judge or config.model
    seed = ("--seed", str(config.seed))
    start = ("--adapter", previous) if previous else ()
    build = (
        "build-data", "--prompts", str(prompts_file(config, out, number)),
        "--constitution", constitution, "--model", config.model, *start,
        "--critic", judge, "--judge", judge, *_kind_of_data(config), *seed,
        "--out", str(data), *config.words("build_options"),
    )  # fmt: skip
    train = (
        "train", config.method, "--data", str(data), "--model", config.model, *start, *seed,
        "--out", str(policy), *config.words("train_options"),
    )  # fmt: skip
    steps = [Step("build", build, data), Step("train", train, policy)]
    first = config.adapter or config.model
    steps.append(_evaluation(config, constitution, out, "measure", number, first, policy))
    if previous and previous != config.adapter:
        steps.append(_evaluation(config, constitution, out, "compare", number, previous, policy))
    return steps


def prompts_file(config: LoopConfig, out: Path, number: int) -> Path:
    """The prompts of a round."""
    return out / ("prompts.jsonl" if config.reuse_prompts else f"prompts-{number}.jsonl")


def _kind_of_data(config: LoopConfig) -> tuple[str, ...]:
    if config.method == "sft":
        return ("--sft-share", "1")
    gate = ("--judge-gate",) if config.judge_gate else ()
    return ("--sft-share", "0", *gate)


def _evaluation(
    config: LoopConfig,
    constitution: str,
    out: Path,
    kind: StepKind,
    number: int,
    before: str,
    after: Path,
) -> Step:
    folder = out / f"{kind}-{number}"
    held_out = ("--suite", str(out / f"{HELD_OUT}.yaml"))
    arguments = (
        "eval", before, str(after), *held_out, *(_suites(config) if kind == "measure" else ()),
        "--judge", config.held_out_judge or config.judge or config.model,
        "--constitution", constitution, "--seed", str(config.seed), "--out", str(folder),
        *config.words("eval_options"),
    )  # fmt: skip
    return Step(kind, arguments, folder)


def given_evaluation(config: LoopConfig) -> list[str]:
    """The suites and options of evaluations that a user gave; empty if none."""
    return [*_suites(config), *config.words("eval_options")]


def _suites(config: LoopConfig) -> list[str]:
    return [word for suite in config.suites for word in ("--suite", suite)]
