"""The record of a training run, `run.json`; `cai.training.folder` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cai.errors import DataError

NAME = "run.json"
LOCK = ".lock"
"""A process that trains holds it: see `cai.store.lock`."""
FORMAT = "cai-model/1"
UNFINISHED = ("running", "failed")
"""Statuses of a run that its command resumes: it runs or was ended early, or an error ended it."""
TRAIN_ELSEWHERE = "Choose another --out, or remove the folder and train again."
"""The hint for a record that is damaged."""


def is_run(folder: Path) -> bool:
    """Whether a folder holds a training run."""
    return (folder / NAME).is_file()


def read_run(folder: Path | str) -> dict[str, Any]:
    """The content of `run.json`. Raises `DataError` if the folder holds no training run."""
    file = Path(folder) / NAME
    try:
        values: dict[str, Any] = json.loads(file.read_bytes())
        if values["format"] != FORMAT:
            raise DataError(f"{file} has the format {values['format']}, not {FORMAT}")
        return values
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{folder} is not the folder of a training run: it has no {NAME}",
            hint="List the models with: cai models",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} can't be read: {error}", hint=TRAIN_ELSEWHERE) from None


def require_finished(home: Path) -> dict[str, Any]:
    """The content of `run.json`. Raises `DataError` if the training is not finished."""
    run = read_run(home)
    if run["status"] in UNFINISHED:
        reason = f": {run['error']}" if run.get("error") else ""
        raise DataError(
            f"The training run {home} is not finished{reason}",
            hint="Run its command again to finish it.",
        )
    return run
