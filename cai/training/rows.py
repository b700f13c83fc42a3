"""Steps on rows, for SFT, reward model, DPO and KTO: a batch of rows under an objective.

Every micro-batch's loss is divided by the weight of the whole batch, so that how the batch was cut
changes nothing. The order of the rows is a function of the seed and the epoch, so a run resumes
from a checkpoint as if it had never stopped.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from cai.training.micro_batches import Metrics, TokenBudget, sum_metrics
from cai.training.optimizer import Optimizer
from cai.training.trainer import LastGoodWeights, StepResult, floats, require_finite

ExampleT = TypeVar("ExampleT")
InputT = TypeVar("InputT", contravariant=True)

_GPU_REPORT_STEPS = 10  # between reads of the metrics on a GPU, each of which waits for it

Measure: TypeAlias = Callable[[Sequence[ExampleT], float], Metrics]
"""Takes examples, and the weight of the batch that they are a part of."""
BeforeBatch: TypeAlias = Callable[[Sequence[ExampleT], TokenBudget], None]
"""Takes all examples of a batch, and the budget in which to read them."""


class Objective(Protocol[InputT]):
    """A loss to be minimised."""

    def weight(self, example: InputT) -> float:
        """How much an example counts in its batch's mean: its tokens, or 1 a pair."""

    def tokens(self, example: InputT) -> int:
        """How many tokens the forward pass reads for an example."""

    def loss(self, examples: Sequence[InputT], total: float) -> tuple[Tensor, Metrics]:
        """The sum of the examples' losses divided by `total`, and the metrics alike."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The number of steps in a run, and the size of each."""

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


