"""Text that every tokenizer, store and file format can hold; anything else is refused early."""

from __future__ import annotations

from cai.errors import PromptError
from cai.types import Messages


def validate_text(messages: Messages, prefill: str = "") -> None:
    """Raise `PromptError`, with the place, for no messages, NUL characters and lone surrogates."""
    if not messages:
        raise PromptError("empty: the conversation has no messages")
    for i, text in enumerate([*(m.content for m in messages), prefill]):
        where = f"message {i + 1} ({messages[i].role})" if i < len(messages) else "the prefill"
        if "\x00" in text:
            raise PromptError(f"NUL: {where} holds one at character {text.index(chr(0))}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PromptError(
                f"half a character: {where} holds the lone surrogate"
                f" U+{ord(text[error.start]):04X} at character {error.start}"
            ) from None


def escape_surrogates(text: str) -> str:
    """The text with its lone surrogates escaped, so that any file or store can hold it."""
    return text.encode(errors="backslashreplace").decode()
