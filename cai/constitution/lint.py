"""Check files before anything is spent: all that loading finds, and what only a reviewer would."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.constitution import layout, survey
from cai.constitution.load import Loader, template_problems
from cai.constitution.lock import Locked, against, locked, read_lock
from cai.constitution.project import NAME as SETTINGS
from cai.constitution.project import project_problems, settings_above
from cai.constitution.source import Source, read_text, walk_texts
from cai.constitution.templates import SOURCE_LIMIT, VARIABLES, source_problems
from cai.constitution.validation import KINDS, validate
from cai.content import SUFFIXES, enclosing_project, project_root, shown
from cai.errors import Problem
from cai.types import Constitution, Principle

_NOTE = re.compile(r"\b(TODO|FIXME|TBD|XXX)\b")
_IGNORE = re.compile(r"#\s*lint: ignore((?:[ ,]+C[0-9]{3})+)")
ADVICE = ("C05", "C06")
"""Codes of what a reviewer would find: no build stops for them, and a comment silences them."""
_FOLDERS = ("constitution", "principles")
TEMPLATE_SUFFIXES = (".j2", ".jinja")


@dataclass(frozen=True, slots=True)
class LintReport:
    """How many files were looked at, and every problem in them."""

    files: int
    problems: tuple[Problem, ...]


def lint(paths: Sequence[Path]) -> LintReport:
    """Check files and folders, and what they refer to.

    Of a project's folder `constitution/` and `principles/` are read, and the settings in `cai.yaml`
    that hold for it.
    """
    loader = Loader()
    files = [*content_files(paths), *_settings(paths)]
    constitutions: dict[Path, Constitution] = {}
    for file in files:
        if file.name == SETTINGS:
            loader.note(project_problems(file))
        elif file.suffix in TEMPLATE_SUFFIXES:
            loader.note(_template(file))
        elif file.suffix in SUFFIXES:
            found = _yaml(loader, file)
            if found is not None:
                constitutions[file] = found
        else:
            hint = f"Name files that end in {', '.join((*SUFFIXES, *TEMPLATE_SUFFIXES))}."
            what = "neither YAML nor a template" if file.exists() else "there is no such file"
            loader.note([Problem(shown(file), 1, 1, "C001", what, hint)])
        loader.note(layout.untidy(file))
    loader.note(_principles(loader))
    loader.note(_deprecated(loader))
    if not any(problem.code < "C050" for problem in loader.problems):  # else most would be missing
        loader.note(_locked(loader, constitutions, paths))
    kept = [problem for problem in loader.problems if not _silenced(problem)]
    return LintReport(len(files), tuple(kept))


def _silenced(problem: Problem) -> bool:
    """Whether a line asks for silence about advice: `# lint: ignore C057`."""
    if not problem.code.startswith(ADVICE):
        return False
    try:
        lines = Path(problem.file).read_text(encoding="utf-8").splitlines()
        asked = _IGNORE.search(lines[problem.line - 1])
    except (OSError, UnicodeDecodeError, IndexError):
        return False
    return asked is not None and problem.code in asked.group(1)


def content_files(paths: Sequence[Path]) -> list[Path]:
    """The content among files and folders, each file once."""
    return list(
        dict.fromkeys(file for path in paths for file in _files(path) if file.name != SETTINGS)
    )


def _settings(paths: Sequence[Path]) -> list[Path]:
    """The `cai.yaml` that are named, and those of the projects that are linted whole."""
    named = [path for path in paths if path.name == SETTINGS]
    roots = {enclosing_project(path.absolute()) for path in paths if path.is_dir()}
    whole = [root for root in roots if root is not None and _is_whole(root, paths)]
    held = [file for root in sorted(whole) if (file := settings_above(root)) is not None]
    return list({file.absolute(): file for file in (*named, *held)}.values())


def _is_whole(root: Path, paths: Sequence[Path]) -> bool:
    """Whether a project's whole content is among files and folders."""
    folders = [root / name for name in _FOLDERS if (root / name).is_dir()]
    there = [os.path.realpath(path) for path in paths]
    return os.path.realpath(root) in there or all(os.path.realpath(f) in there for f in folders)


def lockable(paths: Sequence[Path]) -> list[Locked]:
    """What a lock says of all principles and constitutions among files and folders.

    Raises `ContentError` with every problem that loading them finds.
    """
    loader = Loader()
    found: list[Locked] = []
    for file in content_files(paths):
        if file.suffix in SUFFIXES:
            constitution = _yaml(loader, file)
            found += [locked(constitution)] if constitution is not None else []
    loader.raise_problems()
    return [*found, *map(locked, loader.principles.values())]


def mended(paths: Sequence[Path]) -> dict[Path, str]:
    """The files in which something is safely mended (see `layout.mended`), and their new texts.

    Links are left as they are.
    """
    out = {}
    for file in (*content_files(paths), *_settings(paths)):
        kind = None if file.name == SETTINGS else _kind_of(file)
        text = None if file.is_symlink() else layout.mended(file, kind)
        if text is not None:
            out[file] = text
    return out


def _files(path: Path) -> Iterator[Path]:
    """The content files below a path, in order; links to folders are not followed."""
    if not path.is_dir():
        yield path
        return
    parts = [path / name for name in _FOLDERS if (path / name).is_dir()] or [path]
    for part in parts:
        for folder, below, names in os.walk(part):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(names):
                if name.endswith((*SUFFIXES, *TEMPLATE_SUFFIXES)) and not name.startswith("."):
                    yield Path(folder) / name


