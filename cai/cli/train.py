"""`cai train`: a command for each stage. The options are made from the configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.config_file import position, read_settings
from cai.cli.config_options import config_options
from cai.cli.output import counted, json_option, print_json
from cai.cli.probe_option import probe_option, seconds_in_words, time_in_words
from cai.errors import CaiError, UsageError
from cai.training.config import CONFIGS, TrainConfig, build_config
from cai.training.launcher import read_launch

if TYPE_CHECKING:
    from cai.training.probe import StepProbe
    from cai.training.trainer import StageTrainer


@click.group("train", short_help=f"Train a model on a run's data: {', '.join(CONFIGS)}.")
def command() -> None:
    """Align a model with the data of `cai build-data`, or with files of your own.

    \b
    cai train sft    --data runs/default
    cai train reward --data runs/default --adapter runs/sft
    cai train dpo    --data runs/default --adapter runs/sft
    cai train kto    --data runs/default --adapter runs/sft
    cai train ppo    --data runs/default --adapter runs/sft --reward runs/reward
    cai train rloo   --data runs/default --adapter runs/sft --reward constitution:default
    cai train distill --data runs/default --adapter runs/sft
    """


def _command(stage: str) -> click.Command:
    kind = CONFIGS[stage]

    @click.command(stage, short_help=kind.summary, help=kind.summary)
    @click.option(
        "--data", "-d", "data", multiple=True, required=True, type=click.Path(path_type=Path),
        help="A run's folder or a file; may be given several times.",
    )  # fmt: skip
    @click.option(
        "--out", "-o", type=click.Path(path_type=Path, file_okay=False), default=None,
        help=f"The folder to write.  [default: runs/{stage}]",
    )  # fmt: skip
    @click.option(
        "--config", "file", type=click.Path(path_type=Path, dir_okay=False), default=None,
        help="A YAML file of settings; options override it.",
    )  # fmt: skip
    @click.option(
        "--dry-run",
        is_flag=True,
        help="Show rows, tokens, steps, memory and time; train and write nothing.",
    )
    @probe_option("In a dry run, take a step or two to estimate the time.")
    @json_option
    @click.option("--quiet", "-q", is_flag=True, help="No progress and no summary.")
    @config_options(kind, unset=True)
    def run(
        data: tuple[Path, ...], out: Path | None, file: Path | None, dry_run: bool, probe: bool,
        as_json: bool, quiet: bool, **options: Any,
    ) -> None:  # fmt: skip
        values, where = _from_file(file, stage) if file else ({}, str)
        overrides = {name: value for name, value in options.items() if value not in (None, ())}
        config = build_config(
            kind, values | overrides, lambda n: "the command line" if n in overrides else where(n)
        )
        first = read_launch().first
        if dry_run:
            if first:
                _dry_run(config, data, probe, as_json)
            return
        _train(config, data, out or Path("runs") / stage, quiet or not first, as_json and first)

    return run


def _from_file(file: Path, stage: str) -> tuple[dict[str, Any], Callable[[str], str]]:
    """The settings of a YAML file, such as a run's config.yaml, and where each stands."""
    source = read_settings(file)
    values = dict(source.value or {})
    if values.pop("stage", stage) != stage:
        raise UsageError(f"{file} is for another stage than `cai train {stage}`")
    return values, lambda name: position(source, name)


