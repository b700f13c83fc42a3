"""Principles as people name them on the command line: by file, folder, or id in a constitution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cai.errors import UsageError

if TYPE_CHECKING:
    from cai.types import Constitution, Principle


def find_principle(name: str, rules: Constitution) -> Principle:
    """A principle by file, or by id in the constitution."""
    from difflib import get_close_matches

    from cai.constitution.load import load_principle

    by_id = {m.principle.id: m.principle for m in rules.members}
    if name in by_id:
        return by_id[name]
    if name.endswith((".yaml", ".yml")) or Path(name).is_file():
        return load_principle(name)
    close = get_close_matches(name, by_id, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"It has: {', '.join(by_id)}"
    elsewhere = _constitution_with(name)
    hint = f"The constitution {elsewhere} has it: -c {elsewhere}." if elsewhere else hint
    raise UsageError(f"{rules.id} has no principle {name!r}", hint=hint)


def _constitution_with(principle: str) -> str | None:
    """A constitution of the project around here that has a principle of this id."""
    from cai.constitution.load import Loader
    from cai.content import enclosing_project

    root = enclosing_project(Path.cwd())
    for file in sorted((root / "constitution").glob("*.yaml")) if root else ():
        rules = Loader().constitution(file)
        if rules is not None and principle in {m.principle.id for m in rules.members}:
            return file.stem
    return None


def find_principles(names: Sequence[str], rules: Constitution) -> list[Principle]:
    """The principles that are named, each once; all of the constitution where none is."""
    from cai.constitution.load import load_principle
    from cai.content import SUFFIXES

    if not names:
        return [member.principle for member in rules.members]
    principles: dict[str, Principle] = {}
    for name in names:
        if Path(name).is_dir():
            files = sorted(p for p in Path(name).rglob("*") if p.suffix in SUFFIXES)
            matches = [load_principle(file) for file in files]
        else:
            matches = [find_principle(name, rules)]
        principles |= {principle.id: principle for principle in matches}
    return list(principles.values())


def with_principles(rules: Constitution, names: Sequence[str]) -> Constitution:
    """The constitution with the principles of these ids alone; whole where none is named."""
    from dataclasses import replace
    from difflib import get_close_matches

    known = [member.principle.id for member in rules.members]
    for unknown in (one for one in names if one not in known):
        close = get_close_matches(unknown, known, n=1)
        raise UsageError(
            f"{rules.id} has no principle {unknown!r}",
            hint=f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(known)}.",
        )
    if not names:
        return rules
    members = tuple(m for m in rules.members if m.principle.id in names)
    return replace(rules, members=members)


def validate_unicode(**texts: str | None) -> None:
    """Refuse an option's text that no tokenizer could read; `texts` by the option's name."""
    for name, text in texts.items():
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise UsageError(f"--{name} is not valid text", hint="Pass it as UTF-8.") from None
