"""Prompts from files, and the invalid rows among them with their reasons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cai.data.foreign import FORMATS as FOREIGN
from cai.data.foreign import likely_column, looks_like, normalize, require_one_prompt
from cai.data.formats import CONTAINERS, container_of, rows, spool_stdin
from cai.data.lines import STDIN, UnreadableRow, label
from cai.data.messages import (
    SYSTEM_KEYS,
    RowError,
    conversation_digest,
    json_kind,
    key_names,
    read_messages,
    read_truth,
    refuse_unread_keys,
    with_system,
    without_empty_system,
)
from cai.data.scratch import FirstLines
from cai.data.transcripts import TranscriptError, dialogue, is_transcript
from cai.digest import canonical_json, digest
from cai.errors import DataError, UsageError
from cai.text.validation import escape_surrogates
from cai.types import Message, Messages, Prompt, SetAside

MAX_CHARACTERS = 20_000
"""Characters of the longest valid conversation, over all its messages."""
_EXCERPT = 80
_ID_LENGTH = 200


@dataclass(frozen=True, slots=True)
class _Options:
    column: str | None
    turns: str


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """A row format: the keys that identify it, and how to read its conversation."""

    name: str
    keys: tuple[str, ...]
    read: Callable[[Any, _Options], Messages]


def _column(row: Any, options: _Options) -> Messages:
    return _text_or_messages(row[options.column], options)


def _text_or_messages(value: Any, options: _Options) -> Messages:
    if isinstance(value, list):
        return read_messages(value)
    if not isinstance(value, str):
        raise RowError(
            f"wrong type: the prompt is {json_kind(value)}, not text or a list of messages"
        )
    if is_transcript(value):
        return dialogue(value, options.turns)
    return (Message("user", value),)


def _pair(row: Any, options: _Options) -> Messages:
    chosen = row["chosen"]
    if isinstance(chosen, list):  # a conversational pair whose prompt is implicit
        return read_messages(chosen, drop_answer=True)
    return _transcript(chosen, options)


def _transcript(value: Any, options: _Options) -> Messages:
    if not isinstance(value, str):
        raise RowError(f"wrong type: the transcript is {json_kind(value)}, not text")
    return dialogue(value, options.turns)


SHAPES = (
    PromptFormat(
        "llm-swarm", ("init_prompt",), lambda row, o: _text_or_messages(row["init_prompt"], o)
    ),
    PromptFormat("prompt", ("prompt",), lambda row, o: _text_or_messages(row["prompt"], o)),
    PromptFormat(
        "messages", ("messages",), lambda row, _: read_messages(row["messages"], drop_answer=True)
    ),
    PromptFormat("hh", ("chosen", "rejected"), _pair),
    PromptFormat("red-team", ("transcript",), lambda row, o: _transcript(row["transcript"], o)),
)  # fmt: skip
"""Known row formats; the first whose keys a row has reads it. Anthropic's evaluations are `prompt`.

