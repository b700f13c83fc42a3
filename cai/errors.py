"""The errors that users see, and their exit codes.

    CaiError                 exit 1   anything below, told in one line without a traceback
    ├── UsageError           exit 2   an option or its value makes no sense
    ├── ContentError         exit 3   a principle, constitution or template is not right
    │                                 (carries `Problem`s, each with file:line:col)
    ├── DataError            exit 4   a prompts file or a training file can't be read
    ├── ModelError           exit 5   a model, tokenizer or adapter can't be loaded or used
    │   ├── PromptError      (caught) one prompt can't be used: its row is set aside
    │   └── ServerError      exit 8   a model server does not answer, or refuses what it is asked
    ├── StoreError           exit 6   the store is locked, damaged or out of space
    ├── TrainingError        exit 7   training can't continue
    ├── BudgetError          exit 9   the budget is spent; says how to go on
    ├── GuardError           exit 1   a guard can't vouch for an answer, so none is sent
    └── Interrupted          exit 130 stopped by the user; says how to go on

Every message says what happened, where, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class CaiError(Exception):
    """Base of all errors meant for people: `str()` is the whole message."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


def install_hint(extra: str) -> str:
    """How to install an optional dependency, until the package is published on an index."""
    return f"In a checkout of cai: pip install -e '.[{extra}]'"


class UsageError(CaiError):
    """An option or its value is invalid."""

    exit_code = 2


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A problem in a file. `line` and `column` count from 1; 0 is no position: it has no text."""

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.code} {self.message}"
        return f"{text}\n    {self.hint}" if self.hint else text


class ContentError(CaiError):
    """A principle, constitution or template is invalid."""

    exit_code = 3

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class DataError(CaiError):
    """A prompts file or a training file can't be read."""

    exit_code = 4


class ModelError(CaiError):
    """A model, tokenizer or adapter can't be loaded or used."""

    exit_code = 5


class PromptError(ModelError):
    """One prompt can't be used (too long, not renderable): its row is set aside."""


class ServerError(ModelError):
    """A model server does not answer, refuses what it is asked, or lacks what a build needs."""

    exit_code = 8


class StoreError(CaiError):
    """The store is locked, damaged or out of space."""

    exit_code = 6


class GuardError(CaiError):
    """A guard can't vouch for an answer, so none is sent: a critic or judge failed, say."""


class TrainingError(CaiError):
    """Training can't continue: a NaN loss, out of memory, a collapsed policy."""

    exit_code = 7


class BudgetError(CaiError):
    """The budget is spent; everything that was paid for is kept."""

    exit_code = 9


class Interrupted(CaiError):
    """Interrupted by the user; the message says how to resume."""

    exit_code = 130
