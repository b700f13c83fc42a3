"""Reads strict YAML: plain values with the line and column of each, or problems.

The file is read as a stream of events, so that size, depth and every forbidden feature are checked
before anything is built. Scalars follow YAML 1.2's core schema: `no` is text, `012` is twelve, and
a date is text. Keys are always text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from yaml import events

from cai.content import shown
from cai.errors import Problem

SIZE_LIMIT = 1_000_000
DEPTH_LIMIT = 32
VALUE_LIMIT = 10_000
PROBLEM_LIMIT = 20

KeyPath: TypeAlias = tuple[str | int, ...]
"""The path of a value: keys and indices from the root."""

_TOO_DEEP = "exceeded maximum nesting depth"  # since the libyaml of PyYAML 6.0.4
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u200b\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f"
    "\ud800-\udfff\ufffe\uffff]"
)
_INT = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass(frozen=True)
class Source:
    """A file's value, with the position of every value and key."""

    path: Path
    file: str
    value: Any
    values: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    keys: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)

    def position(self, place: KeyPath, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `place`, or of its key; else of its nearest parent.

        Parts of `place` that are not in the file are skipped.
        """
        parent: KeyPath = ()
        for part in place:
            if (*parent, part) in self.values:
                parent = (*parent, part)
        if key and parent in self.keys:
            return self.keys[parent]
        return self.values.get(parent, (1, 1))

    def problem(
        self, place: KeyPath, code: str, message: str, hint: str = "", key: bool = False
    ) -> Problem:
        """A problem at a place of this file."""
        return Problem(self.file, *self.position(place, key), code, message, hint)


def read_text(path: Path, limit: int = SIZE_LIMIT) -> tuple[str, list[Problem]]:
    """A file's text: UTF-8, of bounded size, without invisible characters."""
    file = shown(path)
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "no such file"
            return "", [Problem(file, 1, 1, "C001", what, "Check the path.")]
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return "", [Problem(file, 1, 1, "C001", f"can't be read: {reason}", "Check the path.")]
    if len(data) > limit:
        hint = "Look for data that was pasted by mistake, or split the file."
        return "", [Problem(file, 1, 1, "C002", f"larger than {limit // 1000:,} kB", hint)]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        what = f"not UTF-8: byte {data[error.start]:#04x} at offset {error.start}"
        return "", [Problem(file, *_line_column(before), "C003", what, "Save the file as UTF-8.")]
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    invisible = INVISIBLE.search(text)
    if invisible:
        what = f"an invisible character: U+{ord(invisible.group()):04X}"
        at = _line_column(text[: invisible.start()])
        return "", [Problem(file, *at, "C004", what, "Delete it.")]
    return text, []


def read_source(path: Path) -> tuple[Source | None, list[Problem]]:
    """Read a YAML file. Returns its source, or its problems."""
    text, problems = read_text(path)
    if problems:
        return None, problems
    return parse(text, path)


def parse(text: str, path: Path, loader: Any = None) -> tuple[Source | None, list[Problem]]:
    """Parse YAML text that came from `read_text`.

    loader: libyaml's by default, where there is one.
    """
    builder = _Builder(path)
    loader = loader or _LOADER
    try:
        for event in yaml.parse(text, Loader=loader):
            if not builder.handle(event):
                break
    except yaml.MarkedYAMLError as error:
        # libyaml looks far ahead: at 1000 levels it gives up before it has shown us the first.
        if error.problem == _TOO_DEEP and loader is not yaml.SafeLoader:
            return parse(text, path, yaml.SafeLoader)
        builder.problems.append(_syntax(error, text, builder.source.file))
    except (yaml.YAMLError, ValueError) as error:
        what = f"can't be read as YAML: {' '.join(str(error).split())[:200]}"
        builder.problems.append(Problem(builder.source.file, 1, 1, "C005", what))
    if builder.problems:
        return None, builder.problems
    source = builder.source
    return Source(source.path, source.file, builder.root, source.values, source.keys), []


@dataclass
class _Frame:
    """A mapping or sequence under construction."""

    value: dict[str, Any] | list[Any]
    place: KeyPath
    key: str | None = None
    key_position: tuple[int, int] = (1, 1)
    waits_for_key: bool = True


class _Builder:
    """Builds values from events without recursion."""

    def __init__(self, path: Path) -> None:
        self.source = Source(path, shown(path), None)
        self.problems: list[Problem] = []
        self.root: Any = None
        self._frames: list[_Frame] = []
        self._documents = 0
        self._values = 0

    def handle(self, event: Any) -> bool:
        """Handle the next event. Returns False to stop reading."""
        at = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, events.DocumentStartEvent):
            self._document(event, at)
        elif isinstance(event, events.AliasEvent):
            self._refuse(at, f"an alias, *{event.anchor}")
            self._add(at, None)
        elif isinstance(event, events.CollectionEndEvent):
            self._frames.pop()
        elif isinstance(event, events.NodeEvent):
            self._node(event, at)
        return len(self.problems) < PROBLEM_LIMIT and not (
            self.problems and self.problems[-1].code in ("C002", "C007")
        )

    def _document(self, event: Any, at: tuple[int, int]) -> None:
        self._documents += 1
        if self._documents > 1:
            self._refuse(
                at, "a second document in one file", "Put each document into a file of its own."
            )
        if event.version or event.tags:
            self._refuse(at, "a % directive", "Delete it.")

    def _node(self, event: Any, at: tuple[int, int]) -> None:
        if event.anchor is not None:
            self._refuse(at, f"an anchor, &{event.anchor}")
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._refuse(at, f"a tag, {tag}", "Delete it: values have plain types.")
        if isinstance(event, events.ScalarEvent):
            self._scalar(event, at)
            return
        if len(self._frames) >= DEPTH_LIMIT:
            what = f"nested more than {DEPTH_LIMIT} deep"
            self._report(at, "C007", what, "Flatten the value; no content file needs that depth.")
            return
        value: dict[str, Any] | list[Any]
        value = {} if isinstance(event, events.MappingStartEvent) else []
        place = self._add(at, value)
        self._frames.append(_Frame(value, place))

    def _scalar(self, event: Any, at: tuple[int, int]) -> None:
        text: str = event.value
        invisible = INVISIBLE.search(text)
        if invisible:
            what = f"an escape for an invisible character: U+{ord(invisible.group()):04X}"
            self._report(at, "C004", what, "Delete it.")
            text = ""
        frame = self._frames[-1] if self._frames else None
        if frame is not None and isinstance(frame.value, dict) and frame.waits_for_key:
            self._key(frame, text, at)
        else:
            self._add(at, text if event.style else resolve_scalar(text))

    def _key(self, frame: _Frame, text: str, at: tuple[int, int]) -> None:
        assert isinstance(frame.value, dict)
        if text in frame.value:
            first = self.source.keys[(*frame.place, text)][0]
            what = f"duplicate key `{text}`, first on line {first}"
            self._report(at, "C008", what, "Delete one of them.")
        frame.key, frame.key_position, frame.waits_for_key = text, at, False

    def _add(self, at: tuple[int, int], value: Any) -> KeyPath:
        """Add a value to its parent, and record its position. Returns its path."""
        self._values += 1
        if self._values > VALUE_LIMIT:
            self._report(at, "C002", f"more than {VALUE_LIMIT:,} values", "Split the file.")
        if not self._frames:
            self.root = value
            self.source.values[()] = at
            return ()
        frame = self._frames[-1]
        place: KeyPath
        if isinstance(frame.value, list):
            place = (*frame.place, len(frame.value))
            frame.value.append(value)
        elif frame.waits_for_key:
            self._refuse(at, "a key that is not text", "Write the key as a plain word.")
            self._key(frame, f"\0{len(frame.value)}", at)
            return (*frame.place, "\0")
        else:
            assert frame.key is not None
            place = (*frame.place, frame.key)
            if frame.key not in frame.value:
                self.source.keys[place] = frame.key_position
            frame.value[frame.key] = value
            frame.waits_for_key = True
        self.source.values[place] = at
        return place

    def _refuse(self, at: tuple[int, int], what: str, hint: str = "Write the value out.") -> None:
        self._report(at, "C006", f"not allowed here: {what}", hint)

    def _report(self, at: tuple[int, int], code: str, message: str, hint: str) -> None:
        self.problems.append(Problem(self.source.file, *at, code, message, hint))


def resolve_scalar(text: str) -> Any:
    """A plain scalar's value under YAML 1.2's core schema. Very long numbers stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text.removeprefix("0o"), base)
    if len(text) <= 40 and _FLOAT.fullmatch(text) and not text.lstrip("+-").isdigit():
        return float(text)
    return text


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    character = "".join(text.split("\n")[at[0] - 1 : at[0]])[at[1] - 1 : at[1]]
    what = " ".join((error.problem or error.context or "can't be read").split())
    hint = "Check quotes, brackets and indentation here and on the line above."
    if character == "\t":
        hint = "Indent with spaces, not tabs."
    elif "cannot start any token" in what:
        hint = f"A text that begins with {character} needs quotes."
    elif "mapping values" in what:
        hint = "A text that contains `: ` needs quotes, or a `|` block."
    return Problem(file, *at, "C005", f"not valid YAML: {what}", hint)


def _line_column(before: str) -> tuple[int, int]:
    """Position of the character that follows `before`."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def walk_texts(value: Any, place: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every text in a value, with its path."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from walk_texts(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk_texts(item, (*place, index))
