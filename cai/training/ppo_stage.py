"""The stage that learns from a reward on its own responses: `cai train ppo`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from cai.data.files import json_line, telling
from cai.data.trained import need_finished
from cai.data.training import read_prompts, training_files
from cai.digest import digest
from cai.errors import DataError, UsageError
from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.models.names import or_last
from cai.text.encode import Encoder
from cai.text.template import TemplateOptions
from cai.training.config import PpoConfig
from cai.training.folder import Facts, last_figures, replace_lines, start_noise
from cai.training.lineage import check_files, find_home
from cai.training.ppo import PpoTrainer
from cai.training.prepare import data_facts, load_policy, save_policy, split
from cai.training.reward_report import HEAD, check_gate, load_reward
from cai.training.scoring import FunctionScorer, MixedScorer, ModelScorer, Scorer, is_rounding
from cai.training.stage import Stage, Work
from cai.types import Prompt, SetAside

VALUE, ROLLOUTS = "value.safetensors", "rollouts.jsonl"
_MOST_CUT = 0.5  # of an update's responses
_TOLD = (
    "reward", "score", "check", "kl", "length", "repetition", "unended", "entropy", "policy_loss",
    "value_loss",
)  # fmt: skip


@dataclass
class Reward:
    """What responses are worth, and what it rests on.

    facts: of each part, for the run's record. models: bases that are held beside the policy's.
    """

    scorer: Scorer
    facts: list[dict[str, Any]] = field(default_factory=list)
    models: list[nn.Module] = field(default_factory=list)


def ppo_stage(config: PpoConfig, data: Sequence[Path]) -> Stage:
    """Prompts to answer, and a reward on the answers."""
    trainer, facts, set_aside, models = _prepare(config, data)
    backbone, head = trainer.backbone, trainer.value_head
    assert isinstance(head, ScalarHead)

    def save(folder: Path) -> dict[str, Any]:
        save_policy(backbone, folder)
        (folder / VALUE).write_bytes(head.state())
        figures = last_figures(folder)
        told = {name: round(figures[name], 4) for name in _TOLD if name in figures}
        return told | start_noise(folder)

    def attach(out: Path, step: int) -> None:
        _forget_rollouts(out / ROLLOUTS, step)
        trainer.keep = lambda rows: _keep(out / ROLLOUTS, rows)

    told: set[str] = set()

    def warn(figures: Mapping[str, float]) -> str | None:
        for name, warning in _warnings(config, figures, trainer.monitors.blind):
            if name not in told:
                told.add(name)
                return warning
        return None

    s = trainer.settings
    work = Work(
        rows=len(trainer.prompts),
        held_out=len(trainer.held),
        tokens=trainer.steps * s.prompts_per_update * s.max_new_tokens,
        steps=trainer.steps,
        longest=s.max_new_tokens + max(len(p.ids) for p in trainer.prompts),
        beside=models,
    )
    return Stage(
        backbone, trainer.parameters, facts, set_aside, work, lambda: trainer, save,
        attach=attach, warn=warn, shown=_TOLD,
    )  # fmt: skip


def _warnings(
    config: PpoConfig, figures: Mapping[str, float], blind: bool
) -> Iterator[tuple[str, str]]:
    """What of an update's figures is worth a warning, each by a name; blind: as of `Monitors`."""
    several = config.prompts_per_update > 1
    if several and is_rounding(figures["score_spread"], abs(figures["score"])):
        score = f"{figures['score']:g}"
        yield (
            "flat",
            f"All responses of an update have the same score, {score}, but for rounding: nothing to"
            " learn.",
        )
    if several and figures["distinct"] * config.prompts_per_update < 1.5:
        yield (
            "same",
            "All responses of an update are the same text: look at rollouts.jsonl, and at the"
            " temperature.",
        )
    if figures["unended"] > _MOST_CUT:
        yield (
            "cut",
            f"{figures['unended']:.0%} of the responses came to no end within --max-new-tokens"
            f" {config.max_new_tokens} and were scored cut off: raise it.",
        )
    if blind and several:
        yield (
            "blind",
            f"--check gave all responses of the first update the value {figures['check']:g}: it"
            " has no spread to measure a fall in, so that the run can't be stopped by it.",
        )


def _prepare(
    config: PpoConfig, data: Sequence[Path]
) -> tuple[PpoTrainer, Facts, list[SetAside], list[nn.Module]]:
    files = training_files(data, "prompts")
    prompts, set_aside = _prompts(files.train, config.limit)
    held = None
    if files.test:
        held, unusable = _prompts(files.test, None)
        set_aside += unusable
    prompts, test = split(
        config, prompts, held, lambda p: p.messages, lambda p: p.source or p.id, set_aside
    )
    for spec in (config.reward, *([config.check] if config.check else [])):
        reward_parts(spec, config)  # what can't be used is told before weights are loaded
    policy = load_policy(config, reference=True)
    backbone = policy.backbone
    if not config.full:
        backbone.no_dropout("policy")
    reward = build_reward(config.reward, backbone, config, "reward")
    check = build_reward(config.check, backbone, config, "check") if config.check else None
    trainer = PpoTrainer(
        backbone,
        ScalarHead(backbone.hidden_size, config.seed, std=0.0),
        reward.scorer,
        prompts,
        config,
        reference=policy.reference,
        check=check.scorer if check else None,
        held=test,
    )
    set_aside += trainer.set_aside
    facts = Facts(
        base={"name": backbone.name, "fingerprint": backbone.fingerprint},
        parents=(*policy.parents, *reward.facts, *(check.facts if check else ())),
        data=data_facts(files),
        counts={
            "prompts": len(trainer.prompts),
            "held out": len(trainer.held),
            "set aside": len(set_aside),
        },
    )
    models = [*reward.models, *(check.models if check else ())]
    return trainer, facts, set_aside, models


