"""File formats of rows: JSONL, JSON, text, CSV, Parquet, plain or gzipped, read a row at a time.

An invalid row is yielded as an `UnreadableRow`, and reading continues with the next one. Only a
file that can't be read at all raises `DataError`.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import shutil
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeAlias, cast

from cai.data import strict_json
from cai.errors import DataError, install_hint

LINE_LIMIT = 16 * 2**20
"""Bytes of the longest line that is read; a longer one is skipped without loading it."""
STDIN = "<stdin>"
"""The name of standard input, in messages and as the source of rows."""
_CHUNK = 2**16
_HEAD = 8192
_BOM = codecs.BOM_UTF8
_LONE_CR = re.compile(rb"(?<=\r)(?!\n)")
_AS_TEXT = "If it is plain text, a prompt a line: --format text"


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row and the number of its first line, from 1. A line of plain text is a string."""

    line: int
    value: Any


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """An invalid row, which can't be read, with the reason."""

    line: int
    reason: str
    excerpt: str = ""


FileRows: TypeAlias = Iterator[FileRow | UnreadableRow]


def container_of(path: Path, choice: str | None = None) -> str:
    """The container format of a file: the user's choice, or by its content and ending.

    Raises `DataError` with advice.
    """
    if path.is_dir():
        raise DataError(f"{label(path)} is a folder", hint="Name a file of prompts in it.")
    if not path.exists():
        raise DataError(f"there is no file {label(path)}", hint="Check the path.")
    head = _head(path)
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.removeprefix(_BOM).decode(errors="replace")
    odd = sum(c == "\ufffd" or (c < " " and c not in "\t\n\r\f") for c in text)
    if odd >= 16 and odd > len(text) / 5:
        raise DataError(
            f"{label(path)} is not UTF-8 text",
            hint="Prompts are read from JSONL, JSON, CSV, text or Parquet; text in another "
            "encoding can be converted with: iconv -f ENCODING -t UTF-8",
        )
    if not text.strip():
        raise DataError(f"{label(path)} is empty", hint="Write a prompt a line, as text or JSON.")
    if choice is not None:
        return choice
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    container = _ENDINGS.get(ending, "")
    if container in ("", "jsonl", "json"):
        first = text.lstrip()[0]
        if text.lstrip().partition("\n")[0].strip() == "{":
            raise DataError(
                f"{label(path)} is one JSON object over several lines",
                hint=f"Write an object a line (JSONL), or a list of objects. {_AS_TEXT}",
            )
        return {"{": "jsonl", "[": "json"}.get(first, container or "text")
    return container


def label(path: Path) -> str:
    """The name of a file in messages."""
    return STDIN if path.name == STDIN else str(path)


def rows(path: Path, container: str) -> FileRows:
    """The rows of a file. Raises `DataError` if the file itself is damaged."""
    try:
        yield from CONTAINERS[container](path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{label(path)} is a damaged or cut gzip file: {error}",
            hint="Download it again.",
        ) from None
    except OSError as error:
        raise DataError(f"{label(path)} can't be read: {error.strerror or error}") from None


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path)) if zipped else path.open("rb")


def _head(path: Path) -> bytes:
    try:
        with _open(path) as file:
            return file.read(_HEAD)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{label(path)} can't be read: {error}", hint="Check the file.") from None


@dataclass(frozen=True, slots=True)
class _Place:
    """A position in a file: the line, from 1, and the offset of its first byte."""

    line: int = 1
    offset: int = 0


def _lines(path: Path, start: _Place = _Place()) -> Iterator[tuple[int, int, bytes | None]]:
    """(line number, byte offset, bytes) of each line; None for one over the limit."""
    line, offset = start.line - 1, start.offset
    with _open(path) as file:
        file.seek(offset)
        while data := file.readline(LINE_LIMIT + 1):
            line += 1
            begin, offset = offset, offset + len(data)
            if len(data) > LINE_LIMIT:
                while data and not data.endswith(b"\n"):
                    data = file.readline(_CHUNK)
                    offset += len(data)
                yield line, begin, None
                continue
            if data.startswith(_BOM):  # at the start, or where files were joined
                data, begin = data[len(_BOM) :], begin + len(_BOM)
            yield line, begin, data


def _split_at_cr(
    lines: Iterator[tuple[int, int, bytes | None]],
) -> Iterator[tuple[int, int, bytes | None]]:
    """The same lines, split where \\r alone ends one, as old Macs wrote it."""
    more = 0
    for line, offset, data in lines:
        parts = [data] if data is None else [p for p in _LONE_CR.split(data) if p]
        for number, part in enumerate(parts):
            yield line + more + number, offset, part
            offset += len(part or b"")
        more += max(len(parts) - 1, 0)


def _texts(lines: Iterator[tuple[int, int, bytes | None]]) -> FileRows:
    for line, offset, data in lines:
        if data is None:
            yield UnreadableRow(line, f"too long: a line of more than {LINE_LIMIT} bytes")
            continue
        try:
            text = data.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            yield UnreadableRow(
                line, invalid_utf8(offset, error), data[:80].decode(errors="replace")
            )
            continue
        if text.strip():
            yield FileRow(line, text)


def invalid_utf8(offset: int, error: UnicodeDecodeError) -> str:
    """The reason for a row that is not UTF-8: which byte, and where in the file."""
    byte = error.object[error.start]
    return f"invalid UTF-8: byte 0x{byte:02X} at offset {offset + error.start}"


