"""The store's schema, as named migrations. Append new ones; never edit or reorder those released.

Rows of a store never change: triggers refuse UPDATE and DELETE on every table. Only a repair drops
the triggers of DELETE, for the duration of its transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

APPLICATION_ID = 0x63616931
"""`PRAGMA application_id` of a store ("cai1"), which no other SQLite file has."""


def _refusal(table: str, verb: str) -> str:
    return (
        f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'the store is append-only'); END;\n"
    )


def _append_only(*tables: str) -> str:
    return "".join(_refusal(table, verb) for table in tables for verb in ("update", "delete"))


@contextmanager
def deletable(execute: Callable[[str], object], *tables: str) -> Iterator[None]:
    """Allow DELETE on these tables inside the block, which must be in a transaction."""
    for table in tables:
        execute(f"DROP TRIGGER IF EXISTS {table}_no_delete")
    yield
    for table in tables:
        execute(_refusal(table, "delete"))


_FIRST = """
CREATE TABLE steps (            -- one request to a model and its result
  seq INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,     -- digest of all that determines the result
  kind TEXT NOT NULL CHECK (kind IN ('generate', 'score')),
  request TEXT NOT NULL,        -- JSON
  result TEXT NOT NULL,         -- JSON
  sha256 TEXT NOT NULL          -- of the result
) STRICT;
CREATE TABLE prompts (
  seq INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  id TEXT NOT NULL,
  body TEXT NOT NULL            -- JSON: messages, source, meta
) STRICT;
CREATE INDEX prompts_by_id ON prompts (id);
CREATE TABLE records (          -- traces and comparisons; their texts stand in steps
  seq INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,  -- of all below and of the steps' keys
  kind TEXT NOT NULL CHECK (kind IN ('trace', 'comparison')),
  id TEXT NOT NULL,
  prompt INTEGER NOT NULL REFERENCES prompts,
  pair INTEGER NOT NULL,
  body TEXT NOT NULL            -- JSON; a number in the place of a step is its position
) STRICT;
CREATE INDEX records_by_id ON records (id);
CREATE INDEX records_by_prompt ON records (prompt);
CREATE TABLE record_steps (
  record INTEGER NOT NULL REFERENCES records,
  position INTEGER NOT NULL,
  step INTEGER NOT NULL REFERENCES steps,
  PRIMARY KEY (record, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  body TEXT NOT NULL            -- JSON: name, config, constitution, seed, versions
) STRICT;
CREATE TABLE run_records (
  run INTEGER NOT NULL REFERENCES runs,
  kind TEXT NOT NULL,
  prompt_id TEXT NOT NULL,
  pair INTEGER NOT NULL,
  record INTEGER NOT NULL REFERENCES records,
  PRIMARY KEY (run, kind, prompt_id, pair)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_records_by_record ON run_records (record);
CREATE TABLE set_aside (
  run INTEGER NOT NULL REFERENCES runs,
  prompt_id TEXT NOT NULL,      -- '' for a row that never became a prompt
  line INTEGER NOT NULL,        -- the number at the end of source
  source TEXT NOT NULL,
  reason TEXT NOT NULL,
  excerpt TEXT NOT NULL,
  PRIMARY KEY (run, prompt_id, line, source, reason, excerpt)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES runs,
  event TEXT NOT NULL,
  detail TEXT NOT NULL,         -- JSON
  at TEXT NOT NULL              -- UTC
) STRICT;
CREATE INDEX events_by_run ON events (run);
CREATE TABLE locks (            -- who took the build lock; the lock itself is a file's
  seq INTEGER PRIMARY KEY,
  pid INTEGER NOT NULL,
  at TEXT NOT NULL
) STRICT;
""" + _append_only(
    "steps", "prompts", "records", "record_steps", "runs", "run_records", "set_aside", "events",
    "locks",
)  # fmt: skip

MIGRATIONS: list[tuple[str, str]] = [
    ("0001-first", _FIRST),
]
"""(name, SQL), in the order in which they are applied."""


class NewerSchemaError(Exception):
    """The store has migrations that this version does not know."""


def pending(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """The migrations that are not applied yet. Raises `NewerSchemaError`."""
    exists = connection.execute(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'"
    ).fetchone()[0]
    rows = connection.execute("SELECT name FROM migrations") if exists else []
    applied = {str(row[0]) for row in rows}
    if newer := sorted(applied - {name for name, _ in MIGRATIONS}):
        raise NewerSchemaError(", ".join(newer))
    return [(name, sql) for name, sql in MIGRATIONS if name not in applied]


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the pending migrations, inside the caller's transaction."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations "
        "(name TEXT PRIMARY KEY NOT NULL, applied TEXT NOT NULL) STRICT"
    )
    for name, sql in pending(connection):
        for statement in statements(sql):
            connection.execute(statement)
        connection.execute("INSERT INTO migrations VALUES (?, ?)", (name, now()))


def statements(sql: str) -> Iterator[str]:
    """The single statements of a script. (`executescript` would commit in between.)"""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def now() -> str:
    """The time in UTC, to the millisecond, sortable as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
