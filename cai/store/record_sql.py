"""SQL for traces and comparisons: write, stream, find by id, and verify by digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from cai.digest import canonical_json, digest
from cai.errors import StoreError, UsageError
from cai.store import codec
from cai.store.database import Database
from cai.store.records import RecordKind, StoredRecord
from cai.types import Comparison, Result, Trace

_BATCH_SIZE = 32
"""Records that are read at once, whatever the size of the run."""
_FIND_LIMIT = 1000
_COLUMNS = "c.seq, c.id, c.kind, c.pair, p.id, p.body, c.body"
"""The columns that `_decode` reads."""
RESULT = "t.kind, t.key, CAST(t.result AS BLOB), t.sha256"
"""The columns of a step `t` that `result` reads."""
REPAIR = (
    "Run the build-data command again with --repair: it drops damaged steps and makes them again."
)
_OF_RUN = "EXISTS (SELECT 1 FROM run_records r WHERE r.record = c.seq AND r.run = ?)"


def put(db: Database, run: int, kind: RecordKind, record: Trace | Comparison) -> None:
    """Write a record and its place in a run. Raises `StoreError` where its steps are missing."""
    if isinstance(record, Trace):
        pair, body = 0, codec.trace_body(record)
    else:
        pair, body = record.pair, codec.comparison_body(record)
    keys = [result.key for result in codec.steps_of(record)]
    prompt = codec.prompt_body(record.prompt)
    prompt_name = digest([record.prompt.id, prompt])
    name = _name(kind, record.id, prompt_name, pair, body, keys)
    with db.transaction():
        db.execute(
            "INSERT OR IGNORE INTO prompts (digest, id, body) VALUES (?, ?, ?)",
            (prompt_name, record.prompt.id, canonical_json(prompt)),
        )
        new = db.execute(
            "INSERT OR IGNORE INTO records (digest, kind, id, prompt, pair, body) "
            "SELECT ?, ?, ?, seq, ?, ? FROM prompts WHERE digest = ?",
            (name, kind, record.id, pair, canonical_json(body), prompt_name),
        ).rowcount
        seq = db.all("SELECT seq FROM records WHERE digest = ?", (name,))[0][0]
        if new:
            count = db.many(
                "INSERT INTO record_steps SELECT ?, ?, seq FROM steps WHERE key = ?",
                ((seq, position, key) for position, key in enumerate(keys)),
            )
            if count != len(keys):
                raise StoreError(
                    f"{kind} {record.id} refers to {len(keys) - count} steps that "
                    f"{db.path} does not hold",
                    hint="Write the steps first, with put_steps.",
                )
        place = (run, kind, record.prompt.id, pair)
        db.execute("INSERT OR IGNORE INTO run_records VALUES (?, ?, ?, ?, ?)", (*place, seq))
        (recorded_seq,) = db.all(
            "SELECT record FROM run_records WHERE (run, kind, prompt_id, pair) = (?, ?, ?, ?)",
            place,
        )
        if recorded_seq[0] != seq:
            raise StoreError(
                f"the run already has another {kind} for prompt {record.prompt.id!r}",
                hint="A run records each prompt once; record_keys() lists its records.",
            )


def _name(kind: str, record_id: str, prompt: str, pair: int, body: Any, keys: Sequence[str]) -> str:
    return digest([kind, record_id, prompt, pair, body, keys])


def stream(db: Database, run: int, kind: RecordKind) -> Iterator[Trace | Comparison]:
    """Stream a run's records of one kind in the order of prompt ids, then pairs."""
    after: tuple[str, int] = ("", -1)
    while rows := db.all(
        f"SELECT {_COLUMNS} FROM run_records r JOIN records c ON c.seq = r.record "
        "JOIN prompts p ON p.seq = c.prompt "
        "WHERE r.run = ? AND r.kind = ? AND (r.prompt_id, r.pair) > (?, ?) "
        f"ORDER BY r.prompt_id, r.pair LIMIT {_BATCH_SIZE}",
        (run, kind, *after),
    ):
        yield from _decode(db, rows)
        after = (rows[-1][4], rows[-1][3])


def find(db: Database, name: str) -> tuple[StoredRecord, ...]:
    """The records whose id or prompt id is `name`, or begins with it if only one id does."""
    rows = _where(db, "c.id = ? OR p.id = ?", (name, name))
    if not rows and name:
        end = name + "\U0010ffff"
        match = "(c.id >= ? AND c.id < ?) OR (p.id >= ? AND p.id < ?)"
        rows = _where(db, match, (name, end, name, end))
        ids = {i for row in rows for i in (row[1], row[4]) if i.startswith(name)}
        if len(ids) > 1:
            some = ", ".join(sorted(ids)[:5])
            raise UsageError(
                f"{len(ids)} ids begin with {name!r}: {some}{', …' if len(ids) > 5 else ''}",
                hint="Give more of the id.",
            )
    if not rows:
        raise UsageError(
            f"no trace, comparison or prompt in {db.path} has the id {name!r}",
            hint="IDs are in the exported rows: trace_id, comparison_id, prompt_id.",
        )
    return tuple(
        StoredRecord(row[2], record, _runs_of(db, row[0]))
        for row, record in zip(rows, _decode(db, rows), strict=True)
    )


