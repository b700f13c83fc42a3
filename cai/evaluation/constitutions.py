"""Two constitutions on one set of pairs: what each prefers, and where they part.

Nothing is trained. A judge compares each pair's responses under one constitution and under the
other, as a build does (`cai.pipeline.compare`); the pairs' own labels are a third opinion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cai.backends.base import Backend
from cai.data.counts import is_near_tie
from cai.data.training_rows import PairRow
from cai.evaluation.judged_rows import judge_rows
from cai.evaluation.statistics import Estimate, agreement, mean, share
from cai.pipeline.steps import Draws
from cai.store.store import Store
from cai.types import Comparison, Constitution, SetAside, as_dicts


@dataclass(frozen=True, slots=True)
class PairVerdicts:
    """Probability that `chosen` is better under both constitutions, and under each principle."""

    row: PairRow
    first: float
    second: float
    first_principles: Mapping[str, float]
    second_principles: Mapping[str, float]

    @property
    def apart(self) -> float:
        """How far the two are apart, 0 to 1."""
        return abs(self.first - self.second)

    def values(self) -> dict[str, Any]:
        """The row of `pairs.jsonl`."""
        return {
            "id": self.row.id, "prompt": as_dicts(self.row.prompt),
            "chosen": self.row.chosen[-1].content, "rejected": self.row.rejected[-1].content,
            "label": self.row.probability, "first": self.first, "second": self.second,
            "apart": self.apart, "first_principles": dict(self.first_principles),
            "second_principles": dict(self.second_principles),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ConstitutionsCompared:
    """What two constitutions prefer on the same pairs; the pairs that could not be judged."""

    pairs: list[PairVerdicts]
    set_aside: list[SetAside]

    def summary(self) -> dict[str, Any]:
        """Agreement of the two (ties left out), agreement of each with the labels, and distance.

        agree, kappa: of the sides that both prefer. first_with_labels, second_with_labels: share of
        pairs in which `chosen` is preferred. apart: the mean distance of the probabilities.
        """
        first = [_side(p.first) for p in self.pairs]
        second = [_side(p.second) for p in self.pairs]
        match = agreement(first, second)
        low, high = match.interval
        return {
            "pairs": len(self.pairs), "agree": _or_none(match.agree.share),
            "decided": match.agree.n, "kappa": _or_none(match.kappa),
            "kappa_low": _or_none(low), "kappa_high": _or_none(high),
            "first_ties": sum(side is None for side in first),
            "second_ties": sum(side is None for side in second),
            "first_with_labels": _interval(share([s for s in first if s is not None])),
            "second_with_labels": _interval(share([s for s in second if s is not None])),
            "apart": _interval(mean([p.apart for p in self.pairs])),
        }  # fmt: skip


def compare_constitutions(
    pairs: Sequence[PairRow | SetAside],
    constitutions: tuple[Constitution, Constitution],
    judge: Backend,
    store: Store,
    draws: Draws,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ConstitutionsCompared:
    """Judge pairs under two constitutions; the verdicts are kept in the store.

    Raises what `judge_rows` raises.
    """
    judged, set_aside = judge_rows(pairs, constitutions, judge, store, draws, progress)
    verdicts = [_verdicts(one.row, *one.comparisons) for one in judged]
    return ConstitutionsCompared(verdicts, set_aside)


def _verdicts(row: PairRow, first: Comparison, second: Comparison) -> PairVerdicts:
    by_principle = [
        {j.principle_id: j.p_first for j in comparison.judgements}
        for comparison in (first, second)
    ]  # fmt: skip
    return PairVerdicts(row, first.probability, second.probability, *by_principle)


def _side(probability: float) -> float | None:
    """1 for the chosen response, 0 for the rejected one, None near a tie."""
    return None if is_near_tie(probability) else float(probability > 0.5)


def _interval(estimate: Estimate) -> dict[str, float | None]:
    value, low, high = map(_or_none, (estimate.value, estimate.low, estimate.high))
    return {"value": value, "low": low, "high": high, "n": estimate.n}


def _or_none(value: float) -> float | None:
    """A number as JSON can hold it."""
    return None if math.isnan(value) else value
