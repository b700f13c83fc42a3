"""What an evaluation counts: intervals, calibration and the card, with known values."""

from __future__ import annotations

import math

import pytest

from cai.miniature.evaluate import TARGETS, card
from cai.miniature.findings import (
    Findings,
    Tally,
    best_temperature,
    calibration_error,
    sigmoid,
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


def test_temperature_makes_confidence_match_accuracy() -> None:
    """Logit 2 and right three times in four: sigma(2 / T) = 0.75, so T = 2 / ln 3 = 1.82."""
    rows = [(2.0, True)] * 3 + [(2.0, False)]
    found = best_temperature(rows)
    assert found == pytest.approx(2 / math.log(3), rel=0.04)
    assert calibration_error(rows, found) < 0.01


def test_seeds_are_pooled_and_their_spread_is_kept() -> None:
    """1 of 4 and 3 of 4: 4 of 8, from 0.25 to 0.75."""
    one, two = Findings(1), Findings(2)
    one.note("row", [True, False, False, False])
    two.note("row", [True, True, True, False])
    one.add(two)
    assert one.pooled("row") == Tally(4, 8)
    assert one.spread("row") == (0.25, 0.75)
    assert one.to_json()["rows"]["row"]["by_seed"] == {"1": [1, 4], "2": [3, 4]}


def test_the_card_says_what_is_met_and_what_is_not() -> None:
    found = Findings(1)
    found.note("object kept, held-out values", [True] * 95 + [False] * 5)
    found.note("object kept, unseen values", [True] * 5 + [False] * 5)
    found.note("other", [True])
    for part in ("fit", "test"):
        found.judge("pointwise", part, [3.0, -3.0], [True, False])
    text = card(found)
    assert "| object kept, held-out values | 100 | 0.950 | 0.888–0.978 |" in text
    held, unseen = (line for line in text.splitlines() if line.startswith("| object kept"))
    assert held.endswith("| ≥ 0.90 | yes |") and unseen.endswith("| ≥ 0.70 | **no** |")
    assert "| other | 1 | 1.000 |" in text.split("### Without one")[1]


def test_a_row_has_one_target() -> None:
    rows = [target.row for target in TARGETS]
    assert len(rows) == len(set(rows))
