"""Several transactions in one commit: what is quick to make is not held up by the disk."""

from __future__ import annotations

import time
from typing import Protocol


class Commits(Protocol):
    """The transaction of a whole group."""

    def begin(self) -> None:
        """Begin it."""
        ...

    def commit(self) -> None:
        """End it, and keep all that was written since."""
        ...


class CommitGroup:
    """Whole transactions that wait for one commit, `seconds` after the last one."""

    def __init__(self, database: Commits, seconds: float) -> None:
        self._database, self._seconds = database, seconds
        self._last_commit = time.monotonic()
        self._open = False

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the commit is due; None where nothing waits for it."""
        if not self._open:
            return None
        return max(0.0, self._last_commit + self._seconds - time.monotonic())

    def begin(self) -> None:
        """Begin the group's transaction, unless it has begun."""
        if not self._open:
            self._database.begin()
            self._open = True

    def commit_if_due(self) -> None:
        """Commit what waits, if the last commit was `seconds` ago or longer."""
        if self.seconds_left == 0:
            self.commit()

    def commit(self) -> None:
        """Commit what waits."""
        if self._open:
            self._open = False
            self._database.commit()
            self._last_commit = time.monotonic()
