"""SFT rows from traces: a prompt and the response that critique and revision ended with."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from cai.types import Generation, Message, Messages, SftExample, Split, Trace


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that was not made, and why; reasons are counted on the dataset card."""

    reason: str


CHECK_FAILED = LeftOut("the last check finds a problem")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text of a trace that could become a row: the first response, or a revision of it.

    round: the rounds before it was written; 0 for the first response. guards: the faults that keep
    it out of the data. principle_ids: the principles whose critiques led to it or left it as it
    is. reasoning: what the model thought before it wrote the text.
    """

    text: str
    round: int
    guards: tuple[str, ...]
    principle_ids: tuple[str, ...] = ()
    reasoning: str = ""


def candidates(trace: Trace) -> list[Candidate]:
    """The texts of a trace in their order; a round that left the text alone adds none."""
    first = trace.response
    out = [Candidate(first.text, 0, faults_of(first), reasoning=first.reasoning)]
    principle_ids: list[str] = []
    for revision in trace.revisions:
        if revision.principle_id not in principle_ids:
            principle_ids.append(revision.principle_id)
        last, new = out[-1], revision.text
        if new is not None and (revision.guards or new != last.text):
            reasoning = revision.response.reasoning if revision.response else ""
            out.append(
                Candidate(new, revision.round + 1, revision.guards, tuple(principle_ids), reasoning)
            )
        else:
            guards = tuple(dict.fromkeys((*last.guards, *revision.guards)))
            out[-1] = Candidate(last.text, last.round, guards, tuple(principle_ids), last.reasoning)
    return out


def faults_of(response: Generation) -> tuple[str, ...]:
    """The faults that a response has whatever it says: it is empty, or was cut off."""
    empty = ("empty",) if not re.search(r"\w", response.text) else ()
    return (*empty, *(("truncated",) if response.finish_reason == "length" else ()))


def sft_examples(
    trace: Trace,
    split: Split,
    which: Literal["last", "all"] = "last",
    check_gate: float | None = None,
    reasoning: bool = False,
) -> list[SftExample | LeftOut]:
    """The rows of a trace.

    last: the response after the last round, also where no critique found anything in it.
    all: every revision on the way (Bai et al. 2022, section 3.1), or the first response where
        there was none.
    check_gate: see `fails`; texts on the way were not checked, so it holds for the last alone.
    reasoning: keep what was thought before each text, and before earlier turns of the prompt.
    """
    texts = candidates(trace)
    selection = texts[-1:] if which == "last" else texts[1:] or texts
    rows = [_example(trace, text, split, reasoning) for text in selection]
    if fails_check(trace, check_gate) and not isinstance(rows[-1], LeftOut):
        rows[-1] = CHECK_FAILED
    return rows


def without_reasoning(messages: Messages) -> Messages:
    """The messages without what was thought before them."""
    return tuple(replace(m, reasoning="") if m.reasoning else m for m in messages)


def fails_check(trace: Trace, check_gate: float | None) -> bool:
    """Whether the last check gives some principle less probability that nothing is wrong."""
    return check_gate is not None and any(c.scores.mass < check_gate for c in trace.checks)


def _example(trace: Trace, text: Candidate, split: Split, reasoning: bool) -> SftExample | LeftOut:
    if text.guards:
        return LeftOut(f"guarded: {', '.join(text.guards)}")
    return SftExample(
        messages=(
            *(trace.prompt.messages if reasoning else without_reasoning(trace.prompt.messages)),
            Message("assistant", text.text, text.reasoning if reasoning else ""),
        ),
        prompt_id=trace.prompt.id,
        trace_id=trace.id,
        principle_ids=text.principle_ids,
        round=text.round,
        split=split,
    )
