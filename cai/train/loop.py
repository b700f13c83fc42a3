"""The loop of SFT, reward model and DPO. PPO, which makes its own data, has its own.

A batch is cut into pieces that fit into memory, and every piece's loss is divided by the weight of
the whole batch, so that how it was cut changes nothing. Where memory runs out, the pieces are
halved and the batch is done again. The order of the rows is a function of the seed and the epoch,
so a run goes on from a checkpoint as if it had never stopped.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor

from cai.errors import Interrupted, TrainingError
from cai.models.memory import free_cached, is_out_of_memory
from cai.train.batches import pieces
from cai.train.checkpoint import load_tensors, restore_rng, rng_tensors, save_tensors
from cai.train.signals import Patience
from cai.train.updates import Updates

Example = TypeVar("Example")
Judged = TypeVar("Judged", contravariant=True)
Metrics: TypeAlias = dict[str, Tensor]
"""Parts of a batch's figures: the pieces of a batch add up to the batch's mean."""

_GPU_REPORTS = 10  # steps between looks at the figures on a GPU, each of which waits for it


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
    """How long a run is, and when it saves and evaluates."""

    batch_size: int
    epochs: float
    micro_tokens: int
    seed: int
    save_every: int
    eval_every: int | None = None
    max_steps: int | None = None

    def steps(self, examples: int) -> int:
        """Optimizer steps on so many examples; an epoch's last batch may be smaller."""
        whole = math.ceil(round(self.epochs * examples, 6) / self.batch_size)
        return max(1, whole if self.max_steps is None else min(whole, self.max_steps))


@dataclass(frozen=True, slots=True)
class Report:
    """What is told after a step. figures: the batch's means, or those of the held-out rows."""

    step: int
    steps: int
    figures: dict[str, float]
    tokens_per_second: float
    seconds_left: float
    held_out: bool = False


