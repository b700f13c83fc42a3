"""Dialogues in one text, as in HH-RLHF: `\\n\\nHuman: …\\n\\nAssistant: …`."""

from __future__ import annotations

import re

from cai.types import Message, Messages

_MARKER = re.compile(r"(?:\A\n*|\n\n)(Human|Assistant):")
"""The start of a turn; "Human: " inside a line is text."""


class TranscriptError(Exception):
    """A text that is not a valid dialogue, with the reason."""


def is_transcript(text: str) -> bool:
    """Whether a text begins as a dialogue does."""
    return text.startswith("\n\nHuman:")


def dialogue(text: str, turns: str) -> Messages:
    """The messages up to the last human turn (`all`), or the first human turn (`first`)."""
    before, *parts = _MARKER.split(text)
    if before or not parts or parts[0] != "Human":
        raise TranscriptError("wrong transcript: it does not begin with a human turn")
    messages: Messages = tuple(
        Message("user" if speaker == "Human" else "assistant", content.strip())
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    )
    if turns == "first":
        return messages[:1]
    last = max(i for i, m in enumerate(messages) if m.role == "user")
    return messages[: last + 1]
