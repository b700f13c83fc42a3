"""Flags: reasons to read an item first, computed from texts and labels alone.

A flag is a reason to look, not a verdict: each is a plain rule over English text or over a number,
and its definition says which. The rules read records; they call no model.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cai.data.counts import NEAR_TIE, NO_SIGNAL, is_near_tie
from cai.text.faults import is_repetitive, is_truncated, is_unchanged
from cai.text.parsing import is_refusal
from cai.types import Comparison, Generation, Prompt, Revision, Trace


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag: its code, its name, what it means, and how much it speaks against a record.

    weight: 1 may be a fault, 2 is likely a fault, 3 is a fault that would be trained on.
    """

    code: str
    name: str
    meaning: str
    weight: int


FLAGS = {
    flag.code: flag
    for flag in (
        Flag("F01", "changed without cause",
             "The critique found nothing, yet the text changed.", 2),
        Flag("F02", "not revised",
             "The critique named a problem, and the revision is the same text (letter case and"
             " spaces apart).", 2),
        Flag("F03", "refusal introduced",
             "The revision opens by declining, and the text before it did not.", 2),
        Flag("F04", "length jump",
             "The revision has more than twice or less than half the words of the text before it.",
             1),
        Flag("F05", "apology or flattery",
             "The text opens with an apology or with praise for the question; a revision only where"
             " the text before did not.", 1),
        Flag("F06", "critique leaked",
             "The revision speaks of the task, of the critique or of “the assistant's response”, or"
             " repeats a sentence of the critique or the sentence for “no problem”.", 3),
        Flag("F07", "preachy",
             "Two or more moralising phrases (“it is important to remember”, “as a responsible …”),"
             " and more than the text before had.", 2),
        Flag("F08", "truncated",
             "A response, critique or revision ran into its token limit.", 2),
        Flag("F09", "verdict flips",
             "Which response is the better one depends on which was shown first, and in one of the"
             f" two orders the probability is {NEAR_TIE:g} or more away from one half.", 2),
        Flag("F10", "near tie",
             f"The probability that one response is better lies within {NEAR_TIE:g} of one half.",
             1),
        Flag("F11", "repetition",
             "A run of six words occurs three times or more.", 2),
        Flag("F12", "no verdict",
             "The critique refuses, contradicts itself or is empty: it does not say whether the"
             " response has a problem.", 2),
        Flag("F13", "announced",
             "The revision announced itself (“Here is the revised response:”), or said at its end"
             " what it changed; that part was removed.", 1),
        Flag("F14", "judge without a signal",
             f"The judge gave less than {NO_SIGNAL:.0%} of probability to the answers that it was"
             " scored by.", 2),
        Flag("F15", "control token",
             "The prompt or a text holds the name of a control token, such as <|im_end|>. It is"
             " plain text here, but a model server or another trainer may obey it.", 2),
        Flag("F16", "contrast failed",
             "The two responses of a contrast pair don't differ as they were asked to: one declines"
             " to oppose the principle, both decline, or one speaks of the instruction.", 2),
    )
}  # fmt: skip
"""Code → flag, in order."""

LONGER, SHORTER = 2.0, 0.5
MORALISING = 2

_OPENER = re.compile(
    r"^\W*(?:i(?:['’]m| am)? (?:sincerely |deeply |truly )?(?:apologi[sz]e|sorry)\b"
    r"|(?:my |sincere )*apologies\b|sorry\b"
    r"|(?:that(?:['’]s| is) |what )?an? (?:great|excellent|wonderful|very good|good|fantastic)"
    r" (?:question|point|idea)"
    r"|(?:great|excellent|good|fantastic) (?:question|point)"
    r"|you(?:['’]re| are) (?:absolutely|completely|totally|so|quite) right"
    r"|thank(?:s| you) for (?:asking|your (?:question|feedback)|pointing|bringing|sharing)"
    r"|i(?:['’]m| am) (?:so |very )?glad (?:that )?you asked)",
    re.IGNORECASE,
)
_MORAL = re.compile(
    r"\bit(?:['’]s| is) (?:important|crucial|essential|vital) (?:to|that)\b"
    r"|\b(?:please|always) (?:remember|consider|bear in mind|keep in mind|be mindful)\b"
    r"|\bas an? (?:responsible|ethical|moral|good) \w+"
    r"|\bi (?:must|have to|want to|would like to) (?:remind|stress|emphasi[sz]e|urge)\b"
    r"|\bi (?:strongly |would )*(?:urge|encourage|advise) you\b"
    r"|\b(?:is|are|be) (?:never|not) (?:ok|okay|acceptable|appropriate|ethical|moral)\b"
    r"|\b(?:un)?ethical(?:ly)?\b|\b(?:im)?moral(?:ly)?\b",
    re.IGNORECASE,
)
_CONTROL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>\s]{1,40}｜>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
)
_GUARDED = {"leaked", "point-of-view"}


