"""Runs that Ctrl-C ends after their first step, and that go on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from cai.data.training_run import read_run
from cai.errors import Interrupted
from cai.training.config import TrainConfig
from cai.training.loop import StepReport
from cai.training.train import Callbacks, train


def stop_after_first(report: StepReport) -> None:
    """A report function: Ctrl-C after the first step."""
    if report.step == 1 and not report.held_out:
        signal.raise_signal(signal.SIGINT)


def goes_on_bit_for_bit(config: TrainConfig, data: Path, folder: Path) -> dict[str, Any]:
    """Train in `folder`/straight; and in `folder`/broken, where Ctrl-C stops it after the first
    step of three, and where it goes on. Both have to write the same files.

    Returns the record of the second.
    """
    train(config, [data], folder / "straight")
    broken = folder / "broken"
    with pytest.raises(Interrupted, match="after step 1 of 3"):
        train(config, [data], broken, Callbacks(report=stop_after_first))
    notes: list[str] = []
    train(config, [data], broken, Callbacks(note=notes.append))
    assert "Resuming after step 1 of 3." in notes
    straight, record = read_run(folder / "straight"), read_run(broken)
    assert straight["files"] == record["files"]
    return record
