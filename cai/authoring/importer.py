"""Turns another tool's constitution into files of a project: principles and a constitution.

A principle needs a critique, a revision and a comparison. What the other format does not have is
filled in from what it has, and noted, so that the author can rewrite it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cai.authoring.formats import ImportedContent, ImportedPrinciple
from cai.authoring.reasons import NOT_GIVEN
from cai.constitution.editors import modeline
from cai.constitution.schema import API
from cai.constitution.source import INVISIBLE
from cai.types import Example

_QUOTED = 6_000  # characters of a wording that another is filled in from
_LONGEST = 80  # characters of an id's last part


@dataclass(frozen=True, slots=True)
class ImportedFiles:
    """The files to write, path from the project's root → text, and notes for the user."""

    texts: dict[str, str]
    constitution: str
    notes: tuple[str, ...]


def project_files(content: ImportedContent, name: str, source: str, today: str) -> ImportedFiles:
    """The project files for imported content. name: the new constitution's id. source: its file."""
    ids = unique_ids([p.name for p in content.principles])
    texts: dict[str, str] = {}
    filled_in: dict[str, int] = {}
    cleaned = 0
    for principle, last in zip(content.principles, ids, strict=True):
        values, new, hidden = _principle(principle, name, last, source, content.examples)
        for field in new:
            filled_in[field] = filled_in.get(field, 0) + 1
        cleaned += hidden
        path = f"principles/{name}/{last}.yaml"
        texts[path] = modeline("Principle", 2) + yaml_text(values)
    path = f"constitution/{name}.yaml"
    texts[path] = modeline("Constitution", 1) + yaml_text(
        _constitution(content, name, ids, source, today)
    )
    notes = [
        f"{count} × `{field}` was filled in from another wording: rewrite it"
        for field, count in filled_in.items()
    ]
    if cleaned:
        notes.append(f"texts from which invisible characters were removed: {cleaned}")
    renamed = [f"{p.name} → {name}.{last}" for p, last in zip(content.principles, ids, strict=True)
               if p.name != f"{name}.{last}"]  # fmt: skip
    if renamed:
        more = f" and {len(renamed) - 1} more" if len(renamed) > 1 else ""
        notes.append(f"names became ids: {renamed[0]}{more}; the title keeps the name")
    if content.examples:
        notes.append(f"{len(content.examples)} few-shot examples are given to every principle")
    notes += content.notes
    notes.append("no principle has tests yet: see cai lint (C050)")
    return ImportedFiles(texts, path, tuple(notes))


def _principle(
    foreign: ImportedPrinciple, name: str, last: str, source: str, examples: Sequence[Example]
) -> tuple[dict[str, Any], list[str], bool]:
    """A file's values, the wordings that were filled in, and whether characters were removed."""
    wordings = {"critique": foreign.critique, "revise": foreign.revise, "compare": foreign.compare}
    present = {field: text for field, text in wordings.items() if text is not None}
    clean = {field: INVISIBLE.sub("", text).strip() for field, text in present.items()}
    hidden = any(INVISIBLE.search(text) for text in present.values())
    standard = clean.get("critique") or clean.get("compare") or ""
    standard = standard if len(standard) <= _QUOTED else f"{standard[:_QUOTED]} …"
    defaults = {
        "critique": "Identify specific ways in which the assistant's last response would not be the"
        f" one to choose by this question: {standard}",
        "revise": "Please rewrite the assistant's response so that it does better by this"
        f" question, and keep everything else: {standard}",
        "compare": f"Which response needs less criticism, if this is asked of each: {standard}",
    }
    words = {field: clean.get(field, defaults[field]) for field in wordings}
    values: dict[str, Any] = {
        "api": API,
        "kind": "Principle",
        "id": f"{name}.{last}",
        "version": "1.0.0",
        "title": _title(INVISIBLE.sub("", foreign.name), last),
        "why": f"Imported from {source}; {NOT_GIVEN}",
        "source": f"{source}, {INVISIBLE.sub('', foreign.name)}",
        "tags": ["imported"],
        "stages": {"critique": words["critique"], "revise": words["revise"]},
        "compare": words["compare"],
    }
    if examples:
        values["examples"] = [
            {
                "prompt": e.prompt, "response": e.response, "critique": e.critique,
                "revision": e.revision,
            }
            for e in examples
        ]  # fmt: skip
    return values, [field for field in wordings if field not in clean], hidden


def _constitution(
    content: ImportedContent, name: str, ids: Sequence[str], source: str, today: str
) -> dict[str, Any]:
    plan: dict[str, Any] = {"rounds": min(4, len(ids))}
    if content.examples:
        plan["fewshot"] = len(content.examples)
    has_comparisons = all(p.compare is not None for p in content.principles)
    return {
        "api": API,
        "kind": "Constitution",
        "id": name,
        "version": "1.0.0",
        "title": f"Imported from {source}",
        "principles": [{"ref": f"../principles/{name}/{last}.yaml"} for last in ids],
        "plan": plan,
        "feedback": {"mode": "letters" if has_comparisons else "pointwise"},
        "changelog": [
            {"version": "1.0.0", "date": today, "by": "cai import", "change": f"From {source}."}
        ],
    }


def unique_ids(names: Sequence[str]) -> list[str]:
    """The last part of an id for each name; equal ones are numbered."""
    out: list[str] = []
    for name in names:
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST].strip("-")
        plain = plain or "principle"
        unique, number = plain, 2
        while unique in out:
            unique, number = f"{plain}-{number}", number + 1
        out.append(unique)
    return out


def _title(name: str, last: str) -> str:
    line = " ".join(name.split())[:100]
    return f"{line} ({last})" if line and line != last else f"Imported: {last}"


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def yaml_text(values: dict[str, Any]) -> str:
    """Values as YAML, keys in their order, texts of several lines as blocks."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
