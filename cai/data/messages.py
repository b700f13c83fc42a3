"""Conversations in rows: messages in OpenAI's and in ShareGPT's format.

A row with a key or part that is not supported (a tool call, an image, a name) is invalid and set
aside: without it, the conversation would teach something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from cai.digest import canonical_json
from cai.types import Message, Messages, Role


class RowError(Exception):
    """An invalid row; the message is `kind: detail`, so that reasons can be counted."""


def conversation_digest(messages: Messages) -> bytes:
    """A 16-byte digest of a conversation, to recognise duplicates."""
    return hashlib.sha256(canonical_json(messages).encode()).digest()[:16]


def json_kind(value: Any) -> str:
    """The JSON type of a value, such as "an object"."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def key_names(row: Mapping[str, Any]) -> str:
    """The first keys of a row, for messages; "none" if it has none."""
    return ", ".join(list(row)[:8]) or "none"


def has_value(value: Any) -> bool:
    """Whether a value is neither null nor empty nor false."""
    return value is not None and value is not False and value not in ("", [], {})


_ROLES: Mapping[Any, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
}  # fmt: skip
"""Values of `role`. OpenAI's newer models have a developer message in place of the system's."""

_SPEAKERS: Mapping[Any, Role] = {
    **_ROLES, "human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant",
    "bot": "assistant",
}  # fmt: skip
"""Values of ShareGPT's `from`."""

_TOOLS = (
    "tool", "function", "function_call", "function_response", "observation", "tool_call",
    "tool_calls", "tool_response", "ipython",
)  # fmt: skip
"""Roles of messages to and from tools."""

_UNSUPPORTED = {
    **dict.fromkeys(("tool_calls", "function_call", "tool_call_id"), "tool calls"),
    **{
        key: key
        for key in (
            "name", "refusal", "audio", "audios", "image", "images", "video", "videos", "file",
            "files", "prefix", "train_detail", "training_detail",
        )
    },
}  # fmt: skip
"""Keys of a message that change its meaning and are not supported → the kind of the reason.

Of OpenAI's chat format, TRL (`images`), Axolotl (`train_detail`) and LLaMA-Factory.
"""

_REASONING = ("reasoning_content", "reasoning", "thinking")
"""Keys of servers and templates for the reasoning before an answer."""

_TRAIN_MARKS = ("weight", "train", "training", "loss")
"""Keys of a message by which OpenAI, Axolotl and ms-swift include it in the loss or exclude it."""


def read_messages(value: Any, *, drop_answer: bool = False) -> Messages:
    """A list of messages: `role` and `content`, or ShareGPT's `from` and `value`.

    drop_answer: leave out a last turn of the assistant, unread. Raises `RowError`.
    """
    if not isinstance(value, list):
        raise RowError(f"wrong type: messages is {json_kind(value)}, not a list")
    items = value
    if drop_answer and items and isinstance(items[-1], dict):
        role, _ = _head(items[-1], len(items))
        items = items[:-1] if role == "assistant" else items
    return tuple(_message(item, number) for number, item in enumerate(items, 1))


def _message(item: Any, number: int) -> Message:
    if not isinstance(item, dict):
        raise RowError(f"wrong type: message {number} is {json_kind(item)}, not an object")
    role, text_key = _head(item, number)
    for key in sorted(_UNSUPPORTED.keys() & item):
        if has_value(item[key]):
            raise RowError(
                f"{_UNSUPPORTED[key]}: message {number} has the key {key!r}, which is not read here"
            )
    return Message(role, _text(item.get(text_key), number), _reasoning(item, role, number))


def _reasoning(item: Mapping[str, Any], role: Role, number: int) -> str:
    texts = {key: item[key] for key in _REASONING if has_value(item.get(key))}
    for key, text in texts.items():
        if role != "assistant":
            raise RowError(f"{key}: message {number} is the {role}'s, who does not reason")
        if not isinstance(text, str):
            raise RowError(f"wrong type: the {key} of message {number} is {json_kind(text)}")
    if len(set(texts.values())) > 1:
        raise RowError(f"reasoning: {' and '.join(texts)} of message {number} differ")
    return next(iter(texts.values()), "")


def _head(item: Mapping[str, Any], number: int) -> tuple[Role, str]:
    """The role of a message, and the key of its text."""
    name, key, roles = item.get("role"), "content", _ROLES
    if name is None and "from" in item:
        name, key, roles = item["from"], "value", _SPEAKERS
    if name in _TOOLS:
        raise RowError(f"tool calls: message {number} is a {name}'s, and only text is read here")
    if not isinstance(name, str) or name not in roles:
        raise RowError(
            f"wrong role: message {number} has {str(name)[:20]!r}; "
            f"only {', '.join(_ROLES)} are known"
        )
    return roles[name], key


