"""The logs of a run: `metrics.jsonl`, a line a step and evaluation, and PPO's `rollouts.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cai.data.files import partial_of, store_errors, write_whole
from cai.pipeline.snapshot import snapshot
from cai.types import Constitution

NOISE = ("noise_floor", "ratio_noise")
"""Metrics of a run's first step that measure rounding alone (docs/training.md)."""
METRICS, ROLLOUTS = "metrics.jsonl", "rollouts.jsonl"
CONSTITUTIONS = "constitutions.json"
"""Those that a run learned from, as they were read: a list of snapshots."""


def log_metrics(folder: Path, values: Mapping[str, Any]) -> None:
    """Add a line to a run's metrics."""
    with store_errors(folder), (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(values)) + "\n")


def write_constitutions(folder: Path, constitutions: Sequence[Constitution]) -> None:
    """Keep what a run learned from, for auditors. Raises `StoreError`."""
    text = json.dumps([snapshot(each) for each in constitutions], ensure_ascii=False, indent=1)
    write_whole(folder / CONSTITUTIONS, text + "\n")


def forget_steps_after(folder: Path, step: int) -> None:
    """Drop the metrics, and the rollouts, of steps that are to be taken again."""
    for name, key in ((METRICS, "step"), (ROLLOUTS, "update")):
        if (folder / name).is_file():
            forget_lines(folder / name, key, step)


def forget_lines(file: Path, key: str, last: int) -> None:
    """Drop the rows of a JSONL file whose `key` is over `last`, and a last line that was cut off.

    The file is replaced whole or not at all.
    """
    lines = file.read_bytes().split(b"\n")[:-1]
    partial = partial_of(file)
    with store_errors(file):
        partial.write_bytes(
            b"".join(line + b"\n" for line in lines if json.loads(line)[key] <= last)
        )
        partial.replace(file)


def last_metrics(folder: Path) -> dict[str, Any]:
    """Metrics of the last step; empty before the first."""
    return next((row for row in reversed(read_metrics(folder)) if not row["held_out"]), {})


def start_noise(folder: Path) -> dict[str, float]:
    """The noise floor before the first step, from the metrics of that step."""
    first = next((row for row in read_metrics(folder) if not row["held_out"]), {})
    return {name: float(f"{first[name]:.3g}") for name in NOISE if name in first}


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's metrics so far."""
    file = folder / METRICS
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
