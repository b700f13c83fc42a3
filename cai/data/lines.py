"""Lines of files, as bytes and as text, with their numbers and offsets."""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

LINE_LIMIT = 16 * 2**20
"""Bytes of the longest line that is read; a longer one is skipped without loading it."""
STDIN = "<stdin>"
"""The name of standard input, in messages and as the source of rows."""
CHUNK = 2**16
"""Bytes that are read at once."""
BOM = codecs.BOM_UTF8
_LONE_CR = re.compile(rb"(?<=\r)(?!\n)")


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


def label(path: Path) -> str:
    """The name of a file in messages."""
    return STDIN if path.name == STDIN else str(path)


def open_file(path: Path) -> IO[bytes]:
    """A file opened for reading bytes, decompressed if it is gzipped."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path)) if zipped else path.open("rb")


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file: the line, from 1, and the offset of its first byte."""

    line: int = 1
    offset: int = 0


START = Place()
"""The beginning of a file."""


def read_lines(path: Path, start: Place = START) -> Iterator[tuple[int, int, bytes | None]]:
    """(line number, byte offset, bytes) of each line; None for one over the limit."""
    line, offset = start.line - 1, start.offset
    with open_file(path) as file:
        file.seek(offset)
        while data := file.readline(LINE_LIMIT + 1):
            line += 1
            begin, offset = offset, offset + len(data)
            if len(data) > LINE_LIMIT:
                while data and not data.endswith(b"\n"):
                    data = file.readline(CHUNK)
                    offset += len(data)
                yield line, begin, None
                continue
            if data.startswith(BOM):  # at the start, or where files were joined
                data, begin = data[len(BOM) :], begin + len(BOM)
            yield line, begin, data


def split_at_cr(
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


def decode_lines(lines: Iterator[tuple[int, int, bytes | None]]) -> FileRows:
    """Lines as text, without blank ones; a line that is too long or not UTF-8 is invalid."""
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
