"""`cai train ppo`: from settings to a folder, around the trainer of `cai.train.ppo`."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.data.training import read_prompts, training_files
from cai.digest import digest
from cai.errors import DataError, Interrupted, TrainingError, UsageError
from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.train.card import card
from cai.train.checkpoint import load_tensors, save_tensors
from cai.train.config import PpoConfig
from cai.train.folder import Facts, RunFolder, read_run
from cai.train.loop import Report
from cai.train.ppo import PpoTrainer
from cai.train.ppo_settings import PpoSettings
from cai.train.prepare import file_facts, load_policy, reference_of
from cai.train.reward_report import HEAD, check_gate, load_reward
from cai.train.scoring import FunctionScorer, MixedScorer, ModelScorer, Scorer
from cai.train.signals import Patience
from cai.train.train import Show, make_accelerator, need_tracker
from cai.types import Prompt, SetAside

VALUE, ROLLOUTS = "value.safetensors", "rollouts.jsonl"


def train_ppo(
    config: PpoConfig, data: Sequence[Path], out: Path, show: Show | None = None
) -> dict[str, Any]:
    """Train a policy under a reward, or go on with the run that stopped in `out`.

    Returns the last update's figures. Raises `UsageError` for a reward that can't be used,
    `DataError` where no prompt is left, `Interrupted` after Ctrl-C, and `TrainingError` where the
    monitors ended the run: what it came to is in `out` all the same, with the reason.
    """
    show = show or Show()
    need_tracker(config.tracker)
    prepared = prepare_ppo(config, data)
    trainer = prepared.trainer
    run = RunFolder(out, config, prepared.facts)
    going_on = run.open()
    run.set_aside(prepared.set_aside)
    accelerator = make_accelerator(config.tracker, config.stage, prepared.backbone, out, run.id)
    checkpoint = out / "checkpoint.safetensors"
    if going_on and checkpoint.is_file():
        trainer.load_state(*load_tensors(checkpoint))
        show.note(f"Going on after update {trainer.step} of {trainer.settings.updates}.")
    run.forget_after(trainer.step)
    _forget_rollouts(out / ROLLOUTS, trainer.step)
    figures = _updates(trainer, run, show, checkpoint, accelerator if config.tracker else None)
    results: dict[str, Any] = {name: round(figures[name], 4) for name in _TOLD if name in figures}
    if trainer.stopped:
        results = {"stopped": trainer.stopped, **results}
    prepared.backbone.save_adapter("policy", out / ("model" if config.full else "adapter"))
    (out / VALUE).write_bytes(prepared.value_head.state())
    (out / "README.md").write_text(card(run, results, prepared.set_aside), encoding="utf-8")
    run.finish(results, "stopped" if trainer.stopped else "finished")
    if config.tracker:
        accelerator.end_training()
    if trainer.stopped:
        raise TrainingError(
            f"Stopped after update {trainer.step}: {trainer.stopped}",
            hint=f"Look at {out / ROLLOUTS}. A higher --kl-coef or a lower --learning-rate helps"
            " most often.",
        )
    return results


_TOLD = ("score", "check", "kl", "length", "repetition", "unended", "entropy")


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a run needs."""

    backbone: Backbone
    value_head: ScalarHead
    trainer: PpoTrainer
    facts: Facts
    set_aside: list[SetAside]


def prepare_ppo(config: PpoConfig, data: Sequence[Path]) -> Prepared:
    """Load base, policy, reference and reward, and read the prompts."""
    files = training_files(data, "prompts")
    prompts, set_aside = _prompts(files.train, config.limit)
    backbone, parents = load_policy(config)
    if config.full:
        backbone.freeze_reference()
    scorer, rewards = build_scorer(config.reward, backbone, config, "reward")
    check, checks = (
        build_scorer(config.check, backbone, config, "check") if config.check else (None, [])
    )
    value_head = ScalarHead(backbone.hidden_size, config.seed, std=0.0)
    trainer = PpoTrainer(
        backbone,
        value_head,
        scorer,
        prompts,
        ppo_settings(config),
        reference=reference_of(backbone),
        check=check,
    )
    set_aside += trainer.set_aside
    facts = Facts(
        base={"name": backbone.name, "fingerprint": backbone.fingerprint},
        parents=(*parents, *rewards, *checks),
        data=tuple({"name": path.name, "sha256": sha} for path, sha in file_facts(files)),
        counts={"prompts": len(trainer.prompts), "set aside": len(set_aside)},
    )
    return Prepared(backbone, value_head, trainer, facts, set_aside)


def ppo_settings(config: PpoConfig) -> PpoSettings:
    """What of a configuration the trainer is told."""
    names = {item.name for item in dataclasses.fields(PpoSettings)}
    values = {name: getattr(config, name) for name in names}
    if config.max_steps is not None:
        values["updates"] = min(config.updates, config.max_steps)
    return PpoSettings(**values)


