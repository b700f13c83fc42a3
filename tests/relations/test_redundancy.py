"""What a principle adds: labels without it, the regression on the others, the greedy removal."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from cai.data.counts import is_near_tie
from cai.pipeline.compare import preference
from cai.relations import redundancy
from cai.relations.agreement import VerdictMatrix
from cai.relations.redundancy import LabelRule, greedy_removal, held_out_r2, left_out
from cai.relations.verdicts import judged_logit
from cai.types import Constitution, Feedback, Judgement
from tests.relations.planted import constitution, matrix_of


def rule_of(*weights: float, **feedback: Any) -> LabelRule:
    return LabelRule(weights, Feedback(**feedback))


def label_of(rules: Constitution, judgements: tuple[Judgement, ...]) -> int:
    """The label by the procedure of a build."""
    p = preference(rules, rules.members, judgements)
    return 0 if is_near_tie(p) else 1 if p > 0.5 else -1


@pytest.mark.parametrize(
    "feedback",
    [
        {},
        {"temperature": 2.5},
        {"clamp": (0.4, 0.53)},  # what lies above one half becomes a near tie
        {"mode": "letters"},
        {"mode": "letters", "both_orders": False, "temperature": 0.5},
    ],
)
def test_labels_are_those_of_a_build(feedback: dict[str, Any]) -> None:
    """With all principles, without each, and without every two, as `preference` has them."""
    rules = constitution({"a": 3.0, "b": 1.0, "c": 0.5}, **feedback)
    letters = rules.feedback.mode == "letters"
    rng = np.random.default_rng(3)
    pairs = [
        tuple(
            Judgement(
                name, "1", float(rng.beta(0.5, 0.5)),
                float(rng.beta(0.5, 0.5)) if letters and rules.feedback.both_orders else None, (),
            )
            for name in ("a", "b", "c")
        )
        for _ in range(200)
    ]  # fmt: skip
    logits = [[judged_logit(j, capped=letters) for j in pair] for pair in pairs]
    matrix = VerdictMatrix(("a", "b", "c"), np.array(logits), np.sign(logits), range(200))
    rule = LabelRule.of(matrix.principles, {"a": 3.0, "b": 1.0, "c": 0.5}, rules.feedback)
    for size in (0, 1, 2):
        for without in map(set, itertools.combinations(range(3), size)):
            kept = [tuple(j for n, j in enumerate(p) if n not in without) for p in pairs]
            expected = [label_of(rules, judgements) for judgements in kept]
            assert rule.labels(matrix, without).tolist() == expected, without
            assert len(set(expected)) > 1


def test_labels_without_a_principle() -> None:
    """Weights 2 and 1. Logits by p: 0.9 is 2.197, 0.6 is 0.405, 0.1 is -2.197, 0.001 is -6.907.

    Label 1: (2·2.197 - 6.907) / 3 < 0, the second; without b the first: flipped. Label 2:
    (2·2.197 - 2.197) / 3 > 0, the first, and so without b. Label 3: (2·0.405 - 0.405) / 3 = 0.135,
    p = 0.534, a near tie; without b 0.6, the first: changed, not flipped. Label 4 was not judged by
    b.
    """
    matrix = matrix_of(a=[0.9, 0.9, 0.6, 0.1], b=[0.001, 0.1, 0.4, math.nan])
    rule = rule_of(2.0, 1.0)
    assert rule.labels(matrix).tolist() == [-1, 1, 0, -1]
    found = left_out(matrix, rule, {1})
    assert (found.changed.value, found.changed.n) == (0.5, 4)
    assert found.flipped == 1 and found.units == (0, 2)
    assert rule.labels(matrix, {0, 1}).tolist() == [0, 0, 0, 0]  # nobody is left to judge


def test_r2_of_prompts_that_were_not_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two prompts, each fitted on the other, through the origin.

    First prompt: (x, y) = (1, 1), (2, 2), slope 1; second: (1, 2), (2, 4), slope 2. Predicted by
    the other's slope, the first is off by 1 and 2, the second by 1 and 2: 10 in all. Σy² = 1 + 4 +
    4 + 16 = 25, so R² = 1 - 10 / 25 = 0.6. With an intercept: the first is predicted as 2x, off by
    1 and 2, around 3, the other's mean: 4 + 1; the second as x, off by 1 and 2, around 1.5: 0.25 +
    6.25. R² = 1 - 10 / 11.5.
    """
    monkeypatch.setattr(redundancy, "ROWS_A_PREDICTOR", 1)
    x, y = [1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 2.0, 4.0]
    logits = np.array([x, y]).T
    matrix = VerdictMatrix(("x", "y"), logits, np.sign(logits), [0, 0, 1, 1])
    plain, shifted = (held_out_r2(matrix, 1, intercept=i) for i in (False, True))
    assert plain is not None and plain.value == pytest.approx(0.6)
    assert shifted is not None and shifted.value == pytest.approx(1 - 10 / 11.5)


