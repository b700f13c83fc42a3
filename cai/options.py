"""Fields of configurations that are options of the command line too: one place for each default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypedDict


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
) -> Any:
    """A field with its line of help, and the values that it may take where they are few.

    multiple: it may be given several times; the values are kept as the lines of one text.
    least, most, above, below: the range of a number, as in `Bounds`. metavar: what help shows for
    the value. alias: an older name, still accepted.
    """
    metadata = {
        "help": help, "choices": choices, "multiple": multiple, "least": least, "most": most,
        "above": above, "below": below, "metavar": metavar, "alias": alias,
    }  # fmt: skip
    return field(default=default, metadata=metadata)
