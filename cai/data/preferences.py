"""Preference rows from comparisons and traces: chosen, rejected, and the soft label."""

from __future__ import annotations

from cai.data.counts import is_near_tie
from cai.data.sft import CHECK_FAILED, LeftOut, candidates, fails_check, faults_of
from cai.data.split import folded
from cai.types import Comparison, Label, Preference, Split, Trace


def comparison_preference(
    comparison: Comparison, split: Split, *, ties: bool = False
) -> Preference | LeftOut:
    """The preference row of a comparison; `chosen` is the side with a probability of 0.5 or more.

    ties: keep near ties (`is_near_tie`); with hard labels a trainer would learn noise from them. A
    pair with an empty or truncated side is left out, since the other would win by its length, and
    so is a contrast pair with guards. `p_ab` is the probability that `chosen` is better in the
    order in which it was shown first, `p_ba` in the other; None where that order was not asked.
    """
    first, second = (g.text for g in comparison.responses)
    if first == second:
        return LeftOut("identical responses")
    if folded(first) == folded(second):
        return LeftOut("responses that differ in white space alone")
    first_wins = comparison.probability >= 0.5
    better, worse = comparison.responses if first_wins else comparison.responses[::-1]
    faults = [f for response in comparison.responses for f in faults_of(response)]
    if faults := [*faults, *(comparison.contrast.guards if comparison.contrast else ())]:
        return LeftOut(f"guarded: {', '.join(dict.fromkeys(faults))}")
    if not ties and is_near_tie(comparison.probability):
        return LeftOut("near tie")
    return Preference(
        prompt=comparison.prompt.messages,
        chosen=better.text,
        rejected=worse.text,
        probability=comparison.probability if first_wins else 1 - comparison.probability,
        origin="comparison" if comparison.contrast is None else "contrast",
        origin_id=comparison.id,
        prompt_id=comparison.prompt.id,
        principle_ids=comparison.principle_ids,
        split=split,
        p_ab=comparison.p_ab if first_wins else _other(comparison.p_ba),
        p_ba=comparison.p_ba if first_wins else _other(comparison.p_ab),
        judge_mass=comparison.mass,
        judge_method=comparison.method,
        chosen_reasoning=better.reasoning,
        rejected_reasoning=worse.reasoning,
    )


def revision_preference(
    trace: Trace, split: Split, *, check_gate: float | None = None, ties: bool = False
) -> Preference | LeftOut:
    """The preference row of a trace: the last revision over the first response.

    Its probability is the judge's if the judge was asked, else 1. A revision that the judge finds
    worse makes no row; near ties as in `comparison_preference`. check_gate: see `fails_check`.
    """
    texts = candidates(trace)
    first, last = texts[0], texts[-1]
    if last.round == 0:
        return LeftOut("not revised")
    if last.guards:
        return LeftOut(f"guarded: {', '.join(last.guards)}")
    if folded(last.text) == folded(first.text):
        return LeftOut("revised back to the first response")
    if fails_check(trace, check_gate):
        return CHECK_FAILED
    if faults := faults_of(trace.response):
        return LeftOut(f"guarded: {', '.join(faults)}")
    label = trace.label or Label(1.0, ())
    if not ties and is_near_tie(label.probability):
        return LeftOut("near tie")
    if label.probability < 0.5:
        return LeftOut("the judge prefers the first response to its revision")
    revised = [r.principle_id for r in trace.revisions if r.response is not None]
    return Preference(
        prompt=trace.prompt.messages,
        chosen=last.text,
        rejected=first.text,
        probability=label.probability,
        origin="revision",
        origin_id=trace.id,
        prompt_id=trace.prompt.id,
        principle_ids=tuple(dict.fromkeys(revised)),
        split=split,
        p_ab=label.p_ab,
        p_ba=label.p_ba,
        judge_mass=label.mass,
        judge_method=label.method,
        chosen_reasoning=last.reasoning,
        rejected_reasoning=first.reasoning,
    )


def _other(probability: float | None) -> float | None:
    return None if probability is None else 1 - probability
