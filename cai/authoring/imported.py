"""From a foreign constitution to files of ours: a principle each, and a constitution over them.

A principle of ours needs all three wordings. What the foreign format does not carry is made from
what it does, and told, so that its author can write it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cai.authoring.foreign import ForeignContent, ForeignPrinciple
from cai.constitution.editors import modeline
from cai.constitution.schema import API
from cai.constitution.source import UNSEEN
from cai.types import Example

_QUOTED = 6_000  # characters of a wording that another is made of
_LONGEST = 80  # characters of an id's last part


@dataclass(frozen=True, slots=True)
class ImportedFiles:
    """What to write: path from the project's root → text; and what a reader must know of it."""

    texts: dict[str, str]
    constitution: str
    notes: tuple[str, ...]


def imported_files(content: ForeignContent, name: str, source: str, today: str) -> ImportedFiles:
    """Files of a project for what was read. name: the new constitution's id. source: the file."""
    ids = _ids([p.name for p in content.principles])
    texts: dict[str, str] = {}
    made: dict[str, int] = {}
    cleaned = 0
    for principle, last in zip(content.principles, ids, strict=True):
        values, new, hidden = _principle(principle, name, last, source, content.examples)
        for field in new:
            made[field] = made.get(field, 0) + 1
        cleaned += hidden
        path = f"principles/{name}/{last}.yaml"
        texts[path] = modeline("Principle", 2) + _yaml(values)
    path = f"constitution/{name}.yaml"
    texts[path] = modeline("Constitution", 1) + _yaml(
        _constitution(content, name, ids, source, today)
    )
    notes = [
        f"{count} × `{field}` was made from another wording: rewrite it"
        for field, count in made.items()
    ]
    if cleaned:
        notes.append(f"texts with characters that can't be seen, which are left out: {cleaned}")
    renamed = [f"{p.name} → {name}.{last}" for p, last in zip(content.principles, ids, strict=True)
               if p.name != f"{name}.{last}"]  # fmt: skip
    if renamed:
        more = f" and {len(renamed) - 1} more" if len(renamed) > 1 else ""
        notes.append(f"names became ids: {renamed[0]}{more}; the title keeps the name")
    if content.examples:
        notes.append(f"{len(content.examples)} few-shot examples serve every principle")
    notes += content.notes
    notes.append("no principle has tests yet: cai lint tells which (C050)")
    return ImportedFiles(texts, path, tuple(notes))


def _principle(
    foreign: ForeignPrinciple, name: str, last: str, source: str, examples: Sequence[Example]
) -> tuple[dict[str, Any], list[str], bool]:
    """A file's values, which wordings were made up, and whether something unseen was left out."""
    given = {"critique": foreign.critique, "revise": foreign.revise, "compare": foreign.compare}
    told = {field: text for field, text in given.items() if text is not None}
    clean = {field: UNSEEN.sub("", text).strip() for field, text in told.items()}
    hidden = any(UNSEEN.search(text) for text in told.values())
    standard = clean.get("critique") or clean.get("compare") or ""
    standard = standard if len(standard) <= _QUOTED else f"{standard[:_QUOTED]} …"
    made = {
        "critique": "Identify specific ways in which the assistant's last response would not be the"
        f" one to choose by this question: {standard}",
        "revise": "Please rewrite the assistant's response so that it does better by this"
        f" question, and keep everything else: {standard}",
        "compare": f"Which response needs less criticism, if this is asked of each: {standard}",
    }
    words = {field: clean.get(field, made[field]) for field in given}
    values: dict[str, Any] = {
        "api": API,
        "kind": "Principle",
        "id": f"{name}.{last}",
        "version": "1.0.0",
        "title": _title(UNSEEN.sub("", foreign.name), last),
        "why": f"Imported from {source}; its file gives no reason.",
        "source": f"{source}, {UNSEEN.sub('', foreign.name)}",
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
    return values, [field for field in given if field not in clean], hidden


def _constitution(
    content: ForeignContent, name: str, ids: Sequence[str], source: str, today: str
) -> dict[str, Any]:
    plan: dict[str, Any] = {"rounds": min(4, len(ids))}
    if content.examples:
        plan["fewshot"] = len(content.examples)
    compared = all(p.compare is not None for p in content.principles)
    return {
        "api": API,
        "kind": "Constitution",
        "id": name,
        "version": "1.0.0",
        "title": f"Imported from {source}",
        "principles": [{"ref": f"../principles/{name}/{last}.yaml"} for last in ids],
        "plan": plan,
        "feedback": {"mode": "letters" if compared else "pointwise"},
        "changelog": [
            {"version": "1.0.0", "date": today, "by": "cai import", "change": f"From {source}."}
        ],
    }


def _ids(names: Sequence[str]) -> list[str]:
    """Each name as the last part of an id; names that come to the same are numbered."""
    out: list[str] = []
    for name in names:
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST].strip("-")
        plain = plain or "principle"
        taken, number = plain, 2
        while taken in out:
            taken, number = f"{plain}-{number}", number + 1
        out.append(taken)
    return out


def _title(name: str, last: str) -> str:
    line = " ".join(name.split())[:100]
    return f"{line} ({last})" if line and line != last else f"Imported: {last}"


class _Dumper(yaml.SafeDumper):
    """Without aliases; texts of several lines or some length as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _yaml(values: dict[str, Any]) -> str:
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
