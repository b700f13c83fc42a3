"""Text of models and users, made safe to print: nothing in it can steer a terminal or hide."""

from __future__ import annotations

import unicodedata

_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Controls, format characters (bidirectional and zero width among them), half characters (lone
surrogates), and the separators that some programs take for line breaks."""
_BLANK_LETTERS = "\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters and marks by category that show nothing."""


def visible(text: str, *, lines: bool = False) -> str:
    """The text with every character that a terminal would obey or hide shown as a mark.

    ASCII controls become their pictures (escape is ␛), all others `<U+202E>`. Nothing is dropped.
    lines: keep line breaks and tabs as they are, for text that is printed as a block.
    """
    if text.isprintable() and not any(c in text for c in _BLANK_LETTERS):
        return text
    keep = "\n\t" if lines else ""
    return "".join(c if c in keep else _mark(c) for c in text)


def _mark(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if unicodedata.category(character) in _HIDDEN_CATEGORIES or character in _BLANK_LETTERS:
        return f"<U+{code:04X}>"
    return character
