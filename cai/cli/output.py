"""How commands write their results: JSON on stdout, tables, and numbers with their nouns."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from cai.data.run_log import ON_TERMINAL
from cai.text.addresses import without_keys
from cai.text.terminal import visible

_Command = TypeVar("_Command", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True,
    help="Print one JSON object to stdout; progress and notes go to stderr.",
)  # fmt: skip
"""The option of every command that has results."""


def format_option(*others: str) -> Callable[[_Command], _Command]:
    """`--format` of commands that had it before `--json`; `others` beside text and JSON."""
    return click.option(
        "--format", "form", type=click.Choice(["text", "json", *others]), default="text",
        show_default=bool(others), hidden=not others,
        help="Output format; json is an older spelling of --json and prints a bare list.",
    )  # fmt: skip


def warn(text: str, *, style: str = "", prefix: str = "cai: ") -> None:
    """Print a warning to stderr, and log it."""
    click.echo(click.style(prefix + visible(without_keys(text)), fg=style or None), err=True)
    logging.getLogger("cai").warning("%s", text, extra=ON_TERMINAL)


def print_json(value: Any) -> None:
    """Print a value as `json_text`."""
    click.echo(json_text(value))


def json_text(value: Any) -> str:
    """A value as indented JSON.

    ASCII only, so that no terminal obeys what a model wrote. Infinities and NaN, which JSON lacks,
    become null.
    """
    text = json.dumps(_finite(value), indent=2, ensure_ascii=True, allow_nan=False)
    return text.replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below bold headings, without trailing spaces."""
    cells = [list(columns), *([visible(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for number, row in enumerate(cells):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(click.style(line.rstrip(), bold=not number))


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 row`, `1,234 rows`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
