"""Calling transformers, PEFT and the hub: quietly, and their errors in one line."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import transformers


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' own progress bars and warnings; restored afterwards."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """The first line of an error's text, short enough to quote."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
