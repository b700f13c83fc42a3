"""`cai.lock`: the agreed version and digest of all content.

A principle's digest covers what a model reads of it. A constitution's covers its own settings and
templates, but not the texts of its principles, which have versions of their own. Models read
reasons only where a constitution shows them, so they are in that constitution's digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cai.constitution.convert import reasons_shown, templates_in_use
from cai.content import shown
from cai.digest import digest
from cai.errors import Problem
from cai.types import Constitution, Principle

NAME = "cai.lock"
FORMAT = "cai-lock/1"
_HINT = "Update it with: cai lock"


@dataclass(frozen=True, slots=True)
class LockEntry:
    """The lock's entry for a file. kind: `principle` or `constitution`."""

    kind: str
    id: str
    version: str
    digest: str

    def is_older_than(self, other: LockEntry) -> bool:
        """Whether the version is lower than the other entry's."""
        own, others = (tuple(map(int, it.version.split("."))) for it in (self, other))
        return own < others

    def changed_without_version(self, before: LockEntry) -> bool:
        """Whether what a model reads has changed, but not the version."""
        return self.version == before.version and self.digest != before.digest


Lock: TypeAlias = Mapping[tuple[str, str], LockEntry]
"""(Kind, id) → entry."""


def lock_entry(item: Principle | Constitution) -> LockEntry:
    """The entry of a principle or a constitution."""
    if isinstance(item, Principle):
        return LockEntry("principle", item.id, item.version, item.digest)
    return LockEntry("constitution", item.id, item.version, own_digest(item))


def own_digest(constitution: Constitution) -> str:
    """Digest of a constitution's own settings, without its principles' texts."""
    return digest(
        {
            "members": [
                [m.principle.id, m.weight, m.phases, m.rounds] for m in constitution.members
            ],
            "plan": constitution.plan,
            "feedback": constitution.feedback,
            "templates": templates_in_use(constitution),
            "no_problem": constitution.no_problem,
            **reasons_shown(constitution),
        }
    )


def lock_text(items: Iterable[LockEntry]) -> str:
    """The text of the lock file: sorted, one entry per line, so that it merges and diffs well."""
    lines = [
        json.dumps({"kind": i.kind, "id": i.id, "version": i.version, "digest": i.digest})
        for i in sorted(items, key=lambda i: (i.kind, i.id))
    ]
    return "\n".join([json.dumps({"format": FORMAT}), *lines]) + "\n"


def read_lock(root: Path) -> tuple[Lock | None, list[Problem]]:
    """Read a project's lock. Returns None if it has none, or its problems."""
    path = root / NAME
    if not path.is_file():
        return None, []
    out: dict[tuple[str, str], LockEntry] = {}
    try:
        head, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
        if json.loads(head) != {"format": FORMAT}:
            raise ValueError("not a lock of this version of cai")
        for line in lines:
            entry = LockEntry(**_texts(json.loads(line)))
            out[entry.kind, entry.id] = entry
    except OSError as error:
        return None, [Problem(shown(path), 1, 1, "C001", f"can't be read: {error.strerror}")]
    except (ValueError, TypeError) as error:
        what = f"the lock is damaged: {error}"
        return None, [Problem(shown(path), len(out) + 1, 1, "C072", what, _HINT)]
    return out, []


def _texts(values: Any) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise ValueError("a line is not an entry")
    return values


def lock_problems(
    lock: Lock, root: Path, items: Iterable[tuple[LockEntry, str, tuple[int, int]]]
) -> Iterator[Problem]:
    """Differences between content and lock. items: entry, file, and position of its version."""
    present = set[tuple[str, str]]()
    for now, file, at in items:
        present.add((now.kind, now.id))
        before = lock.get((now.kind, now.id))
        if before is None:
            what = f"the {now.kind} `{now.id}` is not in the lock"
            yield Problem(file, *at, "C072", what, _HINT)
        elif now.changed_without_version(before):
            what = f"`{now.id}` differs from what was locked as version {now.version}"
            hint = "Give it a new version, then: cai lock"
            yield Problem(file, *at, "C071", what, hint)
        elif before != now:
            what = f"`{now.id}` has version {now.version}; the lock has {before.version}"
            yield Problem(file, *at, "C072", what, _HINT)
    for kind, name in sorted(lock.keys() - present):
        what = f"the {kind} `{name}` is in the lock, but not in the project"
        yield Problem(shown(root / NAME), 1, 1, "C072", what, _HINT)
