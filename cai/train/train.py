"""One training run from its settings to its folder: `cai train sft`, `reward` and `dpo`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from cai.errors import UsageError
from cai.models.backbone import Backbone
from cai.train.card import card
from cai.train.checkpoint import load_tensors
from cai.train.config import RowsConfig
from cai.train.folder import RunFolder
from cai.train.loop import Loop, Plan, Report
from cai.train.stages import Stage, build_stage
from cai.train.updates import Schedule, Updates


@dataclass(frozen=True, slots=True)
class Show:
    """Where a run's news go.

    report: after a step or an evaluation. note: a sentence for the user. reference: conversations
    done and all, while the reference reads them.
    """

    report: Callable[[Report], None] = lambda report: None
    note: Callable[[str], None] = lambda text: None
    reference: Callable[[int, int], None] = lambda done, total: None


def train(
    config: RowsConfig, data: Sequence[Path], out: Path, show: Show | None = None
) -> dict[str, Any]:
    """Train, or go on with the run that stopped in `out`; returns its results.

    The last weights are in `out`, those of the lowest held-out loss in `out/best` where they
    differ. Raises `UsageError` where something else is in `out`, `DataError` where no row is left,
    `Interrupted` after Ctrl-C, `TrainingError` where it can't go on.
    """
    show = show or Show()
    need_tracker(config.tracker)
    torch.manual_seed(config.seed)  # dropout alone draws from it
    stage = build_stage(config, data)
    run = RunFolder(out, config, stage.facts)
    going_on = run.open()
    run.set_aside(stage.set_aside)
    stage.begin(show.reference)
    accelerator = make_accelerator(config.tracker, config.stage, stage.backbone, out, run.id)

    def tell(report: Report) -> None:
        line = {"step": report.step, "held_out": report.held_out, **report.figures}
        run.log(line)
        if config.tracker:
            side = "held out" if report.held_out else "train"
            accelerator.log({f"{side}/{k}": v for k, v in report.figures.items()}, report.step)
        show.report(report)
        if not report.held_out and (warning := stage.warn(report.figures)):
            show.note(warning)

    loop = build_loop(config, stage, out, accelerator, tell)
    if going_on and loop.resume():
        show.note(f"Going on after step {loop.step} of {loop.steps}.")
    run.forget_after(loop.step)
    loop.run()
    results = stage.save(out)
    if loop.best:
        results |= {"best_step": loop.best["step"], "best_loss": round(loop.best["loss"], 6)}
        if loop.best["step"] != loop.step:
            _save_best(stage, out)
    (out / "README.md").write_text(card(run, results, stage.set_aside), encoding="utf-8")
    run.finish(results)
    if config.tracker:
        accelerator.end_training()
    return results


def build_loop(
    config: RowsConfig,
    stage: Stage,
    out: Path,
    accelerator: Accelerator,
    tell: Callable[[Report], None],
) -> Loop[Any]:
    """The loop of a stage."""
    plan = Plan(
        config.batch_size,
        config.epochs,
        config.micro_tokens,
        config.seed,
        config.save_every,
        config.eval_every,
        config.max_steps,
    )
    schedule = Schedule(
        config.schedule, config.learning_rate, plan.steps(len(stage.train)), config.warmup
    )
    updates = Updates(stage.parameters, schedule, config.weight_decay, config.max_grad_norm)
    return Loop(
        stage.backbone.train,
        stage.objective,
        updates,
        stage.train,
        stage.test,
        plan,
        out,
        accelerator,
        tell,
        name=lambda example: str(example.id),
    )


def need_tracker(tracker: str | None) -> None:
    """Raise `UsageError` where a tracker is not installed: accelerate would go on without it."""
    if tracker and importlib.util.find_spec(tracker) is None:
        raise UsageError(
            f"--tracker {tracker} is not installed",
            hint=f"Install it: pip install 'cai-toolkit[{tracker}]'",
        )


def make_accelerator(
    tracker: str | None, stage: str, backbone: Backbone, out: Path, name: str
) -> Accelerator:
    """The processes of a run, and its tracker."""
    accelerator = Accelerator(
        cpu=backbone.device.type == "cpu",
        log_with=tracker,
        project_dir=str(out) if tracker else None,
    )
    if tracker:
        accelerator.init_trackers("cai", {"run": name, "stage": stage})
    return accelerator


@torch.no_grad()
def _save_best(stage: Stage, out: Path) -> None:
    tensors, _ = load_tensors(out / "best.safetensors")
    for name, parameter in stage.parameters.items():
        parameter.copy_(tensors[f"parameter/{name}"])
    (out / "best").mkdir(exist_ok=True)
    stage.save(out / "best")
