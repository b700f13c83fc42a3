"""Coroutines of tests, in an event loop of their own."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from cai.backends.server.loop_thread import LoopThread

T = TypeVar("T")


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Its result. In a thread: tests of a browser leave a loop running in this one."""
    thread = LoopThread()
    try:
        return thread.call(coroutine)
    finally:
        thread.stop()
