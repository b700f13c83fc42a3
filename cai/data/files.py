"""Atomic files: written beside their place, synced, then renamed."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cai.digest import file_digest
from cai.errors import DataError, StoreError, install_hint

_PARQUET_BATCH = 1000


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as a manifest lists it; `rows` is None for a file without rows."""

    rows: int | None
    bytes: int
    sha256: str


class Staging:
    """New files of a folder, under temporary names until `publish`.

    Two stagings of one folder never write to the same file. A kill before `publish` leaves
    `.NAME.….partial` files, which `sweep` removes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._partials: dict[str, Path] = {}
        self.entries: dict[str, FileEntry] = {}
        with store_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def _partial(self, name: str) -> Path:
        return self._partials.setdefault(name, partial_of(self._folder / name))

    def text(self, name: str, text: str) -> None:
        """Stage a text file."""
        data = text.encode()
        with store_errors(self._folder), self._partial(name).open("wb") as file:
            file.write(data)
            _sync(file.fileno())
        self.entries[name] = FileEntry(None, len(data), hashlib.sha256(data).hexdigest())

    @contextmanager
    def lines(self, name: str) -> Iterator[JsonLines]:
        """Stage a JSONL file, row by row."""
        with store_errors(self._folder), self._partial(name).open("wb") as file:
            writer = JsonLines(file)
            yield writer
            file.flush()
            _sync(file.fileno())
        self.entries[name] = FileEntry(writer.rows, writer.bytes, writer.sha256)

    @contextmanager
    def parquet(self, name: str, table: str) -> Iterator[ParquetRows]:
        """Stage a Parquet file, in batches of rows. Raises `DataError` without pyarrow."""
        path = self._partial(name)
        with store_errors(self._folder):
            writer = ParquetRows(path, table)
            yield writer
            writer.close()
            with path.open("rb") as file:
                _sync(file.fileno())
            entry = FileEntry(writer.rows, path.stat().st_size, file_digest(path))
        self.entries[name] = entry

    @contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """Stage a binary file, written in parts."""
        path = self._partial(name)
        with store_errors(self._folder), path.open("wb") as file:
            yield file
            file.flush()
            _sync(file.fileno())
        self.entries[name] = FileEntry(None, path.stat().st_size, file_digest(path))

    def publish(self, last: str, stale: Sequence[str] = ()) -> None:
        """Move all staged files into place, `last` last, then remove the stale ones."""
        with store_errors(self._folder):
            for name in (*(n for n in self.entries if n != last), last):
                self._partial(name).replace(self._folder / name)
            for name in stale:
                (self._folder / name).unlink(missing_ok=True)
            with suppress(PermissionError):  # a folder can't be opened everywhere
                folder = os.open(self._folder, os.O_RDONLY)
                _sync(folder)
                os.close(folder)
        self.discard()

    def discard(self) -> None:
        """Remove staged files that were not published."""
        for path in self._partials.values():
            with suppress(OSError):
                path.unlink()


def partial_of(path: Path) -> Path:
    """A temporary path beside a file, unique to this call."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def sweep(folder: Path, names: Iterable[str]) -> None:
    """Remove partial files that a killed process left; only while no other process writes them."""
    for path in leftovers(folder, names):
        with suppress(OSError):
            path.unlink()


def leftovers(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """Partial files of these names, of a killed process or of one that is writing."""
    for name in names:
        yield from folder.glob(f".{glob.escape(name)}.*partial")


@contextmanager
def staged(folder: Path, last: str) -> Iterator[Staging]:
    """A staging that is published at the end, `last` last, and discarded on an error."""
    staging = Staging(folder)
    try:
        yield staging
        staging.publish(last)
    except BaseException:
        staging.discard()
        raise


def write_whole(file: Path, text: str) -> None:
    """Write a text file atomically. Raises `StoreError`."""
    with staged(file.parent, file.name) as staging:
        staging.text(file.name, text)


class JsonLines:
    """Writes rows as UTF-8 JSON lines, and computes their digest."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.rows = 0
        self.bytes = 0

    def write(self, values: dict[str, Any]) -> None:
        """Add a row."""
        data = json_line(values)
        self._file.write(data)
        self._digest.update(data)
        self.rows += 1
        self.bytes += len(data)

    @property
    def sha256(self) -> str:
        """The digest of all rows so far."""
        return self._digest.hexdigest()


def json_line(values: dict[str, Any]) -> bytes:
    """A row as one line of JSON; characters that some readers take for line breaks are escaped."""
    text = json.dumps(values, ensure_ascii=False, separators=(", ", ": "))
    for character in "\x85\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode() + b"\n"


class ParquetRows:
    """Writes rows to a Parquet file under a fixed schema."""

    def __init__(self, path: Path, table: str) -> None:
        self._arrow = require_pyarrow()
        self._schema = _schema(self._arrow, table)
        self._writer = self._arrow.parquet.ParquetWriter(path, self._schema)
        self._batch: list[dict[str, Any]] = []
        self.rows = 0

    def write(self, values: dict[str, Any]) -> None:
        """Add a row."""
        self._batch.append(values)
        self.rows += 1
        if len(self._batch) >= _PARQUET_BATCH:
            self._flush()

    def _flush(self) -> None:
        table = self._arrow.Table.from_pylist(self._batch, schema=self._schema)
        self._writer.write_table(table)
        self._batch.clear()

    def close(self) -> None:
        """Write the remaining rows and the footer."""
        if self._batch:
            self._flush()
        self._writer.close()


def require_pyarrow() -> Any:
    """The module pyarrow, with Parquet. Raises `DataError` if it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            "Parquet files need pyarrow, which is not installed",
            hint=install_hint("parquet"),
        ) from None
    return pyarrow


def _schema(pa: Any, table: str) -> Any:
    text, number, names = pa.string(), pa.float64(), pa.list_(pa.string())
    talk = pa.list_(pa.struct([("role", text), ("content", text)]))
    fields = {
        "sft": [
            ("id", text), ("messages", talk), ("prompt_id", text), ("trace_id", text),
            ("principle_ids", names), ("round", pa.int64()), ("split", text),
        ],
        "preferences": [
            ("id", text), ("prompt", talk), ("chosen", talk), ("rejected", talk),
            ("probability", number), ("p_ab", number), ("p_ba", number), ("judge_mass", number),
            ("judge_method", text), ("origin", text), ("principle_ids", names),
            ("trace_id", text), ("comparison_id", text), ("prompt_id", text), ("split", text),
        ],
        "labels": [
            ("id", text), ("prompt", talk), ("completion", talk), ("label", pa.bool_()),
            ("probability", number),
            ("no_problem", pa.list_(pa.struct([("principle_id", text), ("probability", number)]))),
            ("judge_method", text), ("origin", text), ("principle_ids", names),
            ("trace_id", text), ("comparison_id", text), ("prompt_id", text), ("split", text),
        ],
    }  # fmt: skip
    return pa.schema(fields[table])


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn operating system errors while writing below `path` into `StoreError`s."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"no space is left to write to {path}",
                hint="Free some space and run the same command again; old files are untouched.",
            ) from error
        raise StoreError(
            f"{path} can't be written: {error.strerror or error}",
            hint="Choose a folder you may write to.",
        ) from error
