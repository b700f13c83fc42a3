"""A configuration from values by name, as options and YAML give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from cai.errors import UsageError
from cai.options import broken_type, flag, unknown_settings
from cai.training.config.base import SettingError, TrainConfig
from cai.training.config.on_policy import DistillConfig, PpoConfig, RlooConfig
from cai.training.config.rows import DpoConfig, KtoConfig, RewardConfig, SftConfig

CONFIGS: dict[str, type[TrainConfig]] = {
    config.stage: config
    for config in (
        SftConfig,
        RewardConfig,
        DpoConfig,
        KtoConfig,
        PpoConfig,
        RlooConfig,
        DistillConfig,
    )
}
"""The stages of `cai train`; their trainers are in `cai.training.train.TRAINERS`."""


def build_config(
    kind: type[TrainConfig], values: Mapping[str, Any], where: str | Callable[[str], str]
) -> TrainConfig:
    """A configuration from values by name.

    where: the source of the values, or of the value with a given name, for messages.

    Raises `UsageError` for unknown names (all of them, with similar known ones), wrong types, and
    a setting that one source gives under its old and its new name.
    """
    fields = {item.name: item for item in dataclasses.fields(kind)}
    aliases = {item.metadata["alias"]: item.name for item in fields.values()}
    places = {name: where if isinstance(where, str) else where(name) for name in values}
    unknown = {n: place for n, place in places.items() if aliases.get(n, n) not in fields}
    if unknown:
        message, hint = unknown_settings(f"cai train {kind.stage}", unknown, fields)
        raise UsageError(message, hint=hint)
    settings: dict[str, Any] = {}
    for name, value in values.items():
        field = fields[aliases.get(name, name)]
        both = name != field.name and field.name in values
        if both and _source(places[name]) == _source(places[field.name]):
            raise UsageError(
                f"{places[name]}: {name} is the old name of {field.name}, which is set, too",
                hint=f"Give {field.name} alone.",
            )
        settings[field.name] = _typed(field, value, places[name])
    try:
        return kind(**settings)
    except SettingError as error:
        raise UsageError(f"{flag(error.name)} is {error.value!r}; it {error.rule}.") from None


def _source(place: str) -> str:
    """The file of a place such as `file:line:col`, or the command line."""
    return place.partition(":")[0]


def _typed(item: dataclasses.Field[Any], value: Any, source: str) -> Any:
    annotation = str(item.type)
    if item.metadata["multiple"] and isinstance(value, list | tuple):
        value = "\n".join(map(str, value)) or None
    if words := broken_type(annotation, value):
        raise UsageError(f"{source}: {item.name} is {value!r}; it must be {words}.")
    is_float = annotation.startswith("float") and value is not None
    return float(value) if is_float else value
