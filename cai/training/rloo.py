"""RLOO: REINFORCE with a leave-one-out baseline; GRPO and its variants by options.

Several responses to each prompt are compared with one another (Ahmadian et al. 2024, arXiv
2402.14740), so there is no value function: rollouts, KL, monitors and checkpoints are PPO's.

Where this departs from the papers: scores are on the scale of those at the start, as in PPO; a
group whose responses all score alike has nothing to compare, is counted, and is not read again
where no KL penalty is left to learn from it; and the run is monitored (`cai.training.monitors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from cai.errors import UsageError
from cai.losses.group import Baseline, Scale, group_advantages, part_advantages
from cai.losses.kl import k3
from cai.losses.masked import masked_sum
from cai.losses.ppo import PolicyTerms, policy_loss, sequence_policy_loss
from cai.stats import spread
from cai.training.batches import to_device
from cai.training.config import RlooConfig
from cai.training.micro_batches import Metrics
from cai.training.rl import RlTrainer
from cai.training.rollout import Response, Rollout, draw_prompts
from cai.training.score_parts import ScorePart, is_rounding
from cai.training.scoring import PartedScorer

ENDED = "ended"
"""The part of a reward that the penalty for a missing end of the response is."""


class ComparedResponses(NamedTuple):
    """B responses, k to each prompt side by side, with their advantages.

    advantages: float32 [B]. learned: the indices of those with something to learn from.
    """

    responses: Sequence[Response]
    rollout: Rollout
    advantages: Tensor
    learned: frozenset[int]


class RlooTrainer(RlTrainer):
    """Trains a policy adapter under a scorer, without a value function: `cai train rloo`.

    Arguments as of `OnPolicyTrainer`.
    """

    settings: RlooConfig

    screen_metrics: Sequence[str] = (
        "reward", "score", "second_reward", "kl", "length", "repetition", "missing_eos", "entropy",
        "equal_groups", "policy_loss",
    )  # fmt: skip

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.settings.scale_advantages == "parts" and not isinstance(self.scorer, PartedScorer):
            raise UsageError(
                f"--scale-advantages parts needs a reward of several parts; {self.scorer.name} has"
                " one",
                hint="Give a constitution or a weighted sum as --reward, or"
                " --scale-advantages group.",
            )

    @classmethod
    def load(cls, config: RlooConfig, data: Sequence[Path]) -> RlooTrainer:
        """Load the base with policy, reference and reward, and encode the prompts.

        config: `resolve`d. Raises `UsageError` and `DataError` for what can't be used.
        """
        return cls.load_rl(config, data)

    def sample_responses(self) -> list[Response]:
        """Several responses to each of the update's prompts, side by side."""
        s = self.settings
        k = s.responses_per_prompt
        prompts = draw_prompts(self.prompts, s.prompts_per_update, s.seed, self.step)
        # Seeded by prompt, update and the second number, which differs for each response.
        draws = [(prompt, epoch * k + i) for prompt, epoch in prompts for i in range(k)]
        return self.sampler.respond(draws, self.step)

    def details(
        self, responses: Sequence[Response], rollout: Rollout, parts: Sequence[ScorePart]
    ) -> list[dict[str, float]]:
        """As in `RlTrainer`: each advantage, which says whether a response becomes likelier."""
        advantages = self._advantages(*self._rewards(rollout), responses, parts)
        return [{"advantage": a} for a in advantages.flatten().tolist()]

    def learn(
        self, responses: Sequence[Response], rollout: Rollout, parts: Sequence[ScorePart]
    ) -> dict[str, float]:
        """As in `RlTrainer`: an advantage for every response, then the clipped loss."""
        scores, penalty = self._rewards(rollout)
        advantages = self._advantages(scores, penalty, responses, parts).flatten()
        learned = [i for i, a in enumerate(advantages.tolist()) if a != 0.0 or self._kl_in_loss]
        compared = ComparedResponses(responses, rollout, advantages, frozenset(learned))
        metrics = self.passes(responses, lambda minibatch: self._gradients(compared, minibatch))
        return metrics | {
            "reward": (scores - penalty).mean().item(),
            "equal_groups": (scores == scores[:, :1]).all(dim=1).float().mean().item(),
            "skipped": 1 - len(learned) / len(responses),
        }

    def _rewards(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Scores without rounding, and KL penalties: [P, k] each."""
        k = self.settings.responses_per_prompt
        by_group = _without_rounding(rollout.scores.tolist(), k)
        scores = rollout.scores.new_tensor(by_group).view(-1, k)
        return scores, self.kl.coef * rollout.kl.view(-1, k)

    def _advantages(
        self,
        scores: Tensor,
        penalty: Tensor,
        responses: Sequence[Response],
        parts: Sequence[ScorePart],
    ) -> Tensor:
        """Of each response over the others to its prompt: [P, k], from scores and KL penalties."""
        s = self.settings
        if s.scale_advantages == "parts":
            return part_advantages(*self._values_of_parts(responses, parts))
        rewards = scores - penalty if s.kl_in == "reward" else scores
        baseline, scale = cast(Baseline, s.baseline), cast(Scale, s.scale_advantages)
        return group_advantages(rewards, baseline, scale)

    @property
    def _kl_in_loss(self) -> bool:
        """Whether the loss has a term for the KL to the reference."""
        return self.settings.kl_in == "loss" and self.kl.coef > 0

    def _values_of_parts(
        self, responses: Sequence[Response], parts: Sequence[ScorePart]
    ) -> tuple[Tensor, Tensor]:
        """What the parts of the reward say of each response [P, k, M], and their weights [M].

        The penalty for a missing end of the response is a part of its own. Values that differ in a
        group by rounding alone are made equal, as scores are.
        """
        s = self.settings
        ended = ScorePart(ENDED, [float(r.ended) for r in responses], s.missing_eos_penalty)
        used = [*parts, *([ended] if s.missing_eos_penalty else [])]
        k = s.responses_per_prompt
        rows = [_without_rounding(part.values, k) for part in used]
        values = torch.tensor(rows, dtype=torch.float32).T.reshape(-1, k, len(used))
        weights = torch.tensor([part.weight for part in used])
        return to_device(values, self.backbone.device), to_device(weights, self.backbone.device)

    def _gradients(self, compared: ComparedResponses, minibatch: Sequence[int]) -> Metrics:
        """Accumulate the gradients of a minibatch. Returns its mean metrics; none if it is skipped.

        What is skipped counts in the denominators: a step is the smaller, the less there is to
        learn from its responses.
        """
        responses, rollout, advantages, learned = compared
        rows = [i for i in minibatch if i in learned]
        if not rows:
            return {}
        total = self._total([responses[i] for i in minibatch])
        counted = float(sum(len(responses[i].ids) for i in rows))

        def loss(batch: list[int]) -> tuple[Tensor, Metrics]:
            micro_batch = [responses[i] for i in batch]
            index = to_device(torch.tensor(batch), self.backbone.device)
            logprobs, _ = self.forward(micro_batch, rollout.mask.shape[1])
            old_logprobs, mask = rollout.logprobs[index], rollout.mask[index]
            weights = self._token_weights(mask)
            terms = self._policy_terms(
                logprobs, old_logprobs, advantages[index], mask, weights, total
            )
            share = sum(len(r.ids) for r in micro_batch) / counted
            metrics = {
                "policy_loss": terms.loss.detach(),
                "clip_fraction": terms.clip_fraction * share,
                "approximate_kl": terms.approximate_kl * share,
            }
            if not self._kl_in_loss:
                return terms.loss, metrics
            estimates = k3(logprobs, rollout.reference_logprobs[index], mask)
            kl = masked_sum(estimates * weights, mask) / total
            return terms.loss + self.kl.coef * kl, metrics | {"kl_loss": kl.detach()}

        return self.accumulate(loss, responses, [rows])

    def _policy_terms(
        self,
        logprobs: Tensor,
        old_logprobs: Tensor,
        advantages: Tensor,
        mask: Tensor,
        weights: Tensor,
        total: float,
    ) -> PolicyTerms:
        s = self.settings
        if s.ratio == "sequence":
            return sequence_policy_loss(
                logprobs, old_logprobs, advantages, mask, s.clip, total, s.clip_high
            )
        weighted = advantages[:, None] * weights
        return policy_loss(logprobs, old_logprobs, weighted, mask, s.clip, total, s.clip_high)

    def _token_weights(self, mask: Tensor) -> Tensor:
        """What each token counts in the loss: 1, or its share of its response. [B, T]"""
        s = self.settings
        if s.ratio == "token" and s.loss_normalisation == "sequence":
            return 1 / mask.sum(dim=1, keepdim=True).expand_as(mask)
        return torch.ones_like(mask, dtype=torch.float32)

    def _total(self, responses: Sequence[Response]) -> float:
        """What the loss of these responses is divided by."""
        s = self.settings
        if s.ratio == "sequence" or s.loss_normalisation == "sequence":
            return float(len(responses))
        if s.loss_normalisation == "constant":
            return float(len(responses) * (s.max_new_tokens + self.max_reasoning_tokens))
        return float(sum(len(r.ids) for r in responses))


def _without_rounding(values: Sequence[float], k: int) -> list[float]:
    """Values of which each k are of one prompt; those that differ by rounding alone are equal."""
    out: list[float] = []
    for start in range(0, len(values), k):
        group = list(values[start : start + k])
        mean = sum(group) / k
        out += [mean] * k if is_rounding(spread(group), mean) else group
    return out
