"""The evaluations and red-teamings below a folder, for a list of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cai.errors import DataError
from cai.evaluation.folder import EVALUATION, REDTEAM, read_evaluation, read_redteam


@dataclass(frozen=True, slots=True)
class MeasuredFolder:
    """A folder of `cai eval` or `cai redteam`. at: when it was written, UTC. outcome: in words.

    id, models: empty where the record can't be read.
    """

    name: str
    kind: str
    id: str
    at: str
    models: tuple[str, ...]
    outcome: str


def measured_folders(runs: Path) -> list[MeasuredFolder]:
    """The folders in `runs` that hold either, the newest last."""
    found = [
        (path.stat().st_mtime, path)
        for name in (EVALUATION, REDTEAM)
        for path in runs.glob(f"*/{name}")
    ]
    return [_folder(path, time) for time, path in sorted(found)]


def _folder(path: Path, time: float) -> MeasuredFolder:
    evaluated = path.name == EVALUATION
    kind = "evaluation" if evaluated else "red-teaming"
    at = datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")
    try:
        record = read_evaluation(path.parent) if evaluated else read_redteam(path.parent)
        models, outcome = _evaluated(record) if evaluated else _redteamed(record)
        name = str(record["id"])
    except (DataError, KeyError, TypeError, ValueError):
        return MeasuredFolder(
            path.parent.name, kind, "", at, (), f"{path.name} can't be read: cai verify says why"
        )
    return MeasuredFolder(path.parent.name, kind, name, at, models, outcome)


def _evaluated(record: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    models = tuple(str(model["name"]) for model in record["models"])
    items = sum(int(suite["items"]) for suite in record["suites"])
    return models, f"{len(record['suites'])} suites, {items:,} items"


def _redteamed(record: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    rows = record["principles"]
    attacks = f"{sum(int(row['kept']) for row in rows):,} attacks"
    if record["target"] is None:
        return (str(record["generator"]["name"]),), f"{attacks}, not asked yet"
    plain, pressed = (
        f"{sum(row[name]['count'] for row in rows)} of {sum(row[name]['n'] for row in rows)}"
        for name in ("slipped", "slipped_under_pressure")
    )
    return (
        (str(record["target"]["name"]),),
        f"{attacks}; {plain} slipped through, {pressed} under pressure",
    )
