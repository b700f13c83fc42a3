"""White space problems, and what `cai lint --fix` can fix safely."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cai.constitution.schema import API
from cai.constitution.source import INVISIBLE, parse
from cai.content import SUFFIXES, shown
from cai.errors import Problem

_HEADER = re.compile(r"^(#[^\n]*\n|\n)*")


def whitespace_problems(path: Path) -> Iterator[Problem]:
    """The first line with each kind of white space problem, in a YAML file."""
    text = _text(path) if path.suffix in SUFFIXES else None
    if not text:  # white space in a template may be intended
        return
    hint = "Fix it with: cai lint --fix"
    lines = text.split("\n")
    for ending, what in (("\r", "lines end in CR LF"), (" ", "trailing white space")):
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


def fixed_text(path: Path, kind: str | None) -> str | None:
    """The file's text with every safe fix applied; None if there is nothing to fix.

    Invisible characters and trailing white space are removed, missing `api` and `kind` lines added.
    kind: the kind of a YAML file that names none; None for a file that needs none.
    """
    text = _text(path)
    if text is None:
        return None
    clean = INVISIBLE.sub("", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
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
    header = _HEADER.match(text)
    at = header.end() if header else 0
    return text[:at] + "".join(missing) + text[at:]


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8") if path.is_file() else None
    except (OSError, UnicodeDecodeError):
        return None