def _text(path: Path) -> FileRows:
    for row in _texts(_split_at_cr(_lines(path))):
        yield row if isinstance(row, UnreadableRow) else FileRow(row.line, row.value.strip())


def _jsonl(path: Path, start: _Place = _Place()) -> FileRows:
    for row in _texts(_lines(path, start)):
        if isinstance(row, UnreadableRow):
            yield row
            continue
        try:
            yield FileRow(row.line, strict_json.loads(row.value))
        except json.JSONDecodeError as error:
            reason = f"invalid JSON: column {error.colno}: {error.msg}"
            yield UnreadableRow(row.line, reason, row.value[:80].strip())
        except ValueError as error:  # unsound, or a number of thousands of digits
            yield UnreadableRow(row.line, f"invalid JSON: {error}", row.value[:80])


def _json(path: Path) -> FileRows:
    """The elements of JSON lists, streamed, and then of the JSON lines that may follow them."""
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    buffer, place, line, size = "", 0, 1, _CHUNK
    in_list = list_ended = False
    with _open(path) as file:
        while True:
            begin = place
            while place < len(buffer) and (
                buffer[place] in " \t\r\n\ufeff" or (in_list and buffer[place] == ",")
            ):
                place += 1
            line += buffer.count("\n", begin, place)
            if not in_list and buffer[place : place + 1] == "[":
                in_list, place = True, place + 1
                continue
            if in_list and buffer[place : place + 1] == "]":
                in_list, list_ended, place = False, True, place + 1
                continue
            if list_ended and not in_list:
                if place < len(buffer):
                    rest = len(buffer[place:].encode(errors="surrogateescape"))
                    offset = file.tell() - len(decode.getstate()[0]) - rest
                    break
                if not (more := file.read(_CHUNK)):
                    return
                buffer, place = decode.decode(more), 0
                continue
            try:
                value, end, unsound = _value(buffer, place)
            except ValueError as error:
                more = file.read(size)
                if not more or len(buffer) - place > LINE_LIMIT:
                    raise DataError(
                        f"{label(path)}:{line}: the JSON list is broken here: {error}",
                        hint="Repair it, or write JSONL, where a broken row stands alone. "
                        + _AS_TEXT,
                    ) from None
                buffer, place, size = buffer[place:] + decode.decode(more), 0, size * 2
                continue
            raw, size = buffer[place:end], _CHUNK
            if unsound:
                yield UnreadableRow(line, f"invalid JSON: {unsound}", raw[:80])
            elif any("\udc80" <= c <= "\udcff" for c in raw):
                yield UnreadableRow(line, "invalid UTF-8", raw[:80])
            else:
                yield FileRow(line, value)
            line += raw.count("\n")
            place = end
    yield from _elements(_jsonl(path, _Place(line, offset)))


def _elements(rows: FileRows) -> FileRows:
    """The rows, with lists replaced by their elements."""
    for row in rows:
        if isinstance(row, FileRow) and isinstance(row.value, list):
            yield from (FileRow(row.line, value) for value in row.value)
        else:
            yield row


def _value(text: str, start: int) -> tuple[Any, int, str]:
    """A value, its end, and why it is invalid, if it is. Raises `ValueError` if it is cut off."""
    try:
        value, end = strict_json.DECODER.raw_decode(text, start)
        strict_json.validate_depth(text[start:end])
        return value, end, ""
    except (strict_json.NonStandardJson, RecursionError) as error:
        over = strict_json.end_of_value(text, start)
        if over is None:
            raise ValueError("it ends in the middle of a value") from None
        deep = isinstance(error, RecursionError)
        return None, over, "nested too deeply" if deep else str(error)


def _csv(path: Path, delimiter: str = ",") -> FileRows:
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
            _need_once(path, header)
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
    for number, offset, data in _lines(path):
        if data is None:
            yield _CsvLine(number, "\n", f"too long: a line of more than {LINE_LIMIT} bytes")
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
    csv.field_size_limit(max(csv.field_size_limit(), LINE_LIMIT))  # as for lines
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


def _need_once(path: Path, columns: Sequence[str]) -> None:
    """Raise `DataError` for a duplicate column: a row could hold only one of the two."""
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice:
        raise DataError(
            f"{label(path)} has the column {twice!r} twice", hint="Rename one of the two."
        )


def _tsv(path: Path) -> FileRows:
    return _csv(path, "\t")


def _parquet(path: Path) -> FileRows:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f"{label(path)} is a Parquet file, and pyarrow is not installed",
            hint=install_hint("parquet"),
        ) from None
    try:
        line = 0
        with parquet.ParquetFile(path) as file:
            _need_once(path, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=256):
                for value in batch.to_pylist():
                    line += 1
                    try:
                        plain = json.dumps(value, default=str, allow_nan=False)
                    except ValueError:
                        yield UnreadableRow(
                            line, "invalid number: NaN or Infinity; null says there is none"
                        )
                        continue
                    yield FileRow(line, json.loads(plain))
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{label(path)} is a damaged Parquet file: {error}",
            hint="Make or download it again.",
        ) from None


def spool_stdin() -> TemporaryDirectory[str]:
    """A temporary folder with standard input in a file named `STDIN`, deleted with the object."""
    folder = TemporaryDirectory(prefix="cai-")
    with (Path(folder.name) / STDIN).open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return folder


CONTAINERS: dict[str, Callable[[Path], FileRows]] = {
    "jsonl": _jsonl,
    "json": _json,
    "text": _text,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
}
_ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".md": "text",
    ".parquet": "parquet",
}
