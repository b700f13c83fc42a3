"""`cai eval --export`: suites as local task files of Inspect or lm-eval, or the reason why not.

Only files are written: neither harness is imported. A suite is exported where the harness asks what
cai asks, and its own numbers mean what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from cai.data.files import Staging, staged
from cai.errors import UsageError
from cai.evaluation.harnesses import inspect_files, lm_eval_files
from cai.evaluation.harnesses.parts import HarnessFiles, NotExportable
from cai.evaluation.suite import Suite
from cai.types import SetAside

Harness: TypeAlias = Literal["inspect", "lm-eval"]


@dataclass(frozen=True, slots=True)
class ExportedSuite:
    """What became of a suite.

    files: what was written, the task file first; none where the suite can't be exported.
    items: how many rows. left_out: items that the harness can't ask, and why. reason: why the
    suite can't be exported, else empty.
    """

    id: str
    files: tuple[str, ...] = ()
    items: int = 0
    left_out: tuple[SetAside, ...] = ()
    reason: str = ""


_WRITERS: Mapping[Harness, Callable[[Suite], HarnessFiles]] = {
    "inspect": inspect_files.files_of,
    "lm-eval": lm_eval_files.files_of,
}
_TITLES: Mapping[Harness, str] = {"inspect": "Inspect", "lm-eval": "lm-eval"}


def export_suites(suites: Sequence[Suite], harness: Harness, out: Path) -> list[ExportedSuite]:
    """Write the task files of suites into a folder, over those of an earlier export.

    Returns what became of each suite, in their order. Raises `UsageError` where none of them can be
    exported, and `StoreError` where a file can't be written.
    """
    done: list[ExportedSuite] = []
    made: list[HarnessFiles] = []
    for suite in suites:
        try:
            files = _WRITERS[harness](suite)
        except NotExportable as fault:
            done.append(ExportedSuite(suite.id, reason=str(fault)))
            continue
        made.append(files)
        names = (*files.texts, files.rows_name)
        done.append(ExportedSuite(suite.id, names, len(files.rows), files.left_out))
    if not made:
        listed = "\n".join(f"{one.id}: {one.reason}" for one in done)
        raise UsageError(f"No suite can be exported to {_TITLES[harness]}", hint=listed)
    with staged(out, next(iter(made[-1].texts))) as staging:
        for files in made:
            _stage(staging, files)
    return done


def _stage(staging: Staging, files: HarnessFiles) -> None:
    with staging.lines(files.rows_name) as lines:
        for row in files.rows:
            lines.write(row)
    for name, text in files.texts.items():
        staging.text(name, text)
