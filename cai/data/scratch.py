"""Facts about all rows of a file, however many: kept in a temporary database, not in memory.

SQLite keeps a small one in memory, moves a large one to the folder for temporary files, and deletes
it when it is closed or the process dies.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from cai.errors import StoreError

_CACHE_KIB = 4096
"""Memory of one database; what is beyond it goes to a temporary file."""


class _Scratch:
    """A temporary database with one table; close it, or use it in a `with`."""

    def __init__(self, table: str) -> None:
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(f"CREATE TABLE entries {table}")
        self._connection.execute("BEGIN")  # one transaction for all: nothing is to be kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete the database."""
        self._connection.close()


class FirstLines(_Scratch):
    """The first line that had each key. Raises `StoreError` where no temporary file can be made."""

    def __init__(self) -> None:
        super().__init__("(key PRIMARY KEY, line INTEGER) WITHOUT ROWID")

    def add(self, key: str | bytes, line: int) -> int:
        """The first line that had this key: `line` itself, unless it was added before."""
        with _scratch_errors():
            new = self._connection.execute(
                "INSERT OR IGNORE INTO entries VALUES (?, ?)", (key, line)
            ).rowcount
            if new:
                return line
            query = "SELECT line FROM entries WHERE key = ?"
            return int(self._connection.execute(query, (key,)).fetchone()[0])


class UnorderedDigest(_Scratch):
    """The digest of many digests, whatever their order: of a sorted list of them, as JSON."""

    def __init__(self) -> None:
        super().__init__("(digest TEXT)")
        self.count = 0

    def add(self, digest: str) -> None:
        """Add a digest, in hex."""
        with _scratch_errors():
            self._connection.execute("INSERT INTO entries VALUES (?)", (digest,))
        self.count += 1

    def hexdigest(self) -> str:
        """What `cai.digest.digest` makes of the sorted list."""
        out, separator = hashlib.sha256(b"["), ""
        with _scratch_errors():
            for (digest,) in self._connection.execute("SELECT digest FROM entries ORDER BY digest"):
                out.update(f'{separator}"{digest}"'.encode())
                separator = ","
        out.update(b"]")
        return out.hexdigest()


@contextmanager
def _scratch_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"a temporary file can't be written: {error}",
            hint="Free some space, or name a folder that has some in the variable TMPDIR.",
        ) from error
