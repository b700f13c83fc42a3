"""Runs of `train` one after another, in each of the processes that a launcher started.

    torchrun … -m tests.training.several JOBS

JOBS is a JSON file of runs: stage, data, out, settings. `stop_at` asks the first process for an end
at that step; in `short_of_memory`, a process runs out of memory once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cai.errors import Interrupted
from cai.training.config import CONFIGS
from cai.training.loop import StepReport
from cai.training.micro_batches import Metrics
from cai.training.sft import EncodedTurn, SftObjective
from cai.training.train import Callbacks, train

RANK = int(os.environ["RANK"])


def run(job: dict[str, Any]) -> None:
    def report(step: StepReport) -> None:
        if step.step == job.get("stop_at") and not step.held_out:
            signal.raise_signal(signal.SIGINT)

    if job.get("short_of_memory") == RANK:
        run_out_of_memory()
    config = CONFIGS[job["stage"]](**job["settings"])
    try:
        train(config, [job["data"]], job["out"], Callbacks(report=report))
    except (Interrupted, SystemExit) as error:
        code = error.code if isinstance(error, SystemExit) else error.exit_code
        assert code == 130 and job.get("stop_at"), code


def run_out_of_memory() -> None:
    loss = SftObjective.loss
    attempts: list[int] = []

    def first_fails(
        self: SftObjective, examples: Sequence[EncodedTurn], total: float
    ) -> tuple[Tensor, Metrics]:
        attempts.append(len(examples))
        if len(attempts) == 1:
            raise torch.OutOfMemoryError("out of memory")
        return loss(self, examples, total)

    SftObjective.loss = first_fails  # type: ignore[method-assign]


if __name__ == "__main__":
    for job in json.loads(Path(sys.argv[1]).read_text()):
        run(job)
