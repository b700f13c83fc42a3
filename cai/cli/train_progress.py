"""A training run, shown as it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cai.cli.live import LiveLine, duration
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.training.loop import StepReport

_LABELS = {"missing_eos": "missing EOS", "rows": "evaluated rows"}
"""Metrics whose key is not the name that people know."""


class TrainProgress(LiveLine):
    """Its methods are the `Callbacks` of a run."""

    def report(self, report: StepReport) -> None:
        """A step's metrics; those of the held-out set and of the last step stay."""
        text = describe(report)
        if report.held_out or report.step == report.steps:
            self.say(text)
        else:
            self.update(text)

    def note(self, text: str) -> None:
        """Print a line that is not overwritten."""
        self.say(visible(text))

    def reference(self, done: int, total: int) -> None:
        """Conversations that the reference has read."""
        self.update(f"reference: {done}/{total} conversations")


def metric_label(name: str) -> str:
    """What a metric is called on the screen; its key in files is `name`."""
    return _LABELS.get(name, name.replace("_", " "))


def describe(report: StepReport) -> str:
    """`step 3/40 · loss 0.693 · accuracy 0.5 · 1200 tokens/s · 2 min 3 s left`."""
    metrics = " · ".join(
        f"{metric_label(name)} {value:.4g}" for name, value in report.metrics.items()
    )
    head = f"step {report.step}/{report.steps}"
    if report.held_out:
        return f"{head} held out · {metrics}"
    return (
        f"{head} · {metrics} · {report.tokens_per_second:.0f} tokens/s"
        f" · {duration(report.seconds_left)} left"
    )
