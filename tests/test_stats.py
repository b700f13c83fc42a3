"""Intervals, calibration and temperature, with known values."""

from __future__ import annotations

import math

import pytest

from cai.stats import best_temperature, calibration_error, sigmoid, wilson


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
    found = best_temperature(rows)
    assert found == pytest.approx(2 / math.log(3), rel=0.04)
    assert calibration_error(rows, found) < 0.01
