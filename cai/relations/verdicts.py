"""The verdicts of a run's principles, read from its store.

Two kinds can be held against each other, since several principles gave them on the same texts:

- On a *pair* of responses, each principle says which one is better: the judgements of comparisons,
  and of revisions that the judge compared with the first response.
- On a *response*, each says how likely it is that nothing is wrong: the final checks, and both
  sides of a pair that was judged pointwise.

Critiques are counted only. A round has one principle, and a later round sees a text only if the
earlier one left it alone: critiques of one text by two principles are few, and selected.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from cai.data.split import family
from cai.pipeline.pointwise import capped_logit
from cai.stats import logit
from cai.types import Comparison, Constitution, Judgement, Trace


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """The principles' verdicts on a pair of responses.

    record: id of the comparison, or of the trace whose revision was compared with its first
    response. family: of the prompt, see `cai.data.split.family`. judgements: without scores and
    reasoning. logits: principle → logit that the first response is better, as it enters the label.
    probability: the label.
    """

    record: str
    prompt: str
    family: str
    judgements: tuple[Judgement, ...]
    logits: Mapping[str, float]
    probability: float


@dataclass(frozen=True, slots=True)
class ScoredResponse:
    """The principles' verdicts on one response: principle → probability that nothing is wrong."""

    record: str
    family: str
    masses: Mapping[str, float]


@dataclass(slots=True)
class StoredVerdicts:
    """The verdicts of a run. asked, found: critiques by principle, and those that found a problem;
    critiques without a verdict are not counted."""

    pairs: list[JudgedPair] = field(default_factory=list)
    responses: list[ScoredResponse] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)


def stored_verdicts(
    constitution: Constitution, records: Iterable[Trace | Comparison]
) -> StoredVerdicts:
    """The verdicts in the records of a run that was built with this constitution."""
    out = StoredVerdicts()
    for record in records:
        if isinstance(record, Comparison):
            _add_pair(out, record, record.judgements, record.probability, record.mode, (0, 1))
        else:
            _add_trace(out, record, constitution.feedback.judging)
    return out


def _add_trace(out: StoredVerdicts, trace: Trace, mode: str) -> None:
    for revision in trace.revisions:
        if revision.outcome in ("problem", "no-problem"):
            out.asked[revision.principle_id] += 1
            out.found[revision.principle_id] += revision.outcome == "problem"
    if trace.checks:
        masses = {c.principle_id: c.scores.mass for c in trace.checks}
        out.responses.append(ScoredResponse(trace.id, family(trace.prompt.messages), masses))
    if trace.label is not None:  # its first side is the final response, which was checked above
        sides = (1,) if trace.checks else (0, 1)
        _add_pair(out, trace, trace.label.judgements, trace.label.probability, mode, sides)


def _add_pair(
    out: StoredVerdicts,
    record: Trace | Comparison,
    judgements: tuple[Judgement, ...],
    probability: float,
    mode: str,
    sides: tuple[int, ...],
) -> None:
    """Add a pair; and where it was judged pointwise, the responses on these sides of it."""
    if not judgements:  # equal responses or a contrast pair: nothing was asked about them
        return
    prompt = record.prompt
    family_id = family(prompt.messages)
    several = sum(1 + (j.p_first_swapped is not None) for j in judgements) > 1
    capped = mode == "letters" and several
    bare = tuple(replace(j, scores=(), reasoning=()) for j in judgements)
    logits = {j.principle_id: judged_logit(j, capped=capped) for j in judgements}
    out.pairs.append(
        JudgedPair(record.id, prompt.messages[-1].content, family_id, bare, logits, probability)
    )
    if mode == "pointwise":
        for side in sides:
            masses = {j.principle_id: j.scores[side].mass for j in judgements}
            out.responses.append(ScoredResponse(record.id, family_id, masses))


def judged_logit(judgement: Judgement, *, capped: bool) -> float:
    """The logit with which a judgement enters a label: a mean over both orders.

    capped: as in `cai.pipeline.compare`, which caps letters where there are several verdicts.
    """
    to_logit = capped_logit if capped else logit
    orders = [judgement.p_first]
    if judgement.p_first_swapped is not None:
        orders.append(judgement.p_first_swapped)
    return math.fsum(map(to_logit, orders)) / len(orders)
