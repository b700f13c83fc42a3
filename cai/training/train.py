"""One training run from its settings to its folder: `cai train sft`, `reward`, `dpo` and `ppo`."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from cai.data.audited import stale_signoffs, without_manifest
from cai.data.files import telling
from cai.data.trained import is_run, read_run
from cai.data.training import TrainingTable, need_rows, training_files
from cai.errors import TrainingError, UsageError
from cai.models.backbone import Backbone
from cai.training.card import card, reasons
from cai.training.checkpoint import load_tensors
from cai.training.config import DpoConfig, PpoConfig, RewardConfig, SftConfig, TrainConfig
from cai.training.folder import RunFolder, check_out, check_run, lock
from cai.training.loop import Loop, Report
from cai.training.ppo_stage import ppo_stage
from cai.training.prepare import data_facts, resolve
from cai.training.stage import Stage
from cai.training.stages import UNPLACED, dpo_stage, reward_stage, sft_stage

TABLES: dict[str, TrainingTable] = {
    "sft": "sft", "reward": "preferences", "dpo": "preferences", "ppo": "prompts",
}  # fmt: skip
"""What each stage is trained on."""


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
    config: TrainConfig, data: Sequence[Path], out: Path, show: Show | None = None
) -> dict[str, Any]:
    """Train, or go on with the run that stopped in `out`; returns its results.

    The last weights are in `out`; in `out/best`, where they differ, those of the best look at what
    was held out, or, of a run that stopped itself, those from before the signs. Raises `UsageError`
    where something else is in `out`, `DataError` where no row is left, `Interrupted` after Ctrl-C,
    `TrainingError` where it can't go on or stopped itself. What is wrong with options, data and
    `out` is raised before weights are loaded. A run that is finished is left as it is.
    """
    show = show or Show()
    need_tracker(config.tracker)
    need_one_process()
    check_out(out)
    asked = config.date
    config = dataclasses.replace(resolve(config), date=asked or _kept_date(out))
    files = training_files(data, TABLES[config.stage])
    check_run(out, config, data_facts(files))
    with lock(out):
        torch.manual_seed(config.seed)  # dropout alone draws from it
        today = datetime.date.today().isoformat()
        stage = build_stage(dataclasses.replace(config, date=config.date or today), data)
        if stage.backbone.encoder.template.writes_date:
            config = dataclasses.replace(config, date=config.date or today)
        run = RunFolder(out, config, stage.facts)
        results = run.results
        if results is not None:
            show.note(f"{out} holds this very run, and it is finished: nothing is left to do.")
            return results
        for reason in (*without_manifest(data), *stale_signoffs([*files.train, *files.test])):
            show.note(f"{reason}.")
        return _train(config, stage, run, show)


def _train(config: TrainConfig, stage: Stage, run: RunFolder, show: Show) -> dict[str, Any]:
    out = run.path
    going_on = run.open()
    run.set_aside(stage.set_aside)
    if stage.set_aside:
        used, aside = stage.work.rows, len(stage.set_aside)
        why, count = reasons(stage.set_aside)[0]
        most = f"; {count} of them: {why}" if aside > used / 10 else ""
        show.note(f"rows used: {used}, set aside: {aside} (see {out / 'set_aside.jsonl'}){most}")
    if ties := stage.facts.counts.get("ties"):
        show.note(
            f"ties: {ties} of {stage.work.rows} pairs have the probability 0.5. They teach that"
            " neither response is better."
        )
    if config.thinking == "on" and not stage.backbone.encoder.template.reasons:
        show.note("--thinking on has no effect: the chat template has no reasoning.")
    if unplaced := stage.facts.counts.get(UNPLACED):
        template = stage.backbone.encoder.template
        why = "with --thinking off" if template.markers else "the chat template has no place for it"
        show.note(
            f"reasoning: {unplaced} of {stage.work.rows} rows have some, which is left out: {why}."
            " Their answers alone are learnt."
        )
    if not stage.backbone.encoder.has_template:
        show.note(
            f"{stage.backbone.name} has no chat template: it is trained on “Human:” and"
            " “Assistant:” turns, and what is saved of all weights has that as its template."
        )
    _tell_of_missing_end(stage.backbone, show)
    if config.full and stage.backbone.dtype != torch.float32:
        show.note(
            f"All weights are trained in {stage.backbone.dtype}: steps smaller than their rounding"
            " are lost. Where memory allows: --dtype float32."
        )
    stage.begin(show.reference)
    accelerator = make_accelerator(config.tracker, config.stage, stage.backbone, out, run.id)
    loop = build_loop(config, stage, out, _teller(config, stage, run, accelerator, show))
    if going_on and loop.resume():
        show.note(f"Going on after step {loop.trainer.step} of {loop.trainer.steps}.")
    run.forget_after(loop.trainer.step)
    stage.attach(out, loop.trainer.step)
    loop.run()
    stopped = loop.trainer.stopped
    with telling(out):
        results = stage.save(out)
        if loop.best:
            results |= _save_best(stage, loop, out)
        if stopped:
            results = {"stopped": stopped, **results}
        (out / "README.md").write_text(card(run, results, stage.set_aside), encoding="utf-8")
    if config.tracker:
        accelerator.end_training()  # which closes its files, before their digests are taken
    run.finish(results, "stopped" if stopped else "finished")
    if stopped:
        best = f" What it was before the signs is in {out / 'best'}." if loop.best else ""
        raise TrainingError(
            f"Stopped after step {loop.trainer.step}: {stopped}",
            hint=f"Look at {out / 'rollouts.jsonl'}. A higher --kl-coef or a lower --learning-rate"
            f" helps most often.{best}",
        )
    return results


def _kept_date(out: Path) -> str | None:
    """The date of the run in `out`, if there is one: the day on which it began."""
    date: str | None = read_run(out)["settings"].get("date") if is_run(out) else None
    return date


def build_stage(config: TrainConfig, data: Sequence[Path]) -> Stage:
    """The stage that a configuration, `resolve`d, is of.

    Raises `DataError` for data that can't be used, before weights are loaded.
    """
    table = TABLES[config.stage]
    need_rows(training_files(data, table), table)
    if isinstance(config, SftConfig):
        return sft_stage(config, data)
    if isinstance(config, RewardConfig):
        return reward_stage(config, data)
    if isinstance(config, DpoConfig):
        return dpo_stage(config, data)
    assert isinstance(config, PpoConfig)
    return ppo_stage(config, data)


def _tell_of_missing_end(backbone: Backbone, show: Show) -> None:
    encoder = backbone.encoder
    if encoder.ends_turns:
        return
    end = encoder.turn_end_id
    what = (
        "and the tokenizer has no end token: no end of a response is learnt"
        if end is None
        else f"so the tokenizer's end token {encoder.tokens([end])[0]} is learnt as the end"
    )
    show.note(f"The chat template of {backbone.name} writes no token behind a response, {what}.")


def build_loop(
    config: TrainConfig,
    stage: Stage,
    out: Path,
    tell: Callable[[Report], None],
) -> Loop:
    """The loop of a stage, whose dear work is begun."""
    return Loop(
        stage.make(),
        out,
        config.save_every,
        stage.backbone.device,
        tell,
        config.eval_every,
    )


def need_tracker(tracker: str | None) -> None:
    """Raise `UsageError` where a tracker is not installed: accelerate would go on without it."""
    if tracker and importlib.util.find_spec(tracker) is None:
        raise UsageError(
            f"--tracker {tracker} is not installed",
            hint=f"Install it: pip install 'cai-toolkit[{tracker}]'",
        )


def need_one_process() -> None:
    """Raise `UsageError` where a launcher started several: they would all write one folder."""
    count = os.environ.get("WORLD_SIZE", "1")
    if count != "1":
        raise UsageError(
            f"cai trains in one process, not in {count}",
            hint="Start it without `accelerate launch` or torchrun.",
        )


def make_accelerator(
    tracker: str | None, stage: str, backbone: Backbone, out: Path, name: str
) -> Accelerator:
    """A run's device and its tracker."""
    accelerator = Accelerator(
        cpu=backbone.device.type == "cpu",
        log_with=tracker,
        project_dir=str(out) if tracker else None,
    )
    if tracker:
        accelerator.init_trackers("cai", {"run": name, "stage": stage})
    return accelerator