def build_reward(spec: str | None, backbone: Backbone, config: PpoConfig, part: str) -> Reward:
    """A reward by its description (see `PpoConfig.reward`); part: what it is to the run.

    Raises `UsageError` and `DataError` for what can't be used.
    """
    weighed: list[tuple[float, Reward]] = []
    for number, (weight, source) in enumerate(reward_parts(spec, config)):
        if isinstance(source, Path):
            own = _model(source, backbone, config, f"{part}{number}")
        else:
            name = source.name
            own = Reward(
                source, [{"name": name, "stage": "function", "id": name, "digest": source.digest}]
            )
        weighed.append((weight, own))
    scorers = [(weight, own.scorer) for weight, own in weighed]
    alone = len(scorers) == 1 and scorers[0][0] == 1.0
    return Reward(
        scorers[0][1] if alone else MixedScorer(scorers, config.normalise_scores),
        [{**f, "part": part, "weight": weight} for weight, own in weighed for f in own.facts],
        [model for _, own in weighed for model in own.models],
    )


def reward_parts(spec: str | None, config: PpoConfig) -> list[tuple[float, Path | FunctionScorer]]:
    """The parts of a reward, each with its weight: the folder of a reward model, or a function.

    No weights are read. Raises as `build_reward`.
    """
    if not spec:
        raise UsageError(
            "PPO needs a reward",
            hint="Train one: cai train reward. Then: --reward runs/reward. Or --reward"
            " module:function.",
        )
    parts: list[tuple[float, Path | FunctionScorer]] = []
    for item in spec.split(","):
        weight, name = _weight(item.strip(), spec)
        folder = or_last(Path(name).expanduser())
        if folder.is_dir():
            _check_model(folder, config)
            parts.append((weight, folder))
        elif ":" in name:
            parts.append((weight, FunctionScorer.named(name)))
        else:
            raise UsageError(
                f"There is no folder {name}, and it names no function",
                hint="Give the folder of `cai train reward` (cai models lists them), or"
                " module:function.",
            )
    return parts


def _weight(item: str, spec: str) -> tuple[float, str]:
    """Weight and name of a part of a mixed reward."""
    weight, star, name = item.rpartition("*")
    try:
        factor = float(weight) if star else 1.0
    except ValueError:
        raise UsageError(
            f"{item!r} has no weight that is a number", hint="Write: 0.5*runs/reward"
        ) from None
    if not name.strip():
        raise UsageError(
            f"A part of the reward {spec!r} has no name", hint="Write: runs/a, 0.5*runs/b"
        )
    return factor, name.strip()


def _check_model(folder: Path, config: PpoConfig) -> None:
    """Raise where a folder holds no reward model that may be used."""
    home = find_home(folder)
    if home is None:
        raise DataError(
            f"{folder} is not the folder of a training run: it has no run.json",
            hint="Give the folder that cai train reward wrote, as it is.",
        )
    if not (folder / HEAD).is_file():
        raise DataError(
            f"{folder} holds no reward model: it has no {HEAD}",
            hint="Train one with: cai train reward",
        )
    need_finished(home)
    whole = (folder / "adapter", folder / "model")
    check_files(home, (*folder.iterdir(), *(f for part in whole for f in part.rglob("*"))))
    if config.gate:
        check_gate(folder)


def _model(folder: Path, backbone: Backbone, config: PpoConfig, name: str) -> Reward:
    """A reward model on the policy's own base where it fits, else on its own."""
    home = find_home(folder)
    assert home is not None  # as `_check_model` saw to
    run = need_finished(home)
    own = folder / "model"
    inside = None if own.is_dir() else name
    base, template = backbone, _template_of(run, config)
    if inside is None or config.full or run["base"]["fingerprint"] != backbone.fingerprint:
        where = str(own) if inside is None else run["settings"]["model"]
        quantize = run["settings"]["quantize"]
        base = Backbone.load(
            where,
            device=config.device,
            dtype=config.dtype,
            quantize=quantize if inside else None,
            template=template,
        )
    label = "-".join((home.name, *folder.resolve().relative_to(home).parts))
    facts = {"name": label, "stage": run["stage"], "id": run["id"], "digest": digest(run["files"])}
    encoder = base.encoder
    if not encoder.template.same_words(template):
        encoder = Encoder(encoder.tokenizer, encoder.eos_ids, template)
    head = load_reward(base, folder, inside, encoder)
    scorer = ModelScorer(base, inside, head, label, config.micro_tokens, encoder)
    return Reward(scorer, [facts], [] if base is backbone else [base.model])


def _template_of(run: Mapping[str, Any], config: PpoConfig) -> TemplateOptions:
    """How a reward model's chat template was called when it was trained."""
    settings = run["settings"]
    own = {name: settings.get(name) for name in ("template_arg", "date")}
    return dataclasses.replace(config, thinking=settings.get("thinking", "auto"), **own).template


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


def _keep(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    with telling(file), file.open("ab") as out:
        out.writelines(map(json_line, rows))


def _forget_rollouts(file: Path, step: int) -> None:
    """Drop the responses of updates that are to be made again."""
    if not file.is_file():
        return
    replace_lines(file, lambda row: bool(row["update"] <= step))
