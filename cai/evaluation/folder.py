"""A folder that `cai eval` or `cai redteam` wrote: its record, its rows, and their digests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cai.digest import file_digest
from cai.errors import DataError

EVALUATION, REDTEAM, ABLATION = "evaluation.json", "redteam.json", "ablation.json"
"""The names of the records; the last one is that of `cai ablate --train`."""
FORMAT = 1
"""Of all records."""
_Row = TypeVar("_Row")


def is_redteam(folder: Path) -> bool:
    """Whether a folder holds a red-teaming."""
    return (folder / REDTEAM).is_file()


def is_ablation(folder: Path) -> bool:
    """Whether a folder holds an ablation with trainings."""
    return (folder / ABLATION).is_file()


def read_ablation(folder: Path) -> dict[str, Any]:
    """The record of `cai ablate --train`. Raises `DataError` where there is none to read."""
    return _read_record(folder / ABLATION, what="ablation", command="cai ablate --train")


def read_evaluation(folder: Path) -> dict[str, Any]:
    """The record of an evaluation. Raises `DataError` where there is none that can be read."""
    return _read_record(folder / EVALUATION, what="evaluation", command="cai eval")


def read_redteam(folder: Path) -> dict[str, Any]:
    """The record of a red-teaming. Raises `DataError` where there is none that can be read."""
    return _read_record(folder / REDTEAM, what="red-teaming", command="cai redteam")


def _read_record(path: Path, *, what: str, command: str) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path.parent} holds no {what}", hint=f"{command} writes one.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DataError(f"{path} is of another format than this version of cai reads")
    return record


def read_rows(path: Path, read: Callable[[Any], _Row], what: str) -> Iterator[_Row]:
    """The rows of a JSONL file. what: a row, with its article. Raises `DataError`."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield read(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{path}:{number}: not {what}: {error}") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from None


def files_problems(folder: Path, record: Mapping[str, Any], what: str) -> list[str]:
    """Where files are not those that were written with a record, by their digests."""
    problems = []
    for name, wanted in record.get("files", {}).items():
        path = folder / str(name)
        if not path.is_file():
            problems.append(f"{name}: the file is missing")
        elif file_digest(path) != wanted:
            problems.append(f"{name}: its digest is not the {what}'s: the file was changed")
    return problems
