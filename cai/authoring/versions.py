"""Texts that changed since a commit while their version did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cai.authoring.committed import changed_since, checkout, merge_base
from cai.constitution.lint import content_files, default_paths
from cai.constitution.load import Loader
from cai.constitution.lock import Locked, locked
from cai.content import SUFFIXES, enclosing_project
from cai.errors import Problem, UsageError

LAST = "HEAD"


def unversioned(files: Sequence[Path], revision: str = LAST) -> list[Problem]:
    """Principles and constitutions among `files` whose text is not the commit's.

    Nothing where nothing changed, nor against `LAST` where there is no git or no commit; files with
    problems of their own are left to those. Raises `UsageError` where another commit can't be had.
    """
    projects = {enclosing_project(file.absolute().parent) for file in files}
    wanted = {file.absolute() for file in files}
    found: list[Problem] = []
    for project in sorted(p for p in projects if p is not None):
        try:
            base = revision if revision == LAST else merge_base(revision, project)
            if changed_since(base, project):
                found += _of_project(project, base, revision, wanted)
        except UsageError:  # no repository, no commit yet, no git: nothing to hold against
            if revision != LAST:
                raise
    return sorted(found)


def _of_project(project: Path, base: str, revision: str, wanted: set[Path]) -> Iterator[Problem]:
    """All are looked at, by id: a text may change by a template or by what it extends, and a file
    may have moved."""
    with checkout(base, project) as then:
        before = {(old.kind, old.id): old for _, old in _all(then)}
        for file, now in _all(project):
            old = before.get((now.kind, now.id))
            if old is None or file not in wanted:
                continue
            if now.lower_than(old) or now.unversioned_since(old):
                yield _problem(file, old, now, revision)


def _all(root: Path) -> Iterator[tuple[Path, Locked]]:
    """Every principle and constitution of a project that can be loaded."""
    loader = Loader()
    for file in content_files(default_paths(root)):
        source = loader.source(file) if file.suffix in SUFFIXES else None
        if source is None or not isinstance(source.value, dict):
            continue
        load = (
            loader.constitution if source.value.get("kind") == "Constitution" else loader.principle
        )
        found = load(file)
        if found is not None:
            yield file, locked(found)


def _problem(file: Path, then: Locked, now: Locked, revision: str) -> Problem:
    source = Loader().source(file)
    assert source is not None
    since = "the last commit" if revision == LAST else revision
    what = f"`{now.id}` changed since {since}, and is version {now.version} still"
    if then.version != now.version:
        what = f"the version of `{now.id}` went down, from {then.version} to {now.version}"
    hint = "Major: the meaning changed; minor: the wording; patch: tests and typos."
    return source.problem(("version",), "C070", what, hint)