def _yaml(loader: Loader, file: Path) -> Constitution | None:
    """Load a file as what its `kind` says; without one, as what its folder suggests."""
    source = loader.source(file)
    if source is None:
        return None
    kind = source.value.get("kind") if isinstance(source.value, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        loader.note(validate(source, KINDS[_kind_of(file)])[1])
    elif kind == "Constitution":
        constitution = loader.constitution(file)
        loader.note(_changelog(source))
        loader.note(_notes(source))
        if constitution is not None:
            loader.note(survey.never_asked(source, constitution.members, constitution.plan))
        return constitution
    else:
        loader.principle(file)
    return None


def _kind_of(file: Path) -> str:
    """The kind of file that its folder suggests."""
    return "Constitution" if "constitution" in file.absolute().parts[:-1] else "Principle"


def _template(file: Path) -> list[Problem]:
    """A template file, checked as the kind its name begins with (`compare_both.j2`: compare)."""
    text, problems = read_text(file, SOURCE_LIMIT)
    if problems:
        return problems
    kinds = [k for k in sorted(VARIABLES, key=len, reverse=True) if file.stem.startswith(k)]
    if kinds:
        problems = template_problems(text, shown(file), kinds[0])
    else:
        known = frozenset[str]().union(*(a | b for a, b in VARIABLES.values()))
        problems = source_problems(text, shown(file), known)
    for number, line in enumerate(text.splitlines(), 1):
        note = _NOTE.search(line)
        if note:
            problems.append(_note(shown(file), (number, note.start() + 1), note.group()))
    return problems


def _principles(loader: Loader) -> Iterator[Problem]:
    """What is wrong with principles beside each other, and what is missing in each."""
    ids: dict[tuple[Path, str], str] = {}
    titles: dict[tuple[Path, str], str] = {}
    beside: list[tuple[Path, Source, Principle]] = []
    for (path, root), principle in sorted(loader.principles.items()):
        source = loader.source(path)
        if source is None:
            continue
        beside.append((root, source, principle))
        yield from _notes(source)
        yield from survey.of_principle(source, principle)
        if not principle.tests:
            what = f"`{principle.id}` has no tests"
            hint = "Add two or three: a response that it flags, one that it leaves alone, a pair."
            yield source.problem(("id",), "C050", what, hint)
        elif not any("prefers" in test.expect for test in principle.tests):
            what = "no test says which of two responses the comparison prefers"
            hint = "Add one with `a`, `b` and `expect: {prefers: a}`, or b."
            yield source.problem(("compare",), "C061", what, hint)
        first = ids.setdefault((root, principle.id), source.file)
        if first != source.file:
            what = f"the id `{principle.id}` is taken by {first}"
            yield source.problem(("id",), "C023", what, "Give one of them another id.")
        first = titles.setdefault((root, principle.title.casefold()), source.file)
        if first != source.file:
            what = f"the title is that of {first}"
            yield source.problem(("title",), "C051", what, "Say what is different about it.")
    yield from survey.alike(beside)


def _locked(
    loader: Loader, constitutions: dict[Path, Constitution], paths: Sequence[Path]
) -> Iterator[Problem]:
    """Content against the lock of its project, where whole projects are linted that have one."""
    there: dict[Path, list[tuple[Locked, str, tuple[int, int]]]] = {}
    for (path, root), principle in sorted(loader.principles.items()):
        source = loader.source(path)
        if source is not None:
            place = (locked(principle), source.file, source.position(("version",)))
            there.setdefault(root, []).append(place)
    for path, constitution in constitutions.items():
        source = loader.source(path)
        if source is not None:
            place = (locked(constitution), source.file, source.position(("version",)))
            there.setdefault(project_root(path), []).append(place)
    for root, items in there.items():
        if _is_whole(root, paths):
            lock, problems = read_lock(root)
            yield from problems
            if lock is not None:
                yield from against(lock, root, items)


def _deprecated(loader: Loader) -> Iterator[Problem]:
    for source, place, principle in loader.uses:
        if principle.deprecated:
            what = f"`{principle.id}` is deprecated"
            yield source.problem(place, "C052", what, " ".join(principle.deprecated.split()))


def _changelog(source: Source) -> Iterator[Problem]:
    value: dict[str, Any] = source.value
    version, entries = value.get("version"), value.get("changelog", [])
    if not isinstance(version, str) or not isinstance(entries, list):
        return
    if not any(isinstance(e, dict) and e.get("version") == version for e in entries):
        what = f"the changelog has no entry for version {version}"
        hint = "Add {version: …, date: …, by: …, change: …} under `changelog`."
        yield source.problem(("version",), "C054", what, hint)


def _notes(source: Source) -> Iterator[Problem]:
    """Notes to the author in any text but those of examples and tests."""
    for place, text in walk_texts(source.value):
        note = _NOTE.search(text)
        if note and place[0] not in ("tests", "examples"):
            yield _note(source.file, source.position(place), note.group())


def _note(file: str, at: tuple[int, int], word: str) -> Problem:
    return Problem(file, *at, "C053", f"the text still says {word}", "Finish it, or take it out.")


def default_paths(here: Path) -> list[Path]:
    """What `cai lint` checks without arguments: the project around `here`, if there is one."""
    root = enclosing_project(here) or here
    return [root / name for name in _FOLDERS if (root / name).is_dir()]
