"""PPO on one backbone: the policy's adapter, a value head on its trunk, the reference beside it.

An update is one rollout and a few epochs over it (Schulman et al. 2017, arXiv 1707.06347, as
Ziegler et al. 2019 and Ouyang et al. 2022 use it on language models).

Where this departs from them: the value head stands on the policy's own trunk, so that one base
serves policy, critic, reward model and reference; scores are normalised to mean 0 and variance 1 by
the start policy's own scores, so that `kl_coef` means the same for every reward; there is no
dropout, in sampling or in training; and the run is monitored (`cai.training.monitors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cai.errors import ModelError, TrainingError
from cai.losses.advantages import gae, token_rewards
from cai.losses.masked import masked_mean, masked_sum, whiten
from cai.losses.ppo import policy_loss, value_loss
from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.text.seeds import derive
from cai.training.batches import to_device
from cai.training.config import PpoConfig
from cai.training.micro_batches import Metrics
from cai.training.processes import world
from cai.training.rl import RlTrainer
from cai.training.rollout import Response, Rollout
from cai.training.trainer import floats, require_finite

VALUE = "value.safetensors"
MAX_START_KL = {torch.float32: 1e-4}
"""Largest KL of a response, in nats, between a policy that has not moved and its reference."""
MAX_START_KL_HALF = 0.05


class Experience(NamedTuple):
    """B responses with their rollout, advantages and returns.

    advantages, returns: float32 [B, T] as the rollout's; advantages are whitened.
    """

    responses: Sequence[Response]
    rollout: Rollout
    advantages: Tensor
    returns: Tensor


class PpoTrainer(RlTrainer):
    """Trains a policy adapter and a value head under a scorer: `cai train ppo`.

    Arguments as of `OnPolicyTrainer`; value_head is needed.
    """

    settings: PpoConfig
    value_head: nn.Module

    screen_metrics: Sequence[str] = (
        "reward", "score", "second_reward", "kl", "length", "repetition", "missing_eos", "entropy",
        "policy_loss", "value_loss",
    )  # fmt: skip

    @classmethod
    def load(cls, config: PpoConfig, data: Sequence[Path]) -> PpoTrainer:
        """Load the base with policy, reference and reward, and encode the prompts.

        config: `resolve`d. Raises `UsageError` and `DataError` for what can't be used.
        """

        def value_head(backbone: Backbone) -> ScalarHead:
            return ScalarHead(backbone.hidden_size, config.seed, std=0.0)

        return cls.load_rl(config, data, value_head)

    def update(self) -> dict[str, float]:
        """Do one update: a rollout, and the epochs that learn from it. Returns its metrics.

        If the monitors stop the run, `stopped` is set to their reason, and nothing is learned from
        the rollout. Raises `TrainingError` if a loss is not finite, if a single response does not
        fit into memory, and after a stop; `ModelError` if the policy of the first rollout is not
        the reference.
        """
        if self.stopped is not None:
            raise TrainingError(self.stopped)
        responses = self.sample_responses()
        scores = self.scorer(responses)
        # In the groups in which the first epoch learns, so that a policy that has not moved has a
        # ratio of exactly 1 in half precision too, where shapes decide how a number is rounded.
        groups = self._minibatches(len(responses), epoch=0)
        rollout = self.evaluate_rollout(responses, self.scale(scores, responses), groups)
        noise = self._start_noise(responses, rollout) if self.step == 0 else {}
        metrics = self.watch(responses, rollout, scores) | noise
        if self.stopped is None:
            metrics |= self._learn(responses, rollout)
            self.kl.update(metrics["kl"])
        self.step += 1
        return metrics

    def save(self, folder: Path) -> dict[str, Any]:
        """As in `StageTrainer`: the policy and the value head."""
        assert isinstance(self.value_head, ScalarHead)
        if world().first:
            (folder / VALUE).write_bytes(self.value_head.state())
        return super().save(folder)

    # -- learning -------------------------------------------------------------------------------

    def _learn(self, responses: Sequence[Response], rollout: Rollout) -> dict[str, float]:
        """Compute advantages, then train for `epochs`. Returns the metrics, as means over steps."""
        s = self.settings
        rewards = token_rewards(
            rollout.logprobs,
            rollout.reference_logprobs,
            rollout.scores,
            rollout.mask,
            self.kl.coef,
        )
        advantages, returns = gae(rewards, rollout.values, rollout.mask, s.gamma, s.lam)
        advantages = whiten(advantages, rollout.mask)
        experience = Experience(responses, rollout, advantages, returns)
        steps: list[Metrics] = []
        self.backbone.train()  # there is no dropout: this is for gradient checkpointing
        for epoch in range(s.epochs):
            for minibatch in self._minibatches(len(responses), epoch):
                metrics = self._gradients(experience, minibatch)
                metrics["gradient_norm"] = self.optimizer.clip()
                steps.append(metrics)
                if self.backbone.device.type == "cpu":  # elsewhere this would wait for the device
                    prompts = ", ".join(responses[i].prompt.id for i in minibatch[:8])
                    when = f"of update {self.step + 1} (prompts {prompts}, …)"
                    require_finite(floats(metrics), when)
                self.optimizer.step(self.step)
        self.backbone.train(False)
        values = [floats(metrics) for metrics in steps]
        for each in values:
            require_finite(each, f"of update {self.step + 1}")
        means = {name: sum(v[name] for v in values) / len(values) for name in values[0]}
        return means | {"reward": masked_sum(rewards, rollout.mask, dim=1).mean().item()}

    def _minibatches(self, count: int, epoch: int) -> list[list[int]]:
        """Indices of each minibatch: shuffled by (seed, update, epoch), in nearly equal parts."""
        seed, parts = self.settings.seed, self.settings.minibatches
        order = sorted(range(count), key=lambda i: derive(seed, "minibatch", self.step, epoch, i))
        return [order[count * k // parts : count * (k + 1) // parts] for k in range(parts)]

    def _gradients(self, experience: Experience, minibatch: Sequence[int]) -> Metrics:
        """Accumulate the gradients of a minibatch. Returns its mean metrics."""
        responses, rollout, advantages, returns = experience
        s = self.settings
        total = float(sum(len(responses[i].ids) for i in minibatch))

        def loss(batch: list[int]) -> tuple[Tensor, Metrics]:
            micro_batch = [responses[i] for i in batch]
            rows = to_device(torch.tensor(batch), self.backbone.device)
            logprobs, values = self.forward(micro_batch, rollout.mask.shape[1])
            mask = rollout.mask[rows]
            policy = policy_loss(
                logprobs, rollout.logprobs[rows], advantages[rows], mask, s.clip, total
            )
            value = value_loss(
                values, rollout.values[rows], returns[rows], mask, s.value_clip, total
            )
            share = sum(len(r.ids) for r in micro_batch) / total
            return policy.loss + s.value_coef * value.loss, {
                "policy_loss": policy.loss.detach(),
                "value_loss": value.loss.detach(),
                "clip_fraction": policy.clip_fraction * share,
                "value_clip_fraction": value.clip_fraction * share,
                "approximate_kl": policy.approximate_kl * share,
            }

        return self.accumulate(loss, responses, [minibatch])

    # -- before the first step ------------------------------------------------------------------

    def _start_noise(self, responses: Sequence[Response], rollout: Rollout) -> dict[str, float]:
        """Noise before the first step, when policy and reference are equal but for rounding.

        noise_floor: mean |KL| to the reference, in nats a response. ratio_noise: mean
        |log π − log π_old| a token of the same policy, computed in the micro-batches of a later
        epoch. Raises `ModelError` if policy and reference differ by more than rounding.
        """
        self._require_reference(rollout)
        second = self.evaluate_rollout(
            responses, rollout.scores.tolist(), self._minibatches(len(responses), epoch=1)
        )
        differences = (second.logprobs - rollout.logprobs).abs()
        return {
            "noise_floor": rollout.kl.abs().mean().item(),
            "ratio_noise": masked_mean(differences, rollout.mask).item(),
        }

    def _require_reference(self, rollout: Rollout) -> None:
        """Raise `ModelError` if the KL before the first step is more than rounding."""
        bound = MAX_START_KL.get(self.backbone.dtype, MAX_START_KL_HALF)
        largest = float(rollout.kl.abs().max())
        if not largest < bound:
            reference = self.reference or "the base without adapters"
            raise ModelError(
                f"Before the first step the policy {self.policy!r} is not its reference,"
                f" {reference!r}: KL {largest:.4g} nats in a response, {bound:g} is allowed",
                hint="The reference must be a frozen copy of the adapter that the policy starts"
                " from; turning adapters off works only if the policy is a fresh adapter.",
            )
