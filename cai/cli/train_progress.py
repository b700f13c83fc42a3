"""A training run, shown on stderr: a live line in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cai.cli.progress import SECONDS_BETWEEN_LINES, duration
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.train.loop import Report


class TrainProgress:
    """A context manager whose methods take a run's news."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._next_line = 0.0

    def __enter__(self) -> TrainProgress:
        if self._console.is_terminal and not self._quiet:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live.is_started:
            self._live.stop()

    def report(self, report: Report) -> None:
        """A step's figures, or those of the held-out rows."""
        text = describe(report)
        last = report.step == report.steps
        if self._quiet:
            return
        if report.held_out:
            self._say(text)
        elif self._live.is_started:
            self._live.update(Text(text))
        elif last or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            self._say(text)

    def note(self, text: str) -> None:
        """A sentence that stays."""
        self._say(visible(text))

    def reference(self, done: int, total: int) -> None:
        """Conversations that the reference has read."""
        text = f"reference: {done}/{total} conversations"
        if self._live.is_started and not self._quiet:
            self._live.update(Text(text))

    def _say(self, text: str) -> None:
        if self._live.is_started:
            self._console.print(Text(text))
        else:
            print(text, file=sys.stderr, flush=True)


def describe(report: Report) -> str:
    """`step 3/40 · loss 0.693 · accuracy 0.5 · 1200 tokens/s · 2 min 3 s left`."""
    figures = " · ".join(
        f"{name.replace('_', ' ')} {value:.4g}" for name, value in report.figures.items()
    )
    head = f"step {report.step}/{report.steps}"
    if report.held_out:
        return f"{head} held out · {figures}"
    return (
        f"{head} · {figures} · {report.tokens_per_second:.0f} tokens/s"
        f" · {duration(report.seconds_left)} left"
    )
