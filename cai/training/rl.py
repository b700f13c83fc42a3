"""Training on a reward: what PPO and RLOO share.

The reward of a response is its score, on the scale of those at the start, less a KL penalty for
leaving the reference model (Ziegler et al. 2019, arXiv 1909.08593, equation 2). An update is one
rollout and a few passes over it; what a policy learns from it is the business of a method, such as
`cai.training.ppo`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from cai.errors import ModelError, TrainingError
from cai.losses.masked import masked_mean
from cai.models.backbone import Backbone
from cai.text.seeds import derive
from cai.training.config import RlConfig
from cai.training.constitution_scorer import ConstitutionScorer
from cai.training.kl_controller import AdaptiveKl, FixedKl, KlController
from cai.training.micro_batches import Metrics
from cai.training.on_policy import OnPolicyTrainer
from cai.training.policy import load_policy
from cai.training.prompts import load_prompts
from cai.training.rewards import build_reward, require_reward
from cai.training.rollout import Response, Rollout
from cai.training.score_parts import ScorePart, StartScores, WeightedSum
from cai.training.scoring import PartedScorer, Scorer, ScoreScale, all_scorers
from cai.training.served_sampler import connect_sampler
from cai.training.trainer import floats, require_finite
from cai.types import Constitution, Prompt, SetAside

MAX_START_KL = {torch.float32: 1e-4}
"""Largest KL of a response, in nats, between a policy that has not moved and its reference."""
MAX_START_KL_HALF = 0.05


class RlTrainer(OnPolicyTrainer):
    """An `OnPolicyTrainer` whose scores are rewards: a `StageTrainer` but for its `learn`."""

    settings: RlConfig

    @classmethod
    def load_rl(
        cls,
        config: RlConfig,
        data: Sequence[Path],
        value_head: Callable[[Backbone], nn.Module] | None = None,
    ) -> Self:
        """Load the base with policy, reference and reward, and encode the prompts.

        config: `resolve`d. value_head: makes a fresh one; None for a method without. Raises
        `UsageError` and `DataError` for what can't be used.
        """
        prompts = load_prompts(config, data)
        require_reward(config)  # so that errors come before weights are loaded
        server = connect_sampler(config)
        policy = load_policy(config, reference=True)
        backbone = policy.backbone
        if not config.full:
            backbone.no_dropout("policy")
        reward = build_reward(config.reward, backbone, config, "reward")
        second = (
            build_reward(config.second_reward, backbone, config, "second_reward")
            if config.second_reward
            else None
        )
        rewards = [reward, *([second] if second else [])]
        scorers = [scorer for r in rewards for scorer in r.constitutions]
        train, unread = _readable(prompts.train, scorers, config.max_new_tokens)
        held_out, unread_held_out = _readable(prompts.held_out, scorers, config.max_new_tokens)
        return cls(
            backbone,
            reward.scorer,
            train,
            config,
            value_head=value_head(backbone) if value_head else None,
            reference=policy.reference,
            second_scorer=second.scorer if second else None,
            held_out=held_out,
            set_aside=[*prompts.set_aside, *unread, *unread_held_out],
            parents=(*policy.parents, *(facts for r in rewards for facts in r.facts)),
            data=prompts.data,
            other_models=[model for r in rewards for model in r.models],
            rollout_server=server,
        )

    @property
    def constitutions(self) -> list[Constitution]:
        """As in `OnPolicyTrainer`: those that judge."""
        return [s.constitution for s in self._scorers() if isinstance(s, ConstitutionScorer)]

    def update(self) -> dict[str, float]:
        """Do one update: a rollout, and the passes that learn from it. Returns its metrics.

        If the monitors stop the run, `stopped` is set to their reason, and nothing is learned from
        the rollout. Raises `TrainingError` if a loss is not finite, if a single response does not
        fit into memory, and after a stop; `ModelError` if the policy of the first rollout is not
        the reference.
        """
        if self.stopped is not None:
            raise TrainingError(self.stopped)
        responses = self.sample_responses()
        scores, parts = self.score(responses, calibrate=True)
        self.scale.calibrate(scores)
        # In the groups in which the first epoch learns, so that a policy that has not moved has a
        # ratio of exactly 1 in half precision too, where shapes decide how a number is rounded.
        groups = self.minibatches(len(responses), epoch=0)
        rollout = self.evaluate_rollout(responses, self.scale(scores, responses), groups)
        noise = self._start_noise(responses, rollout) if self.step == 0 else {}
        details = self.details(responses, rollout, parts)
        metrics = self.watch(responses, rollout, scores, parts, details) | noise
        if self.stopped is None:
            metrics |= self.learn(responses, rollout, parts)
            self.kl.update(metrics["kl"])
        self.step += 1
        return metrics

    def details(
        self, responses: Sequence[Response], rollout: Rollout, parts: Sequence[ScorePart]
    ) -> Sequence[Mapping[str, Any]] | None:
        """What `rollouts.jsonl` says of each response besides; None for nothing."""
        return None

    @abstractmethod
    def learn(
        self, responses: Sequence[Response], rollout: Rollout, parts: Sequence[ScorePart]
    ) -> dict[str, float]:
        """Learn from a rollout, by `passes`. Returns its metrics, with the mean `reward`.

        parts: of the scores, before they were scaled.
        """

    def passes(
        self, responses: Sequence[Response], gradients: Callable[[Sequence[int]], Metrics]
    ) -> dict[str, float]:
        """Take the optimizer steps of all epochs. Returns the metrics, as means over steps.

        gradients: accumulates the gradients of a minibatch, given by the indices of its responses,
        and returns its mean metrics; none if there is nothing to learn, and then no step is taken.
        """
        steps: list[Metrics] = []
        self.backbone.train()  # there is no dropout: this is for gradient checkpointing
        for epoch in range(self.settings.epochs):
            for minibatch in self.minibatches(len(responses), epoch):
                metrics = gradients(minibatch)
                if not metrics:
                    continue
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
        return {name: sum(v[name] for v in values) / len(values) for name in next(iter(values), ())}

    def minibatches(self, count: int, epoch: int) -> list[list[int]]:
        """Indices of each minibatch: shuffled by (seed, update, epoch), in nearly equal parts."""
        seed, parts = self.settings.seed, self.settings.minibatches
        order = sorted(range(count), key=lambda i: derive(seed, "minibatch", self.step, epoch, i))
        return [order[count * k // parts : count * (k + 1) // parts] for k in range(parts)]

    # -- before the first step ------------------------------------------------------------------

    def _start_noise(self, responses: Sequence[Response], rollout: Rollout) -> dict[str, float]:
        """Noise before the first step, when policy and reference are equal but for rounding.

        noise_floor: mean |KL| to the reference, in nats a response. ratio_noise: mean
        |log π − log π_old| a token of the same policy, computed in the micro-batches of a later
        epoch. Raises `ModelError` if policy and reference differ by more than rounding.
        """
        self._require_reference(rollout)
        second = self.evaluate_rollout(
            responses, rollout.scores.tolist(), self.minibatches(len(responses), epoch=1)
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

    # -- the scale of rewards -------------------------------------------------------------------

    def _kl_controller(self) -> KlController:
        settings = self.settings
        if settings.target_kl is None:
            return FixedKl(settings.kl_coef)
        return AdaptiveKl(settings.kl_coef, settings.target_kl)

    def _score_scale(self) -> ScoreScale:
        settings = self.settings
        return ScoreScale(
            settings.normalise_scores, settings.score_clip, settings.missing_eos_penalty
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As in `Trainer`: also the units of a reward's parts."""
        tensors, state = super().state()
        parts = [[start.state() for start in each.start] for each in self._sums()]
        return tensors, {**state, "part_starts": parts}

    def load_state(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """As in `Trainer`."""
        super().load_state(tensors, state)
        for each, start in zip(self._sums(), state["part_starts"], strict=True):
            each.start = [StartScores(**values) for values in start]

    @property
    def comparable(self) -> bool:
        """As in `Trainer`: once the units of scores and of their parts are settled."""
        return self.scale.settled and all(each.settled for each in self._sums())

    def _sums(self) -> list[WeightedSum]:
        return [s.sum for s in self._scorers() if isinstance(s, PartedScorer)]

    def _scorers(self) -> list[Scorer]:
        """The reward and the second reward, and all that they are mixed of."""
        both = (s for s in (self.scorer, self.second_scorer) if s is not None)
        return [part for scorer in both for part in all_scorers(scorer)]


def _readable(
    prompts: Sequence[Prompt], scorers: Sequence[ConstitutionScorer], tokens: int
) -> tuple[list[Prompt], list[SetAside]]:
    """The prompts whose responses of up to so many tokens all judges can read, and the others."""
    readable, set_aside = [], []
    for prompt in prompts:
        rooms = [scorer.room(prompt) for scorer in scorers]
        room = min((r for r in rooms if r is not None), default=tokens)
        if room >= tokens:
            readable.append(prompt)
            continue
        reason = (
            f"too long for the judge: it has room for {max(room, 0)} tokens of a response beside"
            f" the prompt and a principle, and responses have up to {tokens}"
        )
        set_aside.append(SetAside(prompt.source or prompt.id, reason))
    return readable, set_aside
