"""`cai ablate --train`: models trained with and without each principle."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from cai.cli.ablate_train_text import print_effects
from cai.cli.chained_options import require_options
from cai.cli.live import duration
from cai.cli.output import counted, print_json
from cai.errors import UsageError

if TYPE_CHECKING:
    from cai.authoring.ablation import Ablation
    from cai.authoring.retraining.config import RetrainingConfig
    from cai.authoring.retraining.data import Sides
    from cai.authoring.retraining.record import AblationRecord
    from cai.authoring.retraining.run import StepTurn
    from cai.chain.step import Step
    from cai.store.records import Run

_OF_BUILD = (
    "model", "adapter", "critic", "critic_adapter", "judge", "judge_adapter", "batch_size",
    "device", "dtype", "thinking", "template_args", "date", "wait",
)  # fmt: skip
"""Options of `cai ablate` that say how missing answers are made."""


def run(
    run_dir: Path, place: Path, built: Run, found: Sequence[Ablation], config: RetrainingConfig,
    out: Path, *, dry_run: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Make what is missing, train on each side and measure. place: the store. found: of the run.

    Raises `UsageError` where an answer is missing and no model is named, or nothing can be left
    out; what the steps raise.
    """
    from cai.authoring.retraining.record import AblationRecord
    from cai.authoring.retraining.run import data_folder, retrain
    from cai.authoring.retraining.steps import evaluation_options
    from cai.chain.step import require_evaluation, run_command

    fit = [ablation.principle for ablation in found if not ablation.unfit]
    if not fit:
        reasons = "; ".join(f"{a.principle}: {a.unfit}" for a in found)
        raise UsageError(f"no principle can be left out: {reasons}")
    base = _base(config, built)
    record = AblationRecord.open(out, config, built, fit, base)
    require_options("train_options", config.words("train_options"), f"train {config.train}")
    require_evaluation(evaluation_options(config), out, partial(run_command, shows=False))
    if any(ablation.steps for ablation in found):
        making = _making(run_dir, fit)
        if dry_run:
            click.echo(f"cai {shlex.join(making)}")
            click.echo(
                f"Then, for each seed: a training on all the data, one without each of"
                f" {counted(len(fit), 'principle')}, at most as many controls, and an evaluation."
                " Their commands and their time depend on the data that the command above makes."
            )
            return
        _make_data(making, out, place, built, fit, quiet=quiet)
    if dry_run:
        _show(config, place, built, fit, base, out)
        return
    record.unfit = {a.principle: a.unfit for a in found if a.unfit}
    record.write()
    sides = _sides(config, place, built, fit, data_folder(out))
    if not quiet:
        _announce(config, sides, base, out, record)
    effects = retrain(
        config, sides, record,
        say=lambda turn: None if quiet else _heading(turn),
        command=partial(run_command, shows=not as_json),
    )  # fmt: skip
    if as_json:
        print_json({"folder": str(out), **record.values})
    elif not quiet:
        print_effects(effects, sides, record, base)


def _base(config: RetrainingConfig, built: Run) -> str | None:
    """The model to train: the one that is named, else the run's generator."""
    from cai.cli.roles import named_model

    if config.names_base:
        return None
    options = click.get_current_context().params
    facts = built.config["models"]["generator"]
    if options["model"] and not options["adapter"]:
        chosen = named_model(options["model"])
        if not (chosen.is_served or chosen.is_scripted or chosen.adapter):
            return chosen.model
    elif "server" not in facts and "base" not in facts:
        return str(facts["name"])
    raise UsageError(
        f"the generator of {built.id} is {facts['name']}, which says not which weights to train",
        hint='Name the model to train: --train-options "--model MODEL".',
    )


def _making(run_dir: Path, principles: Sequence[str]) -> list[str]:
    """The command that makes what the store lacks, with the models that were named to this one.

    Raises `UsageError` where none was.
    """
    context = click.get_current_context()
    if context.params["model"] is None:
        raise UsageError(
            "the store lacks answers that the run has without a principle",
            hint="Name the run's model, which makes them: --model MODEL. Without --train, `cai"
            " ablate` says how many there are.",
        )
    words = ["ablate", str(run_dir)]
    for name in principles:
        words += ["--principle", name]
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name not in _OF_BUILD or not given:
            continue
        value = context.params[name]
        if isinstance(value, bool):
            words.append(parameter.opts[0])
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [parameter.opts[0], str(one)]
    return words


