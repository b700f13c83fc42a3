"""The map of a run: planted principles come out as they were planted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from cai.audit.runs import BuiltRun, open_run
from cai.data.counts import is_near_tie
from cai.relations.principle_map import PrincipleMap, principle_map
from cai.relations.values import map_values
from cai.relations.verdicts import stored_verdicts
from cai.types import Label
from tests.relations.planted import (
    WEIGHTS,
    comparison,
    constitution,
    planted_run,
    planted_verdicts,
    trace,
)
from tests.store import samples


@pytest.fixture(scope="module")
def planted() -> PrincipleMap:
    rules = constitution(WEIGHTS)
    rows = planted_verdicts(120)
    return principle_map(rules, [comparison(rules, f"p{n}", row) for n, row in enumerate(rows)])


def test_planted_principles(planted: PrincipleMap) -> None:
    words = {(r.a, r.b): r.word for r in planted.on_pairs}
    assert words["manners", "twin"] == "the same"
    assert words["manners", "rebel"] == words["twin", "rebel"] == "opposed"
    assert words["manners", "idle"] == "too few"
    assert words["manners", "own"] == "unrelated"
    roles = {role.id: role for role in planted.roles}
    assert roles["idle"].standing == "idle" and roles["idle"].decided == 0
    assert roles["manners"].same == ("twin",) and roles["twin"].standing == "redundant"
    assert roles["rebel"].standing == "redundant"  # the others predict it: it is their negation
    assert roles["own"].standing not in ("idle", "redundant")
    r2 = {name: roles[name].pairs_r2 for name in ("rebel", "own")}
    assert r2["rebel"] is not None and r2["rebel"].low > 0.99
    assert r2["own"] is not None and r2["own"].high < 0.2


def test_labels_without_a_principle_are_those_of_a_constitution_without_it(
    planted: PrincipleMap,
) -> None:
    whole, rows = constitution(WEIGHTS), planted_verdicts(120)
    for role in planted.roles:
        rest = constitution({name: w for name, w in WEIGHTS.items() if name != role.id})
        labels = [
            [
                0 if is_near_tie(p) else 1 if p > 0.5 else -1
                for n, row in enumerate(rows)
                for p in [comparison(rules, f"p{n}", {m: row[m] for m in names}).probability]
            ]
            for rules, names in ((whole, WEIGHTS), (rest, [m for m in WEIGHTS if m != role.id]))
        ]
        differ = tuple(n for n, (a, b) in enumerate(zip(*labels, strict=True)) if a != b)
        assert role.left_out is not None and role.left_out.units == differ
        assert differ or role.id != "manners"


def test_contradictions_name_their_pairs(planted: PrincipleMap) -> None:
    """`manners` and `rebel` contradict each other wherever both are clear, which is everywhere."""
    first, second = planted.oppositions
    assert {(o.relation.a, o.relation.b) for o in (first, second)} == {
        ("manners", "rebel"), ("twin", "rebel"),
    }  # fmt: skip
    assert len(first.contradictions) == 120 == first.relation.contradict.n
    clearest, last = first.contradictions[0], first.contradictions[-1]
    assert {round(clearest.p_a, 2), round(clearest.p_b, 2)} == {0.02, 0.98}
    assert {round(last.p_a, 2), round(last.p_b, 2)} == {0.2, 0.8}
    rows = planted_verdicts(120)
    n = int(clearest.record.removeprefix("c-p").removesuffix("-0"))
    assert clearest.p_a == pytest.approx(rows[n]["manners"])
    assert clearest.prompt == f"Question p{n}?"


def test_a_smaller_set_leaves_out_what_says_nothing_of_its_own(planted: PrincipleMap) -> None:
    """`idle` turns no label over alone, though it dilutes those near a tie. `twin` and `rebel`
    cancel out: without both, `manners` has the same sign, and more of the weight."""
    steps = planted.smaller_set(0.1)
    assert planted.removals[: len(steps)] == steps and "manners" not in {s.principle for s in steps}
    assert all(step.held_out.value <= 0.1 for step in steps[-1:])
    assert planted.smaller_set(1.0) == planted.removals and len(planted.removals) == 4
    assert replace(planted, records=planted.records[:19]).smaller_set(1.0) == ()


def test_principles_that_were_drawn_have_no_label_without_them() -> None:
    """Each pair is judged by two of three. Who would have come in is not in the run."""
    rules = constitution({"a": 1.0, "b": 1.0, "c": 1.0}, principles_per_pair=2)
    verdicts = [{"a": 0.9, "b": 0.2}, {"b": 0.8, "c": 0.9}, {"a": 0.1, "c": 0.2}]
    found = principle_map(rules, [comparison(rules, f"p{n}", v) for n, v in enumerate(verdicts)])
    assert found.drawn and found.removals == ()
    assert [role.left_out for role in found.roles] == [None] * 3
    assert [(r.a, r.b, r.units) for r in found.on_pairs] == [("a", "b", 1), ("a", "c", 1),
                                                            ("b", "c", 1)]  # fmt: skip
    assert {role.standing for role in found.roles} == {"too few"}


def test_which_verdicts_are_read() -> None:
    """Three responses: the final one of the trace, which the check saw, and both of the comparison.
    Of a revision that was judged against its first response, only that first one is added."""
    rules = constitution({"a": 1.0, "b": 1.0})
    judged = comparison(rules, "q", {"a": 0.9, "b": 0.3})
    checked = trace("p", {"a": 0.9, "b": 0.25})
    found = stored_verdicts(rules, [checked, judged])
    assert [len(pair.logits) for pair in found.pairs] == [2]
    assert found.pairs[0].logits["a"] == pytest.approx(math.log(0.9 / 0.1))
    assert [r.record for r in found.responses] == [checked.id, judged.id, judged.id]
    assert found.responses[0].masses == pytest.approx({"a": 0.9, "b": 0.25})
    sides = [j.scores[1].mass for j in judged.judgements]
    assert list(found.responses[2].masses.values()) == sides
    label = Label(0.8, judged.judgements)
    found = stored_verdicts(rules, [replace(checked, label=label)])
    assert [r.record for r in found.responses] == [checked.id, checked.id]
    assert list(found.responses[1].masses.values()) == sides
    assert found.pairs[0].record == checked.id


def test_critiques_are_counted_by_verdict() -> None:
    """The sample's first critique finds a problem, its second none; a refusal is no verdict."""
    plain = samples.trace("p")
    refused = replace(plain.revisions[0], outcome="refused")
    rules = constitution({"kind": 1.0, "safe": 1.0})
    records = [plain, replace(samples.trace("q"), revisions=(refused,))]
    found = stored_verdicts(rules, records)
    assert found.asked == {"kind": 1, "safe": 1}
    assert found.found["kind"] == 1 and found.found["safe"] == 0


