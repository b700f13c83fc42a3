"""What leaving out a principle changed in a trained model, over the same items, with its test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from cai.authoring.retraining.data import ALL, Sides, TrainingSide
from cai.authoring.retraining.steps import evaluation_folder
from cai.evaluation.measures import SuiteMeasure
from cai.evaluation.paired import PairedChange, holm, paired
from cai.evaluation.record import read_answers, read_evaluation
from cai.evaluation.results import item_value


class _Place(NamedTuple):
    suite: str
    item: str


@dataclass(frozen=True, slots=True)
class _Measured:
    """The main measure of each suite, of the models of one seed, item by item.

    values: side → suite and item → value; items to which the measure does not apply are left out.
    """

    measures: Mapping[str, SuiteMeasure]
    values: Mapping[str, Mapping[_Place, float]]
    clusters: Mapping[_Place, str]


@dataclass(frozen=True, slots=True)
class PrincipleEffect:
    """A principle left out, and a measure of the trained models.

    change: without the principle minus with it. control: with as many rows left out at random minus
    with all. beyond: without the principle minus that control. The last two are None where no fewer
    rows are left. by_seed: the change with each seed. adjusted: the p-value of `tested`, for the
    number of all that are tested (Holm).
    """

    principle: str
    suite: str
    measure: SuiteMeasure
    change: PairedChange
    control: PairedChange | None
    beyond: PairedChange | None
    by_seed: tuple[float, ...]
    adjusted: float | None = None

    @property
    def tested(self) -> PairedChange:
        """The change that is the principle's: beyond the control, where there is one."""
        return self.beyond or self.change

    @property
    def values(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "principle": self.principle, "suite": self.suite, "measure": self.measure.name,
            "title": self.measure.title, "kind": self.measure.kind, "better": self.measure.better,
            "before": _number(self.change.before), "after": _number(self.change.after),
            "change": _change(self.change), "control": self.control and _change(self.control),
            "beyond_control": self.beyond and _change(self.beyond),
            "by_seed": [_number(value) for value in self.by_seed],
            "tested": "beyond_control" if self.beyond else "change", "adjusted_p": self.adjusted,
        }  # fmt: skip


def effects_of(out: Path, sides: Sides, seeds: int) -> list[PrincipleEffect]:
    """The effects of all principles, from the evaluations in the folder of an ablation.

    An item's value is its mean over the seeds, so that intervals and tests, over clusters of items,
    are for these trainings. Raises `DataError` for an evaluation that can't be read.
    """
    names = [side.name for side in sides.trained]
    measured = [_measured(evaluation_folder(out, seed), names) for seed in range(seeds)]
    found = [
        effect
        for side in sides.without
        if side.name in names
        for effect in _effects(measured, side.principle, side.name, _name_of_control(sides, side))
    ]
    adjusted = holm([effect.tested.p_value for effect in found])
    return [replace(effect, adjusted=p) for effect, p in zip(found, adjusted, strict=True)]


def _name_of_control(sides: Sides, side: TrainingSide) -> str:
    control = sides.control_of(side)
    return control.name if control else ""


def _measured(folder: Path, names: Sequence[str]) -> _Measured:
    """names: of the sides, in the order of the evaluation's models."""
    record = read_evaluation(folder)
    measures = {
        row["suite"]: SuiteMeasure(row["measure"], row["title"], row["kind"], row["better"])
        for row in record["results"]
        if row["main"]
    }
    side_of = {m["name"]: side for m, side in zip(record["models"], names, strict=True)}
    values: dict[str, dict[_Place, float]] = {side: {} for side in names}
    clusters: dict[_Place, str] = {}
    for model, answer in read_answers(folder):
        if model not in side_of or answer.suite not in measures:
            continue  # a reward model's
        value = item_value(measures[answer.suite], answer.values)
        if value is not None and not math.isnan(value):
            place = _Place(answer.suite, answer.item)
            values[side_of[model]][place], clusters[place] = value, answer.cluster
    return _Measured(measures, values, clusters)


def _effects(
    measured: Sequence[_Measured], principle: str, side: str, control: str
) -> Iterator[PrincipleEffect]:
    for suite, measure in measured[0].measures.items():
        change = _paired(measured, suite, ALL, side)
        yield PrincipleEffect(
            principle, suite, measure, change,
            _paired(measured, suite, ALL, control) if control else None,
            _paired(measured, suite, control, side) if control else None,
            tuple(_paired([one], suite, ALL, side).change.value for one in measured),
        )  # fmt: skip


def _paired(measured: Sequence[_Measured], suite: str, before: str, after: str) -> PairedChange:
    """The change of a suite's measure between two sides, over items that both have a value of."""
    means, clusters = [], []
    for place in measured[0].clusters:
        if place.suite != suite:
            continue
        pairs = [
            (m.values[before][place], m.values[after][place])
            for m in measured
            if place in m.values[before] and place in m.values[after]
        ]
        if pairs:
            means.append(tuple(math.fsum(side) / len(pairs) for side in zip(*pairs, strict=True)))
            clusters.append(measured[0].clusters[place])
    return paired([first for first, _ in means], [second for _, second in means], clusters)


def _change(change: PairedChange) -> dict[str, Any]:
    e = change.change
    return {
        "value": _number(e.value), "low": _number(e.low), "high": _number(e.high), "n": e.n,
        "p": change.p_value, "test": change.test,
    }  # fmt: skip


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
