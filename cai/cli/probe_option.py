"""`--probe`: times that are measured before the work begins, and their wording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cai.cli.live import duration
from cai.text.terminal import visible

_Command = TypeVar("_Command", bound=Callable[..., Any])


def probe_option(help: str) -> Callable[[_Command], _Command]:
    """`--probe/--no-probe`."""
    return click.option("--probe/--no-probe", default=True, show_default=True, help=help)


def time_in_words(least: float | None, most: float | None, measured: float, reason: str) -> str:
    """`roughly 2 min 0 s to 3 min 5 s, an estimate from 6 s of measurement here`.

    least, most: seconds; None where nothing was measured, for this reason. measured: seconds that
    the measurement took.
    """
    if least is None or most is None:
        return f"not estimated ({visible(reason) or 'too little was measured'})"
    low, high = seconds_in_words(least), seconds_in_words(most)
    return (
        f"roughly {low if low == high else f'{low} to {high}'}, an estimate from"
        f" {seconds_in_words(measured)} of measurement here"
    )


def seconds_in_words(seconds: float) -> str:
    """As `duration`, with two digits of short times: `0.41 s`."""
    return f"{seconds:.2g} s" if seconds < 9.5 else duration(seconds)
