"""The words that the miniature knows, so that a user can be warned of those it does not.

`known_words.txt` holds the words of documents such as it was trained on, and of requests of all
splits. `python -m bundled.recipe.known_words` writes it; the invented words that training draws
by chance are left out, since none of them was met often enough to mean anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("known_words.txt")

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def unknown_words(texts: Iterable[str]) -> tuple[str, ...]:
    """The words that the miniature does not know, each once, in the order of the texts."""
    known = _known()
    unknown: dict[str, None] = {}
    for text in texts:
        unknown.update(dict.fromkeys(word for word in words_of(text) if word not in known))
    return tuple(unknown)


def words_of(text: str) -> Iterator[str]:
    """Lower-case words, without the 's of a possessive."""
    for word in _WORD.findall(text.lower().replace("’", "'")):
        yield word.removesuffix("'s")


@cache
def _known() -> frozenset[str]:
    return frozenset(FILE.read_text(encoding="utf-8").split())
