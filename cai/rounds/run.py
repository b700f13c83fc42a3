"""Runs a loop: the commands of its rounds, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cai.chain.step import Runner, Step, StepFailedError, exit_code_of, run_command
from cai.data.training_run import is_run, read_run
from cai.errors import ModelError
from cai.evaluation.folder import read_evaluation
from cai.rounds.config import LoopConfig
from cai.rounds.measure import RoundMeasure, best_round, reason_to_stop, round_measure
from cai.rounds.prompts import LoopPrompts, write_prompts
from cai.rounds.record import LoopRecord
from cai.rounds.steps import steps_of


def run_loop(
    config: LoopConfig,
    constitution: str,
    prompts: LoopPrompts,
    record: LoopRecord,
    *,
    say: Callable[[int, Step], None] = lambda number, step: None,
    command: Runner = run_command,
) -> LoopRecord:
    """Run the rounds that are left. say: called before each step, with the round's number.

    Raises `StepFailedError` if a step fails (a judge that is not shown to be better than chance
    ends the build), `Interrupted` after Ctrl-C.
    """
    out = record.folder
    write_prompts(prompts, config, out)
    record.write()
    if record.stopped and not _may_go_on(record, config):
        return record
    record.stopped = ""
    for number in range(1, config.rounds + 1):
        previous = str(_policy(config, out, number - 1)) if number > 1 else config.adapter
        for step in steps_of(config, constitution, out, number, previous):
            if record.is_done(step):
                continue
            say(number, step)
            reason = _run(step, number, command)
            if reason:
                return _end(record, f"round {number}: {reason}")
            record.add(step, round=number)
        if len(record.measures) < number:
            record.measures.append(_measure(out, number).row)
        measures = _measures(record)
        record.best = best_round(measures)
        record.write()
        if reason := reason_to_stop(measures[:number], config.patience):
            return _end(record, f"after round {number}: {reason}")
    return record


def _run(step: Step, number: int, command: Runner) -> str:
    """Run a step; returns why the loop ends with it, empty if it does not."""
    name = f"the {step.kind} step of round {number}"
    code = exit_code_of(step, name, command)
    if step.kind == "train" and is_run(step.folder):
        run = read_run(step.folder)
        if run["status"] == "stopped":  # also where it is asked for again, and left as it is
            return f"its training stopped itself: {run['results']['stopped']}"
    if code:
        gated = "--judge-gate" in step.arguments and code == ModelError.exit_code
        hint = (
            "If the judge was refused: --no-judge-gate goes on; another --judge is another loop, in"
            " another --out."
        )
        raise StepFailedError(name, code, hint if gated else "")
    return ""


def _measure(out: Path, number: int) -> RoundMeasure:
    start = read_evaluation(out / f"measure-{number}")
    before = read_evaluation(out / f"compare-{number}") if number > 1 else start
    return round_measure(start, before)


def _measures(record: LoopRecord) -> list[RoundMeasure]:
    return [RoundMeasure(**row | {"worse": tuple(row["worse"])}) for row in record.measures]


def _policy(config: LoopConfig, out: Path, number: int) -> Path:
    """The folder of what a round trained."""
    return out / f"{config.method}-{number}"


def _may_go_on(record: LoopRecord, config: LoopConfig) -> bool:
    """Whether a loop that ended may go on, with more patience than it had."""
    measures = _measures(record)
    return bool(measures) and not reason_to_stop(measures, config.patience)


def _end(record: LoopRecord, reason: str) -> LoopRecord:
    record.stopped = reason
    record.write()
    return record
