"""Results of an evaluation: counts with intervals, kept a seed at a time, and calibration."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cai.stats import Proportion, best_temperature, calibration_error, clustered, sigmoid

TIE = 0.15
"""A tie is called where the probability is this close to one half."""
RESAMPLED = 400
"""How often judgements are drawn anew for the interval of a calibration error."""
FEW_GROUPS = 100
"""Up to so many groups of a row stand in a results file one by one."""


def near_half(logit: float) -> bool:
    """Whether a logit's probability is near one half."""
    return abs(sigmoid(logit) - 0.5) <= TIE


class Calibration(NamedTuple):
    """How well probabilities hold: the temperature, and the expected calibration error under it.

    `interval` is the error's at 95 % (bootstrap, percentiles), `error_at_1` the error where
    nothing is divided, `ties` how many of the ties stay near one half at the temperature.
    """

    temperature: float
    error: float
    interval: tuple[float, float]
    error_at_1: float
    n: int
    ties: Proportion


@dataclass
class Findings:
    """Rows of yes and no by seed, and single metrics by seed.

    `groups` holds what of a row goes together: asked under one principle, say, or of one scenario.
    `judged` holds, by mode and part ("fit", "test" or "unseen"), pairs of a logit and whether it
    should have been positive, or how likely.
    """

    seed: int
    rows: dict[str, dict[int, Proportion]] = field(default_factory=dict)
    groups: dict[str, dict[str, Proportion]] = field(default_factory=dict)
    figures: dict[str, dict[int, float]] = field(default_factory=dict)
    judged: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)

    def note(
        self, row: str, values: Iterable[bool], groups: Sequence[Hashable] | None = None
    ) -> None:
        """Count the true values under a row's name; with `groups`, each value's group."""
        outcomes = list(values)
        self.rows.setdefault(row, {})[self.seed] = Proportion(sum(outcomes), len(outcomes))
        if groups is not None:
            names = list(map(str, groups))
            sizes = Counter(names)
            hits = Counter(name for name, hit in zip(names, outcomes, strict=True) if hit)
            self.groups[row] = {group: Proportion(hits[group], n) for group, n in sizes.items()}

    def figure(self, row: str, value: float) -> None:
        """Keep a metric that is not a share."""
        self.figures.setdefault(row, {})[self.seed] = value

    def judge(self, mode: str, part: str, logits: Sequence[float], truths: Sequence[float]) -> None:
        """Keep judgements for the calibration of a mode."""
        rows = zip(logits, truths, strict=True)
        self.judged.setdefault((mode, part), []).extend(rows)

    def add(self, other: Findings) -> None:
        """Add the findings of another seed, or of another part of this seed's evaluation."""
        for name, row in other.rows.items():
            self.rows.setdefault(name, {}).update(row)
        for name, groups in other.groups.items():
            mine = self.groups.setdefault(name, {})
            for group, tally in groups.items():
                mine[group] = mine.get(group, Proportion(0, 0)) + tally
        for name, values in other.figures.items():
            self.figures.setdefault(name, {}).update(values)
        for key, rows in other.judged.items():
            self.judged.setdefault(key, []).extend(rows)

    def pooled(self, row: str) -> Proportion:
        """A row's counts over all seeds."""
        tallies = self.rows[row].values()
        return Proportion(sum(t.hits for t in tallies), sum(t.n for t in tallies))

    def interval(self, row: str) -> tuple[float, float]:
        """95 % interval of a row over all seeds, clustered by its groups."""
        groups = self.groups.get(row)
        return clustered(list(groups.values())) if groups else self.pooled(row).interval

    def spread(self, row: str) -> tuple[float, float]:
        """The smallest and the largest share of a seed."""
        shares = [tally.share for tally in self.rows[row].values()]
        return min(shares), max(shares)

    def calibration(self, mode: str, part: str = "test") -> Calibration:
        """How well a mode's probabilities hold on a part, at the temperature fitted on "fit"."""
        temperature = best_temperature(self.judged[mode, "fit"])
        rows = self.judged.get((mode, part), [])
        rng = random.Random(f"bootstrap/{mode}/{part}")
        errors = sorted(
            calibration_error(rng.choices(rows, k=len(rows)), temperature)
            for _ in range(RESAMPLED if rows else 0)
        )
        return Calibration(
            temperature,
            calibration_error(rows, temperature),
            (errors[RESAMPLED // 40], errors[-1 - RESAMPLED // 40]) if errors else (0.0, 1.0),
            calibration_error(rows, 1.0),
            len(rows),
            Proportion(
                sum(near_half(logit / temperature) for logit, truth in rows if truth == 0.5),
                sum(truth == 0.5 for _, truth in rows),
            ),
        )

    def summary(self) -> dict[str, Any]:
        """Everything but single judgements, for a results file.

        `groups` is how many there are of a row, `by_group` their counts where that is a table that
        can be read.
        """
        rows = {
            name: {"hits": t.hits, "n": t.n, "share": _finite(t.share),
                   "interval": self.interval(name), "groups": len(self.groups.get(name, ())),
                   "by_seed": {str(s): [v.hits, v.n] for s, v in by_seed.items()},
                   **self._by_group(name)}
            for name, by_seed in self.rows.items() for t in (self.pooled(name),)
        }  # fmt: skip
        modes = sorted({mode for mode, _ in self.judged})
        calibration: dict[str, dict[str, Any]] = {}
        for mode in modes:
            held_out, unseen = self.calibration(mode), self.calibration(mode, "unseen")
            calibration[mode] = {
                "temperature": held_out.temperature, "ece": held_out.error, "n": held_out.n,
                "interval": held_out.interval, "ece_at_1": held_out.error_at_1,
                "ties_near_half": [held_out.ties.hits, held_out.ties.n],
            }  # fmt: skip
            if unseen.n:
                calibration[mode] |= {"ece_unseen": unseen.error, "n_unseen": unseen.n}
        figures = {
            name: {seed: _finite(value) for seed, value in values.items()}
            for name, values in self.figures.items()
        }
        return {"rows": rows, "figures": figures, "calibration": calibration}

    def _by_group(self, row: str) -> dict[str, Any]:
        groups = self.groups.get(row, {})
        if not 1 < len(groups) <= FEW_GROUPS:
            return {}
        return {"by_group": {group: [tally.hits, tally.n] for group, tally in groups.items()}}

    def to_json(self) -> dict[str, Any]:
        """The findings as JSON values, as `from_json` reads them."""
        return {
            "seed": self.seed,
            "rows": _nested(self.rows),
            "groups": _nested(self.groups),
            "figures": self.figures,
            "judged": [[*key, rows] for key, rows in self.judged.items()],
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Findings:
        """The findings that `to_json` wrote."""
        return cls(
            seed=state["seed"],
            rows={
                row: {int(seed): Proportion(*tally) for seed, tally in by_seed.items()}
                for row, by_seed in state["rows"].items()
            },
            groups={
                row: {group: Proportion(*tally) for group, tally in groups.items()}
                for row, groups in state["groups"].items()
            },
            figures={
                name: {int(seed): value for seed, value in values.items()}
                for name, values in state["figures"].items()
            },
            judged={
                (mode, part): [(logit, truth) for logit, truth in rows]
                for mode, part, rows in state["judged"]
            },
        )


def _finite(value: float) -> float | None:
    """The value, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def _nested(rows: Mapping[str, Mapping[Any, Proportion]]) -> dict[str, dict[str, list[int]]]:
    return {
        row: {str(key): [tally.hits, tally.n] for key, tally in tallies.items()}
        for row, tallies in rows.items()
    }
