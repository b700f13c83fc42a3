"""The evaluations, red-teamings and ablations with trainings below a folder, for a list of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from cai.errors import DataError
from cai.evaluation.folder import (
    ABLATION,
    EVALUATION,
    REDTEAM,
    read_ablation,
    read_evaluation,
    read_redteam,
)


@dataclass(frozen=True, slots=True)
class MeasuredFolder:
    """A folder of `cai eval`, `cai redteam` or `cai ablate --train`.

    at: when it was written, UTC. outcome: in words.
    id, models: empty where the record can't be read.
    """

    name: str
    kind: str
    id: str
    at: str
    models: tuple[str, ...]
    outcome: str


def measured_folders(runs: Path) -> list[MeasuredFolder]:
    """The folders in `runs` that hold one of them, the newest last."""
    found = [(path.stat().st_mtime, path) for name in _READERS for path in runs.glob(f"*/{name}")]
    return [_folder(path, time) for time, path in sorted(found)]


def _folder(path: Path, time: float) -> MeasuredFolder:
    kind, read, told = _READERS[path.name]
    at = datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")
    try:
        record = read(path.parent)
        models, outcome = told(record)
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


def _ablated(record: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    settings, done = record["settings"], Counter(step["step"] for step in record["steps"])
    base = (str(settings["base"]),) if settings["base"] else ()
    state = "" if record["effects"] else ", not measured yet"
    return base, (
        f"{len(settings['principles'])} principles left out, {done['train']} trainings by"
        f" {settings['train']}{state}"
    )


_Reader: TypeAlias = Callable[[Path], dict[str, Any]]
_Told: TypeAlias = Callable[[Mapping[str, Any]], tuple[tuple[str, ...], str]]
_READERS: Mapping[str, tuple[str, _Reader, _Told]] = {
    EVALUATION: ("evaluation", read_evaluation, _evaluated),
    REDTEAM: ("red-teaming", read_redteam, _redteamed),
    ABLATION: ("ablation", read_ablation, _ablated),
}
"""Record → the kind of its folder, how it is read, and its models and outcome in words."""
