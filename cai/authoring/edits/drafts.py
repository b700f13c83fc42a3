"""Drafts of a constitution: a copy of its files in which some principles are edited.

References between files stay inside a project, so the copy is a project of its own: the
constitution and all that it refers to, at the same places. The originals are only read.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path

from cai.authoring.edits.draft_tests import DraftTest, as_values
from cai.authoring.edits.files import edited_text
from cai.authoring.edits.rewording import DraftWording
from cai.constitution.lint import lint
from cai.constitution.load import Loader
from cai.constitution.source import KeyPath, read_text
from cai.content import project_root, shown
from cai.errors import ContentError, Problem
from cai.types import Constitution, Principle

_PLACES: Mapping[str, KeyPath] = {
    "critique_request": ("stages", "critique"),
    "revision_request": ("stages", "revise"),
    "comparison_question": ("compare",),
}


@dataclass(frozen=True, slots=True)
class DraftFile:
    """An edited principle. place: from the project's root. versions: before and after.

    before, after: the texts of the file. tests: how many were added. reworded: whether a wording is
    another.
    """

    principle: str
    place: str
    versions: tuple[str, str]
    before: str
    after: str
    tests: int
    reworded: bool

    def diff(self) -> list[str]:
        """The edit as a unified diff, without line ends."""
        before, after = self.before.splitlines(), self.after.splitlines()
        return list(unified_diff(before, after, f"a/{self.place}", f"b/{self.place}", lineterm=""))


@dataclass(frozen=True, slots=True)
class EditDrafts:
    """A draft of a constitution.

    constitution: as it is loaded. place: of its file, from the root of the copy. files: the edited
    ones. texts: place → text of all files. refused: principle → why its edit can't be loaded.
    advice: what `cai lint` says of the edited files.
    """

    constitution: Constitution
    place: str
    files: tuple[DraftFile, ...]
    texts: Mapping[str, str]
    refused: Mapping[str, str]
    advice: tuple[Problem, ...]

    @property
    def changes_model_input(self) -> bool:
        """Whether a model reads anything else than before."""
        return any(file.reworded for file in self.files)


def draft(
    path: Path, wordings: Mapping[str, DraftWording], tests: Mapping[str, Sequence[DraftTest]]
) -> EditDrafts:
    """A copy of a constitution's files with other wordings and more tests; nothing is written.

    path: of the constitution. wordings, tests: by principle. A principle whose edit can't be loaded
    stays as it is. Raises `ContentError` for problems in the originals.
    """
    loader = Loader()
    loader.constitution(path)
    loader.raise_problems()
    root = project_root(path)
    texts = {
        _place(file, root): read_text(file)[0]
        for file in loader.files
        if file.is_relative_to(root)  # else it is shipped with cai, and found by its name
    }
    originals = {
        principle.id: (file, principle)
        for (file, of_root), principle in loader.principles.items()
        if of_root == root
    }
    files: list[DraftFile] = []
    refused: dict[str, str] = {}
    with _written(texts) as copy:
        for name in dict.fromkeys((*wordings, *tests)):
            file, principle = originals[name]
            place = _place(file, root)
            made = _file(principle, place, texts[place], file, wordings.get(name), tests.get(name))
            (copy / place).write_text(made.after, encoding="utf-8")
            problems = _loading_problems(copy / place)
            if problems:
                refused[name] = problems[0].message
                (copy / place).write_text(made.before, encoding="utf-8")
            else:
                files.append(made)
                texts[place] = made.after
        place = _place(path, root)
        drafted = Loader()
        constitution = drafted.constitution(copy / place)
        drafted.raise_problems()
        assert constitution is not None
        advice = _advice(copy, [file.place for file in files])
    return EditDrafts(constitution, place, tuple(files), texts, refused, advice)


def next_version(version: str, *, reworded: bool) -> str:
    """The version after an edit: minor for another wording, patch for tests alone."""
    major, minor, patch = map(int, version.split("."))
    return f"{major}.{minor + 1}.0" if reworded else f"{major}.{minor}.{patch + 1}"


def _file(
    principle: Principle, place: str, text: str, path: Path, wording: DraftWording | None,
    tests: Sequence[DraftTest] | None,
) -> DraftFile:  # fmt: skip
    changed = {
        _PLACES[field]: getattr(wording, field)
        for field in _PLACES
        if wording is not None and getattr(wording, field) != getattr(principle, field)
    }
    version = next_version(principle.version, reworded=bool(changed))
    added = [as_values(one.test) for one in tests or ()]
    after = edited_text(text, path, {("version",): version, **changed}, added)
    return DraftFile(
        principle.id, place, (principle.version, version), text, after, len(added), bool(changed)
    )


@contextmanager
def _written(texts: Mapping[str, str]) -> Iterator[Path]:
    """The files in a folder that is a project, for as long as it takes."""
    with tempfile.TemporaryDirectory(prefix="cai-") as name:
        root = Path(name).resolve()
        (root / ".cai").mkdir()
        for place, text in texts.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(text, encoding="utf-8")
        yield root


def _loading_problems(path: Path) -> list[Problem]:
    loader = Loader()
    try:
        loader.principle(path)
    except ContentError as error:
        return list(error.problems)
    return loader.problems


def _advice(root: Path, places: Sequence[str]) -> tuple[Problem, ...]:
    """What a reviewer would say of the edited files, with their places."""
    names = {shown(root / place): place for place in places}
    problems = lint([root / place for place in places]).problems
    return tuple(
        replace(p, file=names[p.file], message=p.message.replace(f"{shown(root)}/", ""))
        for p in problems
        if p.file in names
    )


def _place(file: Path, root: Path) -> str:
    """Where a file stands, from the root, with slashes."""
    return Path(os.path.relpath(file, root)).as_posix()
