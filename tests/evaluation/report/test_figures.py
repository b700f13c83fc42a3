"""The numbers of a report: axes and their front, the tax, principles, replies, curves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cai.evaluation.preferences import ReplyPreference
from cai.evaluation.report import numbers
from cai.evaluation.report.axes import (
    AxisValue,
    StagePoint,
    axes_of,
    mean_of_suites,
    pareto_front,
)
from cai.evaluation.report.curves import contrasts_of, curves_of, hacking
from cai.evaluation.report.principles import principle_rows
from cai.evaluation.report.samples import reply_pairs
from cai.evaluation.report.sources import ReportedEvaluation, read_reported, read_sources
from cai.evaluation.report.tax import badness, tax_rows
from tests.evaluation.report.making import VALUES, make_evaluation, make_training


@pytest.fixture
def evaluation(tmp_path: Path) -> ReportedEvaluation:
    return read_reported(make_evaluation(tmp_path / "eval"))


def point(name: str, x: float, y: float) -> StagePoint:
    return StagePoint(name, AxisValue(x, x, x), AxisValue(y, y, y))


# -- axes ----------------------------------------------------------------------------------------


def test_axes_are_means_of_shares_turned_so_that_higher_is_better(
    evaluation: ReportedEvaluation,
) -> None:
    """Base: harmlessness (1/4 + 2/4) / 2 = 0.375; helpfulness (1 - 0 + 1) / 2 = 1. PPO:
    (1 + 3/4) / 2 = 0.875 and (1 - 1/2 + 3/4) / 2 = 0.625. Flattery is a mean, no share."""
    axes = axes_of(evaluation)
    assert axes is not None
    assert axes.suites == {
        "helpfulness": ["over-refusal", "instructions"],
        "harmlessness": ["harmful", "jailbreaks"],
    }
    values = {p.model: (p.helpfulness.value, p.harmlessness.value) for p in axes.points}
    assert values == {"base": (1.0, 0.375), "sft": (0.625, 0.5), "ppo": (0.625, 0.875)}
    assert axes.front == ["ppo", "base"]  # SFT is as helpful as PPO, and less harmless


def test_the_interval_of_an_axis() -> None:
    """Distances 0.3 and 0.4 below: as squares between suites √(0.09 + 0.16) / 2 = 0.25, added
    between suites of the same requests (0.3 + 0.4) / 2 = 0.35."""
    values = {"a": AxisValue(0.5, 0.2, 0.6), "b": AxisValue(0.7, 0.3, 0.7)}
    apart = mean_of_suites(values, {})
    assert apart.value == pytest.approx(0.6)
    assert [apart.low, apart.high] == pytest.approx([0.35, 0.65])
    alike = mean_of_suites(values, {"a": "a", "b": "a"})
    assert [alike.low, alike.high] == pytest.approx([0.25, 0.65])


def test_suites_of_the_same_requests_are_taken_together(evaluation: ReportedEvaluation) -> None:
    """Base: 1 of 4 and 2 of 4 refused; their clusters are the same, so distances are added."""
    axes = axes_of(evaluation)
    assert axes is not None
    rows = [row for row in evaluation.main_results() if row["model"] == "base"]
    below = sum(r["value"] - r["low"] for r in rows if r["suite"] in ("harmful", "jailbreaks"))
    base = axes.points[0].harmlessness
    assert base.low == pytest.approx(0.375 - below / 2)
    helpful = {r["suite"]: r for r in rows}
    over, told = helpful["over-refusal"], helpful["instructions"]
    apart = math.hypot(over["high"] - over["value"], told["value"] - told["low"]) / 2
    assert axes.points[0].helpfulness.low == pytest.approx(1 - apart)


def test_without_a_suite_of_an_axis_there_is_no_plane(tmp_path: Path) -> None:
    values = {model: {"harmful": some["harmful"]} for model, some in VALUES.items()}
    assert axes_of(read_reported(make_evaluation(tmp_path / "e", values))) is None


def test_the_pareto_front() -> None:
    """B beats A on both axes and C on one; D and E are equal, and none is better on both."""
    points = [
        point("A", 0.1, 0.1), point("B", 0.2, 0.9), point("C", 0.2, 0.8), point("D", 0.7, 0.5),
        point("E", 0.7, 0.5), point("F", 0.9, 0.1), point("G", 0.8, 0.1),
    ]  # fmt: skip
    assert pareto_front(points) == ["B", "D", "E", "F"]


# -- the tax -------------------------------------------------------------------------------------


def test_the_worst_changes_come_first() -> None:
    def change(better: bool | None, p: float | None) -> dict[str, object]:
        return {"better": better, "adjusted_p": p}

    changes = [
        change(True, 0.001), change(True, 0.5), change(None, None), change(False, 0.5),
        change(False, 0.04), change(False, 0.001),
    ]  # fmt: skip
    assert sorted(changes, key=badness) == changes[::-1]


def test_every_suite_by_model(evaluation: ReportedEvaluation) -> None:
    rows = {row.suite: row for row in tax_rows(evaluation)}
    assert set(list(rows)[:2]) == {"over-refusal", "instructions"}
    assert list(rows)[2:] == ["jailbreaks", "flattery", "harmful"]  # stayed, stayed, got better
    assert rows["over-refusal"].results["ppo"]["value"] == 0.5
    assert rows["over-refusal"].changes["ppo"]["change"] == 0.5
    assert rows["over-refusal"].changes["ppo"]["better"] is False
    assert "base" not in rows["over-refusal"].changes


# -- principles and replies ----------------------------------------------------------------------


def test_principles_by_model_what_lost_most_first(tmp_path: Path) -> None:
    means = {"base": {"a": 0.9, "b": 0.5}, "sft": {"a": 0.9, "b": 0.75}, "ppo": {"a": 0.25}}
    evaluation = read_reported(make_evaluation(tmp_path / "eval", principles=means))
    rows = principle_rows(evaluation)
    assert [row.principle for row in rows] == ["a", "b"]
    assert rows[0].change == pytest.approx(-0.65)
    assert rows[0].by_model["ppo"].value == 0.25
    assert rows[0].by_model["ppo"].n == 20
    assert "ppo" not in rows[1].by_model


def test_replies_that_got_worse_come_first_and_suites_take_turns(tmp_path: Path) -> None:
    """SFT: over-refusal-0 and instructions-2, -3 got worse, harmful-1 better."""
    preferences = [
        ReplyPreference("sft", "jailbreaks", f"jailbreaks-{n}", f"harm-{n}", p, (3, 3))
        for n, p in enumerate((0.9, 0.4, 0.1, 0.5))
    ]
    evaluation = read_reported(make_evaluation(tmp_path / "eval", preferences=preferences))
    pairs = reply_pairs(evaluation, "sft", 100)
    items = [pair.after.item for pair in pairs]
    assert items[:3] == ["over-refusal-0", "instructions-2", "instructions-3"]
    assert items[3:6] == ["jailbreaks-2", "jailbreaks-1", "harmful-1"]
    assert pairs[3].preference == 0.1
    assert [pair.gain for pair in pairs[:6]] == [-1, -1, -1, 0, 0, 1]
    assert len(items) == len(set(items)) == 20
    assert reply_pairs(evaluation, "sft", 2) == pairs[:2]


# -- training ------------------------------------------------------------------------------------


def test_curves_of_what_was_trained_on_and_of_the_held_out_set(tmp_path: Path) -> None:
    folders = [make_evaluation(tmp_path / "eval"), make_training(tmp_path / "ppo")]
    (training,) = read_sources(folders).trainings
    curves = {curve.name: curve for curve in curves_of(training)}
    assert list(curves) == ["score", "second_reward", "reward", "kl", "harmful/refused"]
    assert curves["score"].trained == [(1, 0.0), (2, 1.0), (3, 2.0)]
    assert curves["score"].held_out == [(2, 0.5), (3, 0.25)]
    assert "Score 0 → 2, second reward 1 → −1, KL 0 → 9." in hacking(training)


def test_the_score_against_what_nothing_learns_from(tmp_path: Path) -> None:
    """The second reward at every step, and the suite at steps 2 and 3; nothing of SFT."""
    sft = [{"step": step, "held_out": False, "loss": 1.0, "harmful/refused": 0.5}
           for step in (1, 2)]  # fmt: skip
    folders = [make_training(tmp_path / "ppo"), make_training(tmp_path / "sft", sft, stage="sft")]
    ppo, other = read_sources([make_evaluation(tmp_path / "eval"), *folders]).trainings
    second, suite = contrasts_of(ppo)
    assert second.score == suite.score == [(1, 0.0), (2, 1.0), (3, 2.0)]
    assert second.truth == [(1, 1.0), (2, 0.5), (3, -1.0)]
    assert (suite.title, suite.truth) == ("harmful: refused", [(2, 0.75), (3, 0.5)])
    assert suite.steps == (1, 3)
    assert contrasts_of(other) == []


def test_suites_that_a_policy_was_asked_while_it_trained(tmp_path: Path) -> None:
    rows = [
        {"step": step, "held_out": True, "loss": 1.0, "harmful/refused": share}
        for step, share in ((0, 0.25), (5, 0.75))
    ]
    folders = [make_evaluation(tmp_path / "eval"), make_training(tmp_path / "sft", rows)]
    curves = curves_of(read_sources(folders).trainings[0])
    assert [curve.title for curve in curves] == ["Loss", "Suite harmful: refused"]
    assert curves[1].held_out == [(0, 0.25), (5, 0.75)]


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    folder = make_training(tmp_path / "ppo")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "held_')
    (training,) = read_sources([make_evaluation(tmp_path / "eval"), folder]).trainings
    assert len(training.metrics) == 5


# -- how numbers are written ---------------------------------------------------------------------


def test_numbers_as_they_are_written() -> None:
    assert numbers.estimate({"value": 0.2, "low": 0.057, "high": 0.51}, "share") == "20% (6%–51%)"
    assert numbers.estimate({"value": 1.144, "low": None, "high": None}) == "1.14"
    assert numbers.estimate(None) == "–"
    assert numbers.number(1.49e-8) == numbers.number(-1.49e-8) == "0"
    row = {"change": -0.1, "low": -0.313, "high": 0.004}
    assert numbers.change(row, "share") == "−10 pp (−31 to 0)"
    assert numbers.change(row) == "−0.1 (−0.31 to +0.004)"
    assert [numbers.p_value(p) for p in (None, 0.0001, 0.0078)] == [
        "not tested", "p < 0.001", "p 0.0078",
    ]  # fmt: skip
    assert [numbers.seconds(s) for s in (53.2, 600, 12_240)] == ["53 s", "10 min", "3.4 h"]
    kinds = ((True, 0.01), (False, 0.01), (None, 0.01), (False, 0.2), (False, None))
    verdicts = [{"better": better, "adjusted_p": p} for better, p in kinds]
    assert [numbers.verdict(v, 0.05) for v in verdicts] == [
        "better", "worse", "changed", "within chance", "within chance",
    ]  # fmt: skip
