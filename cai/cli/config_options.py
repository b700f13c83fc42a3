"""Command-line options made from the fields of a configuration, which hold defaults and help."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from cai.options import flag

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_options(
    config: type[Any], names: Iterable[str] | None = None, *, unset: bool = False
) -> Callable[[_Command], _Command]:
    """An option for each field made by `cai.options.option`, in their order.

    names: the fields; all by default. unset: an option that is not given is None, so that the value
    of a file holds; else it is the field's default.
    """
    fields = {item.name: item for item in dataclasses.fields(config)}
    selection = [fields[name] for name in (fields if names is None else names)]

    def decorate(command: _Command) -> _Command:
        for item in reversed(selection):
            command = _option(item, unset)(command)
            if alias := item.metadata["alias"]:
                command = _option(item, unset, alias)(command)
        return command

    return decorate


def _option(
    item: dataclasses.Field[Any], unset: bool, alias: str = ""
) -> Callable[[_Command], _Command]:
    """The option of a field. alias: an older name, for a hidden option of its own."""
    settings, kind = item.metadata, str(item.type).split(" | ")[0]
    key = alias or item.name
    name, help = flag(key), settings["help"] + _default(item.default, unset)
    default = None if unset or alias else item.default
    if kind == "bool":
        both = f"{name}/--no-{name[2:]}" if unset or item.default else name
        return click.option(both, key, default=default, is_flag=True, help=help, hidden=bool(alias))
    names = [name] if alias or not settings["short"] else [name, settings["short"]]
    return click.option(
        *names, key, default=default, help=help, type=_type(kind, settings),
        multiple=settings["multiple"], metavar=settings["metavar"], hidden=bool(alias),
    )  # fmt: skip


def _default(value: Any, unset: bool) -> str:
    """The default as help shows it; empty for None, and for a flag that can only be set."""
    if value is None or (value is False and not unset):
        return ""
    text = str(value).lower() if isinstance(value, bool) else (
        f"{value:g}" if isinstance(value, float) else str(value)
    )  # fmt: skip
    return f"  [default: {text}]"


def _type(kind: str, settings: Any) -> Any:
    if settings["choices"]:
        return click.Choice(settings["choices"])
    low = settings["above"] if settings["least"] is None else settings["least"]
    high = settings["below"] if settings["most"] is None else settings["most"]
    if low is None and high is None:
        return {"int": int, "float": float, "str": str}[kind]
    bounds = {
        "min": low, "min_open": settings["above"] is not None,
        "max": high, "max_open": settings["below"] is not None,
    }  # fmt: skip
    return click.IntRange(**bounds) if kind == "int" else click.FloatRange(**bounds)
