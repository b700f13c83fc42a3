"""What an evaluation found: counts with intervals, kept a seed at a time, and calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cai.stats import Tally, best_temperature, calibration_error


@dataclass
class Findings:
    """Rows of yes and no by seed, and single figures by seed.

    `judged` holds, by mode and part ("fit" or "test"), pairs of a logit and whether it should have
    been positive.
    """

    seed: int
    rows: dict[str, dict[int, Tally]] = field(default_factory=dict)
    figures: dict[str, dict[int, float]] = field(default_factory=dict)
    judged: dict[tuple[str, str], list[tuple[float, bool]]] = field(default_factory=dict)

    def note(self, row: str, values: Iterable[bool]) -> None:
        """Count the true values under a row's name."""
        found = list(values)
        self.rows.setdefault(row, {})[self.seed] = Tally(sum(found), len(found))

    def figure(self, row: str, value: float) -> None:
        """Keep a figure that is no share."""
        self.figures.setdefault(row, {})[self.seed] = value

    def judge(self, mode: str, part: str, logits: Sequence[float], truths: Sequence[bool]) -> None:
        """Keep judgements for the calibration of a mode."""
        rows = zip(logits, truths, strict=True)
        self.judged.setdefault((mode, part), []).extend(rows)

    def add(self, other: Findings) -> None:
        """Take in what another seed, or another part of this seed's evaluation, found."""
        for name, row in other.rows.items():
            self.rows.setdefault(name, {}).update(row)
        for name, values in other.figures.items():
            self.figures.setdefault(name, {}).update(values)
        for key, rows in other.judged.items():
            self.judged.setdefault(key, []).extend(rows)

    def pooled(self, row: str) -> Tally:
        """A row's counts over all seeds."""
        tallies = self.rows[row].values()
        return Tally(sum(t.hits for t in tallies), sum(t.n for t in tallies))

    def spread(self, row: str) -> tuple[float, float]:
        """The smallest and the largest share of a seed."""
        shares = [tally.share for tally in self.rows[row].values()]
        return min(shares), max(shares)

    def calibration(self, mode: str) -> tuple[float, float, int]:
        """(temperature fitted on one part, expected calibration error on the other, its n)."""
        fit, test = self.judged[mode, "fit"], self.judged[mode, "test"]
        temperature = best_temperature(fit)
        return temperature, calibration_error(test, temperature), len(test)

    def to_json(self) -> dict[str, Any]:
        """Everything but single judgements, for a results file."""
        rows = {
            name: {"hits": t.hits, "n": t.n, "share": t.share, "interval": t.interval,
                   "by_seed": {str(s): [v.hits, v.n] for s, v in by_seed.items()}}
            for name, by_seed in self.rows.items() for t in (self.pooled(name),)
        }  # fmt: skip
        modes = sorted({mode for mode, _ in self.judged})
        calibration = {
            mode: dict(zip(("temperature", "ece", "n"), self.calibration(mode), strict=True))
            for mode in modes
        }
        return {"rows": rows, "figures": self.figures, "calibration": calibration}
