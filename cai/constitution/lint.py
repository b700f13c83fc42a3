"""Lints content files: the errors that loading finds, and advice that a reviewer would give."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.constitution import heuristics, layout
from cai.constitution.load import Loader, template_problems
from cai.constitution.lock import LockEntry, lock_entry, lock_problems, read_lock
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
"""Prefixes of codes that are advice: no build stops for them, and a comment can ignore them."""
_FOLDERS = ("constitution", "principles")
TEMPLATE_SUFFIXES = (".j2", ".jinja")


@dataclass(frozen=True, slots=True)
class LintReport:
    """How many files were linted, and every problem in them."""

    files: int
    problems: tuple[Problem, ...]


def lint(paths: Sequence[Path]) -> LintReport:
    """Lint files and folders, and what they refer to.

    Of a project's root folder, `constitution/`, `principles/` and the settings in `cai.yaml` are
    linted.
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
            constitution = _yaml(loader, file)
            if constitution is not None:
                constitutions[file] = constitution
        else:
            hint = f"Give files that end in {', '.join((*SUFFIXES, *TEMPLATE_SUFFIXES))}."
            what = "neither YAML nor a template" if file.exists() else "no such file"
            loader.note([Problem(shown(file), 1, 1, "C001", what, hint)])
        loader.note(layout.whitespace_problems(file))
    loader.note(_principles(loader))
    loader.note(_deprecated(loader))
    if not any(
        problem.code < "C050" for problem in loader.problems
    ):  # else most entries would be missing
        loader.note(_lock_problems(loader, constitutions, paths))
    problems = tuple(problem for problem in loader.problems if not _is_ignored(problem))
    return LintReport(len(files), problems)


def _is_ignored(problem: Problem) -> bool:
    """Whether a comment on the line ignores advice: `# lint: ignore C057`."""
    if not problem.code.startswith(ADVICE):
        return False
    try:
        lines = Path(problem.file).read_text(encoding="utf-8").splitlines()
        comment = _IGNORE.search(lines[problem.line - 1])
    except (OSError, UnicodeDecodeError, IndexError):
        return False
    return comment is not None and problem.code in comment.group(1)


def content_files(paths: Sequence[Path]) -> list[Path]:
    """The content files among files and folders, each once."""
    return list(
        dict.fromkeys(file for path in paths for file in _files(path) if file.name != SETTINGS)
    )


def _settings(paths: Sequence[Path]) -> list[Path]:
    """The `cai.yaml` files among the paths, and those of projects that are linted as a whole."""
    files = [path for path in paths if path.name == SETTINGS]
    roots = {enclosing_project(path.absolute()) for path in paths if path.is_dir()}
    whole = [root for root in roots if root is not None and _is_whole(root, paths)]
    of_projects = [file for root in sorted(whole) if (file := settings_above(root)) is not None]
    return list({file.absolute(): file for file in (*files, *of_projects)}.values())


def _is_whole(root: Path, paths: Sequence[Path]) -> bool:
    """Whether the paths cover the whole content of a project."""
    folders = [root / name for name in _FOLDERS if (root / name).is_dir()]
    real = [os.path.realpath(path) for path in paths]
    return os.path.realpath(root) in real or all(os.path.realpath(f) in real for f in folders)


def lock_entries(paths: Sequence[Path]) -> list[LockEntry]:
    """The lock entries of all principles and constitutions among files and folders.

    Raises `ContentError` with every problem that loading them finds.
    """
    loader = Loader()
    entries: list[LockEntry] = []
    for file in content_files(paths):
        if file.suffix in SUFFIXES:
            constitution = _yaml(loader, file)
            entries += [lock_entry(constitution)] if constitution is not None else []
    loader.raise_problems()
    return [*entries, *map(lock_entry, loader.principles.values())]


def fixed_texts(paths: Sequence[Path]) -> dict[Path, str]:
    """The files that can be fixed safely, and their fixed texts (see `layout.fixed_text`).

    Symbolic links are left alone.
    """
    out = {}
    for file in (*content_files(paths), *_settings(paths)):
        kind = None if file.name == SETTINGS else _kind_of(file)
        text = None if file.is_symlink() else layout.fixed_text(file, kind)
        if text is not None:
            out[file] = text
    return out


