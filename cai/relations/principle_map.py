"""A map of a constitution: how its principles relate, and what each of them adds, in one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from cai.data.counts import is_near_tie
from cai.evaluation.statistics import Estimate
from cai.relations.agreement import (
    MIN_CLUSTERS,
    MIN_UNITS,
    PrincipleRelation,
    VerdictMatrix,
    clear_contradictions,
    relations,
)
from cai.relations.redundancy import (
    LabelRule,
    LeftOutEffect,
    Removal,
    greedy_removal,
    held_out_r2,
    left_out,
)
from cai.relations.verdicts import JudgedPair, StoredVerdicts, stored_verdicts
from cai.stats import logit, sigmoid
from cai.types import Comparison, Constitution, Trace

SMALL_EFFECT = 0.05
"""A share of labels. Where fewer change without a principle it is light, where more do it matters;
both by the whole interval."""
PREDICTED = 0.8
"""R² above which, by the whole interval, the others say what a principle says."""

Standing: TypeAlias = Literal["too few", "idle", "redundant", "light", "matters", "unclear"]
"""What a principle adds, in a word; see `PrincipleRole.standing`."""


@dataclass(frozen=True, slots=True)
class PrincipleRole:
    """What a principle did in a run, and what it adds beyond the others.

    pairs, decided: pairs that it judged, and those that it did not call near ties. responses,
    problems: responses that it was scored on, and those with a problem more likely than not.
    critiques, found: those with a verdict, and those that found a problem. prompts: the families of
    prompts behind pairs and responses. left_out: what happens to the labels without it; None where
    it judges no pairs, or where principles were drawn for each pair. pairs_r2, responses_r2: see
    `held_out_r2`. same: principles that say the same.
    """

    id: str
    title: str
    weight: float
    pairs: int
    decided: int
    responses: int
    problems: int
    critiques: int
    found: int
    prompts: int
    left_out: LeftOutEffect | None
    pairs_r2: Estimate | None
    responses_r2: Estimate | None
    same: tuple[str, ...]

    @property
    def standing(self) -> Standing:
        """The first of these that holds by the whole of each interval.

        too few: fewer than `MIN_UNITS` verdicts in all, or from fewer than `MIN_CLUSTERS` prompts.
        idle: it decided no pair and found no problem. redundant: another one says the same, or the
        others predict its verdict on pairs (on responses, where it judges no pairs). light,
        matters: by the labels that change without it, see `SMALL_EFFECT`. unclear: none of these.
        """
        enough = max(self.pairs, self.responses, self.critiques) >= MIN_UNITS
        if not enough or max(self.prompts, self.critiques) < MIN_CLUSTERS:
            return "too few"
        if not (self.decided or self.problems or self.found):
            return "idle"
        r2 = self.pairs_r2 if self.pairs else self.responses_r2
        if self.same or (r2 is not None and r2.low > PREDICTED):
            return "redundant"
        changed = self.left_out.changed if self.left_out is not None else None
        if changed is None or changed.low < SMALL_EFFECT <= changed.high:
            return "unclear"
        return "light" if changed.high < SMALL_EFFECT else "matters"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A pair of responses on which two principles decide clearly and oppositely.

    record: id of the comparison, or of the trace. prompt: its last turn. p_a, p_b: under each
    principle, the probability that the first response is better. label: the pair's own.
    """

    record: str
    prompt: str
    p_a: float
    p_b: float
    label: float


@dataclass(frozen=True, slots=True)
class Opposition:
    """Two principles that contradict each other somewhere, and where; the clearest first."""

    relation: PrincipleRelation
    contradictions: tuple[Contradiction, ...]


@dataclass(frozen=True, slots=True)
class PrincipleMap:
    """How the principles of a run's constitution relate.

    pairs, responses: how many were judged under two principles or more. on_pairs, on_responses: the
    relation of every two principles on them. removals: in the order of a greedy removal from the
    feedback; empty where principles were drawn for each pair (`drawn`), since it is not known who
    would have judged instead. labels: pairs that are no near tie. records: of each pair.
    """

    pairs: int
    responses: int
    labels: int
    drawn: bool
    roles: tuple[PrincipleRole, ...]
    on_pairs: tuple[PrincipleRelation, ...]
    on_responses: tuple[PrincipleRelation, ...]
    oppositions: tuple[Opposition, ...]
    removals: tuple[Removal, ...]
    records: tuple[str, ...]

    def smaller_set(self, most: float) -> tuple[Removal, ...]:
        """The longest removal by which at most this share of labels changes, on prompts that the
        choice did not see; empty where none does, or where too few pairs were judged to say so."""
        if len(self.records) < MIN_UNITS:
            return ()
        fits = [n for n, step in enumerate(self.removals, 1) if step.held_out.value <= most]
        return self.removals[: max(fits, default=0)]


