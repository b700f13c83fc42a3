"""Finds content that changed since a commit without a new version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cai.authoring.git import changed_since, checkout, merge_base
from cai.constitution.lint import content_files, default_paths
from cai.constitution.load import Loader
from cai.constitution.lock import LockEntry, lock_entry
from cai.content import SUFFIXES, enclosing_project
from cai.errors import Problem, UsageError

LAST = "HEAD"


def unversioned(files: Sequence[Path], revision: str = LAST) -> list[Problem]:
    """Problems of principles and constitutions among `files` that changed without a new version.

    Empty if nothing changed, and for `LAST` if there is no git or no commit. Files with problems of
    their own are left out. Raises `UsageError` if another commit can't be read.
    """
    projects = {enclosing_project(file.absolute().parent) for file in files}
    absolute = {file.absolute() for file in files}
    problems: list[Problem] = []
    for project in sorted(p for p in projects if p is not None):
        try:
            base = revision if revision == LAST else merge_base(revision, project)
            if changed_since(base, project):
                problems += _of_project(project, base, revision, absolute)
        except UsageError:  # no repository, no commit yet, no git: nothing to compare with
            if revision != LAST:
                raise
    return sorted(problems)


def _of_project(project: Path, base: str, revision: str, files: set[Path]) -> Iterator[Problem]:
    """Problems of a project. All files are compared, by id: a text may change through a template or
    through `extends`, and a file may have moved."""
    with checkout(base, project) as then:
        before = {(old.kind, old.id): old for _, old in _all(then)}
        for file, now in _all(project):
            old = before.get((now.kind, now.id))
            if old is None or file not in files:
                continue
            if now.is_older_than(old) or now.changed_without_version(old):
                yield _problem(file, old, now, revision)


def _all(root: Path) -> Iterator[tuple[Path, LockEntry]]:
    """Every principle and constitution of a project that can be loaded."""
    loader = Loader()
    for file in content_files(default_paths(root)):
        source = loader.source(file) if file.suffix in SUFFIXES else None
        if source is None or not isinstance(source.value, dict):
            continue
        load = (
            loader.constitution if source.value.get("kind") == "Constitution" else loader.principle
        )
        item = load(file)
        if item is not None:
            yield file, lock_entry(item)


def _problem(file: Path, then: LockEntry, now: LockEntry, revision: str) -> Problem:
    source = Loader().source(file)
    assert source is not None
    since = "the last commit" if revision == LAST else revision
    what = f"`{now.id}` changed since {since}, but is still version {now.version}"
    if then.version != now.version:
        what = f"the version of `{now.id}` went down, from {then.version} to {now.version}"
    hint = (
        "Raise the version. Major: the meaning changed; minor: the wording; patch: tests and typos."
    )
    return source.problem(("version",), "C070", what, hint)
