"""What a run has cost so far, and its budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from cai.backends.base import Throughput
from cai.errors import BudgetError
from cai.pipeline.drive import Tally
from cai.store.records import RunEvent

T = TypeVar("T")


class Spender(Protocol):
    """Models whose tokens cost something."""

    @property
    def throughput(self) -> Throughput:
        """Tokens and cost so far."""
        ...


def spent_before(events: Iterable[RunEvent]) -> float:
    """The cost of a run's earlier calls, as its events record it.

    A call that was killed recorded none.
    """
    return math.fsum(event.detail.get("cost", 0.0) for event in events)


class Spending:
    """Ends a stream of tasks when the budget of a run is spent.

    Tasks that have begun go on to their end, so that nothing that was paid for is lost; what they
    still cost is beyond the budget.
    """

    def __init__(self, budget: float | None, before: float, models: Spender) -> None:
        self._budget, self._before, self._models = budget, before, models
        self._stopped = False

    @property
    def cost(self) -> float:
        """The cost of all calls of the run."""
        return self._before + self._models.throughput.cost

    def within(self, tasks: Iterator[T]) -> Iterator[T]:
        """The tasks, until the budget is spent."""
        for task in tasks:
            if self._budget is not None and self.cost >= self._budget:
                self._stopped = True
                return
            yield task

    def require_rest(self, tally: Tally) -> None:
        """Raise `BudgetError` if the tasks were ended early."""
        if self._stopped:
            raise BudgetError(
                f"The budget of {self._budget:g} is spent ({self.cost:.4g} in all):"
                f" {tally.finished} of {tally.total} tasks are finished and kept.",
                hint="Run the same command again with a larger --budget to go on.",
            )
