"""Ctrl-C once: finish the step and save. Twice: stop at once.

Where a launcher started the process, one Ctrl-C arrives twice: from the terminal, and from the
launcher.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from cai.training.processes import world

_SAME_SECONDS = 3.0
"""Seconds in which signals are one request, where there is a launcher."""


class GracefulInterrupt:
    """A context manager; `requested` is True once the user, or the system, asked for an end."""

    def __init__(self) -> None:
        self.requested = False
        self._requested_at = 0.0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> GracefulInterrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        same = world().size > 1 and now - self._requested_at < _SAME_SECONDS
        if self.requested and not same:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._requested_at = True, now
