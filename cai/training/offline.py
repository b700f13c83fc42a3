"""Training on rows of files: what SFT, the reward model, DPO and KTO share as runs of `cai train`.

The steps are `RowsTrainer`'s. Here are the optimizer, the record of the run and the saved policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from cai.models.backbone import Backbone
from cai.training.config import RowsConfig
from cai.training.examples import Examples
from cai.training.folder import WITHOUT_REASONING, Facts
from cai.training.optimizer import Optimizer, Schedule
from cai.training.policy import Policy, save_policy
from cai.training.rows import BeforeBatch, ExampleT, Measure, Objective, RowsTrainer, StepPlan
from cai.training.trainer import LearnedUnit, OnProgress, Workload


class OfflineTrainer(RowsTrainer[ExampleT]):
    """Trains a policy's adapter on examples under an objective: a `StageTrainer`.

    head: parameters that are trained beside the policy's, by name. noise, before_batch: as in
    `RowsTrainer`.
    """

    screen_metrics: Sequence[str] = ()
    notes: Sequence[str] = ()
    signal: LearnedUnit = "row"
    """What the loss learns from: rows, or the tokens that `Objective.weight` counts."""

    def __init__(
        self,
        config: RowsConfig,
        policy: Policy,
        objective: Objective[ExampleT],
        examples: Examples[ExampleT],
        *,
        head: Mapping[str, nn.Parameter] | None = None,
        noise: Measure[ExampleT] | None = None,
        before_batch: BeforeBatch[ExampleT] | None = None,
    ) -> None:
        backbone, rows = policy.backbone, len(examples.train)
        backbone.train_only("policy")
        plan = StepPlan(
            config.batch_size,
            config.epochs,
            config.micro_tokens,
            config.seed,
            config.save_every,
            config.max_steps,
        )
        schedule = Schedule(config.schedule, config.rate, plan.steps(rows), config.warmup)
        optimizer = Optimizer(
            {**backbone.trainable(), **(head or {})},
            schedule,
            config.weight_decay,
            config.max_grad_norm,
        )
        super().__init__(
            backbone.train, objective, optimizer, examples.train, examples.test, plan,
            backbone.device, noise, before_batch,
        )  # fmt: skip
        self.backbone = backbone
        self.set_aside = examples.set_aside
        self.facts = Facts(
            base={"name": backbone.name, "fingerprint": backbone.fingerprint},
            parents=policy.parents,
            data=examples.data,
            counts={
                "trained": rows,
                "held out": len(examples.test),
                "set aside": len(examples.set_aside),
                **examples.counts,
                **({"ties": examples.ties} if examples.ties else {}),
                **(
                    {WITHOUT_REASONING: examples.without_reasoning}
                    if examples.without_reasoning
                    else {}
                ),
            },
        )
        lengths = [objective.tokens(example) for example in examples.train]
        counted = sum(map(objective.weight, examples.train)) if self.signal == "token" else rows
        self.workload = Workload(
            rows=rows,
            held_out=len(examples.test),
            tokens=round(sum(lengths) / rows * plan.rows(rows)),
            steps=self.steps,
            longest=max(lengths),
            signal=self.signal,
            signals=round(counted * min(1.0, plan.rows(rows) / rows)),
        )

    def prepare(self, progress: OnProgress) -> None:
        """No-op: nothing to prepare."""

    def prepare_steps(self, steps: int) -> float:
        """No-op: nothing to prepare."""
        return 1.0

    def attach(self, folder: Path) -> None:
        """No-op: nothing is written beside metrics and weights."""

    def warn(self, metrics: Mapping[str, float]) -> str | None:
        """No-op: rows raise no warnings."""
        return None

    def save(self, folder: Path) -> dict[str, Any]:
        """As in `StageTrainer`: the policy."""
        save_policy(self.backbone, folder)
        return {}

    def close(self) -> None:
        """No-op: nothing is held outside of this process."""


def row_capacity(config: RowsConfig, backbone: Backbone, packing: bool) -> int:
    """Tokens of a packed row; 0 if rows are not packed, or the model can't keep them apart."""
    return config.longest(backbone.context) if packing and backbone.packs else 0
