"""Faults of a revised text: unchanged, truncated, repetitive, leaked critique.

One list for the guards of a build (`cai.pipeline.guards`) and the flags of an audit
(`cai.audit.flags`): what counts as unchanged, leaked, truncated or repeated is decided here. Rules
for English text; none calls a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from cai.text.critiques import only_says_no_problem
from cai.text.parsing import longest_loop, normalise
from cai.text.revisions import off_task
from cai.types import Generation

REPETITIONS = 3
"""How often a run of six words occurs in a text that repeats itself."""

_LEAK = re.compile(
    r"^\W*(?:here(?:['’]s| is) (?:an?|the|my) (?:revised|rewritten|improved|better)"
    r" (?:[\w'’-]+ ){0,2}?(?:response|answer|reply|version|wording)\b"
    r"|(?:the )?revis(?:ed|ion)(?: response| request)?\s*:|critique(?: request)?\s*:)",
    re.IGNORECASE,
)
_COMPOUND = (
    r"(?![- ](?:times?|rates?|speeds?|latenc\w+|curves?|teams?|variables?|functions?|headers?"
    r"|codes?|bod(?:y|ies)|formats?|plans?|units?)\b)"
)
"""What makes another thing of a response: "the model response time"."""
_POINT_OF_VIEW = re.compile(
    r"\bthe (?:assistant|ai|model)(?:['’]s)? (?:last |previous |original )?"
    rf"(?:response|answer|reply)\b{_COMPOUND}"
    r"|\bthe (?:critique(?! of\b)|original response)\b"
    r"|^\W*(?:this|the(?: (?:last|previous|above|revised|user['’]?s))?) (?:response|reply)\b"
    rf"{_COMPOUND}"
    r"(?! (?:of|from|by|among|in|to) (?!the (?:assistant|ai|model|user|question|prompt|request)))",
    re.IGNORECASE,
)
_INSTRUCTED = re.compile(
    r"\b(?:response|answer|reply) that (?:follow|break|violat|oppos|disregard|ignor|goes against)"
    r"|\b(?:follow|break|violat|oppos|disregard|ignor|obey|against)\w*"
    r" (?:this|the|that|your) (?:rule|principle|instruction)\b|\brule[- ]?break\w*",
    re.IGNORECASE,
)
_ALIKE = 0.8
"""Share of words that critique and revision have in common, in order, where one is the other."""
_SHORTEST_LEAK = 40
"""Characters a critique's sentence must have before its repetition counts as a leak."""
_SHORTEST_INSTRUCTION = 20
"""The same, of a piece of an instruction, which is shorter than a critique."""


def is_unchanged(before: str, after: str) -> bool:
    """Whether two texts are the same, letter case and white space apart."""
    return normalise(after) == normalise(before)


def is_truncated(generation: Generation) -> bool:
    """Whether a text ran into its token limit."""
    return generation.finish_reason == "length"


def is_repetitive(text: str) -> bool:
    """Whether a run of six words occurs `REPETITIONS` times or more."""
    return longest_loop(text) >= REPETITIONS


def is_leaked(before: str, critique: str | None, text: str, no_problem: Sequence[str] = ()) -> bool:
    """Whether a revision talks about the task of revising, or repeats the critique.

    critique: what asked for the revision, None for a direct one. no_problem: the constitution's
    sentences for "no problem", which answer a critique and revise nothing.
    """
    return (
        bool(_LEAK.search(text))
        or (off_task(text) and not off_task(before))  # where it was so before, the user asked so
        or only_says_no_problem(text, no_problem)
        or (critique is not None and _repeats(critique, text))
    )


def is_instruction_leaked(prompt: str, asked: str, text: str) -> bool:
    """Whether a response speaks of the instruction that came with its prompt, or repeats it.

    asked: the prompt with the instruction. What the prompt itself says is no leak.
    """
    instruction = asked.replace(prompt, "\n")
    pieces = (normalise(piece) for piece in re.split(r"[.:!?()\n]+", instruction))
    said, given = normalise(text), normalise(prompt)
    return bool(_INSTRUCTED.search(text) and not _INSTRUCTED.search(prompt)) or any(
        len(piece) >= _SHORTEST_INSTRUCTION and piece in said and piece not in given
        for piece in pieces
    )


def speaks_of_the_response(text: str) -> bool:
    """Whether a revision speaks of the assistant's response instead of being one."""
    return bool(_POINT_OF_VIEW.search(text))


def _repeats(critique: str, revision: str) -> bool:
    """Whether a revision is the critique nearly word for word, or holds a sentence of it."""
    sentences = (normalise(s) for s in re.split(r"(?<=[.!?])\s+", critique))
    text = normalise(revision)
    alike = SequenceMatcher(None, normalise(critique).split(), text.split(), autojunk=False)
    return alike.ratio() >= _ALIKE or any(len(s) >= _SHORTEST_LEAK and s in text for s in sentences)
