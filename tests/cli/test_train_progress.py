"""The line of a training run on the screen."""

from __future__ import annotations

from cai.cli.train_progress import describe
from cai.training.loop import StepReport


def test_metrics_have_the_names_that_people_know() -> None:
    line = describe(StepReport(3, 40, {"second_spread": 0.5, "missing_eos": 0.25}, 1200.0, 60.0))
    assert line.startswith("step 3/40 · second spread 0.5 · missing EOS 0.25 · 1200 tokens/s")
