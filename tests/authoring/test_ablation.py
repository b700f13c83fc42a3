"""Each principle left out: what was planted changes, and nothing else does."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

import cai
from cai.authoring.ablation import Ablation, ablate, unfit, without
from cai.authoring.ablation_replay import built_without, config_of
from cai.data.counts import is_near_tie
from cai.data.rows import ExportedRow, ExportSettings
from cai.errors import DataError, UsageError
from cai.pipeline.config import BuildConfig
from cai.pipeline.snapshot import constitution_of
from cai.relations.principle_map import principle_map
from cai.store.records import Run
from cai.store.store import Store
from cai.types import Comparison, Constitution, Feedback, Member, Plan, Trace
from tests.authoring.builds import built, records_of, scripted
from tests.factories import constitution, principle


def members(*entries: tuple[str, float, tuple[str, ...]]) -> tuple[Member, ...]:
    return tuple(Member(principle(n), weight, phases) for n, weight, phases in entries)  # type: ignore[arg-type]


ONE_ROUND = Plan(rounds=1)
TWO = constitution(
    members=members(
        ("rude", 1.0, ("sl", "rl")), ("never", 1e-9, ("sl",)), ("vague", 1.0, ("sl", "rl"))
    ),
    plan=ONE_ROUND,
)
"""One round, by weight: `rude` finds all the problems, `vague` none, and `never` is not drawn."""


def one(store: Store, run: Run, name: str) -> Ablation:
    (found,) = ablate(store, run, [name])
    return found


def make(store: Store, run: Run, name: str) -> Run:
    """The run without a principle, as `cai ablate --model` builds it."""
    rules = without(constitution_of(run.constitution), name)
    prompts = {r.prompt.id: r.prompt for r in records_of(store, run)}
    return cai.build(rules, prompts.values(), store, scripted(), config_of(run))


def test_a_principle_that_no_row_used_changes_nothing(tmp_path: Path) -> None:
    with built(tmp_path, TWO, sft_share=0.0) as (store, run):
        found = one(store, run, "never")
        assert found.touches_nothing and found.steps == 0
        assert (found.traces.total, found.comparisons.total) == (12, 12)
        assert found.finals == found.flipped == 0 and found.shift == 0.0
        assert found.labels is not None and found.labels.value == 0.0
        assert found.rows is not None and set(found.rows) == {"labels", "preferences"}
        assert all(n.before == n.after > 0 and not n.gone for n in found.rows.values())
        for change in found.changes.values():
            assert change.before == change.after and change.change.value == 0.0
            assert change.p_value == 1.0
        assert not one(store, run, "rude").touches_nothing


def test_without_a_model_what_it_revised_is_missing(tmp_path: Path) -> None:
    """The prompts that drew `rude` would draw another; the first critique of each is missing, and
    nothing is said of revisions. Labels need no more than the judgements that are there."""
    with built(tmp_path, TWO, sft_share=0.0) as (store, run):
        traces = [r for r in records_of(store, run) if isinstance(r, Trace)]
        drew = [t for t in traces if t.revisions[0].principle_id == "rude"]
        found = one(store, run, "rude")
    assert 0 < len(drew) < 12
    assert (found.traces.missing, found.traces.steps, found.traces.changed) == (
        len(drew), len(drew), 0,
    )  # fmt: skip
    assert found.finals is None and found.rows is None and set(found.changes) == {"near_ties"}
    assert found.comparisons.known and found.labels is not None


def test_the_principle_that_made_all_revisions(tmp_path: Path) -> None:
    """Built without `rude`, exactly the prompts that it revised end otherwise: unrevised. Each had
    one problem and one revision, of n prompts, so that is the change per prompt; a revision becomes
    a row of preferences here, and all of these are gone."""
    with built(tmp_path, TWO, sft_share=0.0, test_share=0.0, ties=True) as (store, run):
        other = make(store, run, "rude")
        found = one(store, run, "rude")
        before, after = (
            {r.prompt.id: r for r in records_of(store, x) if isinstance(r, Trace)}
            for x in (run, other)
        )
        settings = ExportSettings.of(run)
        rows = {
            i: [
                r
                for r in settings.rows(t)
                if isinstance(r, ExportedRow) and r.table == "preferences"
            ]
            for i, t in before.items()
        }
    revised = {i for i, t in before.items() if t.revisions[0].response is not None}
    assert revised and revised == {i for i in before if before[i].final != after[i].final}
    assert found.built == other.id and found.traces.known and found.steps == 0
    assert found.finals == len(revised)
    n = len(before)
    for name in ("problems", "revisions"):
        change = found.changes[name]
        assert change.before == pytest.approx(len(revised) / n) and change.after == 0.0
        assert change.change.value == pytest.approx(-len(revised) / n)
        assert change.change.low <= change.change.value <= change.change.high < 0.1
    assert {i for i, own in rows.items() if own} == revised
    assert found.rows is not None and found.rows["preferences"].gone >= len(revised)
    assert found.rows["labels"].gone >= len(revised)
    words = found.changes["words"]  # "A rude answer." instead of "A much more polite answer."
    assert words.change.value == pytest.approx(-2 * len(revised) / n)
    assert other.constitution["digest"] != run.constitution["digest"]
    adjusted = found.adjusted_p["problems"]
    assert adjusted is not None and adjusted >= (found.changes["problems"].p_value or 0)


def test_labels_are_those_of_a_run_that_was_built_without_it(tmp_path: Path) -> None:
    """And the map says the same of the same pairs."""
    rules = constitution(plan=ONE_ROUND, feedback=Feedback(temperature=1.5))
    with built(tmp_path, rules, sft_share=0.0, pairs=2, prompts=20) as (store, run):
        found = {a.principle: a for a in ablate(store, run, ["rude", "vague"])}
        chart = principle_map(constitution_of(run.constitution), records_of(store, run))
        for name, ablation in found.items():
            pairs = [
                {
                    (r.prompt.id, r.pair): r
                    for r in records_of(store, x)
                    if isinstance(r, Comparison)
                }
                for x in (run, make(store, run, name))
            ]
            labels = [
                {k: 0 if is_near_tie(c.probability) else 1 if c.probability > 0.5 else -1
                 for k, c in side.items()} for side in pairs
            ]  # fmt: skip
            differ = [k for k in labels[0] if labels[0][k] != labels[1][k]]
            moved = [abs(pairs[0][k].probability - pairs[1][k].probability) for k in pairs[0]]
            assert ablation.labels is not None
            assert ablation.labels.value == pytest.approx(len(differ) / 40)
            assert ablation.shift == pytest.approx(sum(moved) / 40)
            role = next(r for r in chart.roles if r.id == name)
            judged = sum(bool(c.judgements) for c in pairs[0].values())
            assert role.left_out is not None
            assert round(role.left_out.changed.value * judged) == len(differ)
            ties = [sum(value == 0 for value in side.values()) / 40 for side in labels]
            change = ablation.changes["near_ties"]
            assert (change.before, change.after) == pytest.approx(tuple(ties))
        assert found["rude"].labels is not None and found["rude"].labels.value > 0


def test_intervals_go_over_families_of_prompts(tmp_path: Path) -> None:
    """The same question under twelve ids is one family, from which nothing follows for others."""
    rules = constitution(plan=ONE_ROUND)
    with built(tmp_path, rules, sft_share=0.0, text="Question?") as (store, run):
        found = one(store, run, "rude")
    assert found.labels is not None and 0 < found.labels.value < 1
    assert (found.labels.low, found.labels.high) == (0.0, 1.0)
    assert math.isnan(found.changes["near_ties"].change.low)


def test_a_drawn_judge_that_is_left_out_is_replaced(tmp_path: Path) -> None:
    """Each pair has one judge of three. Where it was `rude`, another one would be asked, which
    scores both responses: missing. The other pairs stay as they are."""
    rules = constitution(plan=ONE_ROUND, feedback=Feedback(principles_per_pair=1))
    with built(tmp_path, rules, sft_share=0.0, prompts=16) as (store, run):
        pairs = [r for r in records_of(store, run) if isinstance(r, Comparison) and r.judgements]
        own = [c for c in pairs if c.judgements[0].principle_id == "rude"]
        before = one(store, run, "rude")
        found = before.comparisons
        assert own and (found.missing, found.steps, found.changed) == (len(own), len(own), 0)
        assert before.labels is None and before.shift is None and not before.changes
        make(store, run, "rude")
        after = one(store, run, "rude")
    assert after.comparisons.known and after.comparisons.changed > 0


def test_an_unfinished_run_without_it_counts_as_far_as_it_came(tmp_path: Path) -> None:
    """Built for half of the prompts: the others are replayed, and some of them are missing."""
    with built(tmp_path, TWO, sft_share=0.0) as (store, run):
        missing = one(store, run, "rude").traces.missing
        rules = without(constitution_of(run.constitution), "rude")
        prompts = list({r.prompt.id: r.prompt for r in records_of(store, run)}.values())[:6]
        other = cai.build(rules, prompts, store, scripted(), config_of(run))
        assert built_without(store, run, rules) == other
        found = one(store, run, "rude")
        assert built_without(store, run, without(rules, "vague")) is None
    assert 0 < found.traces.missing < missing and found.built == other.id


@pytest.mark.parametrize(
    ("rules", "name", "reason"),
    [
        (constitution("a"), "a", "it is the only one that critiques"),
        (
            constitution(members=members(("a", 1, ("sl",)), ("b", 1, ("rl",))), plan=ONE_ROUND),
            "b", "it is the only one for pairs",
        ),
        (constitution("a", "b", plan=Plan(rounds=2)), "a", "2 rounds need as many principles"),
        (
            constitution("a", "b", plan=ONE_ROUND, feedback=Feedback(principles_per_pair=2)),
            "a", "each pair is judged by 2 principles",
        ),
        (
            constitution(members=(Member(principle("a")), Member(principle("b"), rounds=(1,)),
                                  Member(principle("c"), rounds=(1,))), plan=Plan(rounds=2)),
            "a", "",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_left_out(rules: Constitution, name: str, reason: str) -> None:
    found = unfit(without(rules, name), BuildConfig())
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_an_unfit_principle_is_named_and_the_others_are_measured(tmp_path: Path) -> None:
    rules = constitution(
        members=members(("rude", 1, ("sl", "rl")), ("vague", 1, ("sl",))), plan=ONE_ROUND
    )
    with built(tmp_path, rules) as (store, run):
        first, second = ablate(store, run, ["rude", "vague"])
    assert first.unfit and first.traces.total == 0 and not first.touches_nothing
    assert not second.unfit and second.traces.total > 0


def test_progress_and_errors(tmp_path: Path) -> None:
    seen: list[int] = []
    with built(tmp_path, TWO) as (store, run):
        total = len(records_of(store, run))
        ablate(store, run, ["never"], progress=seen.append)
        empty = replace(run, id="r-empty", name="empty")
        store.put_run(empty)
        with pytest.raises(DataError, match="has no records"):
            ablate(store, empty, ["never"])
    assert seen[-1] == total and seen == sorted(seen)
    with (
        built(tmp_path / "thinker", TWO, scripted(reasons=True)) as (store, run),
        pytest.raises(UsageError, match="reasons before its final check"),
    ):
        ablate(store, run, ["never"])
