"""Rows of JSON: an object a line, or lists of objects, streamed."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from cai.data import lines, strict_json
from cai.data.lines import (
    START,
    FileRow,
    FileRows,
    Place,
    UnreadableRow,
    decode_lines,
    label,
    open_file,
    read_lines,
)
from cai.errors import DataError

AS_TEXT = "If it is plain text, a prompt a line: --format text"
"""A hint for files that are no JSON."""


def jsonl_rows(path: Path, start: Place = START) -> FileRows:
    """The rows of JSON lines, from `start` on."""
    for row in decode_lines(read_lines(path, start)):
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


def json_rows(path: Path) -> FileRows:
    """The elements of JSON lists, streamed, and then of the JSON lines that may follow them."""
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    buffer, place, line, size = "", 0, 1, lines.CHUNK
    in_list = list_ended = False
    with open_file(path) as file:
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
                if not (more := file.read(lines.CHUNK)):
                    return
                buffer, place = decode.decode(more), 0
                continue
            try:
                value, end, unsound = _value(buffer, place)
            except ValueError as error:
                more = file.read(size)
                if not more or len(buffer) - place > lines.LINE_LIMIT:
                    raise DataError(
                        f"{label(path)}:{line}: the JSON list is broken here: {error}",
                        hint="Repair it, or write JSONL, where a broken row stands alone. "
                        + AS_TEXT,
                    ) from None
                buffer, place, size = buffer[place:] + decode.decode(more), 0, size * 2
                continue
            raw, size = buffer[place:end], lines.CHUNK
            if unsound:
                yield UnreadableRow(line, f"invalid JSON: {unsound}", raw[:80])
            elif any("\udc80" <= c <= "\udcff" for c in raw):
                yield UnreadableRow(line, "invalid UTF-8", raw[:80])
            else:
                yield FileRow(line, value)
            line += raw.count("\n")
            place = end
    yield from _elements(jsonl_rows(path, Place(line, offset)))


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
