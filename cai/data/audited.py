"""What training owes to those who built and audited the data.

Rows that an auditor rejected stay out, edited files are refused, unsigned ones where a project asks
for a sign-off, and a sign-off counts as a source only while it holds.
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
from cai.data.verdicts import FOLDER, Verdict, VerdictFile, standing_rejections
from cai.digest import file_digest
from cai.errors import ContentError, DataError


def require_signoff(files: Sequence[Path]) -> None:
    """Raise `DataError` where a project asks for a sign-off of its data, and a file has none.

    The project is that of the working directory, or that which a file lies in.
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
                f"{names[0]} is not of a run that could be signed off, and {project.path} says"
                " `audit: required`",
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
    """Raise `DataError` where a file differs from what the manifest of its run says of it."""
    for file in files:
        manifest = Manifest.beside(file)
        entry = manifest.files.get(file.resolve().name) if manifest else None
        if manifest and entry is None:
            raise DataError(
                f"{file} lies in a run's folder, and {MANIFEST} there does not list it",
                hint="Copy it out of the folder to train on it, or run the build again.",
            )
        if entry is not None and file_digest(file) != entry.sha256:
            raise DataError(
                f"{file} was changed after it was built: its digest is not that in {MANIFEST}",
                hint="Restore it by running its build-data command again. To train on the edited"
                " rows, copy the file out of the run's folder.",
            )


def without_manifest(data: Sequence[Path]) -> list[str]:
    """For each folder of data without a manifest, what can't be said of it."""
    return [
        f"{folder} has no {MANIFEST} of a run: nothing says whether its files are as they were"
        " built"
        for folder in data
        if folder.is_dir() and Manifest.beside(folder / MANIFEST) is None
    ]


def rejections(run: Path) -> dict[str, Verdict]:
    """Record id → why it may not be trained on, by the verdicts in a run's folder."""
    return standing_rejections(VerdictFile(run).read()) if (run / MANIFEST).is_file() else {}


def origin_of(row: dict[str, Any]) -> str:
    """The record that a training row is of; empty for rows that were not built by us."""
    return str(row.get("trace_id") or row.get("comparison_id") or "")


def rejection_reason(verdict: Verdict) -> str:
    """The reason for which a rejected row is set aside; what differs stands in brackets."""
    why = f": {verdict.why}" if verdict.why else ""
    return f"rejected by an auditor ({verdict.author}{why})"


def audit_files(files: Sequence[Path]) -> list[Path]:
    """What auditors wrote of the runs that training files lie in: part of what is trained on.

    A sign-off that does not hold for the files is left out; `stale_signoffs` says why.
    """
    places: list[Path] = []
    for folder, names in _by_run(files).items():
        places.append(VerdictFile(folder).path)
        if not _unsigned(folder, names):
            places.append(folder / FOLDER / SIGNOFF)
    return [place for place in places if place.is_file()]


def stale_signoffs(files: Sequence[Path]) -> list[str]:
    """For each sign-off beside training files that does not hold for them, what is wrong."""
    signed = {f: n for f, n in _by_run(files).items() if (f / FOLDER / SIGNOFF).is_file()}
    reasons = [_unsigned(folder, names) for folder, names in signed.items()]
    return [f"{why}; it is not recorded as a source of this training" for why in reasons if why]


def _unsigned(folder: Path, names: Sequence[str]) -> str:
    """Why a run's sign-off does not hold for its files of these names; empty where it does."""
    try:
        signed = read_signoff(folder)["data"]
    except DataError as error:
        return error.message
    except ContentError as error:
        return f"the sign-off of {folder} can't be read: {error.problems[0].message}"
    lacking = [name for name in names if name not in signed]
    return f"the sign-off of {folder} does not cover {', '.join(lacking)}" if lacking else ""


def _by_run(files: Sequence[Path]) -> dict[Path, list[str]]:
    """The folders of runs that files lie in, each with the names of its files."""
    names_by_folder: dict[Path, list[str]] = {}
    for file in (path.resolve() for path in files):
        if (file.parent / MANIFEST).is_file():
            names_by_folder.setdefault(file.parent, []).append(file.name)
    return names_by_folder
