"""Scripted models for tests of guards: one that answers at once, one that waits to be let go."""

from __future__ import annotations

import threading
import time
from typing import Any

from cai.backends.base import GroupResult
from cai.backends.scripted import ScriptedBackend
from cai.types import Generate

CLEAN = "No problem found."


def rude_if_bad(request: Generate) -> str:
    """A critique that objects to "Bad." alone."""
    return "It is rude." if request.messages[-2].content == "Bad." else CLEAN


def model(
    answer: Any = "Fine.", critique: Any = rude_if_bad, *, p: float = 0.9, **more: Any
) -> ScriptedBackend:
    """Answers, critiques and revisions ("Better.") by rule; P(no problem) is `p`."""
    return ScriptedBackend(
        replies=[("Name what", critique), ("Remove what", "Better."), ("", answer)],
        scores=[("", {CLEAN: p})],
        **more,
    )


class Gated(ScriptedBackend):
    """Keeps what it is asked waiting until `gate` is set, as a busy server does."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.gate = threading.Event()

    def poll(self, timeout: float | None = None) -> list[GroupResult]:
        if not self.gate.wait(0.01 if timeout is None else timeout):
            return []
        return super().poll(timeout)


def gated(answer: str = "Fine.", **more: Any) -> Gated:
    replies = [("Name what", CLEAN), ("", answer)]
    return Gated(replies=replies, scores=[("", {CLEAN: 0.9})], **more)


def failing(error: Exception) -> Any:
    """A rule's outcome that fails."""

    def fail(_: Generate) -> str:
        raise error

    return fail


def wait_for(condition: Any, seconds: float = 10) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come to hold"
        time.sleep(0.02)
