"""Check files before anything is spent: all that loading finds, and what only a reviewer would."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.constitution.complain import KINDS, validate
from cai.constitution.load import Loader, template_problems
from cai.constitution.source import Source, read_text, walk_texts
from cai.constitution.templates import SOURCE_LIMIT, VARIABLES, check
from cai.content import SUFFIXES, enclosing_project, shown
from cai.errors import Problem

_NOTE = re.compile(r"\b(TODO|FIXME|TBD|XXX)\b")
_FOLDERS = ("constitution", "principles")
TEMPLATE_SUFFIXES = (".j2", ".jinja")


@dataclass(frozen=True, slots=True)
class Report:
    """How many files were looked at, and every problem in them."""

    files: int
    problems: tuple[Problem, ...]


def lint(paths: Sequence[Path]) -> Report:
    """Check files and folders, and what they refer to.

    Of a project's folder only `constitution/` and `principles/` are read.
    """
    loader = Loader()
    files = list(dict.fromkeys(file for path in paths for file in _files(path)))
    for file in files:
        if file.suffix in TEMPLATE_SUFFIXES:
            loader.note(_template(file))
        elif file.suffix in SUFFIXES:
            _yaml(loader, file)
        else:
            hint = f"Name files that end in {', '.join((*SUFFIXES, *TEMPLATE_SUFFIXES))}."
            loader.note([Problem(shown(file), 1, 1, "C001", "neither YAML nor a template", hint)])
    loader.note(_principles(loader))
    loader.note(_deprecated(loader))
    return Report(len(files), tuple(loader.problems))


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


def _yaml(loader: Loader, file: Path) -> None:
    """Load a file as what its `kind` says; without one, as what its folder suggests."""
    source = loader.source(file)
    if source is None:
        return
    kind = source.value.get("kind") if isinstance(source.value, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        folder = "Constitution" if "constitution" in file.absolute().parts[:-1] else "Principle"
        loader.note(validate(source, KINDS[folder])[1])
    elif kind == "Constitution":
        loader.constitution(file)
        loader.note(_changelog(source))
        loader.note(_notes(source))
    else:
        loader.principle(file)


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
        problems = check(text, shown(file), known)
    for number, line in enumerate(text.splitlines(), 1):
        note = _NOTE.search(line)
        if note:
            problems.append(_note(shown(file), (number, note.start() + 1), note.group()))
    return problems


def _principles(loader: Loader) -> Iterator[Problem]:
    """What is wrong with principles beside each other, and what is missing in each."""
    ids: dict[tuple[Path, str], str] = {}
    titles: dict[tuple[Path, str], str] = {}
    for (path, root), principle in sorted(loader.principles.items()):
        source = loader.source(path)
        if source is None:
            continue
        yield from _notes(source)
        if not principle.tests:
            what = f"`{principle.id}` has no tests"
            hint = "Add two or three: a response that it flags, one that it leaves alone, a pair."
            yield source.problem(("id",), "C050", what, hint)
        first = ids.setdefault((root, principle.id), source.file)
        if first != source.file:
            what = f"the id `{principle.id}` is taken by {first}"
            yield source.problem(("id",), "C023", what, "Give one of them another id.")
        first = titles.setdefault((root, principle.title.casefold()), source.file)
        if first != source.file:
            what = f"the title is that of {first}"
            yield source.problem(("title",), "C051", what, "Say what is different about it.")


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
