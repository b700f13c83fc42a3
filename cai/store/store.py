"""The store: every step, trace, comparison and run, in one append-only SQLite file.

A step is stored under its key, the digest of everything that determines its result, so no step is
computed twice and a killed run loses only uncommitted results. Traces and comparisons refer to
their steps. A power cut may take the last commits since an event of a run (see
`cai.store.database`), and what it takes is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from cai.digest import canonical_json
from cai.errors import StoreError, UsageError
from cai.store import codec, record_sql
from cai.store.commit_group import CommitGroup
from cai.store.database import Database
from cai.store.lock import file_lock, is_locked
from cai.store.migrations import now
from cai.store.records import Event, RecordKind, Run, RunEvent, RunStatus, StoredRecord, status_of
from cai.store.repair import RepairCounts, repair
from cai.text.validation import escape_surrogates
from cai.types import Comparison, Generation, Request, Result, SetAside, Trace

_KEYS_A_QUERY = 500


class KeyedRequest(Protocol):
    """A request and the key of its result, as in a backend's `Prepared`."""

    @property
    def request(self) -> Request:
        """The request."""
        ...

    @property
    def key(self) -> str:
        """Digest of all that determines the result."""
        ...


class Store:
    """The steps, records and runs of one file. Open it with `Store.open`, in a `with`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.path = database.path
        self.read_only = database.read_only
        self._holds_lock = False
        self._run_rows: dict[str, int] = {}

    @classmethod
    def open(cls, path: Path | str, *, read_only: bool = False) -> Store:
        """Open a store; create it if there is none. Raises `StoreError`.

        read_only: write nothing, and raise if there is no store.
        """
        return cls(Database(Path(path), read_only=read_only))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction: commits everything written inside it, or nothing. May be nested."""
        return self._db.transaction()

    def grouped(self, seconds: float) -> AbstractContextManager[CommitGroup]:
        """Commit the transactions inside the block in groups; see `Database.grouped`."""
        return self._db.grouped(seconds)

    def durable(self) -> AbstractContextManager[None]:
        """A transaction that waits for the disk: it and all before it survive a power cut.

        It must not be nested in one that does not.
        """
        return self._db.durable()

    # -- the build lock ---------------------------------------------------------------------

    @contextmanager
    def lock(self, *, wait: bool = False) -> Iterator[None]:
        """Hold the build lock, so that no other build uses the store. May be nested.

        wait: wait for another build to end, instead of raising `StoreError`.
        """
        if self._holds_lock:
            yield
            return
        with file_lock(self._lock_path, wait=wait, busy=self._busy):
            self._db.execute("INSERT INTO locks (pid, at) VALUES (?, ?)", (os.getpid(), now()))
            self._holds_lock = True
            try:
                yield
            finally:
                self._holds_lock = False

    def locked(self) -> bool:
        """Whether a build is using the store now."""
        return is_locked(self._lock_path)

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(self.path.name + ".lock")

    def _busy(self) -> StoreError:
        rows = self._db.all("SELECT pid, at FROM locks ORDER BY seq DESC LIMIT 1")
        holder = f"process {rows[0][0]}, since {rows[0][1]}" if rows else "a process just started"
        return StoreError(
            f"another build is using this store: {holder}",
            hint="Let it finish, wait for it with --wait, or use another folder.",
        )

    # -- steps ------------------------------------------------------------------------------

    def get_steps(self, keys: Sequence[str]) -> dict[str, Result]:
        """The stored results of these keys. Raises `StoreError` for one that was damaged."""
        out: dict[str, Result] = {}
        for start in range(0, len(keys), _KEYS_A_QUERY):
            chunk = keys[start : start + _KEYS_A_QUERY]
            marks = ",".join("?" * len(chunk))
            rows = self._db.all(
                f"SELECT {record_sql.RESULT} FROM steps t WHERE t.key IN ({marks})", chunk
            )
            out |= {row[1]: record_sql.result(*row) for row in rows}
        return out

    def put_steps(self, items: Iterable[tuple[KeyedRequest, Result]]) -> None:
        """Write results in one transaction; a result that is already stored is not replaced."""
        with self.transaction():
            self._db.many(
                "INSERT OR IGNORE INTO steps (key, kind, request, result, sha256) "
                "VALUES (?, ?, ?, ?, ?)",
                [_step_row(request, result) for request, result in items],
            )

    # -- runs -------------------------------------------------------------------------------

    def put_run(self, run: Run) -> None:
        """Write a run; one that is already stored is not replaced."""
        body = asdict(run)
        del body["id"]
        self._db.execute(
            "INSERT OR IGNORE INTO runs (id, body) VALUES (?, ?)", (run.id, canonical_json(body))
        )

    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        rows = self._db.all("SELECT id, body FROM runs ORDER BY seq")
        return [Run(id=row[0], **json.loads(row[1])) for row in rows]

    def run(self, run_id: str) -> Run:
        """The run with this id. Raises `UsageError` if there is none."""
        rows = self._db.all("SELECT id, body FROM runs WHERE id = ?", (run_id,))
        if not rows:
            raise UsageError(
                f"{self.path} has no run {run_id!r}", hint="List its runs with: cai runs"
            )
        return Run(id=rows[0][0], **json.loads(rows[0][1]))

    def add_event(self, run_id: str, event: Event, detail: dict[str, Any] | None = None) -> None:
        """Record an event of a run, now. It and all before it survive a power cut."""
        with self._db.durable():
            self._db.execute(
                "INSERT INTO events (run, event, detail, at) VALUES (?, ?, ?, ?)",
                (self._run(run_id), event, canonical_json(detail or {}), now()),
            )

    def events(self, run_id: str) -> list[RunEvent]:
        """The events of a run, in order."""
        rows = self._db.all(
            "SELECT event, detail, at FROM events WHERE run = ? ORDER BY seq", (self._run(run_id),)
        )
        return [RunEvent(run_id, row[0], json.loads(row[1]), row[2]) for row in rows]

    def examination(self, run_id: str) -> dict[str, Any] | None:
        """The last examination of a run's critic and judge; None without one."""
        details = [e.detail for e in self.events(run_id) if e.event == "examined"]
        return details[-1] if details else None

    def status(self, run_id: str) -> RunStatus:
        """The status of a run, from its events."""
        return status_of(self.events(run_id))

    def counts(self, run_id: str) -> dict[str, int]:
        """The number of a run's records by kind: `trace`, `comparison`, `set_aside`."""
        run = self._run(run_id)
        rows = self._db.all(
            "SELECT kind, count(*) FROM run_records WHERE run = ? GROUP BY kind "
            "UNION ALL SELECT 'set_aside', count(*) FROM set_aside WHERE run = ?",
            (run, run),
        )
        return {"trace": 0, "comparison": 0} | dict(rows)

    # -- records ----------------------------------------------------------------------------

    def put_trace(self, run_id: str, trace: Trace) -> None:
        """Write a trace of a run. Its steps must be stored before."""
        record_sql.put(self._db, self._run(run_id), "trace", trace)

    def put_comparison(self, run_id: str, comparison: Comparison) -> None:
        """Write a comparison of a run. Its steps must be stored before."""
        record_sql.put(self._db, self._run(run_id), "comparison", comparison)

    def put_set_aside(self, run_id: str, prompt_id: str, row: SetAside) -> None:
        """Write an invalid row or prompt, once. `prompt_id` is "" for a row that is no prompt."""
        line = re.search(r":(\d{1,18})$", row.source)
        texts = (escape_surrogates(t) for t in (row.source, row.reason, row.excerpt))
        self._db.execute(
            "INSERT OR IGNORE INTO set_aside VALUES (?, ?, ?, ?, ?, ?)",
            (self._run(run_id), prompt_id, int(line[1]) if line else 0, *texts),
        )

    def traces(self, run_id: str) -> Iterator[Trace]:
        """A run's traces in the order of prompt ids, a few in memory at a time."""
        records = record_sql.stream(self._db, self._run(run_id), "trace")
        return (r for r in records if isinstance(r, Trace))

    def comparisons(self, run_id: str) -> Iterator[Comparison]:
        """A run's comparisons in the order of prompt ids, then pairs; a few at a time."""
        records = record_sql.stream(self._db, self._run(run_id), "comparison")
        return (r for r in records if isinstance(r, Comparison))

    def set_asides(self, run_id: str) -> Iterator[SetAside]:
        """A run's invalid rows in the order of lines, then its prompts without a result, by id."""
        after: tuple[Any, ...] = ("", -1, "", "", "")
        columns = "prompt_id, line, source, reason, excerpt"
        while rows := self._db.all(
            f"SELECT {columns} FROM set_aside WHERE run = ? AND ({columns}) > (?, ?, ?, ?, ?) "
            f"ORDER BY {columns} LIMIT 500",
            (self._run(run_id), *after),
        ):
            yield from (SetAside(*row[2:]) for row in rows)
            after = rows[-1]

    def record_keys(self, run_id: str) -> set[tuple[str, str, int]]:
        """The keys of a run's records: (kind, prompt id, pair)."""
        return set(
            self._db.all(
                "SELECT kind, prompt_id, pair FROM run_records WHERE run = ?", (self._run(run_id),)
            )
        )

    def has_record(self, run_id: str, kind: RecordKind, prompt_id: str, pair: int) -> bool:
        """Whether a run has the record of a prompt; `pair` is 0 for a trace."""
        query = (
            "SELECT 1 FROM run_records WHERE run = ? AND kind = ? AND prompt_id = ? AND pair = ?"
        )
        return bool(self._db.all(query, (self._run(run_id), kind, prompt_id, pair)))

    def find(self, name: str) -> tuple[StoredRecord, ...]:
        """The records with this trace, comparison or prompt id, or the only id that begins so.

        Raises `UsageError` when no id, or more than one, begins with `name`.
        """
        return record_sql.find(self._db, name)

    def record(self, run_id: str, record_id: str) -> Trace | Comparison | None:
        """The run's record with this id; None if the run has none."""
        return record_sql.run_record(self._db, self._run(run_id), record_id)

    def damaged_steps(self, run_id: str) -> Iterator[str]:
        """Keys of a run's steps whose result no longer has its digest."""
        return record_sql.damaged_steps(self._db, self._run(run_id))

    def damaged_records(self, run_id: str) -> Iterator[str]:
        """Ids of a run's records that no longer have their digest."""
        return (name for _, name in record_sql.damaged_records(self._db, self._run(run_id)))

    def repair(self) -> RepairCounts:
        """Drop damaged steps and records of all runs; the next build makes them again.

        Each run that held one gets the event `repaired`. The caller holds the lock.
        """
        with self._db.durable():
            dropped = repair(self._db)
            detail = {"steps": dropped.steps, "records": dropped.records}
            for run_id in dropped.runs:
                self.add_event(run_id, "repaired", detail)
        return dropped

    # -- inside -----------------------------------------------------------------------------

    def _run(self, run_id: str) -> int:
        """The row of a run, which never changes."""
        if run_id in self._run_rows:
            return self._run_rows[run_id]
        rows = self._db.all("SELECT seq FROM runs WHERE id = ?", (run_id,))
        if not rows:
            raise UsageError(
                f"{self.path} has no run {run_id!r}", hint="List its runs with: cai runs"
            )
        return self._run_rows.setdefault(run_id, int(rows[0][0]))


def _step_row(request: KeyedRequest, result: Result) -> tuple[str, ...]:
    if result.key not in ("", request.key):
        raise ValueError(f"a result with key {result.key} for the request with key {request.key}")
    kind = "generate" if isinstance(result, Generation) else "score"
    body = canonical_json(codec.result_body(result))
    sha256 = hashlib.sha256(body.encode(errors="replace")).hexdigest()
    return request.key, kind, canonical_json(request.request), body, sha256
