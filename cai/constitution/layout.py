"""White space that nobody sees, and what `cai lint --fix` does about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cai.constitution.schema import API
from cai.constitution.source import UNSEEN, parse
from cai.content import SUFFIXES, shown
from cai.errors import Problem

_HEADER = re.compile(r"^(#[^\n]*\n|\n)*")


def untidy(path: Path) -> Iterator[Problem]:
    """The first line of each sort that ends in what can't be seen, of a YAML file that is read."""
    text = _text(path) if path.suffix in SUFFIXES else None
    if not text:  # the white space of a template may be meant
        return
    hint = "cai lint --fix mends it."
    lines = text.split("\n")
    for ending, what in (("\r", "lines end in CR"), (" ", "white space at the end of the line")):
        for number, line in enumerate(lines, 1):
            bare = line.rstrip("\r") if ending == " " else line
            if bare != bare.rstrip(" \t" if ending == " " else "\r"):
                at = len(bare.rstrip(" \t\r")) + 1
                yield Problem(shown(path), number, at, "C060", what, hint)
                break
    if lines[-1]:
        at = len(lines[-1]) + 1
        what = "no newline at the end of the file"
        yield Problem(shown(path), len(lines), at, "C060", what, hint)


def mended(path: Path, kind: str | None) -> str | None:
    """The file's text with all that is safely mended; None where nothing is, or can be read.

    Invisible characters and white space at the ends of lines go, missing `api` and `kind` lines
    come. kind: that of a YAML file without one; None for a file that needs none.
    """
    text = _text(path)
    if text is None:
        return None
    clean = UNSEEN.sub("", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    if path.suffix in SUFFIXES and clean.strip():
        lines = [line.rstrip(" \t") for line in clean.split("\n")]
        clean = "\n".join(lines).rstrip("\n") + "\n"
        clean = _with_header(clean, path, kind) if kind else clean
    return clean if clean != text else None


def _with_header(text: str, path: Path, kind: str) -> str:
    source, _ = parse(text, path)
    if source is None or not isinstance(source.value, dict):
        return text
    missing = [f"{k}: {v}\n" for k, v in (("api", API), ("kind", kind)) if k not in source.value]
    found = _HEADER.match(text)
    at = found.end() if found else 0
    return text[:at] + "".join(missing) + text[at:]


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8") if path.is_file() else None
    except (OSError, UnicodeDecodeError):
        return None
