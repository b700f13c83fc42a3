"""Labelled responses from traces and comparisons: whether a critic finds no problem with each.

What is asked of one response at a time says whether it is good by itself: the final check, and the
two sides of a pair that is judged pointwise. Letters compare, and label no single response.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from cai.data.sft import candidates, faults_of
from cai.types import (
    Comparison,
    Generation,
    Judgement,
    LabelledResponse,
    Scores,
    Split,
    Trace,
)

Verdicts: TypeAlias = Sequence[tuple[str, Scores]]
"""Principle id and the scores of "no problem" under it."""


def trace_labels(trace: Trace, split: Split, *, pointwise: bool) -> list[LabelledResponse]:
    """The final response by the final check, and the first one if the judge was asked about it.

    pointwise: whether the judge was asked about each response by itself. A text that guards keep
    out of the data, or that is empty or truncated, has no label.
    """
    last = candidates(trace)[-1]
    out: list[LabelledResponse] = []
    if trace.checks and not last.guards:
        checks = [(check.principle_id, check.scores) for check in trace.checks]
        out.append(_labelled(trace, split, "final", last.text, last.reasoning, checks))
    if pointwise and trace.label is not None:
        judged = _side(trace.label.judgements, 1)  # of the two sides the final response is first
        out += _of_generation(trace, split, "first", trace.response, judged)
    return out


def comparison_labels(comparison: Comparison, split: Split) -> list[LabelledResponse]:
    """Both responses of a pair that was judged pointwise; of other pairs none."""
    if comparison.mode != "pointwise" or not comparison.judgements:
        return []
    first, second = comparison.responses
    judgements = comparison.judgements
    return [
        *_of_generation(comparison, split, "a", first, _side(judgements, 0)),
        *_of_generation(comparison, split, "b", second, _side(judgements, 1)),
    ]


def _side(judgements: Sequence[Judgement], side: int) -> Verdicts:
    return [(j.principle_id, j.scores[side]) for j in judgements]


def _of_generation(
    record: Trace | Comparison,
    split: Split,
    part: Literal["first", "a", "b"],
    response: Generation,
    verdicts: Verdicts,
) -> list[LabelledResponse]:
    if faults_of(response):
        return []
    return [_labelled(record, split, part, response.text, response.reasoning, verdicts)]


def _labelled(
    record: Trace | Comparison,
    split: Split,
    part: Literal["final", "first", "a", "b"],
    text: str,
    reasoning: str,
    verdicts: Verdicts,
) -> LabelledResponse:
    """One principle that is broken makes a response undesirable, whatever the others say."""
    masses = tuple((principle_id, scores.mass) for principle_id, scores in verdicts)
    lowest = min(mass for _, mass in masses)
    broken = tuple(principle_id for principle_id, mass in masses if mass < 0.5)
    return LabelledResponse(
        prompt=record.prompt.messages,
        response=text,
        desirable=not broken,
        probability=lowest,
        no_problem=masses,
        part=part,
        origin_id=record.id,
        prompt_id=record.prompt.id,
        principle_ids=broken or tuple(principle_id for principle_id, _ in masses),
        split=split,
        judge_method=", ".join(sorted({scores.method for _, scores in verdicts} - {""})),
        reasoning=reasoning,
    )
