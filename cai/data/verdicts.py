"""Auditors' verdicts on a run: an append-only file in its folder, one verdict a line.

A verdict is on one item (a trace, a comparison, a rollout, an answer), identified by a digest of
what the auditor saw. Lines never change: an auditor who changes their mind adds a line, and the
last verdict of each author on an item stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from cai.data.files import json_line, store_errors
from cai.errors import DataError, StoreError
from cai.store.lock import file_lock

FOLDER = "audit"
"""The folder in a run's folder that holds verdicts and sign-offs."""
NAME = "verdicts.jsonl"
Decision: TypeAlias = Literal["accept", "reject", "unsure", "none"]
"""`none` takes an earlier verdict back."""
_DECISIONS = get_args(Decision)
_CLOCK_TOLERANCE = timedelta(hours=1)  # of clocks: a verdict from the future would always stand
_MAX_TEXT = 10_000  # characters of a text in a verdict
_MAX_REASONS, _MAX_REASON_TEXT = 20, 100


@dataclass(frozen=True, slots=True)
class Verdict:
    """One auditor's verdict on one item.

    item: digest of what the auditor saw. record: id of the trace, comparison, rollout or answer.
    run: id of the run. flagged: the auditor wants to come back to it. at: UTC, ISO 8601. reason:
    free text. reasons: from the page's list (`cai.audit.reasons`); other short texts are allowed.
    """

    item: str
    record: str
    run: str
    verdict: Decision
    author: str
    at: str
    flagged: bool = False
    reason: str = ""
    reasons: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """All reasons as one text; empty without any."""
        return "; ".join((*self.reasons, *([self.reason] if self.reason else [])))


def verdict_of(values: Any) -> Verdict:
    """A verdict from JSON values. Raises `ValueError` for invalid ones."""
    if not isinstance(values, dict):
        raise ValueError("not an object")
    keys = {f.name for f in fields(Verdict)}
    if extra := sorted(set(values) - keys):
        raise ValueError(f"unknown keys: {', '.join(extra[:5])}")
    texts = {n: values.get(n, "") for n in ("item", "record", "run", "author", "at", "reason")}
    for name, text in texts.items():
        if not isinstance(text, str) or len(text) > _MAX_TEXT:
            raise ValueError(f"{name} is not a text of up to {_MAX_TEXT} characters")
        if not text and name != "reason":
            raise ValueError(f"{name} is missing")
    texts = {n: t.encode(errors="replace").decode() for n, t in texts.items()}
    if values.get("verdict") not in _DECISIONS:
        raise ValueError(f"verdict is none of {', '.join(_DECISIONS)}")
    if not isinstance(values.get("flagged", False), bool):
        raise ValueError("flagged is not true or false")
    reasons = _reasons_of(values.get("reasons", []))
    try:
        at = datetime.fromisoformat(texts["at"])
        if at.tzinfo is None:
            raise ValueError("it names no time zone")
        if at > datetime.now(UTC) + _CLOCK_TOLERANCE:
            raise ValueError("it lies in the future")
    except ValueError as error:
        raise ValueError(f"at is not a time in ISO 8601: {error}") from None
    return Verdict(
        **texts, verdict=values["verdict"], flagged=values.get("flagged", False), reasons=reasons
    )


def _reasons_of(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or len(values) > _MAX_REASONS:
        raise ValueError(f"reasons is not a list of up to {_MAX_REASONS} texts")
    for text in values:
        if not isinstance(text, str) or not 0 < len(text) <= _MAX_REASON_TEXT:
            raise ValueError(f"a reason is not a text of 1 to {_MAX_REASON_TEXT} characters")
    return tuple(dict.fromkeys(t.encode(errors="replace").decode() for t in values))


def verdict_line(verdict: Verdict) -> bytes:
    """A verdict as its line in the file; `reasons` is left out if there are none, so that
    earlier versions read the file, too."""
    values = asdict(verdict)
    if not verdict.reasons:
        del values["reasons"]
    return json_line(values)


class VerdictFile:
    """The verdicts of a run's folder."""

    def __init__(self, run: Path) -> None:
        self.path = run / FOLDER / NAME

    def read(self) -> list[Verdict]:
        """All verdicts in order; empty without a file.

        A last line that a kill cut off was never acknowledged, and is left out. Raises `DataError`
        with the line number of any other line that is not a verdict.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{self.path} can't be read: {error.strerror}") from None
        *lines, rest = data.split(b"\n")
        if _is_whole(rest):  # an editor left the last line without its end
            lines.append(rest)
        return [_read(self.path, n, line) for n, line in enumerate(lines, 1)]

    def append(self, verdicts: Sequence[Verdict]) -> None:
        """Append verdicts and sync them to disk; several processes may do so at once.

        Raises `StoreError` if the file can't be written.
        """
        with store_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_name(f".{NAME}.lock")
        with (
            file_lock(lock, wait=True, busy=lambda: StoreError(f"{self.path} is locked")),
            store_errors(self.path),
            self.path.open("a+b") as file,
        ):
            _end_line(file)
            file.write(b"".join(map(verdict_line, verdicts)))
            file.flush()
            os.fsync(file.fileno())


def _end_line(file: Any) -> None:
    """Truncate a partial last line, so that the next verdict begins on its own line."""
    file.seek(0)
    data = file.read()
    whole = data.rfind(b"\n") + 1
    if _is_whole(data[whole:]):
        file.write(b"\n")
    elif whole != len(data):
        file.truncate(whole)


def _is_whole(line: bytes) -> bool:
    try:
        return bool(verdict_of(json.loads(line)))
    except (ValueError, RecursionError):
        return False


def read_verdicts(path: Path) -> list[Verdict]:
    """The verdicts of an exported file. Raises `DataError` with the line of an invalid one."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None
    return [_read(path, n, line) for n, line in enumerate(lines, 1) if line.strip()]


def _read(path: Path, number: int, line: bytes) -> Verdict:
    try:
        return verdict_of(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}:{number} is not a verdict: {error}",
            hint="Each line is a JSON object as the audit page exports it.",
        ) from None


def standing_verdicts(verdicts: Iterable[Verdict]) -> dict[tuple[str, str], Verdict]:
    """(item, author) → the last verdict of each author on each item, without withdrawn ones."""
    out: dict[tuple[str, str], Verdict] = {}
    for verdict in sorted(verdicts, key=lambda v: datetime.fromisoformat(v.at)):
        out[verdict.item, verdict.author] = verdict
    return {key: v for key, v in out.items() if v.verdict != "none" or v.flagged or v.why}


def standing_rejections(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    """Record id → a standing rejection of it; one auditor's is enough."""
    return {v.record: v for v in standing_verdicts(verdicts).values() if v.verdict == "reject"}


def deciding_verdicts(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    """Record id → the verdict that decides about it: an accept or a reject that stands.

    Of several auditors one rejection is enough; of several of one kind the earliest counts.
    """
    out: dict[str, Verdict] = {}
    for verdict in standing_verdicts(verdicts).values():
        before = out.get(verdict.record)
        decides = before is None or (before.verdict, verdict.verdict) == ("accept", "reject")
        if verdict.verdict in ("accept", "reject") and decides:
            out[verdict.record] = verdict
    return out
