"""`cai.lock`: the version and digest of all content, as it was agreed on.

The digest of a principle covers what a model reads of it, that of a constitution its own settings
and templates: not the texts of its principles, which have versions of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cai.content import shown
from cai.digest import digest
from cai.errors import Problem
from cai.types import Constitution, Principle

NAME = "cai.lock"
FORMAT = "cai-lock/1"
_HINT = "Write it anew: cai lock"


@dataclass(frozen=True, slots=True)
class Locked:
    """What the lock knows of a file. kind: `principle` or `constitution`."""

    kind: str
    id: str
    version: str
    digest: str

    def lower_than(self, then: Locked) -> bool:
        """Whether the version went down since then."""
        now, before = (tuple(map(int, it.version.split("."))) for it in (self, then))
        return now < before

    def unversioned_since(self, then: Locked) -> bool:
        """Whether what a model reads has changed since then, and the version has not."""
        return self.version == then.version and self.digest != then.digest


Lock: TypeAlias = Mapping[tuple[str, str], Locked]
"""(Kind, id) → what is locked."""


def locked(item: Principle | Constitution) -> Locked:
    """What a lock says of a principle or a constitution as it is now."""
    if isinstance(item, Principle):
        return Locked("principle", item.id, item.version, item.digest)
    return Locked("constitution", item.id, item.version, own_digest(item))


def own_digest(constitution: Constitution) -> str:
    """Digest of what the constitution itself says: not of its principles' texts."""
    return digest(
        {
            "members": [
                [m.principle.id, m.weight, m.phases, m.rounds] for m in constitution.members
            ],
            "plan": constitution.plan,
            "feedback": constitution.feedback,
            "templates": constitution.templates,
            "no_problem": constitution.no_problem,
        }
    )


def lock_text(items: Iterable[Locked]) -> str:
    """The file: sorted, one line an entry, so that it merges and diffs well."""
    lines = [
        json.dumps({"kind": i.kind, "id": i.id, "version": i.version, "digest": i.digest})
        for i in sorted(items, key=lambda i: (i.kind, i.id))
    ]
    return "\n".join([json.dumps({"format": FORMAT}), *lines]) + "\n"


def read_lock(root: Path) -> tuple[Lock | None, list[Problem]]:
    """A project's lock: None where it has none; or what is wrong with it."""
    path = root / NAME
    if not path.is_file():
        return None, []
    out: dict[tuple[str, str], Locked] = {}
    try:
        head, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
        if json.loads(head) != {"format": FORMAT}:
            raise ValueError("not a lock of this version of cai")
        for line in lines:
            entry = Locked(**_texts(json.loads(line)))
            out[entry.kind, entry.id] = entry
    except OSError as error:
        return None, [Problem(shown(path), 1, 1, "C001", f"can't be read: {error.strerror}")]
    except (ValueError, TypeError) as error:
        what = f"the lock is damaged: {error}"
        return None, [Problem(shown(path), len(out) + 1, 1, "C072", what, _HINT)]
    return out, []


def _texts(values: Any) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise ValueError("a line is no entry")
    return values


def against(
    lock: Lock, root: Path, items: Iterable[tuple[Locked, str, tuple[int, int]]]
) -> Iterator[Problem]:
    """Where content is not what was locked. items: what is there, its file, and where its version
    stands."""
    seen = set[tuple[str, str]]()
    for now, file, at in items:
        seen.add((now.kind, now.id))
        then = lock.get((now.kind, now.id))
        if then is None:
            what = f"the lock does not know the {now.kind} `{now.id}`"
            yield Problem(file, *at, "C072", what, _HINT)
        elif now.unversioned_since(then):
            what = f"`{now.id}` is not what was locked as version {now.version}"
            hint = "Give it a new version, then: cai lock"
            yield Problem(file, *at, "C071", what, hint)
        elif then != now:
            what = f"`{now.id}` has version {now.version}, and the lock {then.version}"
            yield Problem(file, *at, "C072", what, _HINT)
    for kind, name in sorted(lock.keys() - seen):
        what = f"the {kind} `{name}` is locked, and is not in the project"
        yield Problem(shown(root / NAME), 1, 1, "C072", what, _HINT)
