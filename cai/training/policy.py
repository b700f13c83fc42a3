"""Loads and saves the policy: a base with the adapter that is trained on it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cai.errors import DataError, UsageError
from cai.models.adapter_files import read_adapter
from cai.models.backbone import Backbone, LoraSettings
from cai.models.names import MINIATURE
from cai.options import flag
from cai.training.config import LORA, TrainConfig
from cai.training.lineage import Adapter, base_facts, find_adapter, template_settings
from cai.training.processes import world
from cai.training.sharding import before_sharding, shard, whole

Config = TypeVar("Config", bound=TrainConfig)


@dataclass(frozen=True, slots=True)
class Policy:
    """The base with what is trained on it, called `policy`.

    reference: the adapter of the reference model, a frozen copy of the start; None for the base
    alone. parents: facts of the runs that base and adapter are from.
    """

    backbone: Backbone
    reference: str | None
    parents: tuple[dict[str, Any], ...]


def resolve(config: Config) -> Config:
    """The settings with all defaults filled in; a given adapter keeps its shape.

    Raises `UsageError` if the settings ask for another shape than the given adapter's, and what
    `find_adapter` raises.
    """
    start = find_adapter(config.adapter, "start") if config.adapter else None
    model = config.model or (start.base if start else "") or MINIATURE
    place = Path(model).expanduser()
    if place.exists():  # so that the record holds wherever it is read
        model = str(place.resolve())
    adapter = config.adapter
    if adapter and Path(adapter).expanduser().exists():
        adapter = str(Path(adapter).expanduser().absolute())
    if start:  # it keeps reading the prompts that it was trained on
        template = template_settings([str(config.adapter)])
        explicit = config.thinking != "auto" or config.template_arg
        config = config if explicit else dataclasses.replace(config, **template)
    config = dataclasses.replace(config, model=model, adapter=adapter, learning_rate=config.rate)
    if config.full:
        return config
    names = [name for name in LORA if hasattr(config, name)]
    shape = _shape(start) if start else _FRESH
    for name in names:
        value, adapter_value = getattr(config, name), shape[name]
        if start and value is not None and _names(value) != _names(adapter_value):
            raise UsageError(
                f"{flag(name)} is {value}, but the adapter {config.adapter} has {adapter_value}",
                hint=f"Leave out {flag(name)}: an adapter keeps its shape.",
            )
    lora = {n: shape[n] if getattr(config, n) is None else getattr(config, n) for n in names}
    return dataclasses.replace(config, **lora)


_FRESH: dict[str, Any] = {
    "lora_r": LoraSettings().r,
    "lora_alpha": float(LoraSettings().alpha),
    "lora_dropout": LoraSettings().dropout,
    "lora_targets": LoraSettings().targets,
}


def _shape(adapter: Adapter) -> dict[str, Any]:
    config, _ = read_adapter(adapter.folder)
    targets = config.target_modules
    return {
        "lora_r": config.r,
        "lora_alpha": float(config.lora_alpha),
        "lora_dropout": float(config.lora_dropout),
        "lora_targets": targets if isinstance(targets, str) else ",".join(sorted(targets)),
    }


def _names(value: Any) -> Any:
    """A list of names in any order; anything else as it is."""
    return {name.strip() for name in value.split(",")} if isinstance(value, str) else value


def load_policy(config: TrainConfig, *, reference: bool = False) -> Policy:
    """The base with the adapter `policy`, fresh or a copy of --adapter's; settings as `resolve`d.

    reference: also keep a frozen copy of the start (an adapter, or all weights with --full) as the
    reference model; a fresh adapter needs none, since the base alone is the start.
    """
    assert config.model is not None
    parents = tuple(base_facts(config.model))
    if config.full and config.adapter:
        raise UsageError(
            "--full trains all weights; it can't start from an adapter",
            hint="Merge it first: cai merge RUN --out FOLDER, then --model FOLDER.",
        )
    start = find_adapter(config.adapter, "start") if config.adapter else None
    if start and not start.fits(config.model):
        raise DataError(
            f"{config.model} is not the base that {start.name} was trained on: its files have"
            " changed, or it is another model",
            hint="Leave out --model, or merge the adapter into its base first: cai merge.",
        )
    device, dtype = before_sharding(config.device, config.dtype, config.full)
    backbone = Backbone.load(
        config.model,
        device=device,
        dtype=dtype,
        full=config.full,
        quantize=config.quantize,
        gradient_checkpointing=config.gradient_checkpointing,
        template=config.template,
    )
    if config.full:
        if reference:
            backbone.freeze_reference()
        shard(backbone)
        return Policy(backbone, "reference" if reference else None, parents)
    if start:
        backbone.load_adapter("policy", start.folder)
        if reference:
            backbone.copy_adapter("policy", "reference")
        shard(backbone)
        facts = (*parents, start.facts("start"))
        return Policy(backbone, "reference" if reference else None, facts)
    backbone.add_adapter("policy", _lora(config, backbone.hidden_size), config.seed)
    shard(backbone)
    return Policy(backbone, None, parents)


def _lora(config: TrainConfig, width: int) -> LoraSettings:
    assert config.lora_r is not None and config.lora_alpha is not None and config.lora_targets
    if config.lora_r > width:
        raise UsageError(
            f"--lora-r is {config.lora_r}, and the model has hidden size {width}",
            hint="Common ranks are 8 to 64.",
        )
    targets = config.lora_targets
    layers = (
        targets
        if targets in ("all-linear", "all")
        else tuple(t.strip() for t in targets.split(","))
    )
    return LoraSettings(
        config.lora_r, config.lora_alpha, getattr(config, "lora_dropout", 0.0), layers
    )


def save_policy(backbone: Backbone, folder: Path) -> None:
    """Write what was trained: an adapter in PEFT's layout, or a plain model.

    The first process writes; where weights are sharded, all must call it.
    """
    place = folder / ("model" if backbone.full else "adapter")
    weights = None
    if backbone.full and world().sharded:
        weights = {name: whole(t).cpu() for name, t in backbone.model.state_dict().items()}
    world().from_first(lambda: backbone.save_adapter("policy", place, weights))