@dataclass
class Loop(Generic[Example]):
    """Trains on examples under an objective, and keeps its state in `folder`.

    mode: turns dropout on (True) or off. name: what an example is called in a message.
    """

    mode: Callable[[bool], None]
    objective: Objective[Example]
    updates: Updates
    train: Sequence[Example]
    test: Sequence[Example]
    plan: Plan
    folder: Path
    accelerator: Accelerator
    tell: Callable[[Report], None]
    name: Callable[[Example], str] = str
    step: int = 0
    best: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = self.plan.steps(len(self.train))
        self.micro_tokens = self.plan.micro_tokens
        self.device = self.accelerator.device
        self._orders: dict[int, list[int]] = {}

    @property
    def checkpoint(self) -> Path:
        """The file that a stopped run goes on from."""
        return self.folder / "checkpoint.safetensors"

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint.is_file():
            return False
        tensors, state = load_tensors(self.checkpoint)
        self.updates.restore(tensors)
        restore_rng(tensors, self.device)
        self.step, self.best = state["step"], state["best"]
        return True

    def run(self) -> None:
        """Train to the end.

        Raises `Interrupted` after Ctrl-C, with the state saved, and `TrainingError` where the
        loss is no number or not even one example fits into memory.
        """
        self.mode(True)
        began, first, tokens = time.monotonic(), self.step, 0
        last: Metrics = {}
        with Patience() as patience:
            while self.step < self.steps:
                batch = self._batch(self.step)
                last = self._accumulate(batch)
                norm = self.updates.clip()
                tokens += sum(map(self.objective.tokens, batch))
                seen = self._looks()
                if seen:
                    self._check(last | {"gradient_norm": norm}, batch)
                self.updates.step(self.step)
                self.step += 1
                if seen:
                    spent = time.monotonic() - began
                    left = spent / (self.step - first) * (self.steps - self.step)
                    figures = _floats(last | {"gradient_norm": norm})
                    figures["learning_rate"] = self.updates.schedule.rate(self.step - 1)
                    self.tell(Report(self.step, self.steps, figures, tokens / spent, left))
                self._evaluate_when_due()
                if self.step % self.plan.save_every == 0 or self.step == self.steps:
                    self.save()
                if patience.over and self.step < self.steps:
                    self.save()
                    raise Interrupted(
                        f"Stopped after step {self.step} of {self.steps}; all is kept.",
                        hint="Run the same command again to go on.",
                    )

    def save(self) -> None:
        """Write the checkpoint."""
        if self.accelerator.is_main_process:
            tensors = {**self.updates.tensors(), **rng_tensors(self.device)}
            save_tensors(self.checkpoint, tensors, {"step": self.step, "best": self.best})

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The objective's figures on the held-out rows."""
        total = sum(map(self.objective.weight, self.test))
        sums: Metrics = {}
        self.mode(False)
        for piece in self._pieces(self.test):
            _, figures = self.objective.loss(piece, total)
            _add(sums, figures)
        self.mode(True)
        return _floats(sums)

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

    def _accumulate(self, batch: Sequence[Example]) -> Metrics:
        """Gradients of a whole batch, in pieces that fit into memory."""
        total = sum(map(self.objective.weight, batch))
        mine = batch[self.accelerator.process_index :: self.accelerator.num_processes]
        while True:
            self.updates.clear()
            figures: Metrics = {}
            try:
                for piece in self._pieces(mine):
                    loss, parts = self.objective.loss(piece, total)
                    loss.backward()  # type: ignore[no-untyped-call]
                    _add(figures, parts)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._halve(mine)
        if self.accelerator.num_processes > 1:
            self._sum_over_processes(figures)
        return figures

    def _halve(self, batch: Sequence[Example]) -> None:
        """Memory ran out: smaller pieces from now on."""
        self.updates.clear()
        free_cached(self.device)
        largest = max(map(self.objective.tokens, batch))
        if self.micro_tokens <= largest:
            raise TrainingError(
                f"Out of memory on {self.device} with a single example of {largest} tokens",
                hint="Lower --max-length, or set --gradient-checkpointing or --dtype bfloat16.",
            )
        self.micro_tokens = max(largest, self.micro_tokens // 2)

    def _pieces(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Examples of like length, so many together that they fit into memory."""
        lengths = [self.objective.tokens(example) for example in examples]
        return [[examples[i] for i in piece] for piece in pieces(lengths, self.micro_tokens)]

    def _sum_over_processes(self, figures: Metrics) -> None:
        for parameter in self.updates.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = self.accelerator.reduce(parameter.grad, "sum")
        for name, value in figures.items():
            figures[name] = self.accelerator.reduce(value, "sum")

    # -- watching -------------------------------------------------------------------------------

    def _looks(self) -> bool:
        """Whether the figures are looked at after this step."""
        last = self.step + 1 == self.steps
        due = (self.step + 1) % self.plan.save_every == 0
        return last or due or self.device.type == "cpu" or self.step % _GPU_REPORTS == 0

    def _check(self, figures: Metrics, batch: Sequence[Example]) -> None:
        """Stop before a gradient that is no number reaches the weights."""
        for name, value in figures.items():
            if not math.isfinite(value.item()):
                rows = ", ".join(map(self.name, batch[:8]))
                more = f" and {len(batch) - 8} more" if len(batch) > 8 else ""
                raise TrainingError(
                    f"The {name} of step {self.step + 1} is not a number (rows {rows}{more})",
                    hint="The last checkpoint is kept. Try a lower --learning-rate or"
                    " --dtype float32, and look at those rows.",
                )

    def _evaluate_when_due(self) -> None:
        every = self.plan.eval_every or max(1, self.steps // 5)
        if not self.test or (self.step % every and self.step != self.steps):
            return
        figures = self.evaluate()
        self.tell(Report(self.step, self.steps, figures, 0.0, 0.0, held_out=True))
        if figures["loss"] < self.best.get("loss", math.inf):
            self.best = {"step": self.step, **figures}
            if self.accelerator.is_main_process:
                parameters = {f"parameter/{n}": p for n, p in self.updates.parameters.items()}
                save_tensors(self.folder / "best.safetensors", parameters, self.best)


def _add(sums: Metrics, parts: Metrics) -> None:
    for name, value in parts.items():
        sums[name] = sums[name] + value.detach() if name in sums else value.detach()


def _floats(figures: Metrics) -> dict[str, float]:
    return {name: value.item() for name, value in figures.items()}
