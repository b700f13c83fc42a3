"""The words that the miniature has met, so that it can be told what it is asked about in vain.

`known_words.txt` holds the words of documents such as it was trained on, and of requests of all
splits. Written by `python -m cai.miniature.known`; the invented words that training draws by chance
are left out, since none of them was met often enough to mean anything.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import get_args

FILE = Path(__file__).with_name("known_words.txt")
DOCUMENTS, REQUESTS = 12_000, 4_000
STAGES = 20
"""Documents are drawn at so many steps of the training's progress."""
OFTEN = 5
"""A word of the documents counts from so many uses on."""

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def unknown_words(texts: Iterable[str]) -> tuple[str, ...]:
    """The words that the miniature does not know, each once, in the order of the texts."""
    known = _known()
    found: dict[str, None] = {}
    for text in texts:
        found.update(dict.fromkeys(word for word in _words(text) if word not in known))
    return tuple(found)


@cache
def _known() -> frozenset[str]:
    return frozenset(FILE.read_text(encoding="utf-8").split())


def _words(text: str) -> Iterator[str]:
    """Lower-case words, without the 's of a possessive."""
    for word in _WORD.findall(text.lower().replace("’", "'")):
        yield word.removesuffix("'s")


def write() -> None:
    """Draw documents and requests, and write their words."""
    from cai.miniature.dialogues import document
    from cai.miniature.judge import known_words
    from cai.miniature.requests import WorldSplit, draw_request

    met: Counter[str] = Counter()
    for number in range(DOCUMENTS):
        rng = random.Random(f"known/{number}")
        for turn in document(rng, number % (STAGES + 1) / STAGES):
            met.update(_words(turn.text))
    words = {word for word, times in met.items() if times >= OFTEN}
    words.update(word for text in known_words() for word in _words(text))
    for split in get_args(WorldSplit):
        rng = random.Random(f"known/{split}")
        for _ in range(REQUESTS):
            words.update(_words(draw_request(rng, split=split, values="known").text))
    FILE.write_text("\n".join(sorted(words)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
