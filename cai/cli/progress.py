"""A running build, shown as it goes."""

from __future__ import annotations

import logging
import time

from cai.cli.live import LiveLine, duration
from cai.data.run_log import ON_TERMINAL, Interval
from cai.pipeline.build import Progress
from cai.pipeline.drive import Tally
from cai.pipeline.steps import BuildStage

LABELS: dict[BuildStage, str] = {
    "response": "responses",
    "critique": "critiques",
    "revision": "revisions",
    "check": "checks",
    "pair": "pair responses",
    "reasoning": "reasonings",
    "judgement": "judgements",
    "choice": "choices",
    "document": "documents",
}


class BuildProgress(LiveLine):
    """Call it with a `Progress` as often as you like; it is shown, and logged now and then."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._log_is_due = Interval()
        self._begin = time.monotonic()
        self._tally: Tally | None = None
        self._tally_begin = self._begin
        self._done_at_begin = 0

    def __call__(self, progress: Progress) -> None:
        if progress.tally is not self._tally:  # the examination counts its own
            self._tally, self._tally_begin = progress.tally, time.monotonic()
            self._done_at_begin = progress.tally.finished
        text = self._describe(progress, time.monotonic())
        self.update(text)
        if self._log_is_due():
            logging.getLogger("cai").info("%s", text.replace("\n", " · "), extra=ON_TERMINAL)

    def _describe(self, progress: Progress, now: float) -> str:
        tally, spent = progress.tally, max(now - self._begin, 1e-9)
        processed = tally.finished + tally.set_aside
        new = processed - self._done_at_begin
        seconds_left = (now - self._tally_begin) / new * (tally.total - processed) if new else None
        head = f"{processed}/{tally.total} tasks"
        if tally.set_aside or tally.rows_set_aside:
            head += f", {tally.set_aside + tally.rows_set_aside} set aside"
        read = progress.prompt_tokens / spent
        written = progress.response_tokens / spent
        head += f" · {written:.0f} tokens/s written, {read:.0f} read"
        head += f" · cost {progress.cost:.4g}" if progress.cost else ""
        head += f" · {duration(seconds_left)} left" if seconds_left is not None else ""
        return head + "\n" + stages(tally)


def stages(tally: Tally) -> str:
    """`critiques 40 (12 reused) · revisions 31`: the stages that have begun."""
    entries = []
    for stage, label in LABELS.items():
        generated, reused = tally.generated[stage], tally.reused[stage]
        if generated or reused:
            entries.append(
                f"{label} {generated + reused}" + (f" ({reused} reused)" if reused else "")
            )
    return " · ".join(entries)
