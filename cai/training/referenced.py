"""Training on rows against a reference model: what DPO and KTO share.

The reference reads what the policy is compared on: in float32 once before the run, in half
precision in every step (`cai.training.reference`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cai.models.fingerprint import cache_folder
from cai.training.batches import Tokens
from cai.training.config import RowsConfig
from cai.training.examples import Examples
from cai.training.metrics_log import start_noise
from cai.training.offline import OfflineTrainer
from cai.training.policy import Policy
from cai.training.reference import Reference, make_reference
from cai.training.rows import BeforeBatch, ExampleT, Measure, Objective
from cai.training.trainer import OnProgress


def reference_of(config: RowsConfig, policy: Policy) -> Reference:
    """The reference model of a policy: where it starts. policy: loaded with its reference."""
    backbone = policy.backbone
    identity = backbone.fingerprint + "".join(p["digest"] for p in policy.parents)
    return make_reference(
        backbone, policy.reference, identity, config.micro_tokens, cache_folder() / "reference"
    )


class ReferencedTrainer(OfflineTrainer[ExampleT]):
    """An `OfflineTrainer` with a reference model.

    reference: None for a loss that needs none. reads: the conversations of examples that it reads.
    noise, before_batch: as in `RowsTrainer`.
    """

    def __init__(
        self,
        config: RowsConfig,
        policy: Policy,
        objective: Objective[ExampleT],
        examples: Examples[ExampleT],
        reference: Reference | None,
        reads: Callable[[Sequence[ExampleT]], list[Tokens]],
        *,
        noise: Measure[ExampleT] | None,
        before_batch: BeforeBatch[ExampleT] | None = None,
    ) -> None:
        super().__init__(
            config, policy, objective, examples, noise=noise, before_batch=before_batch
        )
        self.reference = reference
        self._reads = reads

    def prepare(self, progress: OnProgress) -> None:
        """As in `StageTrainer`: compute the reference log-probabilities of all rows."""
        if self.reference is None:
            return
        for examples in filter(None, (self.train, self.test)):
            self.reference.prepare(self._reads(examples), progress)

    def prepare_steps(self, steps: int) -> float:
        """As in `StageTrainer`: compute the reference log-probabilities of these steps' rows."""
        if self.reference is None:
            return 1.0
        some = [row for i in range(min(steps, self.steps)) for row in self._batch(self.step + i)]
        self.reference.compute_logprobs(self._reads(some))
        return len(some) / (len(self.train) + len(self.test))

    def save(self, folder: Path) -> dict[str, Any]:
        """As in `StageTrainer`: the policy; the result is the run's noise floor."""
        return super().save(folder) | start_noise(folder)


class CollapseWatch:
    """Warns once if the responses to learn become much less likely than under the reference.

    DPO can widen the margin while both sides fall (Pal et al. 2024): the model then says neither.
    What is watched is β·Δ of the responses to learn, which compares the same rows under both, as
    the mean of the last few batches: one alone may hold an odd row.

    name: of those responses, such as "chosen". advice: what helps. from_start: there is no
    reference, and the rewards of the first batches stand for it.
    """

    FALL = 0.5
    """Nats a token below the reference at which it warns."""
    BATCHES = 4

    def __init__(
        self,
        beta: float,
        tokens_per_response: float,
        name: str,
        advice: str,
        *,
        from_start: bool = False,
    ) -> None:
        self._unit = beta * tokens_per_response
        self._name = name
        self._advice = advice
        self._from_start = from_start
        self._start: float | None = None if from_start else 0.0
        self._rewards: deque[float] = deque(maxlen=self.BATCHES)
        self.warned = False

    def __call__(self, reward: float | None) -> str | None:
        """Add a batch's mean reward, β·Δ; None where it has no such response.

        Returns the warning the first time that it is due, else None.
        """
        if reward is None:
            return None
        self._rewards.append(reward)
        if len(self._rewards) < self.BATCHES:
            return None
        mean = sum(self._rewards) / self.BATCHES
        if self._start is None:
            self._start = mean
        fall = (self._start - mean) / self._unit
        if self.warned or fall < self.FALL:
            return None
        self.warned = True
        than = "in the first steps" if self._from_start else "to the reference"
        return (
            f"The {self._name} responses are {fall:.2f} nats a token less likely than {than}:"
            f" the model may say neither. Try {self._advice}."
        )