def _text(content: Any, number: int) -> str:
    """A message's text; text parts are joined without a separator, as chat templates do."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RowError(
            f"wrong type: the content of message {number} is {json_kind(content)}, not text"
        )
    return "".join(_part(part, number) for part in content)


def _part(part: Any, number: int) -> str:
    if not isinstance(part, dict):
        raise RowError(f"wrong type: message {number} has a part that is {json_kind(part)}")
    kind = str(part.get("type"))[:20]
    if kind not in ("text", "input_text", "output_text"):
        raise RowError(f"{kind}: message {number} has a part of this type; only text is read here")
    text = part.get("text")
    if not isinstance(text, str):
        raise RowError(f"wrong type: message {number} has text that is {json_kind(text)}")
    return text


def not_to_learn(items: Any) -> tuple[int, ...]:
    """Indices of the assistant's messages that are excluded from the loss.

    By `weight: 0` (OpenAI), `train: false` (Axolotl) or `loss: false` (ms-swift). Raises `RowError`
    for a weight between 0 and 1.
    """
    out = []
    for place, item in enumerate(items if isinstance(items, list) else []):
        if not isinstance(item, dict):
            continue
        marks = {key: item[key] for key in _TRAIN_MARKS if item.get(key) is not None}
        for key, mark in marks.items():
            if mark not in (0, 1):  # True is 1, False is 0
                raise RowError(f"{key}: that of message {place + 1} is neither 0 nor 1")
        if 0 in marks.values() and _head(item, place + 1)[0] == "assistant":
            out.append(place)
    return tuple(out)


# -- keys of a row ----------------------------------------------------------------------------

_TRUTHS = {
    **dict.fromkeys(("true", "1", "1.0", "yes", "good", "desirable"), True),
    **dict.fromkeys(("false", "0", "0.0", "no", "bad", "undesirable"), False),
}
"""Words for true and false in files."""


def read_truth(row: Mapping[str, Any], key: str) -> bool | None:
    """A row's boolean under a key; None if it has none. Raises `RowError`.

    Text counts too, since a CSV has nothing else.
    """
    value = row.get(key)
    if value is None or value == "":
        return None
    truth = _TRUTHS.get(str(value).strip().lower())
    if truth is None:
        raise RowError(f"{key}: {str(value)[:20]!r} is neither true nor false")
    return truth


SYSTEM_KEYS = frozenset({"system", "system_prompt", "system_message"})
"""Columns that hold a row's system prompt."""

_UNSUPPORTED_KEYS = frozenset({
    "tools", "functions", "image", "images", "video", "videos", "audio", "audios", "documents",
    "chat_template_kwargs", "history",
})  # fmt: skip
"""Columns of TRL, OpenAI and LLaMA-Factory that change the prompt and are not supported."""


def with_system(row: Mapping[str, Any], messages: Messages) -> Messages:
    """The messages after the row's system turn. Raises `RowError` for two different ones."""
    turn = system_turn(row)
    if turn and messages[:1] and messages[0].role == "system":
        if messages[:1] != turn:
            raise RowError("system: the row has one beside its messages, which hold another")
        return messages
    return turn + messages


def system_turn(row: Mapping[str, Any]) -> Messages:
    """The system turn in a column of its own; empty if there is none. Raises `RowError`."""
    texts = {key: row[key] for key in sorted(SYSTEM_KEYS & row.keys()) if has_value(row[key])}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise RowError(f"wrong type: {key} is {json_kind(text)}, not text")
    if len(set(texts.values())) > 1:
        raise RowError(f"system: {' and '.join(texts)} differ")
    return tuple(Message("system", text) for text in [*texts.values()][:1])


def without_empty_system(messages: Messages) -> Messages:
    """The messages without an empty system turn at their start."""
    empty = messages[:1] and messages[0].role == "system" and not messages[0].content.strip()
    return messages[1:] if empty else messages


def refuse_unread_keys(row: Mapping[str, Any]) -> None:
    """Raise `RowError` for a key that changes the prompt and is not supported."""
    for key in sorted(_UNSUPPORTED_KEYS & row.keys()):
        if has_value(row[key]) and row[key] not in ("[]", "{}"):  # a CSV's, and LLaMA-Factory's
            raise RowError(f"{key}: the row has some, and only text is read here")
