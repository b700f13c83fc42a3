"""The error for prompts of which none is valid, with the first reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from cai.errors import DataError
from cai.types import Prompt, SetAside

_MAX_REASONS = 3
"""Reasons that the error names."""


def require_prompts(prompts: Iterable[Prompt | SetAside], source: str) -> None:
    """Raise `DataError` with the first reasons if no prompt is valid.

    prompts: read up to the first valid one. source: where they come from, for the message.
    """
    rows: list[SetAside] = []
    for row in prompts:
        if isinstance(row, Prompt):
            return
        rows.append(row)
    raise no_prompts_error(rows, source)


def no_prompts_error(rows: Iterable[SetAside], source: str) -> DataError:
    """The error that names the first invalid rows of `source` with their reasons."""
    rows = list(rows)
    count = f"{len(rows):,} row{'s were' if len(rows) != 1 else ' was'} set aside"
    lines = [f"no prompt of {source or 'the given ones'} can be used: {count}"]
    lines += [
        f"  {row.source or '(no source)'}: {row.reason}" for row in islice(rows, _MAX_REASONS)
    ]
    if len(rows) > _MAX_REASONS:
        lines.append("  …")
    return DataError("\n".join(lines), hint=_advice(rows))


def _advice(rows: Sequence[SetAside]) -> str:
    """A hint that follows from the reasons; empty if there is none."""
    if any(row.reason.startswith("no prompt") for row in rows):
        return "Name the key or column that holds the prompt with --column."
    if all(row.reason.startswith("invalid JSON") for row in rows):
        return "If these are plain text, a prompt a line: --format text"
    return ""
