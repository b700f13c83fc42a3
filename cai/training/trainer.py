"""The interface of a trainer: steps, evaluation, state, results.

`cai.training.loop` needs a `Trainer`. `cai train` needs a `StageTrainer`: SFT, reward model,
DPO and KTO (`cai.training.offline`) and PPO (`cai.training.ppo`) are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from torch import Tensor, nn

from cai.errors import TrainingError
from cai.models.backbone import Backbone
from cai.training.folder import Facts
from cai.types import SetAside

OnProgress: TypeAlias = Callable[[int, int], None]
"""Takes how much of a long piece of work is done, and all of it."""

LearnedUnit: TypeAlias = Literal["token", "row", "response"]
"""What the loss of a stage learns from."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step.

    metrics: its means; None where they were left on the GPU, so as not to wait for it. tokens: how
    many were read or written.
    """

    metrics: dict[str, float] | None
    tokens: int


@dataclass(frozen=True, slots=True)
class LastGoodWeights:
    """Parameters before the monitors raised an alarm, and the step that they are of."""

    step: int
    tensors: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Workload:
    """The size of a run: rows (prompts, for PPO) to train on and held out, tokens, steps.

    tokens: that are read in training; for PPO the most that may be written. longest: tokens of the
    longest example. signal, signals: what the loss learns from and how many of it there are, each
    counted once: tokens of responses, rows (a pair is one), or responses that are sampled.
    other_models: those that are held beside the backbone.
    """

    rows: int
    held_out: int
    tokens: int
    steps: int
    longest: int
    signal: LearnedUnit
    signals: int
    other_models: Sequence[nn.Module] = ()


class Trainer(Protocol):
    """Takes steps, evaluates, and keeps its state between steps."""

    step: int
    """Steps taken."""
    best_metric: str
    """The metric of `evaluate` by which weights are compared."""
    higher_is_better: bool
    stopped: str | None
    """Why it stopped before its last step; None while it has not."""
    last_good: LastGoodWeights | None
    """The weights to go back to after that; None for a trainer that never stops early."""

    @property
    def steps(self) -> int:
        """Number of steps in the run."""

    @property
    def done(self) -> bool:
        """Whether all steps are taken, or it stopped before."""

    @property
    def comparable(self) -> bool:
        """Whether an evaluation now can be compared with later ones; else those replace it."""

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The trained parameters by name."""

    def train_step(self) -> StepResult:
        """Take a step. Raises `TrainingError` if it can't be taken."""

    def evaluate(self) -> dict[str, float]:
        """Metrics of the held-out set; empty if nothing is held out."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a resumed run needs: tensors by name, and plain values for JSON."""

    def load_state(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Resume from what `state` returned."""


class StageTrainer(Trainer, Protocol):
    """A trainer with all that a run of `cai train` is made from."""

    backbone: Backbone
    facts: Facts
    set_aside: list[SetAside]
    """Rows that can't be used, each with its reason."""
    workload: Workload
    screen_metrics: Sequence[str]
    """Metrics that are shown while it trains; all, if empty."""
    notes: Sequence[str]
    """Sentences for the user before the first step, about its own rows and settings."""

    def prepare(self, progress: OnProgress) -> None:
        """Long work before the first step, such as DPO's reference model reading all pairs."""

    def prepare_steps(self, steps: int) -> float:
        """Prepare the next steps alone, and write nothing, for a probe.

        Returns the share that this was of what `prepare` has to do; 1 where that is nothing.
        """

    def attach(self, folder: Path) -> None:
        """Write to a run's folder from here on, after `load_state` if the run is resumed."""

    def warn(self, metrics: Mapping[str, float]) -> str | None:
        """A warning about a step's metrics; each is given once."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the weights as they are into a folder; returns the results to be shown."""

    def close(self) -> None:
        """Give back what it holds outside of this process, such as an adapter on a server."""


def floats(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Metrics as plain numbers; waits for the device that they are on."""
    return {name: value.item() for name, value in metrics.items()}


def require_finite(metrics: Mapping[str, float], when: str, advice: str = "") -> None:
    """Raise `TrainingError` if a metric is NaN or inf. when: its step or rows, for the message."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"The {name} {when} is not a number",
                hint=f"Try a lower --learning-rate or --dtype float32, with another --out{advice}."
                " The same command resumes from the last checkpoint, if there is one.",
            )
