"""The reward of a run from its description.

Reward models, constitutions, Python functions, and weighted sums of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from cai.constitution.load import load_constitution
from cai.data.training_run import require_finished
from cai.digest import digest
from cai.errors import DataError, UsageError
from cai.models.backbone import Backbone
from cai.models.names import best_or_last
from cai.text.addresses import shown_model
from cai.text.encode import Encoder
from cai.text.template import TemplateOptions
from cai.training.config import RlConfig
from cai.training.constitution_scorer import ConstitutionScorer
from cai.training.judges import base_judge, load_judge, require_judge, require_other_adapter
from cai.training.lineage import constitution_facts, find_home, verify_files
from cai.training.reward_report import HEAD, load_reward, require_better_than_length
from cai.training.scoring import FunctionScorer, MixedScorer, ModelScorer, Scorer
from cai.types import Constitution

CONSTITUTION = "constitution:"
"""What the name of a constitution as a reward begins with."""


@dataclass
class Reward:
    """A scorer of responses, and what it is made from.

    facts: of each part, for the run's record. models: bases that are held beside the policy's.
    constitutions: its parts that have a judge read each response.
    """

    scorer: Scorer
    facts: list[dict[str, Any]] = field(default_factory=list)
    models: list[nn.Module] = field(default_factory=list)
    constitutions: list[ConstitutionScorer] = field(default_factory=list)


def build_reward(spec: str | None, backbone: Backbone, config: RlConfig, part: str) -> Reward:
    """A reward by its description (see `RlConfig.reward`). part: "reward" or
    "second_reward".

    Raises `UsageError` and `DataError` for what can't be used.
    """
    parts: list[tuple[float, Reward]] = []
    for number, (weight, source) in enumerate(reward_parts(spec, config)):
        if isinstance(source, Path):
            reward = _reward_model(source, backbone, config, f"{part}{number}")
        elif isinstance(source, Constitution):
            reward = _constitution(source, backbone, config)
        else:
            name = source.name
            reward = Reward(
                source, [{"name": name, "stage": "function", "id": name, "digest": source.digest}]
            )
        parts.append((weight, reward))
    scorers = [(weight, reward.scorer) for weight, reward in parts]
    alone = len(scorers) == 1 and scorers[0][0] == 1.0
    return Reward(
        scorers[0][1] if alone else MixedScorer(scorers, config.normalise_scores),
        [{**f, "part": part, "weight": weight} for weight, reward in parts for f in reward.facts],
        [model for _, reward in parts for model in reward.models],
        [scorer for _, reward in parts for scorer in reward.constitutions],
    )


RewardSource: TypeAlias = Path | Constitution | FunctionScorer
"""Where a reward comes from; a path is the folder of a reward model."""


def reward_parts(spec: str | None, config: RlConfig) -> list[tuple[float, RewardSource]]:
    """The parts of a reward, each with its weight.

    No weights are read. Raises as `build_reward`.
    """
    if not spec:
        raise UsageError(
            f"{config.stage.upper()} needs a reward",
            hint="A constitution: --reward constitution:default. A reward model: cai train reward,"
            " then --reward runs/reward. A Python function: --reward module:function.",
        )
    parts: list[tuple[float, RewardSource]] = []
    for item in spec.split(","):
        weight, name = _weight_and_name(item.strip(), spec)
        if name.startswith(CONSTITUTION):
            parts.append((weight, load_constitution(name.removeprefix(CONSTITUTION))))
            continue
        folder = best_or_last(Path(name).expanduser())
        if folder.is_dir():
            _require_reward_model(folder, config)
            parts.append((weight, folder))
        elif ":" in name:
            parts.append((weight, FunctionScorer.load(name)))
        else:
            raise UsageError(
                f"There is no folder {name}, and it names no function",
                hint="Give the folder of `cai train reward` (cai models lists them),"
                " constitution:NAME, or module:function.",
            )
    return parts


def require_reward(config: RlConfig) -> None:
    """Raise `CaiError` if the rewards that a configuration names can't be used.

    That much shows before weights are loaded.
    """
    sources = [
        source
        for spec in (config.reward, *([config.second_reward] if config.second_reward else []))
        for _, source in reward_parts(spec, config)
    ]
    if not any(isinstance(source, Constitution) for source in sources):
        if config.judge:
            raise UsageError(
                "--judge is the judge of a constitution, and the reward names none",
                hint="Write --reward constitution:default, or leave out --judge.",
            )
        return
    if config.full and not config.judge:
        raise UsageError(
            "--full trains all of the base, which then can't judge what it writes itself",
            hint="Name another judge with --judge.",
        )
    require_judge(config.judge, config)
    require_other_adapter(config.judge, config)


def load_scorer(folder: Path, config: RlConfig) -> ModelScorer:
    """The reward model of a training run's folder, on a base of its own.

    Raises `DataError` where there is none that may be used, `ModelError` where it can't be loaded.
    """
    folder = best_or_last(folder.expanduser())
    _require_reward_model(folder, config)
    scorer = _reward_model(folder, None, config, "reward").scorer
    assert isinstance(scorer, ModelScorer)
    return scorer


def _weight_and_name(item: str, spec: str) -> tuple[float, str]:
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


def _require_reward_model(folder: Path, config: RlConfig) -> None:
    """Raise if a folder holds no reward model that may be used."""
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
    require_finished(home)
    whole = (folder / "adapter", folder / "model")
    verify_files(home, (*folder.iterdir(), *(f for part in whole for f in part.rglob("*"))))
    if config.gate:
        require_better_than_length(folder)


def _reward_model(folder: Path, backbone: Backbone | None, config: RlConfig, name: str) -> Reward:
    """A reward model on the policy's own base if there is one and it fits, else on its own."""
    home = find_home(folder)
    assert home is not None  # `_require_reward_model` saw to it
    run = require_finished(home)
    model_folder = folder / "model"
    adapter = None if model_folder.is_dir() else name
    template = _template_of(run, config)
    if (
        backbone is not None
        and adapter is not None
        and not config.full
        and run["base"]["fingerprint"] == backbone.fingerprint
    ):
        base = backbone
    else:
        where = str(model_folder) if adapter is None else run["settings"]["model"]
        quantize = run["settings"]["quantize"]
        base = Backbone.load(
            where,
            device=config.device,
            dtype=config.dtype,
            quantize=quantize if adapter else None,
            template=template,
        )
    label = "-".join((home.name, *folder.resolve().relative_to(home).parts))
    facts = {"name": label, "stage": run["stage"], "id": run["id"], "digest": digest(run["files"])}
    encoder = base.encoder
    if not encoder.template.same_words(template):
        encoder = Encoder(encoder.tokenizer, encoder.eos_ids, template)
    head = load_reward(base, folder, adapter, encoder)
    scorer = ModelScorer(base, adapter, head, label, config.micro_tokens, encoder)
    return Reward(scorer, [facts], [] if base is backbone else [base.model])


def _constitution(constitution: Constitution, backbone: Backbone, config: RlConfig) -> Reward:
    """A constitution, judged by the model that --judge names, or by the policy's base alone."""
    judge = load_judge(config.judge, config) if config.judge else base_judge(backbone)
    scorer = ConstitutionScorer(
        constitution,
        judge,
        normalise=config.normalise_principles,
        seed=config.seed,
        max_reasoning_tokens=config.max_reasoning_tokens,
    )
    info = scorer.judge.info
    facts = {
        **constitution_facts(constitution, "reward"),
        "digest": digest([constitution.digest, info.fingerprint]),
        "judge": shown_model(info.name),
    }
    return Reward(scorer, [facts], list(judge.models), [scorer])


def _template_of(run: Mapping[str, Any], config: RlConfig) -> TemplateOptions:
    """How a reward model's chat template was called when it was trained."""
    settings = run["settings"]
    trained_settings = {name: settings.get(name) for name in ("template_arg", "date")}
    return dataclasses.replace(
        config, thinking=settings.get("thinking", "auto"), **trained_settings
    ).template