def _files(path: Path) -> Iterator[Path]:
    """The content files below a path, sorted; links to folders are not followed."""
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
    """Load a file by its `kind`, or else its folder. Returns the constitution, if it is one."""
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
            loader.note(heuristics.never_drawn(source, constitution.members, constitution.plan))
        return constitution
    else:
        loader.principle(file)
    return None


def _kind_of(file: Path) -> str:
    """The kind of file that its folder suggests."""
    return "Constitution" if "constitution" in file.absolute().parts[:-1] else "Principle"


def _template(file: Path) -> list[Problem]:
    """Problems of a template file, whose kind is the prefix of its name (`compare_both.j2`)."""
    text, problems = read_text(file, SOURCE_LIMIT)
    if problems:
        return problems
    kinds = [k for k in sorted(VARIABLES, key=len, reverse=True) if file.stem.startswith(k)]
    if kinds:
        problems = template_problems(text, shown(file), kinds[0])
    else:
        variables = frozenset[str]().union(*(a | b for a, b in VARIABLES.values()))
        problems = source_problems(text, shown(file), variables)
    for number, line in enumerate(text.splitlines(), 1):
        note = _NOTE.search(line)
        if note:
            problems.append(_note(shown(file), (number, note.start() + 1), note.group()))
    return problems


def _principles(loader: Loader) -> Iterator[Problem]:
    """Problems within each principle, and between principles."""
    ids: dict[tuple[Path, str], str] = {}
    titles: dict[tuple[Path, str], str] = {}
    principles: list[tuple[Path, Source, Principle]] = []
    for (path, root), principle in sorted(loader.principles.items()):
        source = loader.source(path)
        if source is None:
            continue
        principles.append((root, source, principle))
        yield from _notes(source)
        yield from heuristics.principle_problems(source, principle)
        if not principle.tests:
            what = f"`{principle.id}` has no tests"
            hint = "Add two or three: a response that it flags, one that it accepts, a pair."
            yield source.problem(("id",), "C050", what, hint)
        elif not any("prefers" in test.expect for test in principle.tests):
            what = "no test says which of two responses the comparison prefers"
            hint = "Add one with `a`, `b` and `expect: {prefers: a}`, or b."
            yield source.problem(("compare",), "C061", what, hint)
        first = ids.setdefault((root, principle.id), source.file)
        if first != source.file:
            what = f"the id `{principle.id}` is already used by {first}"
            yield source.problem(("id",), "C023", what, "Give one of them another id.")
        first = titles.setdefault((root, principle.title.casefold()), source.file)
        if first != source.file:
            what = f"the same title as in {first}"
            yield source.problem(("title",), "C051", what, "Say in the title what differs.")
    yield from heuristics.near_duplicates(principles)


def _lock_problems(
    loader: Loader, constitutions: dict[Path, Constitution], paths: Sequence[Path]
) -> Iterator[Problem]:
    """Differences from `cai.lock`, for projects that have one and are linted as a whole."""
    by_root: dict[Path, list[tuple[LockEntry, str, tuple[int, int]]]] = {}
    for (path, root), principle in sorted(loader.principles.items()):
        source = loader.source(path)
        if source is not None:
            place = (lock_entry(principle), source.file, source.position(("version",)))
            by_root.setdefault(root, []).append(place)
    for path, constitution in constitutions.items():
        source = loader.source(path)
        if source is not None:
            place = (lock_entry(constitution), source.file, source.position(("version",)))
            by_root.setdefault(project_root(path), []).append(place)
    for root, items in by_root.items():
        if _is_whole(root, paths):
            lock, problems = read_lock(root)
            yield from problems
            if lock is not None:
                yield from lock_problems(lock, root, items)


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
    """Notes to the author in any text outside examples and tests."""
    for place, text in walk_texts(source.value):
        note = _NOTE.search(text)
        if note and place[0] not in ("tests", "examples"):
            yield _note(source.file, source.position(place), note.group())


def _note(file: str, at: tuple[int, int], word: str) -> Problem:
    return Problem(
        file, *at, "C053", f"the text still contains {word}", "Finish it, or delete the note."
    )


def default_paths(here: Path) -> list[Path]:
    """What `cai lint` lints without arguments: the project around `here`, if there is one."""
    root = enclosing_project(here) or here
    return [root / name for name in _FOLDERS if (root / name).is_dir()]
