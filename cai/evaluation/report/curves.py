"""What a training run's metrics say, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cai.evaluation.report.numbers import number
from cai.evaluation.report.sources import ReportedTraining

Course: TypeAlias = Sequence[tuple[int, float]]
"""Step and value."""

METRICS = {
    "score": "Score by the reward that it learns from",
    "second_reward": "Second reward, which nothing learns from",
    "reward": "Reward: the scaled score less the KL penalty",
    "kl": "KL to the reference, nats a response",
    "accuracy": "Accuracy on pairs",
    "loss": "Loss",
}
"""Metrics that a report draws, with their titles. Losses are drawn where there is no reward."""


@dataclass(frozen=True, slots=True)
class MetricCurve:
    """A metric over training: of the rows that were trained on, and of the held-out set."""

    name: str
    title: str
    trained: Course
    held_out: Course


@dataclass(frozen=True, slots=True)
class Contrast:
    """The score that a policy learns from, and a measure that nothing learns from, over steps.

    name: the measure's, as it is logged.
    """

    name: str
    title: str
    score: Course
    truth: Course

    @property
    def steps(self) -> tuple[int, int]:
        """The first and the last step of both."""
        steps = [step for step, _ in (*self.score, *self.truth)]
        return min(steps), max(steps)


def contrasts_of(training: ReportedTraining) -> list[Contrast]:
    """The score beside the second reward and beside each suite that was asked meanwhile.

    The held-out score is none: what it is scored by is learned from. A measure of a single step is
    left out; without a score there are none.
    """
    curves = {curve.name: curve for curve in curves_of(training)}
    score = curves.get("score")
    if score is None:
        return []
    titles = {"second_reward": "the second reward"}
    titles |= {name: name.replace("/", ": ") for name in curves if "/" in name}
    return [
        Contrast(name, title, score.trained or score.held_out, curve.trained or curve.held_out)
        for name, title in titles.items()
        if (curve := curves.get(name)) is not None
    ]


def curves_of(training: ReportedTraining) -> list[MetricCurve]:
    """The curves of a run, in the order of `METRICS`, then those of suites (`cai train --monitor`).

    A metric of a single step is left out.
    """
    logged = dict.fromkeys(name for row in training.metrics for name in row)
    names = [name for name in METRICS if name in logged]
    if "reward" in names:
        names = [name for name in names if name != "loss"]
    titles = {name: METRICS[name] for name in names}
    titles |= {name: "Suite " + name.replace("/", ": ") for name in logged if "/" in name}
    curves = [
        MetricCurve(
            name, title, _line(training.metrics, name, held_out=False),
            _line(training.metrics, name, held_out=True),
        )
        for name, title in titles.items()
    ]  # fmt: skip
    return [curve for curve in curves if max(len(curve.trained), len(curve.held_out)) > 1]


def _line(rows: Sequence[Mapping[str, Any]], name: str, *, held_out: bool) -> Course:
    return [
        (row["step"], float(row[name])) for row in rows
        if row["held_out"] is held_out and _is_number(row.get(name))
    ]  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def hacking(training: ReportedTraining) -> str:
    """How score and second reward went between the first and the last trained step; "" without."""
    found = {}
    for name in ("score", "second_reward", "kl"):
        line = _line(training.metrics, name, held_out=False)
        if len(line) < 2:
            return ""
        found[name] = f"{number(line[0][1])} → {number(line[-1][1])}"
    return f"Score {found['score']}, second reward {found['second_reward']}, KL {found['kl']}."
