"""SFT rows from traces: a prompt and the response after the last revision."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from cai.types import Generation, Message, Messages, SftExample, Split, Trace


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The reason why a row was left out of the data, counted on the dataset card."""

    reason: str


CHECK_FAILED = LeftOut("the last check finds a problem")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text of a trace that could become a row: the first response, or a revision of it.

    round: the number of rounds before it; 0 for the first response. guards: the faults that keep it
    out of the data. principle_ids: the principles of those rounds. reasoning: the model's reasoning
    before the text.
    """

    text: str
    round: int
    guards: tuple[str, ...]
    principle_ids: tuple[str, ...] = ()
    reasoning: str = ""


def candidates(trace: Trace) -> list[Candidate]:
    """The texts of a trace in their order; a round without a change adds none."""
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
    """The faults that any response can have: `empty`, `truncated`."""
    empty = ("empty",) if not re.search(r"\w", response.text) else ()
    return (*empty, *(("truncated",) if response.finish_reason == "length" else ()))


def sft_examples(
    trace: Trace,
    split: Split,
    which: Literal["last", "all"] = "last",
    check_gate: float | None = None,
    reasoning: bool = False,
) -> list[SftExample | LeftOut]:
    """The SFT rows of a trace.

    last: the response after the last round, even if no critique named a problem.
    all: every revision (Bai et al. 2022, section 3.1), or the first response if there is none.
    check_gate: see `fails_check`; only the last text was checked, so it applies to that alone.
    reasoning: keep the reasoning before each text, and before earlier turns of the prompt.
    """
    texts = candidates(trace)
    selection = texts[-1:] if which == "last" else texts[1:] or texts
    rows = [_example(trace, text, split, reasoning) for text in selection]
    if fails_check(trace, check_gate) and not isinstance(rows[-1], LeftOut):
        rows[-1] = CHECK_FAILED
    return rows


def without_reasoning(messages: Messages) -> Messages:
    """The messages without their reasoning."""
    return tuple(replace(m, reasoning="") if m.reasoning else m for m in messages)


def fails_check(trace: Trace, check_gate: float | None) -> bool:
    """Whether the final check gives "no problem" less than `check_gate` under some principle."""
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
