"""The folder of `cai redteam`: suites, attacks, answers, slips, and `redteam.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cai.data.files import Staging, staged
from cai.errors import UsageError
from cai.evaluation.answers import ItemAnswer
from cai.evaluation.folder import FORMAT, REDTEAM, read_redteam, read_rows
from cai.evaluation.redteam.attacks import Attack
from cai.evaluation.redteam.run import Redteaming
from cai.evaluation.redteam.suites import ATTACKS, PRESSURE, TWINS, write_suite

NAME, WRITTEN, ANSWERS, SLIPPED = REDTEAM, "attacks.jsonl", "answers.jsonl", "slipped.jsonl"


def write_redteam(out: Path, redteaming: Redteaming) -> None:
    """Write all files, or none. Raises `StoreError`."""
    with staged(out, NAME) as files:
        digests: dict[str, str] = {}
        for suite in redteaming.suites:
            digests |= write_suite(files, suite)
        digests |= _write_rows(files, WRITTEN, [asdict(a) for a in redteaming.attacks])
        if redteaming.record["target"] is not None:
            name = redteaming.record["target"]["name"]
            rows = [{**a.row(name), "sample": n} for n, a in redteaming.answers]
            digests |= _write_rows(files, ANSWERS, rows)
            digests |= _write_rows(files, SLIPPED, [slip.row for slip in redteaming.slips])
        values = {"format": FORMAT, **redteaming.record, "files": digests}
        files.text(NAME, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    kept = {suite.id for suite in redteaming.suites}
    for gone in {ATTACKS, TWINS, PRESSURE} - kept:
        for ending in ("yaml", "jsonl"):
            (out / f"{gone}.{ending}").unlink(missing_ok=True)


def read_attacks(folder: Path) -> Iterator[Attack]:
    """The attacks of a folder. Raises `DataError` for a broken line."""
    yield from read_rows(folder / WRITTEN, _attack, "an attack")


def _attack(row: Mapping[str, Any]) -> Attack:
    return Attack(**{**row, "pushes": tuple(row["pushes"])})


def read_redteam_answers(folder: Path) -> Iterator[ItemAnswer]:
    """The target's answers, sample by sample. Raises `DataError` for a broken line."""
    yield from read_rows(folder / ANSWERS, lambda row: ItemAnswer.read(row)[1], "an answer")


def read_slipped(folder: Path) -> Iterator[dict[str, Any]]:
    """The prompts that slipped through. Raises `DataError` for a broken line."""
    yield from read_rows(folder / SLIPPED, lambda row: dict(row), "a prompt")


def require_redteam_folder(out: Path, facts: Mapping[str, Any]) -> None:
    """Raise `UsageError` where a folder holds anything else than these facts' red-teaming.

    The same attacks without a target may be there: a target can be asked later.
    """
    if not out.is_dir() or not any(path.name != "run.log" for path in out.iterdir()):
        return
    if not (out / NAME).is_file():
        raise UsageError(f"{out} is not empty, and holds no red-teaming",
                         hint="Choose another --out.")  # fmt: skip
    record = read_redteam(out)
    if record["id"] == facts["id"]:
        return
    if record["target"] is None and record["attacks_id"] == facts["attacks_id"]:
        return
    raise UsageError(f"{out} holds another red-teaming", hint="Choose another --out, or delete it.")


def _write_rows(files: Staging, name: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    with files.lines(name) as lines:
        for row in rows:
            lines.write(row)
    return {name: files.entries[name].sha256}
