"""Rules over a model's text: refusals, repetition, normalisation.

Plain rules over plain text, no model. Each is an approximation for English text and says so by its
tests; none of them drops a row by itself.
"""

from __future__ import annotations

import re
from collections import Counter

_REFUSAL = re.compile(
    r"^\W*(?:(?:i (?:\w+ )?apologi[sz]e|(?:my )?apologies|unfortunately|as an? [\w ]{0,40}?"
    r"(?:ai|assistant|model))\b(?:,? but\b)?[,\s]*)?"
    r"(?:(?:i['’]?m sorry|i am sorry|sorry)\b(?! to (?:hear|read|see|learn)| for your)"
    r"|i (?:really |simply )?(?:can['’]?t|cannot|can not|won['’]?t|will not)\b(?! wait\b| help but)"
    r"|i(?:['’]d| would) rather not|i(?:['’]m| am) (?:not able|unable)|no comment"
    r"|i (?:must|have to|need to) (?:\w+ly )?(?:decline|refuse)\b|i (?:decline|refuse) to\b"
    r"|i(?:['’]m not| am not| do not feel| don['’]t feel) comfortable\b"
    r"|that is not possible for me|this topic is too sensitive|as an ai\b)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def normalise(text: str) -> str:
    """Lower case, single spaces, no outer white space: for comparing texts, not for showing."""
    return " ".join(text.split()).casefold()


def is_refusal(text: str) -> bool:
    """Whether a response opens by declining (in its first two sentences)."""
    return any(_REFUSAL.search(sentence) for sentence in sentences(text)[:2])


def sentences(text: str) -> list[str]:
    """The sentences of a text, by their marks; one empty sentence for an empty text."""
    return _SENTENCE.split(text.strip())


def longest_loop(text: str, words: int = 6) -> int:
    """How often the most frequent run of `words` words occurs in the text (0 if it is shorter)."""
    parts = text.casefold().split()
    runs = Counter(zip(*(parts[start:] for start in range(words)), strict=False))
    return max(runs.values(), default=0)
