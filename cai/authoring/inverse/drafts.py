"""The chosen principles as files: drafts with a test each, and a constitution that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cai.authoring.importer import yaml_text
from cai.authoring.inverse.candidates import PrincipleCandidate
from cai.constitution.editors import modeline
from cai.constitution.schema import API
from cai.constitution.source import INVISIBLE
from cai.data.training_rows import PairRow
from cai.types import Principle

_LONGEST = 8_000  # characters of a text in a principle's file
_LONGEST_NAME = 60  # of a row, in the name of a test


@dataclass(frozen=True, slots=True)
class PrincipleDrafts:
    """Files to write: path from a project's root → text. constitution: the path of that file.

    untested: new principles without a test, since no pair that they explain has a prompt of one
    user turn.
    """

    texts: Mapping[str, str]
    constitution: str
    untested: tuple[str, ...]


def drafts_of(
    chosen: Sequence[PrincipleCandidate],
    examples: Mapping[str, Sequence[PairRow]],
    judging: Literal["letters", "pointwise"],
    *,
    name: str,
    about: str,
    today: str,
) -> PrincipleDrafts:
    """The files of the chosen principles: new ones as drafts, those of files copied as they are.

    examples: principle → pairs that it explains, the clearest first: the first that fits becomes
    the principle's test. name: the constitution's id. about: what the choice rests on, for its
    title. today: of the changelog, as an ISO date.
    """
    texts: dict[str, str] = {}
    untested: list[str] = []
    for candidate in chosen:
        principle = candidate.principle
        path = f"principles/{principle.id.replace('.', '/')}.yaml"
        if candidate.proposal is None:
            texts[path] = Path(principle.path).read_text(encoding="utf-8")
            continue
        test = _test(examples.get(principle.id, ()))
        if test is None:
            untested.append(principle.id)
        above = modeline("Principle", path.count("/"))
        texts[path] = above + yaml_text(_principle(principle, test))
    place = f"constitution/{name}.yaml"
    values = _constitution(list(texts), judging, name, about, today)
    texts[place] = modeline("Constitution", 1) + yaml_text(values)
    return PrincipleDrafts(texts, place, tuple(untested))


def _principle(principle: Principle, test: dict[str, Any] | None) -> dict[str, Any]:
    values: dict[str, Any] = {
        "api": API,
        "kind": "Principle",
        "id": principle.id,
        "version": principle.version,
        "title": principle.title,
        "why": principle.why,
        "source": principle.source,
        "tags": list(principle.tags),
        "stages": {
            "critique": principle.critique_request,
            "revise": principle.revision_request,
        },
        "compare": principle.comparison_question,
    }
    return values if test is None else {**values, "tests": [test]}


def _test(rows: Sequence[PairRow]) -> dict[str, Any] | None:
    """A test made of the first row whose texts a principle's file can hold."""
    for row in rows:
        texts = [
            INVISIBLE.sub("", message.content).strip()
            for message in (*row.prompt, row.chosen[0], row.rejected[0])
        ]
        if len(texts) != 3 or not all(0 < len(text) <= _LONGEST for text in texts):
            continue
        prompt, a, b = texts
        return {
            "name": f"prefers what was chosen in {' '.join(row.id.split())[:_LONGEST_NAME]}",
            "prompt": prompt,
            "a": a,
            "b": b,
            "expect": {"prefers": "a"},
        }
    return None


def _constitution(
    principles: Sequence[str], judging: str, name: str, about: str, today: str
) -> dict[str, Any]:
    return {
        "api": API,
        "kind": "Constitution",
        "id": name,
        "version": "0.1.0",
        "title": f"A draft: {about}"[:200],
        "principles": [{"ref": f"../{path}"} for path in principles],
        "plan": {"rounds": min(4, len(principles))},
        "feedback": {"mode": judging, "principles_per_pair": "all"},
        "changelog": [
            {
                "version": "0.1.0",
                "date": today,
                "by": "cai propose principles",
                "change": f"Drafted: {about}.",
            }
        ],
    }
