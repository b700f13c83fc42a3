"""Write the words that the miniature knows: `python -m bundled.recipe.known_words`.

They go to `cai/miniature/known_words.txt`, which `cai.miniature.known` reads.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import get_args

from bundled.recipe.dialogues import document
from cai.miniature.known import FILE, words_of
from cai.miniature.world.judge import known_words
from cai.miniature.world.requests import WorldSplit, draw_request

DOCUMENTS, REQUESTS = 12_000, 4_000
STAGES = 20
"""Documents are drawn at so many steps of the training's progress."""
OFTEN = 5
"""A word of the documents counts from so many uses on."""


def draw_words() -> list[str]:
    """The words of drawn documents and requests, sorted; the same in every run."""
    uses: Counter[str] = Counter()
    for number in range(DOCUMENTS):
        rng = random.Random(f"known/{number}")
        for turn in document(rng, number % (STAGES + 1) / STAGES):
            uses.update(words_of(turn.text))
    words = {word for word, times in uses.items() if times >= OFTEN}
    words.update(word for text in known_words() for word in words_of(text))
    for split in get_args(WorldSplit):
        rng = random.Random(f"known/{split}")
        for _ in range(REQUESTS):
            words.update(words_of(draw_request(rng, split=split, values="known").text))
    return sorted(words)


if __name__ == "__main__":
    FILE.write_text("\n".join(draw_words()) + "\n", encoding="utf-8")