def _teller(
    config: TrainConfig, stage: Stage, run: RunFolder, accelerator: Accelerator, show: Show
) -> Callable[[Report], None]:
    """Each report to the run's figures, the tracker and the screen."""

    def tell(report: Report) -> None:
        run.log({"step": report.step, "held_out": report.held_out, **report.figures})
        if config.tracker:
            side = "held out" if report.held_out else "train"
            accelerator.log({f"{side}/{k}": v for k, v in report.figures.items()}, report.step)
        names = stage.shown or report.figures
        shown = {name: report.figures[name] for name in names if name in report.figures}
        show.report(dataclasses.replace(report, figures=shown))
        if not report.held_out and (warning := stage.warn(report.figures)):
            show.note(warning)

    return tell


@torch.no_grad()
def _save_best(stage: Stage, loop: Loop, out: Path) -> dict[str, Any]:
    """Write the best weights, where they are not the last, and say which they are."""
    name = loop.trainer.measure
    told = {"best_step": loop.best["step"]}
    if name in loop.best:
        told[f"best_{name}"] = round(loop.best[name], 6)
    if loop.best["step"] != loop.trainer.step:
        tensors, _ = load_tensors(out / "best.safetensors")
        for name, parameter in stage.parameters.items():
            parameter.copy_(tensors[f"parameter/{name}"])
        (out / "best").mkdir(exist_ok=True)
        stage.save(out / "best")
    return told