def round_flags(before: str, revision: Revision) -> tuple[str, ...]:
    """The flags of one round, given the text it began with."""
    after = revision.response
    codes = [] if revision.outcome in ("problem", "no-problem", None) else ["F12"]
    if revision.critique is not None and is_truncated(revision.critique):
        codes.append("F08")
    if revision.critique is not None and is_repetitive(revision.critique.text):
        codes.append("F11")
    if after is not None and revision.text is not None:
        text = revision.text
        same = is_unchanged(before, text)
        conditions = {
            "F01": revision.outcome == "no-problem" and not same,
            "F02": revision.found_problem and same,
            "F03": is_refusal(text) and not is_refusal(before),
            "F04": _jumps(before, text),
            "F05": bool(_OPENER.search(text)) and not _OPENER.search(before),
            "F06": bool(_GUARDED & set(revision.guards)),
            "F07": _preaches(before, text),
            "F08": is_truncated(after),
            "F11": is_repetitive(text) and not is_repetitive(before),
            "F13": revision.stripped is not None,
        }
        codes += [code for code, holds in conditions.items() if holds]
    return _in_order(codes)


def trace_flags(trace: Trace) -> tuple[str, ...]:
    """The flags of a trace: those of its rounds, and of its first response."""
    codes = list(_text_codes(trace.response))
    for before, revision in zip(trace.texts, trace.revisions, strict=False):
        codes += round_flags(before, revision)
    written = [g.text for r in trace.revisions for g in (r.critique, r.response) if g is not None]
    codes += _control_codes(trace.prompt, (trace.response.text, *written))
    return _in_order(codes)


def comparison_flags(comparison: Comparison) -> tuple[str, ...]:
    """The flags of two responses and their label."""
    codes = [code for response in comparison.responses for code in _text_codes(response)]
    codes += _control_codes(comparison.prompt, [r.text for r in comparison.responses])
    if comparison.contrast is not None and comparison.contrast.guards:
        codes.append("F16")
    if flips(comparison):
        codes.append("F09")
    if comparison.judgements and is_near_tie(comparison.probability):
        codes.append("F10")
    if comparison.mass is not None and comparison.mass < NO_SIGNAL:
        codes.append("F14")
    return _in_order(codes)


def flips(comparison: Comparison) -> bool:
    """Whether the label of a pair, all principles together, depends on the order.

    Two orders on two sides of one half, both within `NEAR_TIE` of it, are a tie and no flip.
    """
    both = comparison.p_ab, comparison.p_ba
    if both[0] is None or both[1] is None:
        return any(judgement.flipped for judgement in comparison.judgements)
    sides = both[0] - 0.5, both[1] - 0.5
    return sides[0] * sides[1] < 0 and max(map(abs, sides)) >= NEAR_TIE


def text_flags(text: str, *, ended: bool) -> tuple[str, ...]:
    """The flags of a text that stands alone, such as a rollout's."""
    conditions = {
        "F05": bool(_OPENER.search(text)),
        "F07": len(_MORAL.findall(text)) >= MORALISING,
        "F08": not ended,
        "F11": is_repetitive(text),
    }
    return tuple(code for code, holds in conditions.items() if holds)


def weight_of(flags: tuple[str, ...]) -> int:
    """How much flags speak against a record, together."""
    return sum(FLAGS[code].weight for code in flags)


def _control_codes(prompt: Prompt, texts: Iterable[str]) -> list[str]:
    """F15 where the prompt or a text names a control token."""
    everything = itertools.chain((message.content for message in prompt.messages), texts)
    return ["F15"] if any(map(_CONTROL.search, everything)) else []


def _text_codes(generation: Generation) -> Iterator[str]:
    if is_truncated(generation):
        yield "F08"
    if is_repetitive(generation.text):
        yield "F11"


def _jumps(before: str, after: str) -> bool:
    old, new = len(before.split()), len(after.split())
    return bool(old) and not SHORTER <= new / old <= LONGER


def _preaches(before: str, after: str) -> bool:
    count = len(_MORAL.findall(after))
    return count >= MORALISING and count > len(_MORAL.findall(before))


def _in_order(codes: list[str]) -> tuple[str, ...]:
    return tuple(code for code in FLAGS if code in codes)
