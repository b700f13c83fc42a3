"""One training run from its settings to its folder: `cai train STAGE`."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from cai.data.audited import stale_signoffs, without_manifest
from cai.data.files import store_errors
from cai.data.run_log import ON_TERMINAL, Interval, log, run_log
from cai.data.training import require_rows, training_files
from cai.data.training_run import is_run, read_run
from cai.errors import TrainingError, UsageError, install_hint
from cai.models.backbone import Backbone
from cai.training.agreement import (
    require_same_command,
    require_same_data,
    require_same_inputs,
)
from cai.training.behaviour import make_monitor, monitor_facts, monitor_suites
from cai.training.card import card
from cai.training.checkpoint import load_tensors
from cai.training.config import TrainConfig
from cai.training.distill import DistillTrainer
from cai.training.dpo import DpoTrainer
from cai.training.examples import data_facts
from cai.training.folder import RunFolder, lock, require_same_run, settings, validate_out
from cai.training.join import explained, joined
from cai.training.judges import require_judge
from cai.training.kto import KtoTrainer
from cai.training.loop import Loop, StepReport
from cai.training.metrics_log import ROLLOUTS, forget_steps_after, log_metrics
from cai.training.notes import notes
from cai.training.policy import resolve
from cai.training.ppo import PpoTrainer
from cai.training.processes import world
from cai.training.reward import RewardTrainer
from cai.training.rl import RlTrainer
from cai.training.rloo import RlooTrainer
from cai.training.score_parts import START_RESPONSES
from cai.training.sft import SftTrainer
from cai.training.sharding import assign
from cai.training.trainer import StageTrainer

TRAINERS: Mapping[str, Callable[[Any, Sequence[Path]], StageTrainer]] = {
    "sft": SftTrainer.load,
    "reward": RewardTrainer.load,
    "dpo": DpoTrainer.load,
    "kto": KtoTrainer.load,
    "ppo": PpoTrainer.load,
    "rloo": RlooTrainer.load,
    "distill": DistillTrainer.load,
}
"""How each stage's trainer is made of its configuration and its data.

The loop calls the trainer's `train_step`: in SFT, reward model, DPO and KTO a batch of rows and
the objective's `loss`, in PPO `PpoTrainer.update`.
"""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Functions called during a run.

    report: after a step or an evaluation. note: with a sentence for the user. progress: while the
    reference model reads the data, with the conversations done and all. info: with a sentence that
    a quiet command leaves out.
    """

    report: Callable[[StepReport], None] = lambda report: None
    note: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None
    info: Callable[[str], None] = lambda text: None


def train(
    config: TrainConfig,
    data: Path | str | Sequence[Path | str],
    out: Path | str,
    callbacks: Callbacks | None = None,
) -> dict[str, Any]:
    """Train a model, or resume the run that was interrupted in `out`; returns its results.

    The results are the main metrics by name, as they stand in the record (`cai.read_run`): the last
    step's for PPO, accuracy and its interval for a reward model, and `best_step` with the metric
    that was best on the held-out set, where rows are held out.
    config: `SftConfig`, `DpoConfig` or another of `CONFIGS`. data: one path or several: folders of
    runs of `cai build-data`, or files. The last weights are written to `out`. Where the
    best ones differ, those of the best evaluation (or, of a run that the monitors stopped, the last
    ones before an alarm) are in `out/best`. A finished run is left as it is.

    Where a launcher started several processes, each calls this, with the same arguments; the first
    one alone writes to `out` and calls back. If they end by an error, it raises it, and the others
    `SystemExit`.

    Raises `UsageError` if something else is in `out`, `DataError` if no row can be used,
    `Interrupted` after Ctrl-C, `TrainingError` if a step fails, the monitors stop the run, or one
    of several processes dies. Errors in options, data and `out` are raised before weights are
    loaded.
    """
    callbacks = callbacks or Callbacks()
    paths = [Path(data)] if isinstance(data, str | Path) else [Path(path) for path in data]
    require_tracker(config.tracker)
    with joined(config.device, config.parallel, config.process_timeout) as here:
        return _train_here(config, paths, Path(out), callbacks if here.first else Callbacks())


