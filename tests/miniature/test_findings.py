"""What an evaluation counts: intervals, calibration and the card, with known values."""

from __future__ import annotations

from cai.miniature.evaluate import TARGETS, card
from cai.miniature.findings import Findings
from cai.stats import Tally


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
