"""Runs an ablation that trains: its trainings and evaluations, then what they say."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cai.authoring.retraining.config import RetrainingConfig
from cai.authoring.retraining.data import Sides
from cai.authoring.retraining.effects import PrincipleEffect, effects_of
from cai.authoring.retraining.record import AblationRecord
from cai.authoring.retraining.steps import steps_of
from cai.chain.step import Runner, Step, StepFailedError, exit_code_of, run_command
from cai.digest import file_digest

_WORDS = {"train": "training", "eval": "evaluation"}


@dataclass(frozen=True, slots=True)
class StepTurn:
    """A step whose turn it is. number, total: of steps of its kind. seconds: that the trainings
    that are left take, by those that are done; None before one is."""

    step: Step
    number: int
    total: int
    seconds: float | None

    @property
    def name(self) -> str:
        """The step in words."""
        return f"the {_WORDS[self.step.kind]} {self.step.folder.name}"


def retrain(
    config: RetrainingConfig,
    sides: Sides,
    record: AblationRecord,
    *,
    say: Callable[[StepTurn], None] = lambda turn: None,
    command: Runner = run_command,
) -> list[PrincipleEffect]:
    """Run the steps that are left, and return what each principle does to each measure.

    say: called before each step. Raises `StepFailedError` if a step fails, `Interrupted` after
    Ctrl-C.
    """
    out = record.folder
    record.sides = sides.values
    record.data = {
        file.name: file_digest(file)
        for side in sides.trained
        for seed in range(config.seeds)
        for file in sides.files(side, seed)
    }
    record.effects = []
    record.write()
    for turn in turns(steps_of(config, record.settings["base"], sides, out), record):
        say(turn)
        begin = time.monotonic()
        if code := exit_code_of(turn.step, turn.name, command):
            raise StepFailedError(turn.name, code)
        record.add(turn.step, seconds=round(time.monotonic() - begin, 1))
    effects = effects_of(out, sides, config.seeds)
    record.effects = [effect.values for effect in effects]
    record.write()
    return effects


def turns(steps: Sequence[Step], record: AblationRecord) -> Iterator[StepTurn]:
    """The steps that are not done, one by one; the record grows meanwhile."""
    count = Counter(step.kind for step in steps)
    number: Counter[str] = Counter()
    for step in steps:
        number[step.kind] += 1
        if record.is_done(step):
            continue
        took = [done["seconds"] for done in record.steps if done["step"] == "train"]
        ahead = [s for s in steps if s.kind == "train" and not record.is_done(s)]
        seconds = sum(took) / len(took) * len(ahead) if took else None
        yield StepTurn(step, number[step.kind], count[step.kind], seconds)


def data_folder(out: Path) -> Path:
    """The folder of the files to train on."""
    return out / "data"