def _train_here(
    config: TrainConfig, paths: Sequence[Path], out: Path, callbacks: Callbacks
) -> dict[str, Any]:
    """Train, or resume, in one of the processes of a run."""
    here = world()
    require_same_command(config, out)
    here.from_first(lambda: validate_out(out))
    today = here.from_first(lambda: datetime.date.today().isoformat())
    date = config.date or here.from_first(lambda: _date_of_run(out))
    config = dataclasses.replace(resolve(config), date=date)
    files = training_files(paths, config.table)
    monitor_suites(config)  # so that errors come before weights are loaded
    require_judge(config.monitor_judge, config)
    digests = data_facts(files)
    require_same_data(digests)
    here.from_first(lambda: require_same_run(out, config, digests))
    with ExitStack() as stack:
        here.from_first(lambda: stack.enter_context(lock(out)))
        torch.manual_seed(config.seed + here.rank)  # only dropout draws from it
        trainer = make_trainer(dataclasses.replace(config, date=date or today), paths)
        stack.callback(trainer.close)
        if trainer.backbone.encoder.template.writes_date:
            config = dataclasses.replace(config, date=date or today)
        run = RunFolder(out, config, trainer.facts)
        require_same_inputs(run)
        results = here.from_first(lambda: run.results)
        if results is not None:
            callbacks.note(f"This run is already finished in {out}.{run.other_monitors}")
            return results
        resuming = here.from_first(run.open)
        facts = {
            "run": run.id, "device": str(trainer.backbone.device),
            "dtype": str(trainer.backbone.dtype), "processes": here.size,
            "data": [str(path) for path in paths], "settings": settings(config),
            **dataclasses.asdict(trainer.facts),
        }  # fmt: skip
        if here.first:
            stack.enter_context(run_log(out, f"cai train {config.stage}", facts))
            stack.enter_context(run.failure_recorded())
            callbacks = _logged(callbacks)
        stack.enter_context(explained())
        if here.size > 1:
            callbacks.info(_processes_note(config))
        elif config.parallel == "fsdp":
            callbacks.note("--parallel fsdp has no effect in one process: torchrun starts several.")
        for reason in (*without_manifest(paths), *stale_signoffs([*files.train, *files.test])):
            callbacks.note(f"{reason}.")
        return _train(config, trainer, run, callbacks, resuming=resuming)


def make_trainer(config: TrainConfig, data: Sequence[Path]) -> StageTrainer:
    """The trainer of a configuration, which is `resolve`d.

    Raises `DataError` for data that can't be used, before weights are loaded.
    """
    require_rows(training_files(data, config.table), config.table)
    return TRAINERS[config.stage](config, data)


def _logged(callbacks: Callbacks) -> Callbacks:
    """The callbacks, whose notes and progress go to the run's log, too."""
    due = Interval()

    def logged(say: Callable[[str], None]) -> Callable[[str], None]:
        def note(text: str) -> None:
            log.info("%s", text, extra=ON_TERMINAL)
            say(text)

        return note

    def report(step: StepReport) -> None:
        if step.held_out or step.step == step.steps or due():
            side = "held out" if step.held_out else "train"
            log.info("step %d of %d, %s: %s", step.step, step.steps, side, json.dumps(step.metrics))
        callbacks.report(step)

    def progress(done: int, total: int) -> None:
        if due():
            log.info("the reference model has read %d of %d conversations", done, total)
        callbacks.progress(done, total)

    return Callbacks(report, logged(callbacks.note), progress, logged(callbacks.info))


def _train(
    config: TrainConfig,
    trainer: StageTrainer,
    run: RunFolder,
    callbacks: Callbacks,
    *,
    resuming: bool,
) -> dict[str, Any]:
    out = run.path
    here = world()
    here.from_first(lambda: run.set_aside(trainer.set_aside))
    for note in notes(config, trainer, out):
        callbacks.note(note)
    trainer.prepare(callbacks.progress)
    accelerator: Accelerator | None = None
    report = Callbacks().report
    if here.first:
        accelerator = make_accelerator(config.tracker, config.stage, trainer.backbone, out, run.id)
        report = _reporter(config, trainer, run, accelerator, callbacks)
    monitor = make_monitor(config, trainer.backbone)
    if monitor is not None:
        log.info("monitor: %s", json.dumps(monitor_facts(monitor, config.monitor_judge)))
    loop = Loop(
        trainer, out, config.save_every, trainer.backbone.device, report, config.eval_every,
        monitor, config.monitor_every,
    )  # fmt: skip
    if resuming and loop.resume():
        callbacks.note(f"Resuming after step {trainer.step} of {trainer.steps}.")
    here.from_first(lambda: forget_steps_after(out, trainer.step))
    if here.first:
        trainer.attach(out)
    loop.run()
    with store_errors(out):
        results = trainer.save(out)
        if loop.best:
            results |= _save_best(trainer, loop, out)
    if loop.best.get("comparable") is False:
        callbacks.note(
            f"The best step is the last that was evaluated: fewer than {START_RESPONSES} responses"
            " give rewards no scale on which evaluations could be compared."
        )
    if trainer.stopped:
        results = {"stopped": trainer.stopped, **results}

    def finish() -> dict[str, Any]:
        with store_errors(out):
            text = card(run, results, trainer.set_aside)
            (out / "README.md").write_text(text, encoding="utf-8")
        for tracker in accelerator.trackers if accelerator else ():
            tracker.finish()  # which closes its files, before their digests are taken
        run.finish(results, "stopped" if trainer.stopped else "finished")
        return results

    results = here.from_first(finish)
    log.info("results: %s", json.dumps(results, default=str))
    if trainer.stopped:
        raise TrainingError(
            f"Stopped after step {trainer.step}: {trainer.stopped}",
            hint=f"{_advice(trainer, out)}{_where_best(loop, out)}",
        )
    return results


