"""What training owes to auditors: rejected rows stay out, and unsigned data where that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cai.data.manifest import NAME as MANIFEST
from cai.data.project import find_project
from cai.data.signoff import NAME as SIGNOFF
from cai.data.signoff import read_signoff
from cai.data.verdicts import FOLDER, Verdict, VerdictFile, rejected
from cai.errors import DataError


def check_signed(files: Sequence[Path]) -> None:
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


def rejections(run: Path) -> dict[str, Verdict]:
    """Record id → why it may not be trained on, by the verdicts in a run's folder."""
    return rejected(VerdictFile(run).read()) if (run / MANIFEST).is_file() else {}


def origin_of(row: dict[str, Any]) -> str:
    """The record that a training row is of; empty for rows that were not built by us."""
    return str(row.get("trace_id") or row.get("comparison_id") or "")


def said(verdict: Verdict) -> str:
    """The reason for which a rejected row is set aside; what differs stands in brackets."""
    why = f": {verdict.reason}" if verdict.reason else ""
    return f"rejected by an auditor ({verdict.author}{why})"


def audit_files(files: Sequence[Path]) -> list[Path]:
    """What auditors wrote of the runs that training files lie in: part of what is trained on."""
    folders = dict.fromkeys(
        f for file in files if ((f := file.resolve().parent) / MANIFEST).is_file()
    )
    places = [VerdictFile(folder).path for folder in folders]
    places += [folder / FOLDER / SIGNOFF for folder in folders]
    return [place for place in places if place.is_file()]
