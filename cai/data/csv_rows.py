"""Rows of CSV, with the faults of single rows."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cai.data import lines
from cai.data.lines import FileRow, FileRows, UnreadableRow, invalid_utf8, label, read_lines
from cai.errors import DataError


def csv_rows(path: Path, delimiter: str = ",") -> FileRows:
    """Rows as objects with the header's keys."""
    header: list[str] | None = None
    for row in _csv_records(path, delimiter):
        if header is None:
            if isinstance(row, UnreadableRow):
                raise DataError(
                    f"{label(path)}:{row.line}: the header can't be read: {row.reason}",
                    hint="The first line names the columns: correct it.",
                )
            header = [name.strip() for name in row.value]
            require_unique(path, header)
        elif isinstance(row, UnreadableRow):
            yield row
        elif any(row.value) and len(row.value) != len(header):
            reason = f"invalid CSV: {len(row.value)} fields under a header of {len(header)}"
            yield UnreadableRow(row.line, reason, " ".join(row.value)[:80])
        elif any(row.value):
            yield FileRow(row.line, dict(zip(header, row.value, strict=True)))


@dataclass(frozen=True, slots=True)
class _CsvLine:
    """A line of a CSV file; fault: why it could not be decoded."""

    number: int
    text: str
    fault: str = ""


def _csv_lines(path: Path) -> Iterator[_CsvLine]:
    for number, offset, data in read_lines(path):
        if data is None:
            yield _CsvLine(number, "\n", f"too long: a line of more than {lines.LINE_LIMIT} bytes")
            continue
        try:
            yield _CsvLine(number, data.decode())
        except UnicodeDecodeError as error:
            text = data.decode(errors="replace")
            yield _CsvLine(number, text, invalid_utf8(offset, error))


def _csv_records(path: Path, delimiter: str) -> FileRows:
    """The fields of each row.

    In a row that is not CSV, such as one with an unclosed quote, only the first line is invalid;
    the lines after it are read again.
    """
    csv.field_size_limit(max(csv.field_size_limit(), lines.LINE_LIMIT))  # as for lines
    source, pushback = _csv_lines(path), deque[_CsvLine]()
    row_lines: list[_CsvLine] = []

    def texts() -> Iterator[str]:
        while (line := pushback.popleft() if pushback else next(source, None)) is not None:
            row_lines.append(line)
            yield line.text

    while True:
        row_lines.clear()
        try:
            fields = next(csv.reader(texts(), delimiter=delimiter, strict=True), None)
        except csv.Error as error:
            first, *rest = row_lines
            pushback.extendleft(reversed(rest))
            yield UnreadableRow(
                first.number, first.fault or _csv_fault(error, row_lines), first.text[:80].strip()
            )
            continue
        if fields is None:
            return
        if fault := next((line.fault for line in row_lines if line.fault), ""):
            yield UnreadableRow(row_lines[0].number, fault, " ".join(fields)[:80])
        else:
            yield FileRow(row_lines[0].number, fields)


def _csv_fault(error: csv.Error, lines: Sequence[_CsvLine]) -> str:
    """The reason why these lines are not a CSV row."""
    if "unexpected end" in str(error) or "field limit" in str(error):
        return "invalid CSV: a quote that opens in this row is never closed"
    if len(lines) > 1:
        return (
            f"invalid CSV: a quote that opens in this row is not closed before line "
            f"{lines[-1].number}, where {error}"
        )
    return f"invalid CSV: {error}"


def require_unique(path: Path, columns: Sequence[str]) -> None:
    """Raise `DataError` for a duplicate column: a row could hold only one of the two."""
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice:
        raise DataError(
            f"{label(path)} has the column {twice!r} twice", hint="Rename one of the two."
        )
