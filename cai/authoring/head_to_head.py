"""Whether the judge prefers the final response from before an edit or from after it.

The pair is judged by `compare`, under a constitution's principles for feedback, like a pair of a
build. A weakened principle can't see what it lets pass, so the old constitution judges too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cai.authoring.effects import PromptDiff
from cai.data.counts import NEAR_TIE
from cai.errors import Interrupted
from cai.pipeline.build import Models
from cai.pipeline.compare import preference
from cai.pipeline.drive import PromptTask, Tally, drive
from cai.pipeline.fixed_texts import compare_texts
from cai.pipeline.steps import Draws
from cai.stats import Proportion
from cai.store.store import Store
from cai.types import Comparison, Constitution


@dataclass(frozen=True, slots=True)
class WinTieLoss:
    """How often the later response is judged better. A tie is a probability near 0.5."""

    wins: int
    ties: int
    losses: int

    @classmethod
    def of(cls, probabilities: Iterable[float]) -> WinTieLoss:
        """Count from the probabilities that the later response is better."""
        distances = [p - 0.5 for p in probabilities]
        ties = sum(abs(d) < NEAR_TIE for d in distances)
        wins = sum(d >= NEAR_TIE for d in distances)
        return cls(wins, ties, len(distances) - ties - wins)

    @property
    def rate(self) -> Proportion:
        """The win rate, ties left out."""
        return Proportion(self.wins, self.wins + self.losses)


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """The judge's verdicts under one constitution.

    later: prompt id → the probability that the later response is better.
    """

    overall: WinTieLoss
    principles: Mapping[str, WinTieLoss]
    later: Mapping[str, float]


def head_to_head(
    over: Sequence[PromptDiff],
    constitution: Constitution,
    models: Models,
    store: Store,
    draws: Draws,
    tally: Tally,
    *,
    tick: Callable[[], None] = lambda: None,
) -> HeadToHead:
    """Judge every row whose final responses differ; results are kept in the store.

    tally: counts the steps that were generated and reused. Raises `Interrupted` on Ctrl-C.
    """
    comparisons: dict[str, Comparison] = {}

    def keep(task: PromptTask[Comparison], comparison: Comparison) -> None:
        comparisons[task.prompt.id] = comparison

    tasks = (
        PromptTask(f"judged/{row.prompt.id}", row.prompt,
             compare_texts(row.prompt, constitution, draws, row.before.final, row.after.final))
        for row in over if not row.same
    )  # fmt: skip
    with store.lock():
        try:
            drive(
                tasks, models.by_role, store, tally, finish=keep, give_up=lambda *_: None, tick=tick
            )
        except KeyboardInterrupt:
            raise Interrupted(
                f"Stopped: {tally.finished} pairs of final responses are judged and kept.",
                hint="Run the same command again to resume.",
            ) from None
    return _head_to_head(comparisons, constitution)


def _head_to_head(comparisons: Mapping[str, Comparison], constitution: Constitution) -> HeadToHead:
    members = constitution.phase("rl")
    by_principle: dict[str, list[float]] = {m.principle.id: [] for m in members}
    for comparison in comparisons.values():
        for judgement in comparison.judgements:
            before = preference(constitution, members, [judgement])
            by_principle[judgement.principle_id].append(1 - before)
    later = {name: 1 - comparison.probability for name, comparison in comparisons.items()}
    return HeadToHead(
        WinTieLoss.of(later.values()),
        {name: WinTieLoss.of(ps) for name, ps in by_principle.items()},
        later,
    )
