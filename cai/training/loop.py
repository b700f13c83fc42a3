"""The loop of every stage: steps, figures, looks at what is held out, checkpoints, Ctrl-C.

What a step is, the stage's trainer knows: a batch of rows (`cai.training.rows`), or a rollout and
the epochs that learn from it (`cai.training.ppo`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cai.errors import Interrupted, TrainingError
from cai.training.checkpoint import load_tensors, restore_rng, rng_tensors, save_tensors
from cai.training.signals import Patience


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step came to.

    figures: its means; None where nobody looked, so as not to wait for a GPU. tokens: how many were
    read or written.
    """

    figures: dict[str, float] | None
    tokens: int


def floats(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Figures as plain numbers; waits for the device that they are on."""
    return {name: value.item() for name, value in figures.items()}


def need_numbers(figures: Mapping[str, float], when: str, advice: str = "") -> None:
    """Raise `TrainingError` where a figure is no number; when: of which step or rows it is."""
    for name, value in figures.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"The {name} {when} is not a number",
                hint=f"Try a lower --learning-rate or --dtype float32, with another --out{advice}."
                " The same command goes on from the last checkpoint, where there is one.",
            )


@dataclass(frozen=True, slots=True)
class Sound:
    """Parameters of a policy before it showed a sign of harm, and the step that they are of."""

    step: int
    tensors: dict[str, Tensor]


class Trainer(Protocol):
    """What a stage does in a step, and what it keeps between steps."""

    step: int
    """Steps taken."""
    measure: str
    """The figure of `evaluate` by which weights are compared."""
    higher_is_better: bool
    stopped: str | None
    """Why it ended before its last step."""
    sound: Sound | None
    """For one that may end so: what to go back to."""

    @property
    def steps(self) -> int:
        """All steps that are to be taken."""

    @property
    def done(self) -> bool:
        """Whether they are taken, or it stopped itself."""

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """What is trained, by name."""

    def take(self) -> Taken:
        """Take a step. Raises `TrainingError` where it can't be taken."""

    def evaluate(self) -> dict[str, float]:
        """Figures of what is held out; none where nothing is."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a resumed run needs: tensors by name, and plain values for JSON."""

    def load_state(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is told after a step. figures: the step's means, or those of what is held out."""

    step: int
    steps: int
    figures: dict[str, float]
    tokens_per_second: float
    seconds_left: float
    held_out: bool = False


@dataclass
class Loop:
    """Runs a trainer to its end, and keeps its state in `folder`.

    save_every, eval_every: steps between; None evaluates five times at most.
    """

    trainer: Trainer
    folder: Path
    save_every: int
    device: torch.device
    tell: Callable[[Report], None]
    eval_every: int | None = None
    best: dict[str, Any] = field(default_factory=dict)
    """Step and figures of the best weights so far, which are in best.safetensors."""

    @property
    def checkpoint(self) -> Path:
        """The file that a stopped run goes on from."""
        return self.folder / "checkpoint.safetensors"

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint.is_file():
            return False
        tensors, state = load_tensors(self.checkpoint)
        self.trainer.load_state(tensors, state["trainer"])
        restore_rng(tensors, self.device)
        self.best = state["best"]
        return True

    def run(self) -> None:
        """Train to the end.

        Raises `Interrupted` after Ctrl-C, with the state saved, and what a step raises.
        """
        began, first, tokens = time.monotonic(), self.trainer.step, 0
        with Patience() as patience:
            while not self.trainer.done:
                taken = self.trainer.take()
                tokens += taken.tokens
                step, steps = self.trainer.step, self.trainer.steps
                if taken.figures is not None:
                    spent = time.monotonic() - began
                    left = spent / (step - first) * (steps - step)
                    self.tell(Report(step, steps, taken.figures, tokens / spent, left))
                self._evaluate_when_due()
                if step % self.save_every == 0 or self.trainer.done:
                    self.save()
                if patience.over and not self.trainer.done:
                    self.save()
                    raise Interrupted(
                        f"Stopped after step {step} of {steps}; all is kept.",
                        hint="Run the same command again to go on.",
                    )

    def save(self) -> None:
        """Write the checkpoint."""
        self._check_weights()
        tensors, state = self.trainer.state()
        save_tensors(
            self.checkpoint,
            {**tensors, **rng_tensors(self.device)},
            {"trainer": state, "best": self.best},
        )

    def _check_weights(self) -> None:
        """Nothing is saved that is no number: a step can spoil weights that its loss did not."""
        finite = [p.detach().isfinite().all() for p in self.trainer.parameters.values()]
        if not torch.stack(finite).all().item():
            raise TrainingError(
                f"The weights after step {self.trainer.step} are not numbers",
                hint="Try a lower --learning-rate or --dtype float32.",
            )

    def _evaluate_when_due(self) -> None:
        trainer = self.trainer
        if trainer.stopped is not None:
            self.best = {}  # what a look found best may be what the signs are of
            if trainer.sound is not None:
                self._keep_best({"step": trainer.sound.step}, trainer.sound.tensors)
            return
        every = self.eval_every or math.ceil(trainer.steps / 5)
        if trainer.step % every and trainer.step != trainer.steps:
            return
        self._check_weights()
        figures = trainer.evaluate()
        if not figures:
            return
        need_numbers(figures, f"of what is held out, after step {trainer.step},")
        self.tell(Report(trainer.step, trainer.steps, figures, 0.0, 0.0, held_out=True))
        sign = 1 if trainer.higher_is_better else -1
        if sign * figures[trainer.measure] > sign * self.best.get(
            trainer.measure, -sign * math.inf
        ):
            self._keep_best({"step": trainer.step, **figures}, trainer.parameters)

    def _keep_best(self, best: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.best = best
        named = {f"parameter/{name}": tensor for name, tensor in tensors.items()}
        save_tensors(self.folder / "best.safetensors", named, best)
