"""Fields of configurations that are options of the command line too: one place for each default."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def flag(name: str) -> str:
    """A field's name on the command line."""
    return "--" + name.replace("_", "-")


def option(
    default: Any,
    help: str,
    choices: tuple[str, ...] = (),
    *,
    several: bool = False,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    metavar: str | None = None,
    alias: str = "",
) -> Any:
    """A field with its line of help, and the values that it may take where they are few.

    several: it may be given several times; the values are kept as the lines of one text.
    least, most, above: bounds that the command line checks; `above` excludes the bound itself.
    metavar: what help shows for the value. alias: an older name, still accepted.
    """
    metadata = {
        "help": help, "choices": choices, "several": several, "least": least, "most": most,
        "above": above, "metavar": metavar, "alias": alias,
    }  # fmt: skip
    return field(default=default, metadata=metadata)
