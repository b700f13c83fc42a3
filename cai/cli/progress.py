"""A running build, shown on stderr: a live line in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cai.pipeline.build import Progress
from cai.pipeline.drive import Tally
from cai.pipeline.steps import Stage

SECONDS_BETWEEN_LINES = 10.0
LABELS: dict[Stage, str] = {
    "response": "responses",
    "critique": "critiques",
    "revision": "revisions",
    "check": "checks",
    "pair": "pair responses",
    "reasoning": "reasonings",
    "judgement": "judgements",
}


class BuildProgress:
    """A context manager; call it with a `Progress` as often as you like."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._begin = time.monotonic()
        self._done_at_begin: int | None = None
        self._next_line = self._begin + SECONDS_BETWEEN_LINES

    def __enter__(self) -> BuildProgress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._done_at_begin is None:
            self._done_at_begin = progress.tally.finished
        if self._console.is_terminal:
            self._live.update(Text(self._describe(progress, now)))
        elif now >= self._next_line:
            self._next_line = now + SECONDS_BETWEEN_LINES
            print(self._describe(progress, now).replace("\n", " · "), file=sys.stderr, flush=True)

    def _describe(self, progress: Progress, now: float) -> str:
        tally, spent = progress.tally, max(now - self._begin, 1e-9)
        done = tally.finished + tally.set_aside
        new = done - (self._done_at_begin or 0)
        left = spent / new * (tally.total - done) if new else None
        head = f"{done}/{tally.total} tasks"
        if tally.set_aside or tally.rows_set_aside:
            head += f", {tally.set_aside + tally.rows_set_aside} set aside"
        read = progress.prompt_tokens / spent
        written = progress.response_tokens / spent
        head += f" · {written:.0f} tokens/s written, {read:.0f} read"
        head += f" · {duration(left)} left" if left is not None else ""
        return head + "\n" + stages(tally)


def stages(tally: Tally) -> str:
    """`critiques 40 (12 reused) · revisions 31`: the stages that have begun."""
    parts = []
    for stage, label in LABELS.items():
        made, reused = tally.generated[stage], tally.reused[stage]
        if made or reused:
            parts.append(f"{label} {made + reused}" + (f" ({reused} reused)" if reused else ""))
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