class RowsTrainer(Generic[ExampleT]):
    """Takes steps on examples under an objective.

    set_training: turns dropout on (True) or off. noise: metrics of the first batch before any step,
    without dropout; they are logged with that step. before_batch: called before the objective reads
    any part of a batch, without dropout or gradients: for what depends on the batch as a whole.
    """

    best_metric = "loss"
    higher_is_better = False
    comparable = True
    stopped: str | None = None
    """Why a monitor ended the run."""
    last_good: LastGoodWeights | None = None

    def __init__(
        self,
        set_training: Callable[[bool], None],
        objective: Objective[ExampleT],
        optimizer: Optimizer,
        train: Sequence[ExampleT],
        test: Sequence[ExampleT],
        plan: StepPlan,
        device: torch.device,
        noise: Measure[ExampleT] | None = None,
        before_batch: BeforeBatch[ExampleT] | None = None,
    ) -> None:
        self.set_training = set_training
        self.objective = objective
        self.optimizer = optimizer
        self.train = train
        self.test = test
        self.plan = plan
        self.device = device
        self.noise = noise
        self.before_batch = before_batch
        self.step = 0
        self.steps = plan.steps(len(train))
        self.budget = TokenBudget(plan.micro_tokens)
        self._training = False
        self._orders: dict[int, array[int]] = {}

    @property
    def done(self) -> bool:
        """As in `Trainer`."""
        return self.step >= self.steps or self.stopped is not None

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """As in `Trainer`."""
        return self.optimizer.parameters

    def train_step(self) -> StepResult:
        """As in `Trainer`: a gradient of a whole batch, clipped, and AdamW's step."""
        batch = self._batch(self.step)
        noise = self._start_noise(batch) if self.step == 0 else {}
        if not self._training:
            self._set_training(True)
        metrics = self._gradients(batch) | noise
        metrics["gradient_norm"] = self.optimizer.clip()
        report = self._reports()
        if report:  # before a gradient that is not finite reaches the weights
            require_finite(floats(metrics), self._where(batch), ", and look at those rows")
        self.optimizer.step(self.step)
        self.step += 1
        tokens = sum(map(self.objective.tokens, batch))
        if not report:
            return StepResult(None, tokens)
        rate = {"learning_rate": self.optimizer.schedule.rate(self.step - 1)}
        return StepResult(floats(metrics) | rate, tokens)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """As in `Trainer`: the objective's metrics on the held-out rows."""
        if not self.test:
            return {}
        self._set_training(False)
        return floats(
            self._measure(self.test, lambda some, total: self.objective.loss(some, total)[1])
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As in `Trainer`."""
        return self.optimizer.tensors(), {
            "step": self.step, "micro_tokens": self.budget.tokens, "stopped": self.stopped,
        }  # fmt: skip

    def load_state(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """As in `Trainer`, bit for bit on a CPU."""
        self.optimizer.restore(tensors)
        self.step = state["step"]
        self.stopped = state.get("stopped")
        self.budget.tokens = min(self.budget.tokens, state["micro_tokens"])

    def _set_training(self, training: bool) -> None:
        self._training = training
        self.set_training(training)

    # -- a batch --------------------------------------------------------------------------------

    def _batch(self, step: int) -> list[ExampleT]:
        """The rows of a step: the next ones in an endless stream of shuffled epochs."""
        size, rows = self.plan.batch_size, len(self.train)
        end = min((step + 1) * size, max(1, round(self.plan.epochs * rows)))
        positions = [divmod(i, rows) for i in range(step * size, max(end, step * size + 1))]
        return [self.train[self._order(epoch)[i]] for epoch, i in positions]

    def _order(self, epoch: int) -> array[int]:
        if epoch not in self._orders:
            order = array("L", range(len(self.train)))
            random.Random(f"order/{self.plan.seed}/{epoch}").shuffle(order)
            self._orders = {epoch: order} | {
                e: o for e, o in self._orders.items() if e == epoch - 1
            }
        return self._orders[epoch]

    def _gradients(self, batch: Sequence[ExampleT]) -> Metrics:
        """Accumulate the gradients of a whole batch; returns its mean metrics."""

        total = sum(map(self.objective.weight, batch))
        lengths = [self.objective.tokens(example) for example in batch]

        def loss(indices: Sequence[int]) -> tuple[Tensor, Metrics]:
            return self.objective.loss([batch[i] for i in indices], total)

        self.optimizer.clear()
        self._begin(batch)
        return self.budget.accumulate(loss, lengths, self.device, clear=self.optimizer.clear)

    @torch.no_grad()
    def _begin(self, batch: Sequence[ExampleT]) -> None:
        """Look at a whole batch before it is read in parts."""
        if self.before_batch is None:
            return
        training = self._training
        self._set_training(False)
        self.before_batch(batch, self.budget)
        self._set_training(training)

    def _start_noise(self, batch: Sequence[ExampleT]) -> Metrics:
        """The metrics of `noise` on the first batch, computed in the micro-batches of its step."""
        if self.noise is None:
            return {}
        self._set_training(False)
        # Gradients stay on, as in a step: without them some kernels are others.
        return self._measure(batch, self.noise)

    def _measure(self, examples: Sequence[ExampleT], measure: Measure[ExampleT]) -> Metrics:
        """Metrics of examples, a micro-batch at a time."""
        total = sum(map(self.objective.weight, examples))
        lengths = [self.objective.tokens(example) for example in examples]

        self._begin(examples)

        def share(batch: Sequence[int]) -> Metrics:
            metrics = measure([examples[i] for i in batch], total)
            return {name: value.detach() for name, value in metrics.items()}

        return sum_metrics(self.budget.map(share, lengths, self.device, clear=self.optimizer.clear))

    # -- watching -------------------------------------------------------------------------------

    def _reports(self) -> bool:
        """Whether this step's metrics are read; always before a step that is saved."""
        last = self.step + 1 == self.steps
        due = (self.step + 1) % self.plan.save_every == 0
        return last or due or self.device.type == "cpu" or self.step % _GPU_REPORT_STEPS == 0

    def _where(self, batch: Sequence[ExampleT]) -> str:
        rows = ", ".join(str(getattr(example, "id", example)) for example in batch[:8])
        more = f" and {len(batch) - 8} more" if len(batch) > 8 else ""
        return f"of step {self.step + 1} (rows {rows}{more})"
