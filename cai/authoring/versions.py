"""Texts that changed since a commit while their version did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cai.authoring.committed import changed_since, checked_out
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
            changed = changed_since(revision, project)
            if changed:
                found += _of_project(project, revision, changed, wanted)
        except UsageError:  # no repository, no commit yet, no git: nothing to hold against
            if revision != LAST:
                raise
    return sorted(found)


def _of_project(
    project: Path, revision: str, changed: Sequence[str], wanted: set[Path]
) -> Iterator[Problem]:
    """A constitution may have changed by a template, so all of them are looked at."""
    own = {name for name in changed if name.endswith(SUFFIXES)}
    if any(not name.startswith("principles/") for name in changed):
        folder = project / "constitution"
        own |= {file.relative_to(project).as_posix() for file in folder.glob("*.y*ml")}
    with checked_out(revision, project) as then:
        for name in sorted(own):
            if project / name not in wanted or not (then / name).is_file():
                continue
            before, after = _locked(then / name), _locked(project / name)
            if before is None or after is None or before.id != after.id:
                continue
            if _order(after.version) < _order(before.version) or (
                before.digest != after.digest and before.version == after.version
            ):
                yield _problem(project / name, before, after, revision)


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _locked(file: Path) -> Locked | None:
    """A file's version and digest; None where it can't be loaded."""
    loader = Loader()
    source = loader.source(file)
    if source is None or not isinstance(source.value, dict):
        return None
    if source.value.get("kind") == "Constitution":
        constitution = loader.constitution(file)
        return locked(constitution) if constitution else None
    principle = loader.principle(file)
    return locked(principle) if principle else None


def _problem(file: Path, then: Locked, now: Locked, revision: str) -> Problem:
    source = Loader().source(file)
    assert source is not None
    since = "the last commit" if revision == LAST else revision
    what = f"`{now.id}` changed since {since}, and is version {now.version} still"
    if then.version != now.version:
        what = f"the version of `{now.id}` went down, from {then.version} to {now.version}"
    hint = "Major: the meaning changed; minor: the wording; patch: tests and typos."
    return source.problem(("version",), "C070", what, hint)
