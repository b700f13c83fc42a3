"""What a round's evaluation says: better than the round before, worse than the start, neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cai.rounds.steps import HELD_OUT

P_VALUE = 0.05
"""A measure is worse beyond chance where its adjusted p-value is below this."""


@dataclass(frozen=True, slots=True)
class RoundMeasure:
    """A round, measured on the held-out prompts by the held-out judge, and on suites.

    win_rate, low, high: against the round before (the first one: against the start), with the
    interval over prompts. from_start: the win rate against the start. goodness, violations: the
    judge's mean logit and share of answers that break a principle; words: mean length. worse: what
    is worse than at the start, in words.
    """

    win_rate: float
    low: float
    high: float
    from_start: float
    goodness: float | None
    violations: float | None
    words: float | None
    worse: tuple[str, ...]

    @property
    def is_better(self) -> bool:
        """Whether the judge prefers it to the round before, beyond chance."""
        return self.low > 0.5

    @property
    def row(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def round_measure(from_start: Mapping[str, Any], from_before: Mapping[str, Any]) -> RoundMeasure:
    """The measure of a round, from the records of its evaluations.

    from_start: of start and round. from_before: of the round before and the round; the same record
    in the first round.
    """
    step = _win_rate(from_before)
    results = {
        r["measure"]: r["value"]
        for r in from_start["results"]
        if r["suite"] == HELD_OUT and r["model"] == from_start["models"][-1]["name"]
    }
    return RoundMeasure(
        win_rate=step["value"],
        low=step["low"],
        high=step["high"],
        from_start=_win_rate(from_start)["value"],
        goodness=results.get("goodness"),
        violations=results.get("violation"),
        words=results.get("words"),
        worse=tuple(_worse(from_start)),
    )


def _win_rate(record: Mapping[str, Any]) -> Mapping[str, float]:
    found: Mapping[str, float] = next(
        rate["win_rate"] for rate in record["win_rates"] if rate["suite"] == HELD_OUT
    )
    return found


def _worse(record: Mapping[str, Any]) -> list[str]:
    """The main measures that are worse than at the start beyond chance, in words."""
    better = {(r["suite"], r["measure"]): r["better"] for r in record["results"] if r["main"]}
    out = []
    for change in record["changes"]:
        direction = better.get((change["suite"], change["measure"]))
        p = change["adjusted_p"]
        if direction is None or p is None or p >= P_VALUE:
            continue
        if (change["change"] > 0) == (direction == "lower") and change["change"]:
            out.append(
                f"{change['title']} on {change['suite']}: {change['before']:.3g} at the start,"
                f" {change['after']:.3g} now (p {p:.2g})"
            )
    return out


def reason_to_stop(measures: Sequence[RoundMeasure], patience: int) -> str:
    """Why a loop should end after these rounds, in words; empty if it should go on."""
    last = measures[-1]
    before = "the start" if len(measures) == 1 else f"round {len(measures) - 1}"
    if last.worse:
        return f"worse than the start: {'; '.join(last.worse)}"
    if last.high < 0.5:
        return (
            f"the held-out judge prefers the answers of {before}: win rate {last.win_rate:.0%}"
            f" ({last.low:.0%} to {last.high:.0%})"
        )
    recent = measures[-patience:]
    if len(recent) == patience and not any(m.is_better for m in recent):
        rounds = "the last round is" if patience == 1 else f"the last {patience} rounds are"
        return f"{rounds} not shown to be better than the one before"
    return ""


def best_round(measures: Sequence[RoundMeasure]) -> int:
    """The round to keep, counted from 1; 0 is the start.

    The last one that the judge prefers to the round that was kept before it, beyond chance, with
    nothing worse than at the start.
    """
    best = 0
    for number, measure in enumerate(measures, 1):
        if measure.is_better and not measure.worse:
            best = number
    return best
