"""One build at a time: a lock that the operating system frees when its holder dies.

The lock is a transaction held open on an empty SQLite file beside the store. The file stays, and
means nothing by itself, so there is no stale lock to remove after a kill.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cai.errors import CaiError, StoreError

SECONDS_BETWEEN_TRIES = 0.2


@contextmanager
def file_lock(path: Path, *, wait: bool, busy: Callable[[], CaiError]) -> Iterator[None]:
    """Hold the lock `path`. Raises what `busy` makes where another holds it, unless told to wait.

    Raises `StoreError` where there can be no lock.
    """
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    with closing(connection):
        while not _take(connection, path):
            if not wait:
                raise busy()
            time.sleep(SECONDS_BETWEEN_TRIES)
        yield


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock `path` at this moment."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            return not _take(connection, path)
    except (sqlite3.Error, StoreError):
        return False  # not even writable here, so not held from here


def _take(connection: sqlite3.Connection, path: Path) -> bool:
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise _unusable(path, error) from error
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    return True


def _unusable(path: Path, error: sqlite3.Error) -> StoreError:
    return StoreError(
        f"the lock {path} can't be taken: {error}",
        hint="Look whether you may write to its folder; the file itself may be deleted.",
    )
