"""How SFT, reward model and DPO take a step: a batch of rows under an objective.

A batch is cut into pieces that fit into memory, and every piece's loss is divided by the weight of
the whole batch, so that how it was cut changes nothing. Where memory runs out, the pieces are
halved and the batch is done again. The order of the rows is a function of the seed and the epoch,
so a run goes on from a checkpoint as if it had never stopped.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from cai.training.batches import pieces
from cai.training.budget import TokenBudget
from cai.training.loop import Sound, Taken, floats, need_numbers
from cai.training.updates import Updates

Example = TypeVar("Example")
Judged = TypeVar("Judged", contravariant=True)
Metrics: TypeAlias = dict[str, Tensor]
"""Parts of a batch's figures: the pieces of a batch add up to the batch's mean."""

_GPU_REPORTS = 10  # steps between looks at the figures on a GPU, each of which waits for it

Measure: TypeAlias = Callable[[Sequence[Example], float], Metrics]
"""Takes examples, and the weight of the batch that they are a part of."""


class Objective(Protocol[Judged]):
    """What is minimised."""

    def weight(self, example: Judged) -> float:
        """How much an example counts in its batch's mean: its tokens, or 1 a pair."""

    def tokens(self, example: Judged) -> int:
        """How many tokens the forward pass reads for an example."""

    def loss(self, examples: Sequence[Judged], total: float) -> tuple[Tensor, Metrics]:
        """The sum of the examples' losses divided by `total`, and the figures alike."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a run is, and what a step of it is."""

    batch_size: int
    epochs: float
    micro_tokens: int
    seed: int
    save_every: int = 1
    max_steps: int | None = None

    def steps(self, examples: int) -> int:
        """Optimizer steps on so many examples; the run's last batch may be smaller."""
        whole = math.ceil(round(self.epochs * examples, 6) / self.batch_size)
        return max(1, whole if self.max_steps is None else min(whole, self.max_steps))

    def rows(self, examples: int) -> int:
        """Rows that are read in all steps, each as often as it comes."""
        most = max(1, round(self.epochs * examples))
        return min(most, self.steps(examples) * self.batch_size)