def _dry_run(config: TrainConfig, data: tuple[Path, ...], probe: bool, as_json: bool) -> None:
    from cai.cli.capacity_text import capacity_lines
    from cai.text.terminal import visible
    from cai.training.estimate import estimate
    from cai.training.policy import resolve
    from cai.training.train import make_trainer

    config = resolve(config.for_dry_run())
    size = read_launch().size
    with closing(make_trainer(config, data)) as trainer:
        need = estimate(config, trainer, size)
        measured, reason = _probe(trainer) if probe else (None, "--no-probe")
    seconds = measured.prepare + measured.seconds * need.steps if measured else None
    if as_json:
        print_json({
            **dataclasses.asdict(need), "reasons": dict(need.reasons),
            "processes": size, "parallel": config.parallel if size > 1 else None,
            "time": {"seconds": seconds, "reason": reason or None,
                     "measured": dataclasses.asdict(measured) if measured else None},
        })  # fmt: skip
        return
    lines = {
        "rows": f"{need.rows:,} ({need.held_out:,} held out, {need.set_aside:,} set aside)",
        "tokens": f"{need.tokens:,}",
        "steps": f"{need.steps:,}",
        "parameters": f"{need.trained:,} trained of {need.parameters:,}",
        **dict(capacity_lines(need.capacity, config.lora_r or 1) if need.capacity else ()),
        "memory": f"about {need.memory / 1e9:.1f} GB{_layout(config, size)}, calculated for the"
        " longest row",
    }
    total = measured.total if measured else 0.0
    if size > 1:
        lines["processes"] = f"{size}; time and peak are those of one process on its own"
    lines["time"] = time_in_words(seconds, seconds, total, reason)
    if measured:
        steps = counted(measured.steps, "step")
        lines["measured"] = (
            f"{seconds_in_words(measured.seconds)} a step, {measured.tokens:,} tokens in it"
        )
        if measured.prepare:
            lines["measured"] += f"; {seconds_in_words(measured.prepare)} before the first one"
        if measured.peak is not None:
            lines["measured"] += f"; {measured.peak / 1e9:.1f} GB at the peak of {steps}"
        lines["not included"] = config.unmeasured
    for name, text in lines.items():
        click.echo(f"{name:>12}  {text}")
    for reason, count in need.reasons:
        click.echo(f"{'set aside':>12}  {count:,}: {visible(reason)}")


def _layout(config: TrainConfig, size: int) -> str:
    """Whose the memory is, where there are several processes."""
    if size == 1:
        return ""
    how = "of the layers its share" if config.parallel == "fsdp" else "whole weights"
    return f" in each process ({config.parallel}: {how})"


def _probe(trainer: StageTrainer) -> tuple[StepProbe | None, str]:
    """What the first steps took, or why they could not be taken."""
    from cai.cli.live import LiveLine
    from cai.training.probe import probe_steps

    with LiveLine() as live:
        live.update("taking a step or two, to estimate the time (--no-probe leaves it out)")
        try:
            return probe_steps(trainer), ""
        except CaiError as error:
            return None, error.message


def _train(
    config: TrainConfig, data: tuple[Path, ...], out: Path, quiet: bool, as_json: bool
) -> None:
    from cai.cli.train_progress import TrainProgress, metric_label
    from cai.text.terminal import visible
    from cai.training.train import Callbacks, train

    with TrainProgress() if not quiet else nullcontext() as progress:
        if progress is None:
            callbacks = Callbacks(note=lambda text: click.echo(visible(text), err=True))
        else:
            callbacks = Callbacks(progress.report, progress.note, progress.reference, progress.note)
        results = train(config, data, out, callbacks)
    if as_json:
        print_json({"folder": str(out), **_run_values(out), "results": results})
        return
    if quiet:
        return
    for name, value in results.items():
        if not isinstance(value, dict):
            click.echo(f"{metric_label(name):>16}  {value}")
    click.echo(f"{'written':>16}  {out}")


def _run_values(out: Path) -> dict[str, Any]:
    """Id, stage, steps and rows of a finished run; rows are None where it has prompts alone."""
    from cai.data.training_run import read_run
    from cai.training.metrics_log import read_metrics

    run = read_run(out)
    steps = max((row["step"] for row in read_metrics(out)), default=0)
    counts = {name: run["counts"].get(name) for name in ("trained", "prompts")}
    rows = counts["trained"] if counts["trained"] is not None else counts["prompts"]
    return {"run": run["id"], "stage": run["stage"], "steps": steps, "rows": rows}


for _stage in CONFIGS:
    command.add_command(_command(_stage))
