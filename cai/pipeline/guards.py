"""Guards: reasons to keep a response out of the data.

A guarded response stays in the store with its reasons and is left out of the export; the dataset
card counts every reason. The guards recognise known failure modes of small revisers (Bai et al.
2022, section 3.4 and appendix A) without another model, and critiques without a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cai.text.faults import (
    is_leaked,
    is_repetitive,
    is_truncated,
    is_unchanged,
    speaks_of_the_response,
)
from cai.text.parsing import is_refusal
from cai.types import Generation, Prompt

GUARDS = {
    "empty": "the revision has no words",
    "unchanged": "the critique named a problem, and the revision is the same text",
    "leaked": "the revision talks about the task, or repeats the critique",
    "point-of-view": "the revision speaks of the assistant's response instead of being one",
    "truncated": "the revision hit the token limit",
    "loop": "a run of six words occurs three times or more",
    "refusal-added": "a benign prompt is refused, and the first response did not refuse",
    "unreviewed": "the critic refused, contradicted itself or wrote nothing, so no one judged it",
}
"""Each guard and its description for auditors."""


def guard(
    prompt: Prompt,
    first: str,
    before: str,
    critique: str | None,
    after: Generation,
    no_problem: Sequence[str] = (),
) -> tuple[str, ...]:
    """The guards that a revision trips, in the order of `GUARDS`; `unreviewed` is set elsewhere.

    first: the prompt's first response, to see whether a refusal was added on the way.
    before: the text that was revised. critique: the critique of it, None for a direct revision.
    after: the revision, without a preamble that announces it.
    no_problem: the constitution's "no problem" sentences, which are no revision.
    `refusal-added` needs prompts that are marked as benign: `"benign": true` in the row.
    """
    text = after.text
    tripped = {
        "empty": not re.search(r"\w", text),
        "unchanged": is_unchanged(before, text),
        "leaked": is_leaked(before, critique, text, no_problem),
        "point-of-view": speaks_of_the_response(text),
        "truncated": is_truncated(after),
        "loop": is_repetitive(text),
        "refusal-added": prompt.meta.get("benign") is True
        and is_refusal(text)
        and not is_refusal(first),
    }
    return tuple(name for name in GUARDS if tripped.get(name))
