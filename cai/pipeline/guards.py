"""Guards: reasons to keep a response out of the data.

A guarded response stays in the store with its reasons and is left out of the export; the dataset
card counts every reason. Known failure modes of small revisers (Bai et al. 2022, section 3.4 and
appendix A) that can be recognised without another model, and critiques that are no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from cai.text.critiques import is_no_problem
from cai.text.parsing import is_refusal, longest_loop, normalise
from cai.text.revisions import off_task
from cai.types import Generation, Prompt

GUARDS = {
    "empty": "the revision has no words",
    "unchanged": "the critique named a problem, and the revision is the same text",
    "leaked": "the revision talks about the task, or repeats the critique",
    "point-of-view": "the revision speaks of the assistant's response instead of being one",
    "truncated": "the revision hit the token limit",
    "loop": "a run of six words occurs three times or more",
    "refusal-added": "a benign prompt was answered before, and is refused now",
    "unreviewed": "the critic refused, contradicted itself or wrote nothing, so no one judged it",
}
"""Each guard and what it says to an auditor."""

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
_LOOP_LIMIT = 3
_ALIKE = 0.8
"""Share of words that critique and revision have in common, in order, where one is the other."""
_SHORTEST_LEAK = 40
"""Characters a critique's sentence must have before its repetition counts as a leak."""


def guard(
    prompt: Prompt,
    first: str,
    before: str,
    critique: str | None,
    after: Generation,
    no_problem: Sequence[str] = (),
) -> tuple[str, ...]:
    """The guards that a revision trips, in the order of `GUARDS`; not `unreviewed`, a round's own.

    first: the prompt's first response, which says whether a refusal was added on the way.
    before: the text that was revised. critique: what asked for it, None for a direct revision.
    after: what the reviser wrote, without an announcement of it.
    no_problem: the constitution's sentences, which answer a critique and revise nothing.
    `refusal-added` needs to know that a prompt is benign: its row says `"benign": true`.
    """
    text = after.text
    tripped = {
        "empty": not re.search(r"\w", text),
        "unchanged": normalise(text) == normalise(before),
        "leaked": bool(_LEAK.search(text))
        or (off_task(text) and not off_task(before))  # where it was so before, the user asked so
        or is_no_problem(text, no_problem)
        or (critique is not None and _repeats(critique, text)),
        "point-of-view": bool(_POINT_OF_VIEW.search(text)),
        "truncated": after.finish_reason == "length",
        "loop": longest_loop(text) >= _LOOP_LIMIT,
        "refusal-added": prompt.meta.get("benign") is True
        and is_refusal(text)
        and not is_refusal(first),
    }
    return tuple(name for name in GUARDS if tripped.get(name))


def _repeats(critique: str, revision: str) -> bool:
    """Whether a revision is the critique nearly word for word, or holds a sentence of it."""
    sentences = (normalise(s) for s in re.split(r"(?<=[.!?])\s+", critique))
    text = normalise(revision)
    alike = SequenceMatcher(None, normalise(critique).split(), text.split(), autojunk=False)
    return alike.ratio() >= _ALIKE or any(len(s) >= _SHORTEST_LEAK and s in text for s in sentences)
