"""One SQLite file: opened safely, written in transactions, its errors told in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from cai.errors import StoreError
from cai.store.migrations import APPLICATION_ID, NewerSchemaError, migrate, pending

BUSY_SECONDS = 30.0
"""How long a write waits for another process's transaction."""

_AGAIN = "What was committed is intact; run the same command again after that."
_TOLD: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("no space is left to write to {path}", f"Free some space. {_AGAIN}"),
    sqlite3.SQLITE_IOERR: (
        "{path} can't be read or written: {error}",
        f"Look after the disk, and for space on it. {_AGAIN}",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "{path} is damaged: {error}",
        "Move it away, or restore a copy; a new build makes a new store.",
    ),
    sqlite3.SQLITE_NOTADB: (
        "{path} is not a store",
        "Move it away or choose another folder; a new build makes a new store.",
    ),
    sqlite3.SQLITE_READONLY: (
        "{path} can't be written",
        "Give yourself write access to the file and its folder, or copy both elsewhere.",
    ),
    sqlite3.SQLITE_PERM: ("{path} can't be accessed", "Give yourself access to the file."),
    sqlite3.SQLITE_CANTOPEN: (
        "{path} can't be opened: {error}",
        "Look whether it exists and whether you may read and write it and its folder.",
    ),
    sqlite3.SQLITE_BUSY: (
        "another process has been writing to {path} for too long",
        "Wait until it is done, then run the same command again.",
    ),
    sqlite3.SQLITE_LOCKED: (
        "{path} is in use by this process",
        "Finish reading before writing; this is a bug if you used only commands.",
    ),
}


class Database:
    """A connection to a store's file. Use `execute` for reads and, in `transaction`, writes."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._depth = 0
        if read_only and not path.is_file():
            raise StoreError(
                f"there is no store at {path}",
                hint="Build one with: cai build-data  (or name its folder with --runs-dir)",
            )
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the folder {path.parent} can't be made: {error.strerror}",
                hint="Choose another folder.",
            ) from None
        with self._telling():
            self._connection = self._connect(read_only)
        try:
            with self._telling():
                self._prepare(read_only)
        except BaseException:
            self._connection.close()
            raise

    def _connect(self, read_only: bool) -> sqlite3.Connection:
        uri = "file:" + quote(str(self.path.absolute()))
        if read_only:
            uri += "?mode=ro"
            if not self.path.with_name(self.path.name + "-wal").exists() and not _writable(
                self.path.parent
            ):
                uri += "&immutable=1"  # WAL needs a side file, and here none can be made
        return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)

    def _prepare(self, read_only: bool) -> None:
        connection = self._connection
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA recursive_triggers = ON")  # else REPLACE deletes unseen
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if mark != APPLICATION_ID and (tables or read_only):
            raise StoreError(
                f"{self.path} is a database, but not a store of cai's",
                hint="Move it away or choose another folder.",
            )
        try:
            missing = pending(connection)
        except NewerSchemaError as error:
            raise StoreError(
                f"{self.path} was written by a newer version of cai (schema {error})",
                hint="Update your checkout of cai: git pull, then pip install -e .",
            ) from None
        if read_only:
            if missing:
                raise StoreError(
                    f"{self.path} was written by an older version of cai",
                    hint="Open it once for writing: run its `cai build-data` command again.",
                )
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if missing:
            with self.transaction():
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                migrate(connection)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement. Read its rows at once: errors while reading are not translated."""
        with self._telling():
            return self._connection.execute(sql, values)

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query that has few."""
        with self._telling():
            return self._connection.execute(sql, values).fetchall()

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run one statement for many rows; how many rows it wrote."""
        with self._telling():
            return self._connection.executemany(sql, rows).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Inside another one, the inner part is undone on its own if it fails."""
        inner = f"inner_{self._depth}" if self._depth else ""
        self.execute(f"SAVEPOINT {inner}" if inner else "BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
            self.execute(f"RELEASE {inner}" if inner else "COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk may have undone all of it already
                self._connection.execute(f"ROLLBACK TO {inner}" if inner else "ROLLBACK")
            raise
        finally:
            self._depth -= 1

    def close(self) -> None:
        """Close the file; what was not committed is undone."""
        with self._telling():
            self._connection.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn SQLite's errors into `StoreError`s that say what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            told = _TOLD.get(code & 0xFF if code is not None else -1)
            if told is None:
                raise StoreError(f"{self.path}: {error}") from error
            message, hint = told
            raise StoreError(message.format(path=self.path, error=error), hint=hint) from error
        except UnicodeEncodeError as error:
            raise StoreError(
                f"a text for {self.path} holds half a character "
                f"(lone surrogate U+{ord(error.object[error.start]):04X})",
                hint="Repair the text where it comes from; no file could keep it.",
            ) from error

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _writable(folder: Path) -> bool:
    import os

    return os.access(folder, os.W_OK)