def test_responses_with_a_problem_under_one_principle_and_not_another() -> None:
    """Of 40 responses `a` finds a problem in 20; so does `b`, in the same ones; `c` in none."""
    rules = constitution({"a": 1.0, "b": 1.0, "c": 1.0})
    bad, good = {"a": 0.1, "b": 0.3, "c": 0.9}, {"a": 0.9, "b": 0.8, "c": 0.9}
    found = principle_map(rules, [trace(f"p{n}", good if n % 2 else bad) for n in range(40)])
    assert (found.pairs, found.responses) == (0, 40)
    assert [r.word for r in found.on_responses] == ["the same", "unrelated", "unrelated"]
    roles = {role.id: role for role in found.roles}
    assert [roles[name].problems for name in "abc"] == [20, 20, 0]
    assert roles["c"].standing == "idle"
    assert found.removals == () and found.oppositions == ()


def test_values_have_no_nan_and_name_the_records(planted: PrincipleMap) -> None:
    values = map_values(planted, most=2)
    text = json.dumps(values, allow_nan=False)
    assert json.loads(text) == values
    twin = next(p for p in values["principles"] if p["id"] == "twin")
    assert len(twin["changed_records"]) == round(twin["labels_changed"]["value"] * 120)
    assert values["contradictions"][0]["count"] == 120
    assert len(values["contradictions"][0]["items"]) == 2
    assert values["contradictions"][0]["items"][0]["record"].startswith("c-p")


def test_a_run_has_its_map(tmp_path: Path) -> None:
    with open_run(planted_run(tmp_path, 24)) as run:
        assert isinstance(run, BuiltRun)
        found = run.principle_map
    assert found.pairs == 24 and [role.weight for role in found.roles] == [2, 1, 1, 1, 1]