def run_record(db: Database, run: int, record_id: str) -> Trace | Comparison | None:
    """A run's record with this id; None if the run has none."""
    rows = _where(db, f"c.id = ? AND {_OF_RUN}", (record_id, run))
    return _decode(db, rows)[0] if rows else None


def _where(db: Database, match: str, values: Sequence[Any]) -> list[Any]:
    return db.all(
        f"SELECT {_COLUMNS} FROM records c JOIN prompts p ON p.seq = c.prompt "
        f"WHERE {match} ORDER BY c.seq LIMIT {_FIND_LIMIT}",
        values,
    )


def _runs_of(db: Database, record: int) -> tuple[str, ...]:
    rows = db.all(
        "SELECT DISTINCT u.seq, u.id FROM run_records r JOIN runs u ON u.seq = r.run "
        "WHERE r.record = ? ORDER BY u.seq",
        (record,),
    )
    return tuple(row[1] for row in rows)


def _decode(db: Database, rows: Sequence[Any]) -> list[Trace | Comparison]:
    """The records of some rows of `_COLUMNS`, with their steps."""
    steps: dict[int, list[Result]] = {row[0]: [] for row in rows}
    for record, *step in _steps(db, list(steps), RESULT):
        steps[record].append(result(*step))
    records: list[Trace | Comparison] = []
    for seq, record_id, kind, pair, prompt_id, prompt, body in rows:
        try:
            record_prompt, fields = codec.prompt_of(prompt_id, json.loads(prompt)), json.loads(body)
            if kind == "trace":
                records.append(codec.trace_of(record_id, record_prompt, fields, steps[seq]))
            else:
                records.append(
                    codec.comparison_of(record_id, record_prompt, pair, fields, steps[seq])
                )
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise _damaged(f"{kind} {record_id}", error) from error
    return records


def _steps(db: Database, records: Sequence[int], columns: str) -> list[Any]:
    marks = ",".join("?" * len(records))
    return db.all(
        f"SELECT s.record, {columns} FROM record_steps s JOIN steps t ON t.seq = s.step "
        f"WHERE s.record IN ({marks}) ORDER BY s.record, s.position",
        records,
    )


def result(kind: str, key: str, body: bytes, sha256: str) -> Result:
    """A step's result from its row. Raises `StoreError` if the row was changed."""
    if not is_whole(body, sha256):
        raise _damaged(f"step {key}", "its result was changed")
    try:
        return codec.result_of(kind, key, json.loads(body))
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(f"step {key}", error) from error


def is_whole(body: bytes, sha256: str) -> bool:
    """Whether a step's result still has its digest."""
    return hashlib.sha256(body).hexdigest() == sha256


def _damaged(what: str, error: object) -> StoreError:
    return StoreError(f"the store is damaged: {what} can't be used ({error})", hint=REPAIR)


def damaged_steps(db: Database, run: int) -> Iterator[str]:
    """Keys of a run's steps whose result no longer has its digest."""
    keys: set[str] = set()
    for records in _batches(db, run):
        for _, _, key, body, sha256 in _steps(db, records, RESULT):
            if key not in keys and not is_whole(body, sha256):
                keys.add(key)
                yield key


def damaged_records(db: Database, run: int | None = None) -> Iterator[tuple[int, str]]:
    """Rows and ids of a run's records that no longer have their digest. run: None for all runs."""
    for records in _batches(db, run):
        keys: dict[int, list[str]] = {record: [] for record in records}
        for record, key in _steps(db, records, "t.key"):
            keys[record].append(key)
        for seq, name, kind, record_id, pair, body, prompt_id, prompt in db.all(
            "SELECT c.seq, c.digest, c.kind, c.id, c.pair, CAST(c.body AS BLOB), p.id, "
            "CAST(p.body AS BLOB) FROM records c JOIN prompts p ON p.seq = c.prompt "
            f"WHERE c.seq IN ({','.join('?' * len(records))})",
            records,
        ):
            try:
                prompt_name = digest([prompt_id, json.loads(prompt)])
                current_name = _name(
                    kind, record_id, prompt_name, pair, json.loads(body), keys[seq]
                )
            except ValueError:
                current_name = ""
            if current_name != name:
                yield seq, record_id


def _batches(db: Database, run: int | None) -> Iterator[list[int]]:
    """Row numbers of a run's records in batches; of all records if `run` is None."""
    after, which = -1, "TRUE" if run is None else _OF_RUN
    while rows := db.all(
        f"SELECT c.seq FROM records c WHERE c.seq > ? AND {which} ORDER BY c.seq "
        f"LIMIT {_BATCH_SIZE}",
        (after,) if run is None else (after, run),
    ):
        yield [row[0] for row in rows]
        after = rows[-1][0]
