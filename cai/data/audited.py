"""Audit rules that training respects.

Rows that an auditor rejected are left out. Edited files are refused, and so are unsigned ones in a
project that requires a sign-off. A sign-off is recorded as a source only while it is valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cai.constitution.project import find_project
from cai.data.manifest import NAME as MANIFEST
from cai.data.manifest import Manifest
from cai.data.signoff import NAME as SIGNOFF
from cai.data.signoff import read_signoff
from cai.data.verdicts import (
    FOLDER,
    Verdict,
    VerdictFile,
    deciding_verdicts,
    standing_rejections,
)
from cai.digest import file_digest
from cai.errors import ContentError, DataError


def require_signoff(files: Sequence[Path]) -> None:
    """Raise `DataError` if a project requires a sign-off of its data and a file has none.

    The project is that of the working directory, or of a file's folder.
    """
    project = find_project(
        [Path.cwd(), *(p for f in files for p in (f.parent, f.resolve().parent))]
    )
    if project.audit != "required":
        return
    for folder in dict.fromkeys(file.resolve().parent for file in files):
        names = [file.name for file in files if file.resolve().parent == folder]
        if not (folder / MANIFEST).is_file():
            raise DataError(
                f"{names[0]} does not belong to a run that could be signed off, and {project.path}"
                " says `audit: required`",
                hint="Train on the folder of an audited run.",
            )
        signed = read_signoff(folder)["data"]
        for name in names:
            if name not in signed:
                raise DataError(
                    f"the sign-off of {folder} does not cover {name}",
                    hint=f"Look at it, then: cai audit sign {folder}",
                )


def require_unedited(files: Sequence[Path]) -> None:
    """Raise `DataError` if a file no longer has the digest in the manifest of its run."""
    for file in files:
        manifest = Manifest.beside(file)
        entry = manifest.files.get(file.resolve().name) if manifest else None
        if manifest and entry is None:
            raise DataError(
                f"{file} is in a run's folder, but its {MANIFEST} does not list the file",
                hint="Copy it out of the folder to train on it, or run the build again.",
            )
        if entry is not None and file_digest(file) != entry.sha256:
            raise DataError(
                f"{file} was changed after it was built: its digest is not that in {MANIFEST}",
                hint="Restore it by running its build-data command again. To train on the edited"
                " rows, copy the file out of the run's folder.",
            )


def without_manifest(data: Sequence[Path]) -> list[str]:
    """A warning for each folder of data without a manifest."""
    return [
        f"{folder} has no {MANIFEST} of a run, so edits of its files can't be detected"
        for folder in data
        if folder.is_dir() and Manifest.beside(folder / MANIFEST) is None
    ]


def rejections(run: Path) -> dict[str, Verdict]:
    """Record id → the verdict that rejects it, by the verdicts in a run's folder."""
    return standing_rejections(VerdictFile(run).read()) if (run / MANIFEST).is_file() else {}


def decisions(run: Path) -> dict[str, Verdict]:
    """Record id → the verdict that accepts or rejects it, by the verdicts in a run's folder."""
    return deciding_verdicts(VerdictFile(run).read()) if (run / MANIFEST).is_file() else {}


def decided_records(files: Sequence[Path]) -> set[str]:
    """Ids of the records that auditors accepted or rejected, of the runs that files belong to."""
    return {record for folder in _by_run(files) for record in decisions(folder)}


def origin_of(row: dict[str, Any]) -> str:
    """The id of the record that a training row was made from; empty for rows of other tools."""
    return str(row.get("trace_id") or row.get("comparison_id") or "")


def rejection_reason(verdict: Verdict) -> str:
    """The reason for setting a rejected row aside; the details are in brackets."""
    why = f": {verdict.why}" if verdict.why else ""
    return f"rejected by an auditor ({verdict.author}{why})"


def audit_files(files: Sequence[Path]) -> list[Path]:
    """Verdicts and sign-offs of the runs that training files belong to: sources of the training.

    A sign-off that is not valid for the files is left out; `stale_signoffs` says why.
    """
    places: list[Path] = []
    for folder, names in _by_run(files).items():
        places.append(VerdictFile(folder).path)
        if not _unsigned(folder, names):
            places.append(folder / FOLDER / SIGNOFF)
    return [place for place in places if place.is_file()]


def stale_signoffs(files: Sequence[Path]) -> list[str]:
    """For each sign-off that is not valid for the training files beside it, the reason."""
    signed = {f: n for f, n in _by_run(files).items() if (f / FOLDER / SIGNOFF).is_file()}
    reasons = [_unsigned(folder, names) for folder, names in signed.items()]
    return [f"{why}; it is not recorded as a source of this training" for why in reasons if why]


def _unsigned(folder: Path, names: Sequence[str]) -> str:
    """Why a run's sign-off is not valid for these files; empty if it is."""
    try:
        signed = read_signoff(folder)["data"]
    except DataError as error:
        return error.message
    except ContentError as error:
        return f"the sign-off of {folder} can't be read: {error.problems[0].message}"
    lacking = [name for name in names if name not in signed]
    return f"the sign-off of {folder} does not cover {', '.join(lacking)}" if lacking else ""


def _by_run(files: Sequence[Path]) -> dict[Path, list[str]]:
    """Run folder → the names of its files among `files`."""
    names_by_folder: dict[Path, list[str]] = {}
    for file in (path.resolve() for path in files):
        if (file.parent / MANIFEST).is_file():
            names_by_folder.setdefault(file.parent, []).append(file.name)
    return names_by_folder
