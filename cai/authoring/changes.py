"""Differences between two constitutions, setting by setting and field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from cai.constitution.templates import without_reason
from cai.pipeline.snapshot import snapshot
from cai.types import Constitution

ChangeKind: TypeAlias = Literal["added", "removed", "changed"]
ConstitutionValues: TypeAlias = Mapping[str, Any]
"""A constitution as plain values: a run's snapshot, or `content_of` files."""

_OF_ALL = ("id", "version", "title", "no_problem", "show_why")
_SETTINGS = ("plan", "feedback", "templates")
_DERIVED = {"id", "digest"}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two constitutions.

    part: `constitution`, `plan`, `feedback`, `templates` or `principle`. name: a
    principle's id. field: the field that differs; empty where a whole principle was added or
    removed. before, after: the values, or None.
    """

    kind: ChangeKind
    part: str
    name: str
    field: str
    before: Any
    after: Any


def content_of(constitution: Constitution) -> dict[str, Any]:
    """A constitution as plain values: a run's snapshot, plus few-shot examples and tests."""
    out = snapshot(constitution)
    for values, member in zip(out["principles"], constitution.members, strict=True):
        values["examples"] = [asdict(example) for example in member.principle.examples]
        values["tests"] = [asdict(test) for test in member.principle.tests]
        values["deprecated"] = member.principle.deprecated
    return out


def changes(before: ConstitutionValues, after: ConstitutionValues) -> tuple[Change, ...]:
    """All differences, those of principles last; fields that one side lacks are left out."""
    of_all = [_some(side, _OF_ALL) for side in (before, after)]
    settings = [_some(side, _SETTINGS) for side in (before, after)]
    if of_all[0]["show_why"] != of_all[1]["show_why"]:  # one side leaves out what it does not read
        settings = [{**side, "templates": _plain(side["templates"])} for side in settings]
    return (
        *_fields("constitution", "", of_all[0], of_all[1]),
        *(c for p in _SETTINGS for c in _fields(p, "", settings[0][p], settings[1][p])),
        *_principles(before["principles"], after["principles"]),
    )


def changes_model_input(before: ConstitutionValues, after: ConstitutionValues) -> bool:
    """Whether anything differs that a model reads."""
    return bool(before["digest"] != after["digest"])


def _some(values: ConstitutionValues, names: tuple[str, ...]) -> dict[str, Any]:
    """The values of these names. A record has `show_why` only where it was on."""
    some = {"show_why": values.get("show_why", False)} | dict(values)
    return {name: some[name] for name in names if name in some}


def _plain(templates: Mapping[str, str]) -> dict[str, str]:
    """Templates without what they say of reasons."""
    return {kind: without_reason(text) for kind, text in templates.items()}


def _fields(
    part: str, name: str, before: ConstitutionValues, after: ConstitutionValues
) -> Iterator[Change]:
    """Changes of the fields that both sides have."""
    for field in (f for f in before if f in after):
        if before[field] != after[field]:
            yield Change("changed", part, name, field, before[field], after[field])


def _principles(
    before: list[ConstitutionValues], after: list[ConstitutionValues]
) -> Iterator[Change]:
    old = {str(p["id"]): p for p in before}
    new = {str(p["id"]): p for p in after}
    for name in (n for n in old if n not in new):
        yield Change("removed", "principle", name, "", old[name], None)
    for name in (n for n in new if n not in old):
        yield Change("added", "principle", name, "", None, new[name])
    for name in (n for n in new if n in old):
        fields = list(_fields("principle", name, _own(old[name]), _own(new[name])))
        if not fields and old[name]["digest"] != new[name]["digest"]:  # a snapshot has no examples
            fields = [Change("changed", "principle", name, "examples", None, None)]
        yield from fields
    orders = [[n for n in side if n in old and n in new] for side in (old, new)]
    if orders[0] != orders[1]:
        yield Change("changed", "constitution", "", "order of the principles", *orders)


def _own(principle: ConstitutionValues) -> dict[str, Any]:
    return {field: value for field, value in principle.items() if field not in _DERIVED}