def test_what_the_others_say_is_predicted_and_noise_is_not() -> None:
    rng = np.random.default_rng(4)
    a, b, c = rng.normal(size=(3, 200))
    logits = np.column_stack([a, b, a - 2 * b, c, np.zeros(200)])
    matrix = VerdictMatrix(("a", "b", "sum", "noise", "none"), logits, np.sign(logits), range(200))
    r2 = [held_out_r2(matrix, place, intercept=False) for place in range(5)]
    assert r2[2] is not None and r2[2].low > 0.999
    assert r2[3] is not None and r2[3].value < 0.02 and r2[3].low < 0
    assert r2[4] is None  # it never varies


def test_too_few_rows_for_the_predictors() -> None:
    """Ten rows a predictor: 20 for two. Rows that lack a verdict do not count."""
    rng = np.random.default_rng(5)
    p = rng.uniform(size=(3, 20))
    whole = matrix_of(a=p[0], b=p[1], c=p[2])
    assert held_out_r2(whole, 0, intercept=False) is not None
    p[1, 0] = math.nan
    assert held_out_r2(matrix_of(a=p[0], b=p[1], c=p[2]), 0, intercept=False) is None
    assert held_out_r2(matrix_of(a=p[0]), 0, intercept=False) is None  # no other principle


def test_greedy_removal() -> None:
    """`a` decides every label with weight 5; `b` and `c` can change none, not even together, since
    4 · 0.6 < 5 · 1.4. The lighter one goes first. Then without `a`: 6 of 12 pairs are another."""
    p = {
        "a": [0.8] * 6 + [0.2] * 6,
        "b": ([0.65] * 3 + [0.35] * 3) * 2,
        "c": ([0.65] * 3 + [0.35] * 3) * 2,
    }
    steps = greedy_removal(matrix_of(**p), rule_of(5.0, 3.0, 1.0))
    assert [s.principle for s in steps] == ["c", "b"]
    assert [s.changed.value for s in steps] == [0.0, 0.0]
    steps = greedy_removal(matrix_of(**p), rule_of(1.0, 3.0, 3.0))
    assert [s.principle for s in steps] == ["a", "c"]


def test_the_choice_is_measured_on_prompts_that_it_did_not_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two halves. In the first, leaving `a` out changes 2 of 2 labels and `b` none; in the second
    the other way round, 1 of 2. Each half would leave out what the other one needs.

    All: `a` changes 2 of 4, `b` 1 of 4, so `b` goes: 1 of 4 changed. Held out: the choice of the
    second half (`a`) changes 2 of 2 in the first, that of the first (`b`) 1 of 2 in the second: 3
    of 4.
    """
    monkeypatch.setattr(redundancy, "FOLDS", 2)
    matrix = matrix_of([0, 2, 1, 3], a=[0.9, 0.9, 0.55, 0.6], b=[0.3, 0.3, 0.01, 0.6])
    first = greedy_removal(matrix, rule_of(1.0, 1.0))
    assert [s.principle for s in first] == ["b"]
    assert (first[0].changed.value, first[0].held_out.value) == (0.25, 0.75)
