"""The processes of a training run: they start together, and none outlives the first."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started within never see a Ctrl-C; it is for the first to end them."""
    heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heeded)


def as_rank(rank: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """`work(rank, *arguments)`, and an end to it at once when the first process is no more.

    A rank whose work is done tidies up and leaves without the interpreter's own end: a thread of
    gloo that lets go of a tensor in the midst of that aborts the process.
    """
    end_with_parent()
    work(rank, *arguments)
    if dist.is_initialized():
        dist.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def end_with_parent() -> None:
    """From now on this process ends, at once, when the one that started it is no more."""
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def wait_for(ranks: Any) -> None:
    """Till all of a `torch.multiprocessing` context have ended; none is left where that fails."""
    try:
        while not ranks.join():
            pass
    finally:
        for process in ranks.processes:
            process.kill()
            process.join()
