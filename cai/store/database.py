"""One SQLite file: opened safely, written in transactions, with errors that say what to do.

What is committed survives a kill of the process at any moment. A power cut or a crash of the
operating system may undo the last commits (SQLite's `synchronous = NORMAL`), never a part of one
and never one before a commit that stays. A durable transaction waits for the disk: what was
committed before its end survives a power cut, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cai.errors import StoreError
from cai.store.commit_group import CommitGroup
from cai.store.migrations import APPLICATION_ID, NewerSchemaError, migrate, pending

BUSY_SECONDS = 30.0
"""How long a write waits for another process's transaction."""
_WAL_PAGES = 4000
"""Pages of the write-ahead log (16 MB) after which they go to the file: two waits for the disk."""

_AGAIN = "What was committed is intact; run the same command again after that."
_MESSAGES: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("no space is left to write to {path}", f"Free some space. {_AGAIN}"),
    sqlite3.SQLITE_IOERR: (
        "{path} can't be read or written: {error}",
        f"Check the disk and its free space. {_AGAIN}",
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
        "Check that it exists, and that you may read and write it and its folder.",
    ),
    sqlite3.SQLITE_BUSY: (
        "another process has been writing to {path} for too long",
        "Wait until it is done, then run the same command again.",
    ),
    sqlite3.SQLITE_LOCKED: (
        "{path} is in use by this process",
        "Finish reading before writing; with commands alone, this is a bug.",
    ),
}


class Database:
    """A connection to a store's file. Use `execute` for reads and, in `transaction`, writes."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._depth = 0
        self._group: CommitGroup | None = None
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
        with self._store_errors():
            self._connection = self._connect(read_only)
        try:
            with self._store_errors():
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
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        if missing:
            with self.transaction():
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                migrate(connection)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement. Read its rows at once: errors while reading are not translated."""
        with self._store_errors():
            return self._connection.execute(sql, values)

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query with a small result."""
        with self._store_errors():
            return self._connection.execute(sql, values).fetchall()

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run one statement for many rows; return the number of rows it wrote."""
        with self._store_errors():
            return self._connection.executemany(sql, rows).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: all or nothing. If a nested one fails, it alone is rolled back."""
        if self._group is not None:
            self._group.begin()
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

    @contextmanager
    def durable(self) -> Iterator[None]:
        """A transaction that waits for the disk, unless it is nested in one that does not.

        After it, everything committed so far survives a power cut.
        """
        if self._depth:
            with self.transaction():
                yield
            return
        self.execute("PRAGMA synchronous = FULL")
        try:
            with self.transaction():
                yield
        finally:
            self.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def grouped(self, seconds: float) -> Iterator[CommitGroup]:
        """Commit the transactions inside the block in groups, each `seconds` long or more.

        Each is all or nothing as before. At the end, also after an error, those that are whole are
        committed.
        """
        group = self._group = CommitGroup(self, seconds)
        try:
            yield group
        except BaseException:
            with suppress(StoreError):  # the error that ended the block counts
                group.commit()
            raise
        else:
            group.commit()
        finally:
            self._group = None

    def begin(self) -> None:
        """Begin the transaction of a group of commits."""
        self.execute("BEGIN IMMEDIATE")
        self._depth = 1

    def commit(self) -> None:
        """End what `begin` began; where that fails, nothing of it is written."""
        self._depth = 0
        try:
            self.execute("COMMIT")
        except StoreError:
            with suppress(sqlite3.Error):  # a full disk may have undone all of it already
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file; changes that were not committed are rolled back."""
        with self._store_errors():
            self._connection.close()

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into `StoreError`s that say what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            entry = _MESSAGES.get(code & 0xFF if code is not None else -1)
            if entry is None:
                raise StoreError(f"{self.path}: {error}") from error
            message, hint = entry
            raise StoreError(message.format(path=self.path, error=error), hint=hint) from error
        except UnicodeEncodeError as error:
            raise StoreError(
                f"a text for {self.path} is not valid Unicode "
                f"(lone surrogate U+{ord(error.object[error.start]):04X})",
                hint="Repair the text at its source; no file can store it.",
            ) from error


def _writable(folder: Path) -> bool:
    import os

    return os.access(folder, os.W_OK)
