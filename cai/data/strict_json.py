"""Strict JSON, which all readers understand alike: unique keys, finite numbers, bounded depth.

Python's own `json` keeps the last of two equal keys, accepts NaN, and reads nesting so deep that
other programs, or this one a few calls later, fail on it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 64
"""Levels of lists and objects inside each other; rows of real data have fewer than ten."""

_MARK = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
_SCALAR = re.compile(r"[^\s,\]}]*")


class NonStandardJson(ValueError):
    """JSON that Python would read, and others not or not alike; says why."""


def loads(text: str) -> Any:
    """The value of a whole text. Raises `NonStandardJson` or `json.JSONDecodeError`."""
    validate_depth(text)
    return DECODER.decode(text)


def validate_depth(text: str) -> None:
    """Raise `NonStandardJson` if a text is nested deeper than `MAX_DEPTH`."""
    if text.count("[") + text.count("{") > MAX_DEPTH and _walk(text, 0)[1] > MAX_DEPTH:
        raise NonStandardJson("nested too deeply")


def end_of_value(text: str, start: int) -> int | None:
    """The end of the value that begins at `start`, however deep it is; None if it is cut."""
    if text[start] in "[{":
        return _walk(text, start)[0]
    end = _SCALAR.match(text, start).end()  # type: ignore[union-attr]  # it matches anything
    return end if end < len(text) else None


def _walk(text: str, start: int) -> tuple[int | None, int]:
    """The end of the list or object that begins at `start`, if it has one, and its depth."""
    depth = deepest = 0
    in_text = False
    for mark in _MARK.finditer(text, start):
        character = mark[0]
        if character == '"':
            in_text = not in_text
        elif in_text or character[0] == "\\":
            continue
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
            if depth == 0:
                return mark.end(), deepest
    return None, deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise NonStandardJson(f"the key {twice[:40]!r} stands twice in one object")
    return out


def _constant(name: str) -> Any:
    raise NonStandardJson(f"{name} is not a number in JSON; null says that there is none")


def _int(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:  # Python reads no number of thousands of digits
        raise NonStandardJson(str(error)) from None


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NonStandardJson(f"the number {digits[:40]} is too large")
    return number


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_int, parse_float=_float
)
"""Decodes a value that stands in a longer text; the depth is for the caller to check."""