def build_scorer(
    spec: str | None, backbone: Backbone, config: PpoConfig, part: str
) -> tuple[Scorer, list[dict[str, Any]]]:
    """A reward by its description (see `PpoConfig.reward`), and facts of what it rests on."""
    if not spec:
        raise UsageError(
            "PPO needs a reward",
            hint="Train one: cai train reward. Then: --reward runs/reward. Or --reward"
            " module:function.",
        )
    parts: list[tuple[float, Scorer]] = []
    facts: list[dict[str, Any]] = []
    for number, item in enumerate(s.strip() for s in spec.split(",")):
        weight, star, name = item.partition("*")
        try:
            factor, name = (float(weight), name.strip()) if star else (1.0, item)
        except ValueError:
            raise UsageError(
                f"{item!r} has no weight that is a number", hint="Write: 0.5*runs/reward"
            ) from None
        folder = Path(name).expanduser()
        if folder.is_dir():
            scorer, of = _model_scorer(folder, backbone, config, f"{part}{number}")
            parts.append((factor, scorer))
            facts.append({**of, "part": part, "weight": factor})
        else:
            function = FunctionScorer.named(name)
            parts.append((factor, function))
            facts.append(
                {"name": name, "part": part, "weight": factor, "stage": "function", "id": name,
                 "digest": name}
            )  # fmt: skip
    if len(parts) == 1 and parts[0][0] == 1.0:
        return parts[0][1], facts
    return MixedScorer(parts), facts


def _model_scorer(
    folder: Path, backbone: Backbone, config: PpoConfig, name: str
) -> tuple[Scorer, dict[str, Any]]:
    """A reward model on the policy's own base where it fits, else on its own."""
    if not (folder / HEAD).is_file():
        raise DataError(
            f"{folder} holds no reward model: it has no {HEAD}",
            hint="Train one with: cai train reward",
        )
    run = read_run(folder)
    if run["status"] == "running":
        raise DataError(
            f"The training run {folder} is not finished",
            hint="Run its command again to finish it.",
        )
    if config.gate:
        check_gate(folder)
    own = folder / "model"
    inside = None if own.is_dir() else name
    home = backbone
    if inside is None or config.full or run["base"]["fingerprint"] != backbone.fingerprint:
        base = str(own) if inside is None else run["settings"]["model"]
        home = Backbone.load(base, device=config.device, dtype=config.dtype)
    facts = {
        "name": folder.resolve().name,
        "stage": run["stage"],
        "id": run["id"],
        "digest": digest(run["files"]),
    }
    head = load_reward(home, folder, inside)
    return ModelScorer(home, inside, head, facts["name"], config.micro_tokens), facts


def _prompts(paths: Sequence[Path], limit: int | None) -> tuple[list[Prompt], list[SetAside]]:
    found: list[Prompt] = []
    left: list[SetAside] = []
    for row in read_prompts(paths):
        if isinstance(row, SetAside):
            left.append(row)
        else:
            found.append(row)
        if limit is not None and len(found) >= limit:
            break
    return found, left


def _updates(
    trainer: PpoTrainer, run: RunFolder, show: Show, checkpoint: Path, tracker: Any
) -> dict[str, float]:
    """Update after update, to the end or to a reason to stop; returns the last figures."""
    began, first, tokens = time.monotonic(), trainer.step, 0.0
    steps = trainer.settings.updates
    figures: dict[str, float] = {}
    with Patience() as patience, (run.path / ROLLOUTS).open("a", encoding="utf-8") as rollouts:
        trainer.keep = lambda row: print(
            json.dumps(row, ensure_ascii=False), file=rollouts, flush=True
        )
        while not trainer.done:
            figures = trainer.update()
            run.log({"step": trainer.step, "held_out": False, **figures})
            if tracker is not None:
                tracker.log({f"ppo/{k}": v for k, v in figures.items()}, trainer.step)
            spent = time.monotonic() - began
            tokens += figures["length"] * trainer.settings.prompts_per_update
            left = spent / (trainer.step - first) * (steps - trainer.step)
            shown = {name: figures[name] for name in _TOLD if name in figures}
            show.report(Report(trainer.step, steps, shown, tokens / spent, left))
            due = trainer.step % run.config.save_every == 0
            if due or trainer.done or patience.over:
                save_tensors(checkpoint, *trainer.state())
            if patience.over and not trainer.done:
                raise Interrupted(
                    f"Stopped after update {trainer.step} of {steps}; all is kept.",
                    hint="Run the same command again to go on.",
                )
    return figures or _last(run)


def _last(run: RunFolder) -> dict[str, float]:
    """The figures of an update that was made before a stop."""
    rows = run.figures()
    return rows[-1] if rows else {}


def _forget_rollouts(file: Path, step: int) -> None:
    """Drop the responses of updates that are to be made again."""
    if not file.is_file():
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    file.write_text(
        "".join(line for line in whole if json.loads(line)["update"] <= step), encoding="utf-8"
    )
