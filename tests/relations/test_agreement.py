"""How two principles agree, on verdicts that are small enough to count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cai.evaluation.statistics import Estimate
from cai.relations import agreement
from cai.relations.agreement import (
    PrincipleRelation,
    VerdictMatrix,
    clear_contradictions,
    relations,
    word_of,
)
from cai.stats import Proportion, logit
from tests.relations.planted import matrix_of


def relation(matrix: VerdictMatrix) -> PrincipleRelation:
    (only,) = relations(matrix)
    return only


def test_kappa_share_and_correlation() -> None:
    """Of 20 decided pairs, 16 equal: p_o = 0.8. Each calls the first better in 10 of 20, so chance
    agrees in ½·½ + ½·½ = 0.5, and κ = (0.8 - 0.5) / (1 - 0.5) = 0.6. Two near ties of b (0.5 and
    0.52) are not decided, but are among the 22 units of the correlation.
    """
    a = [0.9] * 8 + [0.9] * 2 + [0.1] * 8 + [0.1] * 2 + [0.9, 0.1]
    b = [0.8] * 8 + [0.2] * 2 + [0.2] * 8 + [0.8] * 2 + [0.5, 0.52]
    found = relation(matrix_of(a=a, b=b))
    assert (found.a, found.b, found.units, found.prompts) == ("a", "b", 22, 20)
    assert found.agree.value == 0.8 and found.agree.n == 20
    assert (found.agree.low, found.agree.high) == Proportion(16, 20).interval
    assert found.kappa.value == pytest.approx(0.6)
    assert found.kappa.low < 0.6 < found.kappa.high
    logits = np.array([[logit(p) for p in side] for side in (a, b)])
    assert found.correlation.value == pytest.approx(np.corrcoef(logits)[0, 1])
    assert found.contradict == Estimate(0.2, *Proportion(4, 20).interval, 20)


def test_verdicts_that_were_not_asked_count_nowhere() -> None:
    """Of four pairs b judged two, and they agree on one: κ = (½ - ½) / ½ = 0."""
    found = relation(matrix_of(a=[0.9, 0.1, 0.9, 0.1], b=[0.9, 0.9, math.nan, math.nan]))
    assert (found.units, found.agree.n, found.agree.value) == (2, 2, 0.5)
    assert found.kappa.value == 0.0
    assert relations(matrix_of(a=[0.9, math.nan], b=[math.nan, 0.9])) == []


def test_all_equal_is_no_certainty() -> None:
    """40 of 40 equal, half of them first: Wilson's low end is 40 / (40 + 1.96²) = 0.9124, and κ's
    (0.9124 - 0.5) / 0.5 = 0.8248. Of 30 it is 0.7729: not yet above 0.8. The other way round, all
    opposite, the signs are changed."""
    for n, word, low in ((40, "the same", 0.8248), (30, "alike", 0.7729)):
        same = relation(matrix_of(a=[0.9, 0.1] * (n // 2), b=[0.8, 0.3] * (n // 2)))
        assert same.kappa.value == 1.0 and same.kappa.high == 1.0
        assert same.kappa.low == pytest.approx(low, abs=1e-4)
        assert same.word == word
    opposite = relation(matrix_of(a=[0.9, 0.1] * 20, b=[0.2, 0.7] * 20))
    assert opposite.kappa.value == -1.0
    assert opposite.kappa.high == pytest.approx(-0.8248, abs=1e-4)
    assert opposite.word == "opposed"
    assert opposite.contradict.value == 1.0 and opposite.contradict.n == 20  # 0.7 is not clear


def test_the_interval_goes_over_prompts() -> None:
    """The same 40 verdicts four times over say no more about prompts than once."""
    rng = np.random.default_rng(1)
    a, b = rng.uniform(size=40), rng.uniform(size=40)
    once = relation(matrix_of(a=a, b=(a + b) / 2))
    tiled = matrix_of(list(range(40)) * 4, a=np.tile(a, 4), b=np.tile((a + b) / 2, 4))
    again = relation(tiled)
    alone = relation(matrix_of(a=np.tile(a, 4), b=np.tile((a + b) / 2, 4)))
    for name in ("kappa", "correlation"):
        one, four, narrow = (getattr(r, name) for r in (once, again, alone))
        assert one.value == pytest.approx(four.value) and one.low == pytest.approx(four.low)
        assert narrow.high - narrow.low < 0.7 * (four.high - four.low)
    assert again.prompts == once.prompts < alone.prompts


def test_groups_of_many_prompts_give_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    a, noise = rng.uniform(size=900), rng.uniform(size=900)
    matrix = matrix_of(a=a, b=(a + noise) / 2)
    whole = relation(matrix).kappa
    monkeypatch.setattr(agreement, "GROUPS", 150)
    grouped = relation(matrix).kappa
    assert grouped.value == whole.value and grouped.low != whole.low
    assert grouped.high - grouped.low == pytest.approx(whole.high - whole.low, rel=0.15)


def made(
    low: float, high: float, n: int = 40, prompts: int = 40, value: float = 0.5, r: float = 0.9
) -> PrincipleRelation:
    """A relation with this interval of κ; r: the low end of the correlation's."""
    share, correlation = Estimate(0.5, 0.3, 0.7, n), Estimate(r, r, r, n)
    return PrincipleRelation(
        "a", "b", n, prompts, share, Estimate(value, low, high, n), correlation, share
    )


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (made(0.81, 1), "the same"),
        (made(0.81, 1, r=0.3), "alike"),
        (made(0.01, 0.19), "unrelated"),
        (made(-0.1, 0.1), "unrelated"),
        (made(-0.3, -0.01), "rather opposed"),
        (made(0.5, 0.9), "alike"),
        (made(0.01, 0.9), "rather alike"),
        (made(-0.1, 0.9), "unclear"),
        (made(-0.7, -0.1), "rather opposed"),
        (made(-0.9, -0.41), "opposed"),
        (made(0.9, 1, n=19), "too few"),
        (made(0.9, 1, prompts=9), "too few"),
        (made(math.nan, math.nan), "too few"),
        (made(math.nan, math.nan, value=math.nan), "one answer"),
    ],
)
def test_a_word_holds_for_the_whole_interval(found: PrincipleRelation, word: str) -> None:
    assert word_of(found) == word == found.word


def test_one_answer_to_all() -> None:
    """Both call the first better everywhere: agreement by chance is 1, and κ is not defined."""
    found = relation(matrix_of(a=[0.9] * 30, b=[0.8] * 30))
    assert found.agree.value == 1 and math.isnan(found.kappa.value) and found.word == "one answer"


def test_the_clearest_contradiction_comes_first() -> None:
    """By the less clear side: 0.8 against 0.01, then 0.76 against 0.001; 0.74 is not clear, and
    0.9 with 0.9 is no contradiction."""
    matrix = matrix_of(a=[0.76, 0.9, 0.8, 0.74, 0.9], b=[0.001, 0.9, 0.01, 0.001, math.nan])
    assert clear_contradictions(matrix, 0, 1) == [2, 0] == clear_contradictions(matrix, 1, 0)
