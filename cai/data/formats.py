"""File formats of rows: JSONL, JSON, text, CSV, Parquet, plain or gzipped, read a row at a time.

An invalid row is yielded as an `UnreadableRow`, and reading continues with the next one. Only a
file that can't be read at all raises `DataError`.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from cai.data.csv_rows import csv_rows, require_unique
from cai.data.json_rows import AS_TEXT, json_rows, jsonl_rows
from cai.data.lines import (
    BOM,
    STDIN,
    FileRow,
    FileRows,
    UnreadableRow,
    decode_lines,
    label,
    open_file,
    read_lines,
    split_at_cr,
)
from cai.errors import DataError, install_hint

_HEAD = 8192


def container_of(path: Path, choice: str | None = None) -> str:
    """The container format of a file: the user's choice, or by its content and ending.

    Raises `DataError` with advice.
    """
    if path.is_dir():
        raise DataError(f"{label(path)} is a folder", hint="Name a file in it.")
    if not path.exists():
        raise DataError(f"There is no file {label(path)}", hint="Check the path.")
    head = _head(path)
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.removeprefix(BOM).decode(errors="replace")
    odd = sum(c == "\ufffd" or (c < " " and c not in "\t\n\r\f") for c in text)
    if odd >= 16 and odd > len(text) / 5:
        raise DataError(
            f"{label(path)} is not UTF-8 text",
            hint="Rows are read from JSONL, JSON, CSV, text or Parquet; text in another "
            "encoding can be converted with: iconv -f ENCODING -t UTF-8",
        )
    if not text.strip():
        raise DataError(
            f"{label(path)} is empty", hint="Write a row a line: JSON, or a prompt as plain text."
        )
    if choice is not None:
        return choice
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    container = _ENDINGS.get(ending, "")
    if container in ("", "jsonl", "json"):
        first = text.lstrip()[0]
        if text.lstrip().partition("\n")[0].strip() == "{":
            raise DataError(
                f"{label(path)} is one JSON object over several lines",
                hint=f"Write an object a line (JSONL), or a list of objects. {AS_TEXT}",
            )
        return {"{": "jsonl", "[": "json"}.get(first, container or "text")
    return container


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


def _head(path: Path) -> bytes:
    try:
        with open_file(path) as file:
            return file.read(_HEAD)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{label(path)} can't be read: {error}", hint="Check the file.") from None


def _text(path: Path) -> FileRows:
    for row in decode_lines(split_at_cr(read_lines(path))):
        yield row if isinstance(row, UnreadableRow) else FileRow(row.line, row.value.strip())


def _tsv(path: Path) -> FileRows:
    return csv_rows(path, "\t")


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
            require_unique(path, file.schema_arrow.names)
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
    "jsonl": jsonl_rows,
    "json": json_rows,
    "text": _text,
    "csv": csv_rows,
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
