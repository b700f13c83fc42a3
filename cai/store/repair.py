"""Repair of a damaged store: the only deletion that a store allows.

A step whose result no longer has its digest is dropped, and with it every record that refers to it.
So are prompts and records that no longer have theirs. The next build makes them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cai.digest import digest
from cai.store import record_sql
from cai.store.database import Database
from cai.store.migrations import deletable

_BATCH_SIZE = 500


@dataclass(frozen=True, slots=True)
class RepairCounts:
    """The numbers of dropped steps and records, and the runs that held those records.

    records: damaged themselves, or referring to a damaged step or prompt.
    """

    steps: int
    records: int
    runs: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.steps or self.records)


def repair(db: Database) -> RepairCounts:
    """Drop all damaged rows, inside the caller's transaction."""
    steps = list(_damaged_steps(db))
    prompts = list(_damaged_prompts(db))
    records = {seq for seq, _ in record_sql.damaged_records(db)}
    for step in steps:
        records |= _column(db, "SELECT record FROM record_steps WHERE step = ?", step)
    for prompt in prompts:
        records |= _column(db, "SELECT seq FROM records WHERE prompt = ?", prompt)
    runs: set[str] = set()
    for record in records:
        query = "SELECT u.id FROM run_records r JOIN runs u ON u.seq = r.run WHERE r.record = ?"
        runs |= _column(db, query, record)
    with deletable(db.execute, "run_records", "record_steps", "records", "prompts", "steps"):
        for table, column in (
            ("run_records", "record"),
            ("record_steps", "record"),
            ("records", "seq"),
        ):
            db.many(f"DELETE FROM {table} WHERE {column} = ?", ((record,) for record in records))
        db.many("DELETE FROM prompts WHERE seq = ?", ((prompt,) for prompt in prompts))
        db.many("DELETE FROM steps WHERE seq = ?", ((step,) for step in steps))
    return RepairCounts(len(steps), len(records), tuple(sorted(runs)))


def _column(db: Database, query: str, value: int) -> set[Any]:
    return {row[0] for row in db.all(query, (value,))}


def _damaged_steps(db: Database) -> Iterator[int]:
    after = -1
    while rows := db.all(
        "SELECT seq, CAST(result AS BLOB), sha256 FROM steps WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, _BATCH_SIZE),
    ):
        yield from (seq for seq, body, sha256 in rows if not record_sql.is_whole(body, sha256))
        after = rows[-1][0]


def _damaged_prompts(db: Database) -> Iterator[int]:
    after = -1
    while rows := db.all(
        "SELECT seq, digest, id, CAST(body AS BLOB) FROM prompts WHERE seq > ? "
        "ORDER BY seq LIMIT ?",
        (after, _BATCH_SIZE),
    ):
        for seq, name, prompt_id, body in rows:
            try:
                whole = digest([prompt_id, json.loads(body)]) == name
            except ValueError:
                whole = False
            if not whole:
                yield seq
        after = rows[-1][0]