def _where_best(loop: Loop, out: Path) -> str:
    """Which weights to go back to after a stop; empty if there are none."""
    if not loop.best:
        return ""
    step = loop.best["step"]
    when = f"of step {step}" if step else "of the start"
    return f" The weights from before the alarm are in {out / 'best'}: those {when}."


def _advice(trainer: StageTrainer, out: Path) -> str:
    """What helps most often after a stop."""
    if (out / ROLLOUTS).is_file():
        helps = "A higher --kl-coef or a lower" if isinstance(trainer, RlTrainer) else "A lower"
        return f"Look at {out / ROLLOUTS}. {helps} --learning-rate helps most often."
    return "Look at what the data teaches; a lower --learning-rate or fewer --epochs may help."


def _date_of_run(out: Path) -> str | None:
    """The date of the run in `out`, if there is one: the day on which it began."""
    date: str | None = read_run(out)["settings"].get("date") if is_run(out) else None
    return date


def require_tracker(tracker: str | None) -> None:
    """Raise `UsageError` if a tracker is not installed: accelerate would continue without it."""
    if tracker and importlib.util.find_spec(tracker) is None:
        raise UsageError(
            f"--tracker {tracker} is not installed",
            hint=install_hint(tracker),
        )


def _processes_note(config: TrainConfig) -> str:
    size = world().size
    how = "layers sharded over them" if config.parallel == "fsdp" else "whole weights in each"
    return f"processes: {size}, {how}. Each reads its share of a batch."


def make_accelerator(
    tracker: str | None, stage: str, backbone: Backbone, out: Path, name: str
) -> Accelerator:
    """The accelerator of a run: its device and its tracker."""
    accelerator = Accelerator(
        cpu=backbone.device.type == "cpu",
        log_with=tracker,
        project_dir=str(out) if tracker else None,
    )
    if tracker:
        accelerator.init_trackers("cai", {"run": name, "stage": stage})
    return accelerator


def _reporter(
    config: TrainConfig,
    trainer: StageTrainer,
    run: RunFolder,
    accelerator: Accelerator,
    callbacks: Callbacks,
) -> Callable[[StepReport], None]:
    """A function that sends each report to the run's metrics, the tracker and the screen."""

    def report(step: StepReport) -> None:
        log_metrics(run.path, {"step": step.step, "held_out": step.held_out, **step.metrics})
        if config.tracker:
            side = "held out" if step.held_out else "train"
            accelerator.log({f"{side}/{k}": v for k, v in step.metrics.items()}, step.step)
        names = trainer.screen_metrics or step.metrics
        metrics = {name: step.metrics[name] for name in names if name in step.metrics}
        callbacks.report(dataclasses.replace(step, metrics=metrics))
        if not step.held_out and (warning := trainer.warn(step.metrics)):
            callbacks.note(warning)

    return report


@torch.no_grad()
def _save_best(trainer: StageTrainer, loop: Loop, out: Path) -> dict[str, Any]:
    """Write the best weights, if they are not the last. Returns their step and metric."""
    name = trainer.best_metric
    results = {"best_step": loop.best["step"]}
    if name in loop.best:
        results[f"best_{name}"] = round(loop.best[name], 6)
    if loop.best["step"] != trainer.step:
        here = world()
        best = here.tensors_from_first(lambda: load_tensors(out / "best.safetensors"))
        assert best is not None
        for name, parameter in trainer.parameters.items():
            assign(parameter, best[0][f"parameter/{name}"])
        here.from_first(lambda: (out / "best").mkdir(exist_ok=True))
        trainer.save(out / "best")
    return results
