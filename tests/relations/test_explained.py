"""What candidates explain of labels: known shares, the greedy choice, likeness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cai.evaluation.statistics import Estimate
from cai.relations.explained import (
    LabelLogits,
    against_chance,
    clearest,
    explain,
    greedy_choice,
    right_of,
)

PAIRS = 40


def part(clusters: Sequence[int] | None = None, /, **columns: Sequence[float]) -> LabelLogits:
    """columns: candidate → its logits that `chosen` is better, a pair each."""
    logits = [list(row) for row in zip(*columns.values(), strict=True)]
    return LabelLogits.of(
        logits, clusters or range(len(logits)), [1, -1, 0, 0] * (len(logits) // 4)
    )


def right(count: int, n: int = PAIRS, size: float = 2.0) -> list[float]:
    """Logits of a candidate that takes the label's side in the first `count` of n pairs."""
    return [size] * count + [-size] * (n - count)


def test_right_wrong_and_near_ties() -> None:
    """σ(2) = 0.88 and σ(0.3) = 0.574 prefer `chosen`; σ(0.1) = 0.525 is within 0.05 of one half."""
    logits = np.array([2.0, 0.3, 0.1, -0.1, -0.3, -900.0])
    assert right_of(logits).tolist() == [1, 1, 0.5, 0.5, 0, 0]


def test_the_choice_stops_where_nothing_is_added() -> None:
    """a is right on 30 of 40. b repeats it: the sum has the same sides. c is right, and surer, on
    the ten where a is wrong and has no opinion elsewhere: with it 40 of 40 are right."""
    a = right(30)
    c = [0.0] * 30 + [5.0] * 10
    logits = np.array([a, a, c]).T
    assert greedy_choice(logits, most=5, gain=0.01) == [0, 2]
    assert greedy_choice(logits[:, :2], most=5, gain=0.01) == [0]
    assert greedy_choice(logits, most=1, gain=0.01) == [0]
    assert greedy_choice(logits, most=5, gain=0.26) == []  # 30 of 40 is 0.25 above a coin


def test_one_worse_than_a_coin_is_not_chosen() -> None:
    assert greedy_choice(np.array([right(15)]).T, most=5, gain=0.0) == []


def test_what_is_reported_is_of_the_other_part() -> None:
    """a is best where the choice is made (36 of 40) and right on 28 of 40 where it is measured:
    70 %, and 20 points above a coin; b, which would be better there by one pair, stays out. Length
    prefers `chosen` in a quarter, in a half neither: (10 + 20 / 2) / 40 = 1/2."""
    found = explain(
        ["b", "a"],
        part(b=right(20), a=right(36)),
        part(b=right(29), a=right(28)),
        most=1,
        gain=0.01,
        seed=0,
    )
    first, second = found.candidates
    assert (first.name, first.place, first.explained.value) == ("a", 1, 0.7)
    assert first.added.value == pytest.approx(0.2)
    assert first.while_choosing.value == 0.9
    assert first.word == "explains"
    assert (second.name, second.place) == ("b", None)
    assert second.explained.value == 0.725
    assert found.together is not None
    assert found.together.value == pytest.approx(0.7)
    assert found.longer.value == pytest.approx(0.5)


def test_near_ties_are_not_decided() -> None:
    """Ten near ties: 30 of 40 are decided, and 24 of these 30 explained."""
    column = [2.0] * 24 + [-2.0] * 6 + [0.1] * 10
    one = explain(["a"], part(a=right(40)), part(a=column), most=1, gain=0, seed=0).candidates[0]
    assert (one.decided.value, one.decided.n) == (0.75, 40)
    assert (one.explained.value, one.explained.n) == (0.8, 30)
    assert one.added.value == pytest.approx((24 + 5) / 40 - 0.5)


def test_a_twin_adds_nothing_and_is_called_the_same() -> None:
    """Though both say `chosen` nearly always, where κ of sides as they stand would be undefined or
    low. The one without relation to them is called neither."""
    rng = np.random.default_rng(0)
    sure, other = (list(rng.normal(0, 2, 120)) for _ in range(2))
    first = [3.0 + x / 4 for x in sure]
    twin = [x * 0.99 for x in first]
    columns = {"first": first, "twin": twin, "other": other}
    found = explain(list(columns), part(**columns), part(**columns), most=3, gain=0.01, seed=0)
    by_name = {one.name: one for one in found.candidates}
    assert [one.name for one in found.chosen] == ["first"]
    twin_result = by_name["twin"]
    assert twin_result.added.value == 0
    assert twin_result.like is not None
    assert (twin_result.like.b, twin_result.like.word) == ("first", "the same")
    assert by_name["other"].like is None


def test_prompts_are_clusters_and_not_shared_by_the_parts() -> None:
    """Forty pairs of ten prompts, one of which has all four errors, say less than forty of forty;
    of one prompt, nothing."""

    def low(clusters: Sequence[int]) -> Estimate:
        results = explain(
            ["a"], part(a=right(36)), part(clusters, a=right(36)), most=1, gain=0, seed=0
        ).candidates
        return results[0].explained

    apart, ten, one = low(range(PAIRS)), low([n // 4 for n in range(PAIRS)]), low([0] * PAIRS)
    assert apart.low > ten.low
    assert (one.low, one.high) == (0, 1)
    assert against_chance(one) == "too few"


def test_opposed() -> None:
    assert against_chance(Estimate(0.2, 0.1, 0.4, 40)) == "opposed"


def test_the_clearest_pairs_come_first() -> None:
    assert clearest(part(a=[0.5, -3.0, 2.0, 0.1]), 0) == [2, 0]
