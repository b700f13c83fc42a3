"""Guards: reasons to keep a response out of the data.

A guarded response stays in the store with its reasons and is left out of the export; the dataset
card counts every reason. The guards recognise known failure modes of small revisers (Bai et al.
2022, section 3.4 and appendix A) without another model, and critiques without a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cai.text.critiques import only_says_no_problem
from cai.text.faults import (
    is_instruction_leaked,
    is_leaked,
    is_repetitive,
    is_truncated,
    is_unchanged,
    speaks_of_the_response,
)
from cai.text.parsing import is_refusal
from cai.types import Generation, Principle, Prompt

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
"""Each guard of a revision and its description for auditors."""

CONTRAST_GUARDS = {
    "both-declined": "both responses decline, so that nothing sets them apart",
    "not-opposed": "the response that was to oppose the principle declines instead",
    "leaked": "a response talks about the instruction, repeats it, or is a critique's sentence",
    "point-of-view": "a response speaks of the assistant's response instead of being one",
}
"""Each guard of a contrast pair and its description for auditors."""


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


def contrast_guards(
    prompt: Prompt,
    principle: Principle,
    asked: tuple[str, str],
    texts: tuple[str, str],
    no_problem: Sequence[str] = (),
) -> tuple[str, ...]:
    """The guards that a contrast pair trips, in the order of `CONTRAST_GUARDS`.

    asked: the user's last turn as each side was given it. texts: what was written, first under the
    instruction to follow the principle. Declining does oppose a principle if one of its examples
    is of a response that declines (as of one against evasion), or if the prompt is marked as benign
    (`"benign": true` in the row). no_problem: the constitution's "no problem" sentences, which a
    model that was trained to critique may write.
    """
    follows, opposes = map(is_refusal, texts)
    may_decline = prompt.meta.get("benign") is True or any(
        is_refusal(example.response) for example in principle.examples
    )
    given = prompt.messages[-1].content
    tripped = {
        "both-declined": follows and opposes,
        "not-opposed": opposes and not follows and not may_decline,
        "leaked": any(
            is_instruction_leaked(given, turn, text) or only_says_no_problem(text, no_problem)
            for turn, text in zip(asked, texts, strict=True)
        ),
        "point-of-view": any(map(speaks_of_the_response, texts)),
    }
    return tuple(name for name in CONTRAST_GUARDS if tripped[name])
