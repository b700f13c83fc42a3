"""Samples: by a seed, over strata, shared out among auditors."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cai.audit.items import AuditItem
from cai.audit.runs import open_run
from cai.audit.sample import SamplePlan, draw, read_sample, sample_keys, write_sample
from cai.errors import DataError, UsageError
from tests.audit.runs import build


def item(n: int, *, principles: tuple[str, ...] = ("a",), flags: tuple[str, ...] = ()) -> AuditItem:
    return AuditItem(f"k{n:03}", "trace", f"t{n}", f"p{n}", (), principles, flags, 0.0, None, {})


COMMON = [item(n) for n in range(100)]
RARE = [item(n, principles=("b",), flags=("F03",)) for n in range(100, 104)]


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    first = list(draw(COMMON, SamplePlan(10, seed=7)))
    assert first == list(draw(reversed(COMMON), SamplePlan(10, seed=7)))
    assert len(first) == len(set(first)) == 10
    assert first != list(draw(COMMON, SamplePlan(10, seed=8)))


def test_new_items_draw_few_anew() -> None:
    """Those that were drawn stay, but for the ones that a new item comes before."""
    before, after = (set(draw(items, SamplePlan(20))) for items in (COMMON, COMMON + RARE))
    assert len(before - after) <= 4


def test_rare_sorts_are_all_in() -> None:
    """Four of 104 items are of principle b: a plain draw of 20 holds one; an even one all four."""
    even = draw(COMMON + RARE, SamplePlan(20, stratify=("principle",)))
    assert {i.key for i in RARE} <= set(even)
    assert len(even) == 20
    even = draw(COMMON + RARE, SamplePlan(20, stratify=("principle", "flag")))
    assert {i.key for i in RARE} <= set(even)


def test_strata_are_filled_evenly() -> None:
    items = [item(n, principles=("abc"[n % 3],)) for n in range(90)]
    drawn = draw(items, SamplePlan(30, stratify=("principle",)))
    of = {i.key: i.principles[0] for i in items}
    assert Counter(of[k] for k in drawn) == {"a": 10, "b": 10, "c": 10}


def test_an_item_of_two_sorts_counts_for_both() -> None:
    both = [item(n, principles=("a", "b")) for n in range(10)]
    assert len(draw(both, SamplePlan(6, stratify=("principle",)))) == 6


def test_more_than_there_are_is_all() -> None:
    assert set(draw(RARE, SamplePlan(50, stratify=("flag",)))) == {i.key for i in RARE}


def test_it_is_shared_out() -> None:
    """Twenty items, a fifth of them for both: 4 + 8 for each."""
    drawn = draw(COMMON, SamplePlan(20, auditors=("ann", "ben"), overlap=0.2))
    assert sum(names == ["ann", "ben"] for names in drawn.values()) == 4
    assert [sum(n in names for names in drawn.values()) for n in ("ann", "ben")] == [12, 12]
    assert all(names == [] for names in draw(COMMON, SamplePlan(20)).values())


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ({"n": 0}, "--n is 0"),
        ({"n": 5, "overlap": 1.5}, "--overlap is 1.5"),
        ({"n": 5, "overlap": 0.5}, "fewer than two are named"),
        ({"n": 5, "auditors": ("ann", "ann")}, "names somebody twice"),
        ({"n": 5, "stratify": ("colour",)}, "can't stratify by 'colour'"),
    ],
)
def test_plans_that_make_no_sense(plan: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        SamplePlan(**plan)  # type: ignore[arg-type]


def test_a_sample_is_kept_in_the_run(tmp_path: Path) -> None:
    run = build(tmp_path)
    with open_run(run) as opened:
        assert read_sample(opened) is None
        with pytest.raises(DataError, match=f"no sample of {run} was drawn"):
            sample_keys(opened)
        path, items = write_sample(opened, SamplePlan(5, stratify=("principle", "flag")))
        assert sample_keys(opened) == set(items) <= {e.item.key for e in opened.entries()}
        values = json.loads(path.read_text())
        assert (values["of"], values["n"], values["run"]) == (12, 5, "r-audit")
        wrong: list[Any] = [{}, values | {"items": {"k": 3}}, values | {"items": {"k": [3]}}, []]
        for bad in wrong:
            path.write_text(json.dumps(bad))
            with pytest.raises(DataError, match=r"sample\.json is no sample"):
                read_sample(opened)
        path.write_text(json.dumps(values | {"run": "r-before"}))
        with pytest.raises(DataError, match=r"drawn of the run r-before[\s\S]*--force"):
            read_sample(opened)
