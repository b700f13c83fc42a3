"""Intervals, calibration and temperature, with known values."""

from __future__ import annotations

import math

import pytest

from cai.stats import (
    Paired,
    Proportion,
    Ratio,
    best_temperature,
    calibration_error,
    clustered,
    difference,
    fisher,
    sigmoid,
    student,
    wilson,
)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_wilson() -> None:
    """8 of 10 (Wilson 1927): (0.490, 0.943); 0 of 10: (0, 0.278); nothing is known of none."""
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert wilson(float("nan"), 0) == (0.0, 1.0)


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(0.0) == 0.5
    assert sigmoid(-1000.0) == 0.0 and sigmoid(1000.0) == 1.0


def test_calibration_error() -> None:
    """Four at 0.75, three right: no error. Four at 0.95, half right: 0.45. Pooled: half of it.

    Logits below zero say "no" with the same confidence.
    """
    good = [(logit(0.75), True)] * 3 + [(logit(0.25), True)]
    bad = [(logit(0.95), True)] * 2 + [(logit(0.05), True)] * 2
    assert calibration_error(good) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error(bad) == pytest.approx(0.45)
    assert calibration_error(good + bad) == pytest.approx(0.225)


def test_a_truth_may_be_a_probability() -> None:
    """σ(logit) = 0.6 for rows that are true in six of ten: no error, and no temperature needed."""
    rows = [(logit(0.6), 0.6)] * 3 + [(logit(0.4), 0.4)]
    assert calibration_error(rows) == pytest.approx(0.0, abs=1e-9)
    assert best_temperature(rows) == pytest.approx(1.0)
    assert calibration_error([(logit(0.6), 1.0)]) == pytest.approx(0.4)


def test_temperature_makes_confidence_match_accuracy() -> None:
    """Logit 2 and right three times in four: sigma(2 / T) = 0.75, so T = 2 / ln 3 = 1.82."""
    rows = [(2.0, True)] * 3 + [(2.0, False)]
    temperature = best_temperature(rows)
    assert temperature == pytest.approx(2 / math.log(3), rel=1e-6)
    assert calibration_error(rows, temperature) < 1e-6


def test_the_temperature_stays_within_its_bounds() -> None:
    """Always right: the smaller the temperature the likelier. Always wrong: the larger."""
    assert best_temperature([(2.0, True), (-2.0, False)]) == pytest.approx(1 / 8, rel=1e-5)
    assert best_temperature([(2.0, False), (-2.0, True)]) == pytest.approx(32, rel=1e-5)
    assert best_temperature([(900.0, False), (900.0, True)]) == pytest.approx(32, rel=1e-5)


def test_a_paired_change_has_the_published_interval() -> None:
    """Newcombe 1998, table II, method 10: 36 yes twice, 12 and 2 turned, none no twice.

    48/50 - 38/50 = 0.2; limits 0.0569 and 0.3404.
    """
    answers = [(True, True)] * 36 + [(False, True)] * 12 + [(True, False)] * 2
    paired = Paired.of(answers)
    assert (paired.before.hits, paired.after.hits, paired.n) == (38, 48, 50)
    assert paired.change == pytest.approx(0.2)
    assert paired.interval == pytest.approx((0.0569, 0.3404), abs=5e-5)
    back = Paired.of((after, before) for before, after in answers)
    assert back.interval == pytest.approx((-0.3404, -0.0569), abs=5e-5)


def test_a_paired_change_of_none() -> None:
    assert Paired.of([]).interval == (-1.0, 1.0)
    assert math.isnan(Paired.of([]).change)
    same = Paired.of([(True, True), (False, False)])
    assert same.change == 0 and same.interval[0] == -same.interval[1] < 0