def _make_data(
    making: Sequence[str], out: Path, place: Path, built: Run, principles: Sequence[str], *,
    quiet: bool,
) -> None:  # fmt: skip
    """Make what is missing, in a process of its own, whose models are gone when it ends."""
    from cai.chain.step import Step, StepFailedError, exit_code_of, run_command
    from cai.cli.ablate import measured
    from cai.errors import StoreError
    from cai.store.store import Store

    name = "the building of the data"
    if not quiet:
        click.echo(f"\ncai {shlex.join(making)}", err=True)
    step = Step("build", (*making, *(("--quiet",) if quiet else ())), out)
    if code := exit_code_of(step, name, partial(run_command, shows=False)):
        raise StepFailedError(name, code)
    with Store.open(place, read_only=True) as store:
        left = sum(a.steps for a in measured(store, built, principles, quiet=quiet))
    if left:
        raise StoreError(f"{counted(left, 'step')} of the data are still missing in {place}")


def _sides(
    config: RetrainingConfig, place: Path, built: Run, principles: Sequence[str], folder: Path
) -> Sides:
    """The data of each training, written to a folder."""
    from cai.authoring.retraining.data import write_sides
    from cai.errors import DataError
    from cai.store.store import Store

    with Store.open(place, read_only=True) as store:
        sides = write_sides(store, built, principles, str(config.train), folder, config.seeds)
    if not sides.all.rows:
        raise DataError(
            f"{built.id} has no rows for {config.train}",
            hint="`cai train` says which rows a method reads, and `cai build-data` makes them.",
        )
    return sides


def _show(
    config: RetrainingConfig, place: Path, built: Run, principles: Sequence[str],
    base: str | None, out: Path,
) -> None:  # fmt: skip
    """The commands, and how long they take; nothing is left behind."""
    from cai.authoring.retraining.run import data_folder
    from cai.authoring.retraining.steps import steps_of

    with TemporaryDirectory() as folder:
        sides = _sides(config, place, built, principles, Path(folder))
        _announce(config, sides, base, Path(folder) / "out", None)
        there = dataclasses.replace(sides, folder=data_folder(out))
        for step in steps_of(config, base, there, out):
            click.echo(f"cai {shlex.join(step.arguments)}")


def _announce(
    config: RetrainingConfig, sides: Sides, base: str | None, out: Path,
    record: AblationRecord | None,
) -> None:  # fmt: skip
    """How much there is to do, and how long the trainings take by the first steps of one."""
    from cai.authoring.retraining.steps import steps_of

    steps = steps_of(config, base, sides, out)
    left = [step for step in steps if record is None or not record.is_done(step)]
    count = Counter(step.kind for step in left)
    if not left:
        return
    trainings = [step for step in left if step.kind == "train"]
    seconds = _seconds(trainings[0]) if trainings else None
    took = "" if seconds is None else f", some {duration(seconds * len(trainings))}"
    click.echo(
        f"To do: {counted(count['train'], 'training')}{took}, and"
        f" {counted(count['eval'], 'evaluation')} of {counted(len(sides.trained), 'model')}.",
        err=True,
    )


def _seconds(training: Step) -> float | None:
    """How long a training takes, by its dry run; None where that fails."""
    command = [sys.executable, "-m", "cai", *training.arguments, "--dry-run", "--json"]
    begin = time.monotonic()
    ran = subprocess.run(command, capture_output=True, check=False)
    start = time.monotonic() - begin  # imports and loading, which each training does anew
    try:
        found = json.loads(ran.stdout)["time"]["seconds"]
    except (ValueError, KeyError, TypeError):
        return None  # the training itself says why
    return None if found is None else start + float(found)


def _heading(turn: StepTurn) -> None:
    left = f", some {duration(turn.seconds)} of training left" if turn.seconds else ""
    kind = turn.name.split()[1]
    click.echo(
        f"\n{kind} {turn.number} of {turn.total}{left}: cai {shlex.join(turn.step.arguments)}",
        err=True,
    )