class RowsTrainer(Generic[Example]):
    """Takes steps on examples under an objective.

    mode: turns dropout on (True) or off. name: what an example is called in a message. noise:
    figures of the first batch before any step, without dropout; they are logged with that step.
    """

    measure = "loss"
    higher_is_better = False
    stopped: str | None = None
    sound: Sound | None = None

    def __init__(
        self,
        mode: Callable[[bool], None],
        objective: Objective[Example],
        updates: Updates,
        train: Sequence[Example],
        test: Sequence[Example],
        plan: Plan,
        device: torch.device,
        name: Callable[[Example], str] = str,
        noise: Measure[Example] | None = None,
    ) -> None:
        self.mode = mode
        self.objective = objective
        self.updates = updates
        self.train = train
        self.test = test
        self.plan = plan
        self.device = device
        self.name = name
        self.noise = noise
        self.step = 0
        self.steps = plan.steps(len(train))
        self.budget = TokenBudget(plan.micro_tokens)
        self._training = False
        self._orders: dict[int, list[int]] = {}

    @property
    def done(self) -> bool:
        """As in `Trainer`."""
        return self.step >= self.steps

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """As in `Trainer`."""
        return self.updates.parameters

    def take(self) -> Taken:
        """As in `Trainer`: a gradient of a whole batch, clipped, and AdamW's step."""
        batch = self._batch(self.step)
        noise = self._start_noise(batch) if self.step == 0 else {}
        if not self._training:
            self._mode(True)
        figures = self._gradients(batch) | noise
        figures["gradient_norm"] = self.updates.clip()
        seen = self._looks()
        if seen:  # before a gradient that is no number reaches the weights
            need_numbers(floats(figures), self._where(batch), ", and look at those rows")
        self.updates.step(self.step)
        self.step += 1
        tokens = sum(map(self.objective.tokens, batch))
        if not seen:
            return Taken(None, tokens)
        rate = {"learning_rate": self.updates.schedule.rate(self.step - 1)}
        return Taken(floats(figures) | rate, tokens)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """As in `Trainer`: the objective's figures on the held-out rows."""
        if not self.test:
            return {}
        total = sum(map(self.objective.weight, self.test))
        self._mode(False)

        def figures(piece: Sequence[Example], total: float) -> Metrics:
            return self.objective.loss(piece, total)[1]

        return floats(
            self._within_memory(self.test, lambda: self._summed(self.test, figures, total))
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As in `Trainer`."""
        return self.updates.tensors(), {"step": self.step, "micro_tokens": self.budget.tokens}

    def load_state(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """As in `Trainer`, bit for bit on a CPU."""
        self.updates.restore(tensors)
        self.step = state["step"]
        self.budget.tokens = min(self.budget.tokens, state["micro_tokens"])

    def _mode(self, training: bool) -> None:
        self._training = training
        self.mode(training)

    # -- a batch --------------------------------------------------------------------------------

    def _batch(self, step: int) -> list[Example]:
        """The rows of a step: the next ones in an endless row of shuffled epochs."""
        size, rows = self.plan.batch_size, len(self.train)
        end = min((step + 1) * size, max(1, round(self.plan.epochs * rows)))
        places = [divmod(i, rows) for i in range(step * size, max(end, step * size + 1))]
        return [self.train[self._order(epoch)[i]] for epoch, i in places]

    def _order(self, epoch: int) -> list[int]:
        if epoch not in self._orders:
            order = list(range(len(self.train)))
            random.Random(f"order/{self.plan.seed}/{epoch}").shuffle(order)
            self._orders = {epoch: order} | {
                e: o for e, o in self._orders.items() if e == epoch - 1
            }
        return self._orders[epoch]

    def _gradients(self, batch: Sequence[Example]) -> Metrics:
        """Gradients of a whole batch, in pieces that fit into memory, and its mean figures."""
        total = sum(map(self.objective.weight, batch))

        def accumulate() -> Metrics:
            self.updates.clear()
            figures: Metrics = {}
            for piece in self._pieces(batch):
                loss, parts = self.objective.loss(piece, total)
                loss.backward()  # type: ignore[no-untyped-call]
                _add(figures, parts)
            return figures

        return self._within_memory(batch, accumulate)

    def _start_noise(self, batch: Sequence[Example]) -> Metrics:
        """What `noise` says of the first batch, read in the pieces of its step."""
        if self.noise is None:
            return {}
        measure = self.noise
        total = sum(map(self.objective.weight, batch))
        self._mode(False)
        # Gradients stay on, as in a step: without them some kernels are others.
        return self._within_memory(batch, lambda: self._summed(batch, measure, total))

    def _summed(
        self, examples: Sequence[Example], measure: Measure[Example], total: float
    ) -> Metrics:
        """Figures of examples, read in pieces that fit into memory."""
        sums: Metrics = {}
        for piece in self._pieces(examples):
            _add(sums, measure(piece, total))
        return sums

    def _within_memory(self, examples: Sequence[Example], work: Callable[[], Metrics]) -> Metrics:
        lengths = [self.objective.tokens(example) for example in examples]
        return self.budget.spend(work, lengths, self.device, self.updates.clear)

    def _pieces(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Examples of like length, so many together that they fit into memory."""
        lengths = [self.objective.tokens(example) for example in examples]
        return [[examples[i] for i in piece] for piece in pieces(lengths, self.budget.tokens)]

    # -- watching -------------------------------------------------------------------------------

    def _looks(self) -> bool:
        """Whether the figures are looked at in this step; always before one that is saved."""
        last = self.step + 1 == self.steps
        due = (self.step + 1) % self.plan.save_every == 0
        return last or due or self.device.type == "cpu" or self.step % _GPU_REPORTS == 0

    def _where(self, batch: Sequence[Example]) -> str:
        rows = ", ".join(map(self.name, batch[:8]))
        more = f" and {len(batch) - 8} more" if len(batch) > 8 else ""
        return f"of step {self.step + 1} (rows {rows}{more})"


def _add(sums: Metrics, parts: Metrics) -> None:
    for name, value in parts.items():
        sums[name] = sums[name] + value.detach() if name in sums else value.detach()
