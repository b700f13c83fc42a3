"""Fields of configurations that are options of the command line too: one place for each default."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import Field, field
from difflib import get_close_matches
from typing import Any, TypedDict

_CLOSE = 0.75
"""How similar a name must be to be suggested, from 0 to 1 (`difflib`)."""


class Bounds(TypedDict, total=False):
    """The range of a number: `least` and `most` include the bound, `above` and `below` do not."""

    least: float
    most: float
    above: float
    below: float


def broken_bounds(value: float, bounds: Mapping[str, Any]) -> str:
    """The range that a value is outside of, such as "0 or more"; empty if it is inside.

    bounds: `Bounds`, or the metadata of a field made by `option`.
    """
    least, most, above, below = (bounds.get(n) for n in ("least", "most", "above", "below"))
    inside = (
        (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    low = "" if least is None else f"{least:g} or more"
    low = low if above is None else f"above {above:g}"
    high = "" if most is None else f"at most {most:g}"
    high = high if below is None else f"below {below:g}"
    return "" if inside else " and ".join(filter(None, (low, high)))


_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
}
"""Annotation → the types that it takes, and its name in words."""


def broken_type(annotation: str, value: Any) -> str:
    """What a value of this annotation must be, such as "a whole number"; empty if it is that.

    annotation: as in the source: `float`, `int | None`, `Literal["last", "all"]`, which is text.
    """
    name, *others = annotation.split(" | ")
    if value is None and "None" in others:
        return ""
    types, words = _TYPES.get(name, _TYPES["str"])
    is_bool = isinstance(value, bool) and types is not bool  # True is an int
    return words if is_bool or not isinstance(value, types) else ""


def broken_rule(setting: Field[Any], value: Any) -> str:
    """What a setting made by `option` must be; empty if the value is that.

    Its type is that of the field's annotation, which must stand as text in the source
    (`from __future__ import annotations`).
    """
    if words := broken_type(str(setting.type), value):
        return words
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    choices = setting.metadata["choices"]
    if choices and value not in choices:
        return f"one of {', '.join(choices)}"
    return broken_bounds(value, setting.metadata) if isinstance(value, int | float) else ""


def unknown_settings(
    command: str, unknown: Mapping[str, str], names: Collection[str]
) -> tuple[str, str]:
    """The message and the hint for settings that a command does not have.

    unknown: the name of each → where it is. names: the settings that the command has.
    """
    lines = [f"{place}: `{command}` has no setting {name!r}" for name, place in unknown.items()]
    close = {n: get_close_matches(str(n), names, n=1, cutoff=_CLOSE) for n in unknown}
    guesses = " or ".join(
        dict.fromkeys(repr(name) for matches in close.values() for name in matches)
    )
    hint = f"Did you mean {guesses}?" if guesses else f"It has: {', '.join(names)}."
    return "\n".join(lines), hint


def flag(name: str) -> str:
    """A field's name on the command line."""
    return "--" + name.replace("_", "-")


def option(
    default: Any,
    help: str,
    choices: tuple[str, ...] = (),
    *,
    multiple: bool = False,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    metavar: str | None = None,
    alias: str = "",
    short: str = "",
) -> Any:
    """A field with its line of help, and the values that it may take where they are few.

    multiple: it may be given several times; the values are kept as the lines of one text.
    least, most, above, below: the range of a number, as in `Bounds`. metavar: what help shows for
    the value. alias: an older name, still accepted. short: of the option, such as `-m`.
    """
    metadata = {
        "help": help, "choices": choices, "multiple": multiple, "least": least, "most": most,
        "above": above, "below": below, "metavar": metavar, "alias": alias, "short": short,
    }  # fmt: skip
    return field(default=default, metadata=metadata)
