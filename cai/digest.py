"""Digests: one canonical JSON, one hash, so that equal things have equal names everywhere."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; dataclasses become objects, tuples become lists.

    A field whose metadata says `{"digest": "where set"}` is left out at its default, so that a
    field that is added later changes no digest of what does without it.

    Non-ASCII text stands as it is, so a lone surrogate raises `UnicodeEncodeError` when encoded.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain
    )


def plain_fields(value: Any) -> dict[str, Any]:
    """A dataclass's fields by name, as `canonical_json` has them."""
    return {
        f.name: getattr(value, f.name)
        for f in dataclasses.fields(value)
        if f.metadata.get("digest") != "where set" or getattr(value, f.name) != f.default
    }


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain_fields(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON")