def test_a_ratio_of_means_and_its_interval() -> None:
    """Means 15 and 16.5: r = 1.1. Residuals 12 - 11 = 1 and 21 - 22 = -1, squares 2.

    1.96 · √(2 / (2 · 1)) / 15 = 0.13067.
    """
    ratio = Ratio.of([(10, 12), (20, 21)])
    assert (ratio.before, ratio.after) == (15, 16.5) and ratio.ratio == pytest.approx(1.1)
    assert ratio.interval == pytest.approx((1.1 - 1.96 / 15, 1.1 + 1.96 / 15))
    assert Ratio.of([(3, 4)]).interval == (0.0, math.inf)
    assert math.isnan(Ratio.of([(0, 4), (0, 2)]).ratio)


def test_the_difference_of_two_samples() -> None:
    """56 of 70 against 48 of 80: 0.0524 to 0.3339 (Newcombe 1998, 17:873, table II, method 10)."""
    low, high = difference(Proportion(48, 80), Proportion(56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert (
        difference(Proportion(9, 10), Proportion(9, 10))[0]
        < 0
        < difference(Proportion(9, 10), Proportion(9, 10))[1]
    )


def test_an_interval_of_what_goes_together() -> None:
    """Ten groups of two: five have 2 of 2, three 1, two 0: 13 of 20, 0.65.

    Deviations from 1.3: 5 x 0.7^2 + 3 x 0.3^2 + 2 x 1.3^2 = 6.1; variance 6.1 x 10/9 / 20^2 =
    0.016944, against 0.65 x 0.35 / 20 = 0.011375: a design effect of 1.4896. Of ten groups t is
    2.262, (2.262 / 1.96)^2 = 1.332: 20 / (1.4896 x 1.332) = 10.08 trials, whose limits by Wilson
    are 0.6086 -+ 0.2540.
    """
    groups = [Proportion(2, 2)] * 5 + [Proportion(1, 2)] * 3 + [Proportion(0, 2)] * 2
    assert clustered(groups) == pytest.approx((0.3547, 0.8626), abs=2e-4)
    assert clustered([*groups, Proportion(0, 0)]) == clustered(groups)


def test_groups_that_tell_nothing() -> None:
    """Alike in all groups: no narrower than without groups; one group alone: all is possible."""
    assert clustered([Proportion(2, 4)] * 30) == pytest.approx(wilson(0.5, 120))
    assert clustered([Proportion(4, 4)] * 30) == pytest.approx(wilson(1.0, 120))
    assert clustered([Proportion(3, 4)]) == (0.0, 1.0) == clustered([])


def test_a_whole_group_counts_as_one_trial_when_its_members_are_alike() -> None:
    """All or none of 4 in each of 400 groups: 1,600 answers are worth 400 trials or so."""
    low, high = clustered([Proportion(4, 4), Proportion(0, 4)] * 200)
    assert (low, high) == pytest.approx(wilson(0.5, 400), abs=1e-3)


def test_points_of_students_t() -> None:
    """Abramowitz and Stegun 1964, table 26.10, to its three decimals."""
    table = {1: 12.706, 4: 2.776, 5: 2.571, 9: 2.262, 20: 2.086, 120: 1.980}
    for degrees, point in table.items():
        assert student(degrees) == pytest.approx(point, abs=5e-4)


def test_sigmoid_and_logit() -> None:
    assert sigmoid(-800) == 0.0 and sigmoid(800) == 1.0
    assert logit(0.75) == pytest.approx(math.log(3))
    assert sigmoid(logit(0.3)) == pytest.approx(0.3)


def test_fisher() -> None:
    """Fisher's tea: 4 cups of 4 by chance once in C(8, 4) = 70, 3 or more (16 + 1) in 70."""
    assert fisher(Proportion(4, 4), Proportion(0, 4)) == pytest.approx(1 / 70)
    assert fisher(Proportion(3, 4), Proportion(1, 4)) == pytest.approx(17 / 70)
    assert fisher(Proportion(0, 4), Proportion(4, 4)) == 1
    assert fisher(Proportion(0, 0), Proportion(3, 4)) == 1