def principle_map(
    constitution: Constitution, records: Iterable[Trace | Comparison]
) -> PrincipleMap:
    """The map of a constitution from the records of a run that was built with it."""
    verdicts = stored_verdicts(constitution, records)
    places = {name: n for n, name in enumerate(sorted(_families(verdicts)))}
    pairs = _pair_matrix(constitution, verdicts, places)
    responses = _response_matrix(constitution, verdicts, places)
    rule = LabelRule.of(
        pairs.principles,
        {m.principle.id: m.weight for m in constitution.members},
        constitution.feedback,
    )
    drawn = constitution.feedback.principles_per_pair != "all"
    on_pairs = relations(pairs)
    return PrincipleMap(
        pairs=int((_asked(pairs).sum(axis=1) > 1).sum()),
        responses=int((_asked(responses).sum(axis=1) > 1).sum()),
        labels=sum(not is_near_tie(pair.probability) for pair in verdicts.pairs),
        drawn=drawn,
        roles=tuple(_roles(constitution, verdicts, pairs, responses, None if drawn else rule,
                           on_pairs)),
        on_pairs=tuple(on_pairs),
        on_responses=tuple(relations(responses)),
        oppositions=tuple(_oppositions(pairs, on_pairs, verdicts.pairs)),
        removals=() if drawn or not verdicts.pairs else tuple(greedy_removal(pairs, rule)),
        records=tuple(pair.record for pair in verdicts.pairs),
    )  # fmt: skip


def _families(verdicts: StoredVerdicts) -> set[str]:
    return {p.family for p in verdicts.pairs} | {r.family for r in verdicts.responses}


def _asked(matrix: VerdictMatrix) -> np.ndarray:
    return np.asarray(~np.isnan(matrix.logits))


def _pair_matrix(
    constitution: Constitution, verdicts: StoredVerdicts, places: Mapping[str, int]
) -> VerdictMatrix:
    """The principles that judged pairs. A verdict that is nearly a tie is for neither side."""
    rows = [pair.logits for pair in verdicts.pairs]
    sides = [
        {name: 0 if is_near_tie(sigmoid(x)) else 1 if x > 0 else -1 for name, x in row.items()}
        for row in rows
    ]
    return _matrix(constitution, rows, sides, [places[p.family] for p in verdicts.pairs])


def _response_matrix(
    constitution: Constitution, verdicts: StoredVerdicts, places: Mapping[str, int]
) -> VerdictMatrix:
    """The principles that responses were scored under. A problem is one that is more likely."""
    rows = [response.masses for response in verdicts.responses]
    sides = [{name: 1 if p >= 0.5 else -1 for name, p in row.items()} for row in rows]
    logits = [{name: logit(p) for name, p in row.items()} for row in rows]
    return _matrix(constitution, logits, sides, [places[r.family] for r in verdicts.responses])


def _matrix(
    constitution: Constitution,
    logits: Sequence[Mapping[str, float]],
    sides: Sequence[Mapping[str, int]],
    clusters: Sequence[int],
) -> VerdictMatrix:
    """Columns in the order of the constitution, of the principles that have verdicts."""
    asked = {name for row in logits for name in row}
    names = tuple(m.principle.id for m in constitution.members if m.principle.id in asked)
    shape = (len(logits), len(names))
    values = [[row.get(name, np.nan) for name in names] for row in logits]
    decisions = [[row.get(name, 0) for name in names] for row in sides]
    return VerdictMatrix(
        names,
        np.array(values, dtype=np.float64).reshape(shape),
        np.array(decisions, dtype=np.float64).reshape(shape),
        clusters,
    )


def _roles(
    constitution: Constitution,
    verdicts: StoredVerdicts,
    pairs: VerdictMatrix,
    responses: VerdictMatrix,
    rule: LabelRule | None,
    on_pairs: Sequence[PrincipleRelation],
) -> Iterable[PrincipleRole]:
    """rule: None where leaving a principle out would have others drawn."""
    for member in constitution.members:
        name = member.principle.id
        judged, scored = (_column(matrix, name) for matrix in (pairs, responses))
        families: set[int] = set()
        for matrix, place in ((pairs, judged), (responses, scored)):
            if place is not None:
                families |= set(np.asarray(matrix.clusters)[_asked(matrix)[:, place]].tolist())
        yield PrincipleRole(
            id=name,
            title=member.principle.title,
            weight=member.weight,
            pairs=0 if judged is None else int(_asked(pairs)[:, judged].sum()),
            decided=0 if judged is None else int((pairs.sides[:, judged] != 0).sum()),
            responses=0 if scored is None else int(_asked(responses)[:, scored].sum()),
            problems=0 if scored is None else int((responses.sides[:, scored] == -1).sum()),
            critiques=verdicts.asked[name],
            found=verdicts.found[name],
            prompts=len(families),
            left_out=None if judged is None or rule is None else left_out(pairs, rule, {judged}),
            pairs_r2=None if judged is None else held_out_r2(pairs, judged, intercept=False),
            responses_r2=None if scored is None else held_out_r2(responses, scored, intercept=True),
            same=tuple(
                r.b if r.a == name else r.a
                for r in on_pairs
                if name in (r.a, r.b) and r.word == "the same"
            ),
        )


def _column(matrix: VerdictMatrix, name: str) -> int | None:
    return matrix.principles.index(name) if name in matrix.principles else None


def _oppositions(
    matrix: VerdictMatrix, on_pairs: Sequence[PrincipleRelation], pairs: Sequence[JudgedPair]
) -> list[Opposition]:
    """Those with the most contradictions first."""
    out = []
    for relation in on_pairs:
        i, j = (matrix.principles.index(name) for name in (relation.a, relation.b))
        if units := clear_contradictions(matrix, i, j):
            found = tuple(
                Contradiction(
                    pairs[n].record, pairs[n].prompt, sigmoid(float(matrix.logits[n, i])),
                    sigmoid(float(matrix.logits[n, j])), pairs[n].probability,
                )
                for n in units
            )  # fmt: skip
            out.append(Opposition(relation, found))
    return sorted(out, key=lambda o: (-len(o.contradictions), o.relation.a, o.relation.b))
