"""What the store knows about runs, and what it hands out when asked for an id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from cai.types import Comparison, Trace

Event: TypeAlias = Literal[
    "started", "examined", "finished", "interrupted", "failed", "exported", "repaired"
]
RunStatus: TypeAlias = Literal["new", "started", "finished", "interrupted", "failed"]
RecordKind: TypeAlias = Literal["trace", "comparison"]


@dataclass(frozen=True, slots=True)
class Run:
    """A build: everything that determines what it makes. Values must be JSON's.

    constitution: a full snapshot, so that a run can be read when the files have changed.
    versions: what ran; the only part that may differ between two runs of one id.
    """

    id: str
    name: str
    config: dict[str, Any]
    constitution: dict[str, Any]
    seed: int
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that happened to a run; `at` is UTC, ISO 8601."""

    run_id: str
    event: Event
    detail: dict[str, Any]
    at: str


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record found by its id or its prompt's, and the ids of the runs that hold it, oldest first.

    One id can be found twice: under a new principle version, say, the texts and so the id may stay
    the same while the record does not.
    """

    kind: RecordKind
    record: Trace | Comparison
    runs: tuple[str, ...]


def status_of(events: Sequence[RunEvent]) -> RunStatus:
    """What the events of one run, in their order, make of it.

    A killed run stays `started`; whether a build is still at it is for the lock to say.
    """
    states: dict[str, RunStatus] = {
        "started": "started",
        "finished": "finished",
        "interrupted": "interrupted",
        "failed": "failed",
        "repaired": "interrupted",  # it lacks what was dropped until its build goes on
    }
    for event in reversed(events):
        if event.event in states:
            return states[event.event]
    return "new"
