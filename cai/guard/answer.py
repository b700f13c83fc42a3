"""What a guard answers: the text, what was done to it, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cai.guard.procedures import GuardOutcome
from cai.store.codec import steps_of
from cai.types import Comparison, Generation, Trace

InterventionKind: TypeAlias = Literal["revised", "chosen", "withheld", "replaced", "unguarded"]
"""revised: a critique led to a revision. chosen: another of n answers was sent than the first.
withheld: the refusal was sent. replaced: an unusable revision was left out, and the text before it
was sent. unguarded: critic or judge failed, and the answer was sent as it is."""

AnswerEnd: TypeAlias = Literal["stop", "length", "content_filter"]
"""How an answer ended, in OpenAI's words; `content_filter` for one that was withheld."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """Something that a guard did to an answer, and why.

    principle_id: the principle that it was done under; empty where it was not one alone.
    """

    kind: InterventionKind
    principle_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TokenUse:
    """Tokens that models read (prompt) and wrote (response)."""

    prompt: int = 0
    response: int = 0


@dataclass(frozen=True, slots=True)
class GuardedAnswer:
    """An answer of a guarded model.

    original: what the model would have answered without the guard. trace, comparisons: as in a
    build's store. tokens: of every step behind the answer; answer_tokens: of the original alone.
    seconds: from the arrival of the request to the end of its last step. failure: why the answer
    was sent without the guard's word (`on_failure: open`); else empty.
    """

    text: str
    original: Generation
    trace: Trace
    comparisons: tuple[Comparison, ...]
    interventions: tuple[Intervention, ...]
    finish_reason: AnswerEnd
    tokens: TokenUse
    answer_tokens: TokenUse
    seconds: float
    failure: str = ""

    @property
    def changed(self) -> bool:
        """Whether another text was sent than the model's own."""
        return self.text != self.original.text

    @property
    def principles(self) -> dict[str, float]:
        """Principle → probability that nothing is wrong with the final response, where checked."""
        return {check.principle_id: check.scores.mass for check in self.trace.checks}


def answer_of(outcome: GuardOutcome, seconds: float) -> GuardedAnswer:
    """The answer that an outcome amounts to."""
    trace, first = outcome.trace, outcome.first
    return GuardedAnswer(
        text=outcome.text,
        original=first,
        trace=trace,
        comparisons=outcome.comparisons,
        interventions=interventions_of(outcome),
        finish_reason=_finish_reason(outcome),
        tokens=_tokens((trace, *outcome.comparisons)),
        answer_tokens=TokenUse(first.prompt_tokens, first.response_tokens),
        seconds=seconds,
        failure=outcome.failure,
    )


def interventions_of(outcome: GuardOutcome) -> tuple[Intervention, ...]:
    """What was done to an answer, in its order."""
    trace, out = outcome.trace, []
    if trace.response.text != outcome.first.text:
        out.append(Intervention("chosen", reason=f"of {len(outcome.comparisons) + 1} answers"))
    for before, revision in zip(trace.texts, trace.revisions, strict=False):
        if revision.text is not None and revision.text != before:
            reason = f"round {revision.round + 1}"
            out.append(Intervention("revised", revision.principle_id, reason))
    if trace.withheld is not None and outcome.failure:
        out.append(Intervention("replaced", reason=trace.withheld.reason))
    elif trace.withheld is not None:
        name = trace.withheld.reason.partition(": ")[0]
        ids = {check.principle_id for check in trace.checks}
        out.append(Intervention("withheld", name if name in ids else "", trace.withheld.reason))
    elif outcome.failure:
        out.append(Intervention("unguarded", reason=outcome.failure))
    return tuple(out)


def _finish_reason(outcome: GuardOutcome) -> AnswerEnd:
    trace = outcome.trace
    if trace.withheld is not None:
        return "stop" if outcome.failure else "content_filter"
    texts = [trace.response, *(r.response for r in trace.revisions if r.response is not None)]
    return texts[-1].finish_reason


def _tokens(records: Iterable[Trace | Comparison]) -> TokenUse:
    """The tokens of all steps of some records, each step once."""
    steps = {step.key: step for record in records for step in steps_of(record)}.values()
    written = (step.response_tokens for step in steps if isinstance(step, Generation))
    return TokenUse(sum(step.prompt_tokens for step in steps), sum(written))
