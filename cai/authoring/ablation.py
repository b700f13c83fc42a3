"""Each principle left out in turn: what of a run's data depends on it, paired by prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from cai.authoring.ablation_replay import built_without, config_of, replays
from cai.authoring.ablation_sides import RecordSide, RowCounts, record_side, row_counts
from cai.authoring.replay import Missing
from cai.constitution.convert import with_digest
from cai.constitution.plans import empty_round
from cai.data.rows import ExportSettings, ExportTable
from cai.data.split import family
from cai.errors import DataError
from cai.evaluation.paired import PairedChange, holm, paired
from cai.evaluation.statistics import Estimate, share
from cai.pipeline.config import BuildConfig
from cai.pipeline.snapshot import constitution_of
from cai.store.records import Run
from cai.store.store import Store
from cai.types import Constitution, Trace

MEASURES = {
    "problems": "critiques that found a problem, per prompt",
    "revisions": "revisions, per prompt",
    "flagged": "prompts with a flag of cai audit",
    "words": "words of the final response",
    "near_ties": "pairs that are near ties",
}
"""Measures of a prompt or a pair that are held against each other, and what they are."""


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Traces or comparisons of a run without a principle.

    changed: of the others, those that came out otherwise: another text, or another label. missing:
    need a model, since they ask what the run has not asked. steps: requests that are known to be
    missing; what follows from their answers comes on top.
    """

    total: int = 0
    changed: int = 0
    missing: int = 0
    steps: int = 0

    @property
    def known(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


@dataclass(frozen=True, slots=True)
class Ablation:
    """A run with and without a principle.

    unfit: why it can't be left out; empty where it can. phases: in which it serves. built: the id
    of a run without it whose records were read; empty where all was replayed. labels: of the pairs,
    the share whose label (first, second, near tie) is another. flipped: how many prefer the other
    response. shift: mean distance of the labels' probabilities. finals: how many final responses
    differ. rows: training rows, table by table. changes: measure → change over all prompts or
    pairs. All but the counts are None while a task that they rest on is missing.
    """

    principle: str
    title: str
    phases: tuple[str, ...]
    unfit: str = ""
    built: str = ""
    traces: TaskCounts = TaskCounts()
    comparisons: TaskCounts = TaskCounts()
    labels: Estimate | None = None
    flipped: int | None = None
    shift: float | None = None
    finals: int | None = None
    rows: Mapping[ExportTable, RowCounts] | None = None
    changes: Mapping[str, PairedChange] = field(default_factory=dict)
    adjusted_p: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Requests that a model has to answer, at least."""
        return self.traces.steps + self.comparisons.steps

    @property
    def touches_nothing(self) -> bool:
        """Whether every record comes out the same."""
        counts = (self.traces, self.comparisons)
        rows = (self.rows or {}).values()
        return not (
            self.unfit or any(c.changed or c.missing for c in counts) or any(r.gone for r in rows)
        )


class _Task(NamedTuple):
    """A record of the run, and what comes of it without a principle."""

    is_trace: bool
    cluster: str
    before: RecordSide
    after: RecordSide | Missing


def without(constitution: Constitution, principle: str) -> Constitution:
    """The constitution without a principle."""
    members = tuple(m for m in constitution.members if m.principle.id != principle)
    return with_digest(replace(constitution, members=members))


def unfit(constitution: Constitution, config: BuildConfig) -> str:
    """Why a run can't be built with what is left of a constitution; empty where it can."""
    plan, left, feedback = constitution.plan, constitution.phase("sl"), constitution.feedback
    judges = "all" if feedback.mode == "contrast" else feedback.principles_per_pair
    if not left:
        return "it is the only one that critiques"
    if config.pairs and not constitution.phase("rl"):
        return "it is the only one for pairs"
    if config.pairs and judges != "all" and judges > len(constitution.phase("rl")):
        return f"each pair is judged by {judges} principles, and fewer would be left"
    once = plan.draw == "fixed" or (plan.draw != "all" and not plan.with_replacement)
    if once and plan.rounds > len(left):
        return f"{plan.rounds} rounds need as many principles, and fewer would be left"
    if plan.draw in ("weighted", "uniform"):
        number = empty_round(constitution.members, plan)
        if number is not None:
            return f"round {number} may have no principle left to draw"
    return ""


def ablate(
    store: Store,
    run: Run,
    principles: Sequence[str],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Ablation]:
    """A run with and without each of some principles, from what is stored; no model is asked.

    The procedures of the run's own records are replayed under the constitution without a principle.
    Where the store has a run that was built so, its records count. progress: called with the number
    of records that are done. Raises `UsageError` for a run that can't be replayed, `DataError`
    where it has no records, or was made by another version of cai.
    """
    constitution, config = constitution_of(run.constitution), config_of(run)
    members = {m.principle.id: m for m in constitution.members}
    found = [
        Ablation(name, members[name].principle.title, members[name].phases,
                 unfit(without(constitution, name), config))
        for name in principles
    ]  # fmt: skip
    rests = {a.principle: without(constitution, a.principle) for a in found if not a.unfit}
    others = {name: built_without(store, run, rest) for name, rest in rests.items()}
    settings = ExportSettings.of(run)
    tasks: dict[str, list[_Task]] = {name: [] for name in rests}
    done = 0
    for done, (record, likes) in enumerate(replays(store, run, rests), 1):
        cluster, before = family(record.prompt.messages), record_side(record, settings)
        for name, like in likes.items():
            after = like if isinstance(like, Missing) else record_side(like, settings)
            tasks[name].append(_Task(isinstance(record, Trace), cluster, before, after))
        progress(done)
    if not done:
        raise DataError(f"the run {run.id} has no records", hint="Build it to its end first.")
    return _adjusted(
        [a if a.unfit else _ablation(a, others[a.principle], tasks[a.principle]) for a in found]
    )


def _ablation(ablation: Ablation, other: Run | None, tasks: Sequence[_Task]) -> Ablation:
    sides = [[t for t in tasks if t.is_trace == kind] for kind in (True, False)]
    traces, comparisons = map(_counts, sides)
    out = replace(ablation, built=other.id if other else "", traces=traces, comparisons=comparisons)
    changes: dict[str, PairedChange] = {}
    if traces.known:
        known = _known(sides[0])
        changes |= _changes(known, ("problems", "revisions", "flagged", "words"))
        out = replace(out, finals=sum(b.final != a.final for _, b, a in known))
    if comparisons.known:
        known = _known(sides[1])
        changes |= _changes(known, ("near_ties",))
        labels = [float(b.label != a.label) for _, b, a in known]
        out = replace(
            out,
            labels=share(labels, [cluster for cluster, _, _ in known]),
            flipped=sum(b.label * a.label == -1 for _, b, a in known),
            shift=_mean([abs(a.probability - b.probability) for _, b, a in known]),
        )
    if traces.known and comparisons.known:
        out = replace(out, rows=row_counts([(b, a) for _, b, a in _known(tasks)]))
    return replace(out, changes=changes)


def _counts(tasks: Sequence[_Task]) -> TaskCounts:
    missing = [t.after for t in tasks if isinstance(t.after, Missing)]
    changed = sum(a.said != b.said for _, b, a in _known(tasks))
    return TaskCounts(len(tasks), changed, len(missing), sum(m.requests for m in missing))


def _known(tasks: Iterable[_Task]) -> list[tuple[str, RecordSide, RecordSide]]:
    return [(t.cluster, t.before, t.after) for t in tasks if isinstance(t.after, RecordSide)]


def _changes(
    known: Sequence[tuple[str, RecordSide, RecordSide]], measures: Sequence[str]
) -> dict[str, PairedChange]:
    clusters = [cluster for cluster, _, _ in known]
    return {
        name: paired([b.values[name] for _, b, _ in known], [a.values[name] for *_, a in known],
                     clusters)
        for name in measures
    }  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _adjusted(found: Sequence[Ablation]) -> list[Ablation]:
    """With p-values adjusted for the number of changes that are tested in all."""
    tests = [(n, name) for n, ablation in enumerate(found) for name in ablation.changes]
    adjusted = holm([found[n].changes[name].p_value for n, name in tests])
    of: dict[int, dict[str, float | None]] = {}
    for (n, name), p_value in zip(tests, adjusted, strict=True):
        of.setdefault(n, {})[name] = p_value
    return [replace(a, adjusted_p=of.get(n, {})) for n, a in enumerate(found)]
