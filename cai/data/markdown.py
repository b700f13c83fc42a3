"""Text of users and models inside the Markdown of cards."""

from __future__ import annotations

from cai.text.terminal import visible


def cell(text: str) -> str:
    """Text for a cell of a table: one line, no markup."""
    plain = visible(text)
    for character in "\\|<>[]`*_":
        plain = plain.replace(character, f"&#{ord(character)};")
    return plain
