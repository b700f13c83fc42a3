"""What a run found, changed and left out: counted from the store, one record at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from cai.types import Comparison, Revision, SetAside, Trace

NEAR_TIE = 0.05
"""A comparison whose probability lies within this of one half decides nothing."""


@dataclass
class PrincipleCounts:
    """What one principle did in a run.

    drawn: rounds it was asked in; found: critiques that named a problem; changed: revisions with
    another text; guarded: revisions kept from SFT; left: final responses with which the last
    check still finds a problem, out of `checked`; judged and flipped: verdicts on pairs.
    """

    drawn: int = 0
    found: int = 0
    changed: int = 0
    guarded: int = 0
    checked: int = 0
    left: int = 0
    judged: int = 0
    flipped: int = 0


@dataclass
class Summary:
    """The counts of a run, by principle, guard and reason, and some traces worth reading."""

    traces: int = 0
    changed: int = 0
    guarded: int = 0
    comparisons: int = 0
    identical: int = 0
    near_ties: int = 0
    flipped: int = 0
    principles: dict[str, PrincipleCounts] = field(default_factory=dict)
    guards: Counter[str] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)
    samples: list[Trace] = field(default_factory=list)

    def principle(self, principle_id: str) -> PrincipleCounts:
        """The counts of one principle, made on first use."""
        return self.principles.setdefault(principle_id, PrincipleCounts())


def summarise(
    traces: Iterable[Trace],
    comparisons: Iterable[Comparison],
    set_aside: Iterable[SetAside],
    *,
    samples: int = 3,
) -> Summary:
    """Count a run. The first `samples` traces that were changed and not guarded are kept."""
    out = Summary()
    for trace in traces:
        out.traces += 1
        guarded = False
        for revision in trace.revisions:
            guarded |= _count_round(out, revision)
        changed = trace.final != trace.response.text
        out.changed += changed
        out.guarded += guarded
        for check in trace.checks:
            counts = out.principle(check.principle_id)
            counts.checked += 1
            counts.left += math.fsum(map(math.exp, check.scores.logprobs)) < 0.5
        if changed and not guarded and len(out.samples) < samples:
            out.samples.append(trace)
    for comparison in comparisons:
        out.comparisons += 1
        out.identical += not comparison.judgements
        out.near_ties += bool(comparison.judgements) and (
            abs(comparison.probability - 0.5) < NEAR_TIE
        )
        out.flipped += any(j.flipped for j in comparison.judgements)
        for judgement in comparison.judgements:
            counts = out.principle(judgement.principle_id)
            counts.judged += 1
            counts.flipped += judgement.flipped
    for row in set_aside:
        out.set_aside[row.reason] += 1
    return out


def _count_round(out: Summary, revision: Revision) -> bool:
    """Add one round; whether its revision was guarded."""
    counts = out.principle(revision.principle_id)
    counts.drawn += 1
    counts.found += revision.critique is not None and revision.found_problem
    counts.changed += revision.response is not None and "unchanged" not in revision.guards
    counts.guarded += bool(revision.guards)
    out.guards.update(revision.guards)
    return bool(revision.guards)
