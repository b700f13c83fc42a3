"""A lock for one build at a time, which the operating system frees when the process dies.

The lock is an open transaction on an empty SQLite file beside the store. The file stays and means
nothing by itself, so there is no stale lock to remove after a kill.
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
    """Hold the lock `path` inside the block. Raises `StoreError` where no lock file can be made.

    wait: wait while another process holds it, instead of raising the error that `busy` returns.
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
    """Whether a process holds the lock `path` now."""
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
        hint="Check that you may write to its folder. The file itself can be deleted.",
    )
