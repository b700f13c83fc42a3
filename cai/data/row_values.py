"""Values of a training row: its turns, numbers and names, with the reasons why they are invalid."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from cai.data.messages import (
    RowError,
    json_kind,
    not_to_learn,
    read_messages,
    read_truth,
    refuse_unread_keys,
)
from cai.data.transcripts import dialogue, is_transcript
from cai.digest import digest
from cai.errors import PromptError
from cai.text.validation import validate_text
from cai.types import Message, Messages, Role

_ID_DIGITS = 16


def validate_row(row: dict[str, Any]) -> None:
    """Raise `RowError` if a key of the row excludes it from training or is not supported."""
    refuse_unread_keys(row)
    for key in ("label", "kto_tag"):
        if read_truth(row, key) is False:
            raise RowError(f"{key} is false: the response is one to avoid, not to learn")
    if (weight := read_number(row, "weight")) not in (None, 1):
        raise RowError(f"weight: the row has {weight:g}, and rows are not weighted here")
    better, worse = (read_number(row, f"score_{side}") for side in ("chosen", "rejected"))
    if better is not None and worse is not None and better < worse:
        raise RowError(f"scores: chosen has {better:g}, and rejected has more, {worse:g}")


def read_prompt(row: dict[str, Any], key: str) -> Messages:
    """A prompt; a transcript may end with an open turn of the assistant."""
    messages = read_turns(row, key, "user")
    is_open = isinstance(row[key], str) and messages[-1] == Message("assistant", "")
    return messages[:-1] if is_open else messages


def read_response(row: dict[str, Any], key: str, prompt_key: str) -> Messages:
    """A response; after a transcript, text is stripped, as turns of a transcript are."""
    messages = read_turns(row, key, "assistant")
    prompt = row[prompt_key]
    if isinstance(row[key], str) and isinstance(prompt, str) and is_transcript(prompt):
        return tuple(replace(m, content=m.content.strip()) for m in messages)
    return messages


def read_turns(row: dict[str, Any], key: str, role: Role) -> Messages:
    """Messages, a transcript's turns, or a text as one message of `role`."""
    value = row[key]
    if isinstance(value, dict):  # a message that stands alone
        value = [value]
    if isinstance(value, list):
        if len(value) - 1 in not_to_learn(value):
            raise RowError(f"weight: the last message of {key} is marked as not to be learned")
        return read_messages(value)
    if not isinstance(value, str):
        raise RowError(f"wrong type: {key} is {json_kind(value)}, not text or a list of messages")
    return transcript_turns(value) if is_transcript(value) else (Message(role, value),)


def transcript_turns(text: str) -> Messages:
    """All turns of a transcript: `dialogue` ends at the last human turn, so one is added."""
    return dialogue(text + "\n\nHuman:", "all")[:-1]


def validate_conversation(messages: Messages, whose: str = "") -> None:
    """Raise `RowError` unless user and assistant alternate and the last turn is a response."""
    try:
        validate_text(messages)
    except PromptError as error:
        raise RowError(f"invalid text: {error.message}") from None
    start = 1 if messages[0].role == "system" else 0
    for number, message in enumerate(messages[start:]):
        expected = ("user", "assistant")[number % 2]
        if message.role != expected:
            raise RowError(
                f"roles out of order: message {start + number + 1}{whose} is the "
                f"{message.role}'s, not the {expected}'s"
            )
    if all(m.role != "assistant" for m in messages):
        raise RowError("no response: there is no assistant turn")
    if messages[-1].role != "assistant":
        raise RowError(
            f"no response: the last message{whose} is the {messages[-1].role}'s, "
            "not the assistant's"
        )


def read_number(row: dict[str, Any], key: str) -> float | None:
    """A row's finite number under a key; None if it has none. Text counts too, as in a CSV."""
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RowError(f"wrong {key}: {str(value)[:20]!r} is not a number")
    return number


def read_names(row: dict[str, Any], key: str) -> tuple[str, ...]:
    """A row's names under a key: a list of texts, or one text."""
    value = row.get(key)
    names = value if isinstance(value, list) else [value] if value else []
    if not all(isinstance(name, str) and name.isprintable() for name in names):
        raise RowError(f"wrong {key}: not printable text")
    return tuple(names)


def digest_id(kind: str, *parts: Messages) -> str:
    """The id of a row without one: a digest of its texts, the same on every machine."""
    return f"{kind}-{digest(parts)[:_ID_DIGITS]}"