Rows in other tools' formats (`cai.data.foreign`) are rewritten under these keys first.
"""

_NOT_META = {
    "id", "prompt", "messages", "chosen", "rejected", "completion", "transcript", "init_prompt",
    "init_response", "critic_prompt", "critic_response", "revision_prompt", "revision_response",
    *SYSTEM_KEYS,
}  # fmt: skip
"""Keys that hold conversations; a row's other keys become the prompt's `meta`."""

FORMATS: dict[str, tuple[str | None, str | None]] = {
    **{name: (name, None) for name in CONTAINERS},
    **{shape.name: (None, shape.name) for shape in SHAPES},
    **{form.name: (None, form.name) for form in FOREIGN},
}
"""Values of `--format` → (container, row format); None is detected."""

PromptRows: TypeAlias = Iterator[Prompt | SetAside]


class PromptFile:
    """A file of prompts that can be iterated many times, with one row in memory at a time.

    path: `-` is standard input, which is copied to a temporary file for the life of this object.
    form: one of `FORMATS`, if the format can't be detected. column: the key or CSV column that
    holds the prompt; a `system` column is read too. turns: of a transcript, the `first` human turn
    alone, or `all` up to the last human turn. max_characters: of a whole conversation; a longer
    one is invalid.
    Raises `DataError` at once if the file is missing, empty or not text.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        form: str | None = None,
        column: str | None = None,
        turns: str = "all",
        max_characters: int = MAX_CHARACTERS,
    ) -> None:
        if turns not in ("first", "all"):
            raise UsageError(f"turns is {turns!r}; it must be 'first' or 'all'.")
        if form is not None and form not in FORMATS:
            raise UsageError(f"no format {form!r}", hint=f"Choose one of: {', '.join(FORMATS)}")
        self._spool = spool_stdin() if str(path) == "-" else None
        self.path = Path(self._spool.name) / STDIN if self._spool else Path(path)
        container, shape = FORMATS[form] if form else (None, None)
        self.container = container_of(self.path, container)
        self._foreign = shape if shape in {f.name for f in FOREIGN} else None
        self._shapes = tuple(s for s in SHAPES if shape in (None, self._foreign, s.name))
        self._rewrites = column is None and (shape is None or self._foreign is not None)
        self._is_explicit = column is not None or shape is not None
        if column is not None:
            self._shapes = (PromptFormat(column, (column,), _column),)
        self._options = _Options(column, turns)
        self._max_characters = max_characters

    def __iter__(self) -> PromptRows:
        with _Duplicates(self.path.name) as duplicates:
            yield from self._rows(duplicates)

    def _rows(self, duplicates: _Duplicates) -> PromptRows:
        for row in rows(self.path, self.container):
            source = f"{self.path.name}:{row.line}"
            if isinstance(row, UnreadableRow):
                yield SetAside(source, row.reason, escape_surrogates(row.excerpt))
                continue
            try:
                prompt = self._prompt(row.value, source)
                duplicates.add(prompt, row.line)
                yield prompt
            except (RowError, TranscriptError) as error:
                yield SetAside(source, escape_surrogates(str(error)), excerpt_of(row.value))

    def _prompt(self, value: Any, source: str) -> Prompt:
        messages: Messages
        if isinstance(value, str):
            messages, id_value, meta = (Message("user", value),), None, {}
        elif isinstance(value, dict):
            row = normalize(value, self._foreign) if self._rewrites else value
            shape = next((s for s in self._shapes if all(k in row for k in s.keys)), None)
            if shape is None:
                raise self._no_shape(value)
            refuse_unread_keys(row)
            messages = without_empty_system(shape.read(row, self._options))
            if not self._is_explicit:
                require_one_prompt(value, messages)
            messages, id_value, meta = with_system(row, messages), row.get("id"), self._meta(row)
        else:
            raise RowError(f"wrong type: the row is {json_kind(value)}, not an object")
        _validate(messages, self._max_characters)
        try:
            name = row_id(id_value) or default_id(messages)
            canonical_json([messages, meta]).encode()
        except UnicodeEncodeError as error:
            half = ord(error.object[error.start])
            raise RowError(f"half a character: the lone surrogate U+{half:04X}") from None
        return Prompt(name, messages, source, meta)

    def _meta(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row's other keys; `benign`, which a guard reads, as a boolean if it is there."""
        reserved = _NOT_META | {self._options.column, "benign"}
        meta = {k: v for k, v in row.items() if k not in reserved}
        benign = read_truth(row, "benign")
        return meta if benign is None else {**meta, "benign": benign}

    def _no_shape(self, row: dict[str, Any]) -> Exception:
        keys = " or ".join("+".join(s.keys) for s in self._shapes)
        row_keys = key_names(row)
        column = likely_column(list(row))
        hint = f"with --column {column}" if column else "with --column"
        if self.container in ("csv", "tsv", "parquet"):  # one header: no other row can be better
            advice = f"Name the one that holds the prompts {hint}."
            if self.container != "parquet" and not column:
                advice += (
                    " The first line is read as the names of the columns: where it is a row, write"
                    " a line of names above it, such as: prompt"
                )
            return DataError(
                f"{label(self.path)} has no column {keys}; its columns are: {row_keys}",
                hint=advice,
            )
        reason = f"no prompt: no key {keys}; its keys are: {row_keys}"
        if likely_format := looks_like(row):
            reason += f"; {likely_format}"
        if self._rewrites:
            reason += f"; if one of them holds the prompt, name it {hint}"
        return RowError(reason)


def default_id(messages: Messages) -> str:
    """The id of a prompt whose row has none: a digest of its text."""
    return "p-" + digest(messages)[:12]


def read_prompts(
    path: Path | str,
    *,
    form: str | None = None,
    column: str | None = None,
    turns: str = "all",
    max_characters: int = MAX_CHARACTERS,
) -> PromptRows:
    """The prompts of a file, and its invalid rows in between. See `PromptFile`."""
    file = PromptFile(path, form=form, column=column, turns=turns, max_characters=max_characters)
    return iter(file)


class _Duplicates:
    """Conversations and ids of the rows so far, to find duplicates."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._conversations = FirstLines()
        self._ids = FirstLines()

    def __enter__(self) -> _Duplicates:
        return self

    def __exit__(self, *_: object) -> None:
        self._conversations.close()
        self._ids.close()

    def add(self, prompt: Prompt, line: int) -> None:
        key = conversation_digest(prompt.messages)
        if (before := self._conversations.add(key, line)) != line:
            raise RowError(f"duplicate of {self._name}:{before}")
        if (before := self._ids.add(prompt.id, line)) != line:
            raise RowError(f"same id: {prompt.id!r} is already that of {self._name}:{before}")


def _validate(messages: Messages, max_characters: int) -> None:
    if not messages:
        raise RowError("empty: no messages")
    if messages[-1].role != "user":
        raise RowError(
            f"no user turn: the last message is the {messages[-1].role}'s, not the user's"
        )
    if any(m.role == "system" for m in messages[1:]):
        raise RowError("wrong role: a system message that is not the first message")
    if not messages[-1].content.strip():
        raise RowError("empty: the user's last message has no text")
    for number, message in enumerate(messages, 1):
        if message.role == "user" and not message.content.strip():
            raise RowError(f"empty: message {number}, the user's, has no text")
    if (length := sum(len(m.content) for m in messages)) > max_characters:
        raise RowError(f"too long: {length} characters, over {max_characters}")
    for number, message in enumerate(messages, 1):
        if (place := message.content.find("\0")) >= 0:
            raise RowError(f"NUL: character {place + 1} of message {number}")


def row_id(value: Any) -> str:
    """A row's id, or "" if it has none. Raises `RowError` if it is neither text nor a number."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"wrong type: the id is {json_kind(value)}, not text or a number")
    name = str(value)
    if len(name) > _ID_LENGTH or not name.isprintable():
        raise RowError(f"wrong id: longer than {_ID_LENGTH} characters or not printable")
    return name


def excerpt_of(value: Any) -> str:
    """The beginning of an invalid row: of its text, or of its JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return escape_surrogates(text[:_EXCERPT])
