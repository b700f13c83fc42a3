"""What an evaluation counts: intervals, calibration and the card, with known values."""

from __future__ import annotations

import json
import math

import pytest

from bundled.evaluation.card import TARGETS, card
from bundled.evaluation.findings import Findings
from bundled.evaluation.lab import UNSEEN
from cai.stats import Proportion


def test_seeds_are_pooled_and_their_spread_is_kept() -> None:
    """1 of 4 and 3 of 4: 4 of 8, from 0.25 to 0.75."""
    one, two = Findings(1), Findings(2)
    one.note("row", [True, False, False, False])
    two.note("row", [True, True, True, False])
    one.add(two)
    assert one.pooled("row") == Proportion(4, 8)
    assert one.spread("row") == (0.25, 0.75)
    assert one.summary()["rows"]["row"]["by_seed"] == {"1": [1, 4], "2": [3, 4]}


def test_what_goes_together_is_heeded_over_seeds() -> None:
    """Two principles, each asked twice a seed: 4 of 4 and 0 of 4, as one trial each or so."""
    one, two = Findings(1), Findings(2)
    one.note("row", [True, True, False, False], ["a", "a", "b", "b"])
    two.note("row", [True, False, True, False], ["a", "b", "a", "b"])
    one.add(two)
    assert one.groups["row"] == {"a": Proportion(4, 4), "b": Proportion(0, 4)}
    assert one.pooled("row") == Proportion(4, 8)
    alone = Proportion(4, 8).interval
    assert one.interval("row")[0] < alone[0] and one.interval("row")[1] > alone[1]
    assert one.summary()["rows"]["row"]["interval"] == one.interval("row")
    assert one.summary()["rows"]["row"]["groups"] == 2


def test_the_card_says_what_is_met_and_what_is_not() -> None:
    findings = Findings(1)
    findings.note("object kept, held-out values", [True] * 95 + [False] * 5)
    findings.note("object kept, unseen values", [True] * 5 + [False] * 5)
    findings.note("other", [True])
    for part in ("fit", "test"):
        findings.judge("pointwise", part, [3.0, -3.0], [True, False])
    text = card(findings)
    assert "| object kept, held-out values | 100 | 0.950 | 0.888–0.978 |" in text
    held_out, unseen = (line for line in text.splitlines() if line.startswith("| object kept"))
    assert held_out.endswith("| ≥ 0.90 | yes |  |") and unseen.endswith("| ≥ 0.70 | **no** |  |")
    assert "| other | 1 | 1.000 |" in text.split("### Without one")[1]


def test_one_temperature_for_what_is_decided_and_for_ties() -> None:
    """Three right of four at logit 3: p = 0.75 wants 3 / T = ln 3, T = 2.73 (2.73 on the grid).

    Ties at 0 and at 2: at T = 1 the second is at 0.881, beyond 0.65; at 2.73 it is at 0.675. The
    error at 1: four at confidence 0.953 with accuracy 0.75, one at 0.5 right half, one at 0.881
    right half: (4 x 0.203 + 0 + 0.381) / 6 = 0.199.
    """
    findings = Findings(1)
    findings.judge("mode", "fit", [3.0] * 4, [1, 1, 1, 0])
    findings.judge("mode", "test", [3.0] * 4 + [0.0, 2.0], [1, 1, 1, 0, 0.5, 0.5])
    held_out = findings.calibration("mode")
    assert held_out.temperature == pytest.approx(3 / math.log(3), rel=0.02)
    assert held_out.error_at_1 == pytest.approx((4 * (0.9526 - 0.75) + 0.8808 - 0.5) / 6, abs=1e-3)
    assert held_out.ties == Proportion(1, 2) and held_out.n == 6
    low, high = held_out.interval
    assert 0 <= low < held_out.error_at_1 and held_out.error < high
    assert findings.calibration("mode") == held_out  # the same draws again


def test_counts_of_few_groups_are_kept() -> None:
    findings = Findings(1)
    findings.note("by hand", [True, False, True], ["a", "b", "b"])
    findings.note("alone", [True, False])
    rows = findings.summary()["rows"]
    assert rows["by hand"]["by_group"] == {"a": [1, 1], "b": [1, 2]}
    assert "by_group" not in rows["alone"]


def test_unseen_scenarios_stand_beside_the_row_that_they_are_of() -> None:
    """Three of four in each of two scenarios; a conflict row has a target of its own too."""
    findings = Findings(1)
    conflict = "conflict pairs, pointwise: right"
    for row in ("general, any problem: named", "other", conflict):
        findings.note(row, [True] * 8)
        findings.note(f"{UNSEEN}{row}", [True, True, True, False] * 2, [3, 3, 3, 3, 9, 9, 9, 9])
    for part in ("fit", "test", "unseen"):
        findings.judge("pointwise", part, [3.0, -3.0], [True, False])
    aimed, rest = card(findings).split("### Without one")
    cell = "0.750 of 8 (0.41–0.93)"  # both scenarios alike: Wilson's of 8
    assert f"| ≥ 0.96 | yes | {cell} |" in aimed
    assert f"| {conflict} | 8 | 1.000 | 0.676–1.000 | 1.00–1.00 | ≥ 0.97 | yes | {cell} |" in aimed
    assert f"| {UNSEEN}{conflict} | 8 | 0.750 | 0.409–0.929 |" in aimed
    assert aimed.count(UNSEEN) == 1 and "– of 0 | 0.000 of 2 |" in aimed
    assert f"| other | 8 | 1.000 | 0.676–1.000 | {cell} |" in rest and UNSEEN not in rest


def test_a_row_has_one_target() -> None:
    rows = [target.row for target in TARGETS]
    assert len(rows) == len(set(rows))


def test_a_paraphrase_is_held_against_the_canonical_wording() -> None:
    """98 and 94 of 100: 0.04 less, which is more than 0.03; 97 would do."""
    for hits, met in ((94, "**no**"), (97, "yes")):
        findings = Findings(1)
        for name, count in (("canonical", 98), ("paraphrased", hits)):
            row = f"critique on target, {name}: named"
            findings.note(row, [True] * count + [False] * (100 - count))
        (line,) = (x for x in card(findings).splitlines() if x.startswith("| critique on target: "))
        assert line.startswith(f"| critique on target: named | {(hits - 98) / 100:+.3f} |")
        assert line.endswith(f"| within 0.03 | {met} |")


def test_findings_are_kept_whole() -> None:
    findings = Findings(3)
    findings.note("row", [True, False, True], [("pair", 0), ("pair", 0), ("pair", 1)])
    findings.note("plain", [])
    findings.figure("perplexity", 1.5)
    findings.judge("pointwise", "fit", [2.0, -1.0], [True, False])
    assert Findings.from_json(json.loads(json.dumps(findings.to_json()))) == findings
