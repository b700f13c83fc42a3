"""Helpers for calls of transformers, PEFT and the hub: without output, errors in one line."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import transformers


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Turn the libraries' progress bars and warnings off inside the block."""
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
