"""How much of some pairs' labels candidates explain, alone and together.

Pure: verdicts in, numbers out. The greedy choice sees one part of the pairs; all that is reported
is of another part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from cai.data.counts import NEAR_TIE
from cai.evaluation.statistics import Estimate, Floats, mean, share
from cai.relations.agreement import PrincipleRelation, VerdictMatrix, relations

AgainstChance: TypeAlias = Literal["explains", "unclear", "opposed", "too few"]
"""By the whole interval of the share of labels, against one half; `too few`: less than two prompts
that the candidate decides."""


@dataclass(frozen=True, slots=True)
class LabelLogits:
    """Verdicts of candidates on labelled pairs, at least one.

    logits: (pairs, candidates), that `chosen` is the better one. clusters: (pairs,) the prompt
    families as whole numbers. longer: (pairs,) characters of `chosen` minus those of `rejected`.
    """

    logits: Floats
    clusters: Sequence[int]
    longer: Sequence[int]

    @classmethod
    def of(
        cls, logits: Sequence[Sequence[float]], clusters: Sequence[int], longer: Sequence[int]
    ) -> LabelLogits:
        """From the verdicts of each pair."""
        return cls(np.asarray(logits, dtype=np.float64), clusters, longer)

    def sides(self) -> Floats:
        """(pairs, candidates): 1 for `chosen`, -1 for `rejected`, 0 for a near tie."""
        return sides_of(self.logits)


@dataclass(frozen=True, slots=True)
class CandidateResult:
    """A candidate by itself, on pairs that chose nothing.

    pairs: their number. decided: the share in which it prefers a side. explained: of these, the
    share in which that is the label's. while_choosing: the same on the pairs that chose. added: the
    change of the share of all labels that is explained when it joins those chosen before it, or, if
    it was not chosen, all of them. place: in the order of choice, from 1; None if it was not. like:
    a chosen one that decides as it does, and how.
    """

    name: str
    pairs: int
    decided: Estimate
    explained: Estimate
    while_choosing: Estimate
    added: Estimate
    place: int | None
    like: PrincipleRelation | None = None

    @property
    def word(self) -> AgainstChance:
        """What the interval says of it."""
        return against_chance(self.explained)


@dataclass(frozen=True, slots=True)
class Explanation:
    """All candidates, the chosen first and in order, and what they explain together.

    together: the share of all labels that the sum of the chosen ones' verdicts explains, near ties
    counted as half; everyone: that of all candidates; longer: that of preferring the longer
    response. All are of pairs that chose nothing. None where nothing was chosen.
    """

    candidates: tuple[CandidateResult, ...]
    together: Estimate | None
    everyone: Estimate
    longer: Estimate

    @property
    def chosen(self) -> tuple[CandidateResult, ...]:
        """The chosen ones, in order."""
        return tuple(c for c in self.candidates if c.place is not None)


def explain(
    names: Sequence[str],
    choosing: LabelLogits,
    reporting: LabelLogits,
    *,
    most: int,
    gain: float,
    seed: int,
) -> Explanation:
    """Choose candidates by one part of the pairs, and measure all of them on another."""
    order = greedy_choice(choosing.logits, most=most, gain=gain)
    results = [
        _result(place, names, choosing, reporting, order) for place in range(len(names))
    ]  # fmt: skip
    if order:
        likeness = _likeness(names, choosing, reporting, order, seed)
        results = [
            replace(one, like=likeness.get(place)) if one.place is None else one
            for place, one in enumerate(results)
        ]
    ranked = sorted(
        range(len(names)),
        key=lambda n: (
            results[n].place or len(names) + 1,
            -np.nan_to_num(results[n].explained.value, nan=0.5),
            n,
        ),
    )
    chosen = reporting.logits[:, order].sum(axis=1)
    return Explanation(
        tuple(results[n] for n in ranked),
        _mean(right_of(chosen), reporting) if order else None,
        _mean(right_of(reporting.logits.sum(axis=1)), reporting),
        _mean((np.sign(reporting.longer) + 1) / 2, reporting),
    )


def greedy_choice(logits: Floats, *, most: int, gain: float) -> list[int]:
    """Candidates one by one, each time the one whose verdicts, added to the sum, explain most.

    logits: (pairs, candidates). The first is compared with one half, a coin. Ends where the next
    would add less than `gain`, or nothing. Of equal ones, the one whose sum has the higher
    likelihood, then the first. (Sums, where a build averages: both prefer the same side, and a
    candidate without an opinion does not turn the others' verdicts into near ties.)
    """
    chosen: list[int] = []
    total = np.zeros(len(logits))
    before = 0.5
    while len(chosen) < most:
        left = [n for n in range(logits.shape[1]) if n not in chosen]
        if not left:
            break
        sums = total[:, None] + logits[:, left]
        right = right_of(sums).mean(axis=0)
        likelihood = -np.logaddexp(0, -sums).mean(axis=0)
        best = max(range(len(left)), key=lambda n: (right[n], likelihood[n], -n))
        if right[best] <= before or right[best] - before < gain:
            break
        chosen.append(left[best])
        total, before = sums[:, best], float(right[best])
    return chosen


def right_of(logits: Floats) -> Floats:
    """1 where the label is explained, 0 where it is not, 1/2 for a near tie."""
    return np.asarray((sides_of(logits) + 1) / 2)


def sides_of(logits: Floats) -> Floats:
    """1 for a probability above one half, -1 below, 0 within `NEAR_TIE` of it."""
    p = 0.5 + 0.5 * np.tanh(logits / 2)  # σ, without overflow
    return np.where(np.abs(p - 0.5) < NEAR_TIE, 0.0, np.sign(logits))


def against_chance(explained: Estimate) -> AgainstChance:
    """What a share's interval says against one half."""
    if (explained.low, explained.high) == (0, 1):
        return "too few"
    if explained.low > 0.5:
        return "explains"
    return "opposed" if explained.high < 0.5 else "unclear"


def _result(
    n: int, names: Sequence[str], choosing: LabelLogits, reporting: LabelLogits, order: list[int]
) -> CandidateResult:
    sides = reporting.sides()[:, n]
    before = order[: order.index(n)] if n in order else order
    sums = reporting.logits[:, before].sum(axis=1)
    without = right_of(sums) if before else np.full(len(sides), 0.5)
    added = right_of(sums + reporting.logits[:, n]) - without
    return CandidateResult(
        names[n],
        len(sides),
        share(list((sides != 0).astype(float)), list(reporting.clusters)),
        _explained(reporting, n),
        _explained(choosing, n),
        _mean(added, reporting),
        order.index(n) + 1 if n in order else None,
    )


def _mean(values: Floats, part: LabelLogits) -> Estimate:
    """The mean over pairs; of yes and no alone a share, whose interval is never a point."""
    numbers, clusters = [float(value) for value in values], list(part.clusters)
    return (share if set(numbers) <= {0.0, 1.0} else mean)(numbers, clusters)


def clearest(part: LabelLogits, n: int) -> list[int]:
    """The pairs that a candidate explains, by their places, the clearest first."""
    sides = part.sides()[:, n]
    order = np.argsort(-part.logits[:, n], kind="stable")
    return [int(i) for i in order if sides[i] > 0]


def _explained(part: LabelLogits, n: int) -> Estimate:
    """Of the pairs that a candidate decides, the share in which it takes the label's side."""
    sides = part.sides()[:, n]
    decided = [int(i) for i in np.flatnonzero(sides)]
    return share([float(sides[i] > 0) for i in decided], [part.clusters[i] for i in decided])


def _likeness(
    names: Sequence[str],
    choosing: LabelLogits,
    reporting: LabelLogits,
    order: list[int],
    seed: int,
) -> dict[int, PrincipleRelation]:
    """Candidate → its relation to the chosen one that it is most like, where it is like one.

    Every second pair, by chance, is turned around: `chosen` is always first here, and κ of two good
    candidates, which both say so of nearly every pair, would be close to 0.
    """
    logits = np.concatenate([choosing.logits, reporting.logits])
    beyond = max(choosing.clusters) + 1  # no prompt family is in both parts
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(len(logits), 1))
    matrix = VerdictMatrix(
        tuple(map(str, range(len(names)))),
        logits * signs,
        sides_of(logits) * signs,
        [*choosing.clusters, *(beyond + code for code in reporting.clusters)],
    )
    found: dict[int, PrincipleRelation] = {}
    for relation in relations(matrix):
        ends = int(relation.a), int(relation.b)
        for one, other in (ends, ends[::-1]):
            alike = relation.word in ("the same", "alike")
            if other not in order or one in order or not alike:
                continue
            if one not in found or relation.kappa.value > found[one].kappa.value:
                found[one] = replace(relation, a=names[one], b=names[other])
    return found
