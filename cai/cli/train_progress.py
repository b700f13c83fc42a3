"""A training run, shown as it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cai.cli.live import LiveLine, duration
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.training.loop import StepReport


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


def describe(report: StepReport) -> str:
    """`step 3/40 · loss 0.693 · accuracy 0.5 · 1200 tokens/s · 2 min 3 s left`."""
    metrics = " · ".join(
        f"{name.replace('_', ' ')} {value:.4g}" for name, value in report.metrics.items()
    )
    head = f"step {report.step}/{report.steps}"
    if report.held_out:
        return f"{head} held out · {metrics}"
    return (
        f"{head} · {metrics} · {report.tokens_per_second:.0f} tokens/s"
        f" · {duration(report.seconds_left)} left"
    )
