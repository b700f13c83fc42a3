"""Time and memory of a run, measured on its first steps: `cai train … --dry-run`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import torch

from cai.training.trainer import StageTrainer

SECONDS = 10.0
"""A second step is measured if the first, which includes the warm-up, took less than this."""


@dataclass(frozen=True, slots=True)
class StepProbe:
    """Time and memory of the first steps.

    steps: how many were taken. seconds: duration of the last one. tokens: how many that one read
    or generated. prepare: estimated seconds of the whole work before the first step. peak: peak
    memory in bytes, of the GPU or else of this process; None if the system does not report it.
    total: seconds of the whole probe.
    """

    steps: int
    seconds: float
    tokens: int
    prepare: float
    peak: int | None
    total: float


def probe_steps(trainer: StageTrainer) -> StepProbe:
    """Take a step or two of a run that has not begun, on its own rows; nothing is written.

    The trainer can't be used afterwards. Raises what a step raises.
    """
    device = trainer.backbone.device
    begin = time.monotonic()
    share = trainer.prepare_steps(2)
    _wait(device)
    prepare = time.monotonic() - begin
    seconds, tokens = 0.0, 0
    while trainer.step < 2 and not trainer.done and (trainer.step == 0 or seconds < SECONDS):
        start = time.monotonic()
        tokens = trainer.train_step().tokens
        _wait(device)
        seconds = time.monotonic() - start
    return StepProbe(
        trainer.step, seconds, tokens, prepare / share if share < 1 else 0.0, _peak(device),
        time.monotonic() - begin,
    )  # fmt: skip


def _wait(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu":
        return None
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
