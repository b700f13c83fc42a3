"""Prompts read from what a generator wrote: a list, one a line, without talk about the task."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from cai.evaluation.redteam.diversity import is_near, words_of
from cai.text.parsing import is_refusal, normalise

FEWEST_WORDS, MOST_WORDS = 3, 80
"""Words of a prompt that is kept."""

_ITEM = re.compile(r"^(?:\(?\d{1,3}[.):]|[-*•])\s+(.+)$|^\(?\d{1,3}[.):]\s*$|^[-*•]\s*$")
_MARKS = re.compile(
    r"^(?:\*\*|__)?(?:(?:user|human|prompt|message)\s*\d*:\s*)?(?:\*\*|__)?\s*", re.I
)
_TALK = re.compile(
    r"^(?:here(?:['’]s| is| are)\b(?=.{0,80}(?::$|\b(?:messages?|prompts?|examples?|list)\b))"
    r"|(?:sure|certainly|of course|okay|absolutely)\b[,!.:]|below (?:is|are)\b"
    r"|these (?:are|messages|prompts|examples)\b|note that\b|note:|in (?:these|this) "
    r"(?:messages?|prompts?|examples?))"
    r"|\b(?:language model|ai assistant|this principle|the principle|the assistant|user(?:['’]s)?"
    r" (?:messages?|prompts?)|break the (?:rule|principle))\b|\[[^\]]*\]",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"^(?:(?:i['’]?m|i am) (?:very |so |really )?sorry\b|sorry,|i apologi[sz]e"
    r"|as an? (?:ai|assistant)"
    r"|i (?:can['’]?t|cannot|can not|won['’]?t|will not|am (?:unable|not able) to) (?:help|assist"
    r"|provide|write|create|generate|fulfil|comply|support|produce|do (?:that|this)|engage))",
    re.IGNORECASE,
)


@dataclass
class CandidatePool:
    """Prompts that are kept so far; `dropped` counts the others by their reason.

    examples: texts that were shown to the generator, none of which may come back as its own.
    """

    examples: Sequence[str] = ()
    kept: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    read: int = 0

    def add(self, reply: str, *, cut: bool = False) -> None:
        """Read a reply; cut: it ran into the token limit, so that its last line is not whole."""
        texts, dropped = read_prompts_of(reply, cut=cut)
        self.read += len(texts) + dropped.total()
        self.dropped += dropped
        for text in texts:
            if reason := self._repeats(text):
                self.dropped[reason] += 1
            else:
                self.kept.append(text)

    def _repeats(self, text: str) -> str:
        if is_near(text, self.examples):
            return "example repeated"
        if normalise(text) in {normalise(other) for other in self.kept}:
            return "duplicate"
        return "near duplicate" if is_near(text, self.kept) else ""


def read_prompts_of(reply: str, *, cut: bool = False) -> tuple[list[str], Counter[str]]:
    """The prompts in a reply, and how many lines were dropped by reason."""
    texts, dropped = read_list(reply, cut=cut)
    out = []
    for text in texts:
        if reason := fault(text):
            dropped[reason] += 1
        else:
            out.append(text)
    return out, +dropped


def read_list(reply: str, *, cut: bool = False) -> tuple[list[str], Counter[str]]:
    """The entries of a reply that is a list, without marks, and how many lines were dropped.

    A reply with numbered lines or bullets has its entries there alone; in another each line is one.
    cut: it ran into the token limit, so that its last line is not whole.
    """
    dropped: Counter[str] = Counter()
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    items = [match for line in lines if (match := _ITEM.match(line))]
    if not lines:
        return [], Counter(["empty"])
    if not items and is_refusal(reply) and _REFUSAL.search(reply.strip()):
        return [], Counter(["refusal"])
    if items:
        dropped["outside the list"] += len(lines) - len(items)
    texts = [match[1] or "" for match in items] if items else lines
    if cut and (not items or _ITEM.match(lines[-1])):
        texts.pop()
        dropped["cut short"] += 1
    return list(map(_plain, texts)), +dropped


def fault(text: str) -> str:
    """Why a text is no prompt of a user; empty if it may be one."""
    words = len(words_of(text))
    if not words:
        return "empty"
    if _REFUSAL.search(text):
        return "refusal"
    if _TALK.search(text):
        return "about the task"
    if words < FEWEST_WORDS:
        return "too short"
    return "too long" if words > MOST_WORDS else ""


def _plain(text: str) -> str:
    """Without marks of a list, of a speaker, of bold type and of quotation around it."""
    text = _MARKS.sub("", text).strip()
    text = text.removesuffix("**").strip()
    if len(text) > 2 and (text[0], text[-1]) in {('"', '"'), ("“", "”"), ("'", "'")}:
        text = text[1:-1].strip()
    return " ".join(text.split())
