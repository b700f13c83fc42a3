"""PPO on one backbone: the policy's adapter, a value head on its trunk, the reference beside it.

An update is one rollout and a few epochs over it (Schulman et al. 2017, arXiv 1707.06347, as
Ziegler et al. 2019 and Ouyang et al. 2022 use it on language models).

Where this departs from them: the value head stands on the policy's own trunk, so that one base
serves policy, critic, reward model and reference; scores are normalised to mean 0 and variance 1 by
those at the start of training, so that `kl_coef` means the same for every reward; there is no
dropout, in sampling or in training; and the run is monitored (`cai.training.monitors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cai.losses.advantages import gae, token_rewards
from cai.losses.masked import masked_sum, whiten
from cai.losses.ppo import policy_loss, value_loss
from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.training.batches import to_device
from cai.training.config import PpoConfig
from cai.training.micro_batches import Metrics
from cai.training.processes import world
from cai.training.rl import RlTrainer
from cai.training.rollout import Response, Rollout
from cai.training.score_parts import ScorePart

VALUE = "value.safetensors"


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

    def save(self, folder: Path) -> dict[str, Any]:
        """As in `StageTrainer`: the policy and the value head."""
        assert isinstance(self.value_head, ScalarHead)
        if world().first:
            (folder / VALUE).write_bytes(self.value_head.state())
        return super().save(folder)

    def learn(
        self, responses: Sequence[Response], rollout: Rollout, parts: Sequence[ScorePart]
    ) -> dict[str, float]:
        """As in `RlTrainer`: advantages of every token, then the clipped losses."""
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
        metrics = self.passes(responses, lambda minibatch: self._gradients(experience, minibatch))
        return metrics | {"reward": masked_sum(rewards, rollout.mask, dim=1).mean().item()}

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
