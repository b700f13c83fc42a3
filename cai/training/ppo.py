"""PPO on one backbone: the policy's adapter, a value head on its trunk, the reference beside it.

An update is one rollout and a few epochs over it (Schulman et al. 2017, arXiv 1707.06347, as
Ziegler et al. 2019 and Ouyang et al. 2022 use it on language models).

Where this departs from them: the value head stands on the policy's own trunk, so that one base
serves policy, critic, reward model and reference; scores are put to mean 0 and variance 1 by the
start policy's own scores, so that `kl_coef` means the same for every reward; there is no dropout,
in drawing or in learning; and the run watches itself (`cai.training.monitors`).

Every random choice is a function of (seed, update) and of a prompt's id or an epoch, so the state
of a run is its parameters, AdamW's moments and a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from cai.errors import DataError, ModelError, TrainingError, UsageError
from cai.losses.advantages import gae, kl_rewards
from cai.losses.masked import masked_mean, masked_sum, whiten
from cai.losses.ppo import policy_loss, value_loss
from cai.models.backbone import Backbone
from cai.stats import spread
from cai.text.seeds import derive
from cai.training.batches import moved
from cai.training.budget import TokenBudget
from cai.training.config import PpoConfig
from cai.training.kl import AdaptiveKl, FixedKl, KlController
from cai.training.loop import Sound, Taken, floats, need_numbers
from cai.training.monitors import Bounds, Monitors, observe
from cai.training.rollout import (
    Response,
    Rollout,
    draw_prompts,
    read_responses,
    ready_prompts,
    response_mask,
    shares,
    write_responses,
)
from cai.training.scoring import MixedScorer, Scorer, ScoreScale
from cai.training.updates import Schedule, Updates
from cai.types import Prompt, as_dicts

SAME = {torch.float32: 1e-4}
"""Largest KL of a response, in nats, between a policy that has not moved and its reference."""
SAME_HALF = 0.05

EVALUATED = 64
"""Most held-out prompts that are answered in an evaluation."""

Keep: TypeAlias = Callable[[list[dict[str, Any]]], None]
T = TypeVar("T")
_EVALUATION = -1  # instead of an update, in the seed of a draw


class Experience(NamedTuple):
    """B responses, what was made of them before the update, and what they teach.

    advantages, returns: float32 [B, T] as the rollout's; advantages are whitened.
    """

    responses: Sequence[Response]
    rollout: Rollout
    advantages: Tensor
    returns: Tensor


class PpoTrainer:
    """Trains a policy adapter and a value head under a scorer.

    policy: the adapter that learns. reference: the adapter that it may not leave too far, a frozen
    copy of its start; None where the policy is a fresh adapter, for the base with adapters off.
    check: a second opinion that nothing is trained on, for the monitors. held: prompts that are
    answered in evaluations alone. keep: told of every update's responses, rows of plain values, for
    auditors. `set_aside` lists prompts that can't be used.

    Raises `DataError` where no prompt can be used, and `UsageError` where the policy has dropout:
    its ratio to what was drawn would be noise.
    """

    measure = "reward"
    higher_is_better = True

    def __init__(
        self,
        backbone: Backbone,
        value_head: nn.Module,
        scorer: Scorer,
        prompts: Sequence[Prompt],
        settings: PpoConfig,
        *,
        policy: str = "policy",
        reference: str | None = None,
        check: Scorer | None = None,
        held: Sequence[Prompt] = (),
        bounds: Bounds | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.backbone = backbone
        self.value_head = value_head.to(backbone.device)
        self.scorer = scorer
        self.settings = settings
        self.policy = policy
        self.reference = reference
        self.check = check
        self.keep = keep
        self.step = 0
        self.steps = settings.steps
        self.stopped: str | None = None
        """Why the monitors ended the run."""
        self.sound: Sound | None = None
        """Policy and critic before the last update in which the monitors saw no sign."""
        self.kl: KlController = (
            FixedKl(settings.kl_coef)
            if settings.target_kl is None
            else AdaptiveKl(settings.kl_coef, settings.target_kl)
        )
        self.monitors = Monitors(bounds or Bounds(kl=settings.max_kl))
        self.max_reasoning_tokens = (
            settings.max_reasoning_tokens if backbone.encoder.template.reasons else 0
        )
        room = backbone.context - settings.max_new_tokens - self.max_reasoning_tokens - 1
        self.prompts, self.set_aside = ready_prompts(backbone.encoder, prompts, room)
        others, unusable = ready_prompts(backbone.encoder, held, room)
        self.set_aside += unusable
        others.sort(key=lambda prompt: derive(settings.seed, "evaluated", prompt.id))
        self.held = others[:EVALUATED]
        if not self.prompts:
            why = f": {self.set_aside[0].reason}" if self.set_aside else ""
            raise DataError(
                f"None of the {len(self.set_aside)} prompts can be used{why}",
                hint="Lower --max-new-tokens or --max-reasoning-tokens, or give shorter prompts:"
                " all must fit into the model's context.",
            )
        _check_dropout(backbone, policy)
        backbone.train_only(policy)
        self.optimizer = Updates(
            {
                **{f"policy/{n}": p for n, p in backbone.trainable().items()},
                **{f"value/{n}": p for n, p in self.value_head.named_parameters()},
            },
            Schedule(settings.schedule, settings.rate, self.steps, settings.warmup),
            settings.weight_decay,
            settings.max_grad_norm,
        )
        self.scale = ScoreScale(
            settings.normalise_scores, settings.score_clip, settings.missing_eos_penalty
        )
        self.budget = TokenBudget(settings.micro_tokens)

    @property
    def done(self) -> bool:
        """As in `Trainer`."""
        return self.step >= self.steps or self.stopped is not None

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """As in `Trainer`: the policy's and the value head's."""
        return self.optimizer.parameters

    def take(self) -> Taken:
        """As in `Trainer`: an update."""
        figures = self.update()
        return Taken(figures, round(figures["length"] * self.settings.prompts_per_update))

    def update(self) -> dict[str, float]:
        """One rollout, and the epochs that learn from it. Returns the update's figures.

        Where the monitors see a reason to stop, `stopped` says it, and nothing is learnt from the
        rollout. Raises `TrainingError` where a loss is no number, where memory does not do for one
        response, and after a stop; `ModelError` where the first rollout's policy is not the
        reference.
        """
        if self.stopped is not None:
            raise TrainingError(self.stopped)
        responses = self._write()
        scores = self.scorer(responses)
        # In the parts in which the first epoch learns, so that a policy that has not moved has a
        # ratio of exactly 1 in half precision too, where shapes decide how a number is rounded.
        parts = self._minibatches(len(responses), epoch=0)
        rollout = self._read(responses, self.scale(scores, responses), parts)
        noise = self._start_noise(responses, rollout) if self.step == 0 else {}
        figures = self._watch(responses, rollout, scores) | noise
        if self.monitors.calm:
            weights = {n: p.detach().to("cpu", copy=True) for n, p in self.parameters.items()}
            self.sound = Sound(self.step, weights)
        if self.stopped is None:
            figures |= self._learn(responses, rollout)
            self.kl.update(figures["kl"])
        self.step += 1
        return figures

    def evaluate(self) -> dict[str, float]:
        """Figures of responses to the held-out prompts; the same draws every time.

        reward: the mean score, in the unit that the policy is paid in, less the price of its KL.
        """
        if not self.held:
            return {}
        s = self.settings
        responses = write_responses(
            self.backbone, self.policy, [(prompt, 0) for prompt in self.held], s.max_new_tokens,
            s.temperature, s.seed, _EVALUATION, self.max_reasoning_tokens,
        )  # fmt: skip
        scores = self.scorer(responses)
        rollout = self._read(responses, self.scale(scores, responses), [range(len(responses))])
        kl = rollout.kl.mean().item()
        return {
            "reward": rollout.scores.mean().item() - s.kl_coef * kl,
            "score": sum(scores) / len(scores),
            "kl": kl,
            "length": sum(len(r.ids) for r in responses) / len(responses),
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a resumed run needs: tensors by name, and plain values for JSON.

        The tensors are the run's own: save or copy them before the next update.
        """
        sound = self.sound
        kept = {f"sound/{n}": t for n, t in sound.tensors.items()} if sound else {}
        return {**self.optimizer.tensors(), **kept}, {
            "step": self.step,
            "stopped": self.stopped,
            "kl_coef": self.kl.coef,
            "start_scores": self.scale.start,
            "units": [scorer.units for scorer in self._mixtures()],
            "micro_tokens": self.budget.tokens,
            "monitors": self.monitors.state(),
            "sound": sound.step if sound else None,
        }

    def load_state(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, bit for bit on a CPU."""
        self.optimizer.restore(tensors)
        self.step, self.stopped = state["step"], state["stopped"]
        self.kl.coef = state["kl_coef"]
        start = state["start_scores"]
        self.scale.start = None if start is None else (start[0], start[1])
        for scorer, units in zip(self._mixtures(), state["units"], strict=True):
            scorer.units = units
        self.budget.tokens = min(self.budget.tokens, state["micro_tokens"])
        self.monitors.load_state(state["monitors"])
        if state["sound"] is not None:
            weights = {n: tensors[f"sound/{n}"] for n in self.parameters}
            self.sound = Sound(state["sound"], weights)

    def _mixtures(self) -> list[MixedScorer]:
        return [s for s in (self.scorer, self.check) if isinstance(s, MixedScorer)]

    # -- the rollout ----------------------------------------------------------------------------

    def _write(self) -> list[Response]:
        s = self.settings
        drawn = draw_prompts(self.prompts, s.prompts_per_update, s.seed, self.step)
        return write_responses(
            self.backbone, self.policy, drawn, s.max_new_tokens, s.temperature, s.seed, self.step,
            self.max_reasoning_tokens,
        )  # fmt: skip

    @torch.no_grad()
    def _read(
        self,
        responses: Sequence[Response],
        scores: Sequence[float],
        parts: Sequence[Sequence[int]],
    ) -> Rollout:
        """What policy, critic and reference make of the responses before the update.

        parts: which responses may be read together; all of them, each in one part.
        """
        mask = response_mask(responses, self.backbone.device)
        read = self._within_memory(
            responses, lambda: self._read_all(responses, parts, mask.shape[1])
        )
        return Rollout(mask, *read, moved(torch.tensor(scores), self.backbone.device))

    def _read_all(
        self, responses: Sequence[Response], parts: Sequence[Sequence[int]], width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Policy's and reference's log-probabilities, and values: float32 [B, width] each."""
        read = torch.zeros(3, len(responses), width, device=self.backbone.device)
        for piece in (piece for part in parts for piece in self._pieces(responses, part)):
            some = [responses[i] for i in piece]
            logprobs, values = self._forward(some, width)
            reference, _ = read_responses(
                self.backbone, self.reference, some, width, self.settings.temperature
            )
            read[:, piece] = torch.stack([logprobs, reference, values])
        logprobs, reference, values = read
        return logprobs, reference, values

    def _forward(self, responses: Sequence[Response], width: int) -> tuple[Tensor, Tensor]:
        """log π of the tokens drawn and V before them: [B, width] each."""
        logprobs, values = read_responses(
            self.backbone,
            self.policy,
            responses,
            width,
            self.settings.temperature,
            self.value_head,
        )
        assert values is not None
        return logprobs, values

    def _check_start(self, rollout: Rollout) -> None:
        """Before the first step policy and reference are one: their KL is 0."""
        bound = SAME.get(self.backbone.dtype, SAME_HALF)
        largest = float(rollout.kl.abs().max())
        if not largest < bound:
            reference = self.reference or "the base without adapters"
            raise ModelError(
                f"Before the first step the policy {self.policy!r} is not its reference,"
                f" {reference!r}: KL {largest:.4g} nats in a response, {bound:g} is allowed",
                hint="The reference must be a frozen copy of the adapter that the policy starts"
                " from; adapters off serve only where the policy is a fresh adapter.",
            )

    def _start_noise(self, responses: Sequence[Response], rollout: Rollout) -> dict[str, float]:
        """Before the first step policy and reference are one; what rounding comes to is measured.

        noise_floor: how far the two are apart, mean in nats a response. ratio_noise: mean
        |log π − log π_old| a token of the same policy, where a later epoch reads it in other parts
        than the first. Raises `ModelError` where the two are not one.
        """
        self._check_start(rollout)
        again = self._read(
            responses, rollout.scores.tolist(), self._minibatches(len(responses), epoch=1)
        )
        apart = (again.logprobs - rollout.logprobs).abs()
        return {
            "noise_floor": rollout.kl.abs().mean().item(),
            "ratio_noise": masked_mean(apart, rollout.mask).item(),
        }

    # -- learning -------------------------------------------------------------------------------

    def _learn(self, responses: Sequence[Response], rollout: Rollout) -> dict[str, float]:
        """Advantages, then the epochs. Returns means over all steps."""
        s = self.settings
        rewards = kl_rewards(
            rollout.logprobs,
            rollout.reference_logprobs,
            rollout.scores,
            rollout.mask,
            self.kl.coef,
        )
        advantages, returns = gae(rewards, rollout.values, rollout.mask, s.gamma, s.lam)
        advantages = whiten(advantages, rollout.mask)
        experience = Experience(responses, rollout, advantages, returns)
        steps: list[dict[str, Tensor]] = []
        self.backbone.train()  # there is no dropout: this is for gradient checkpointing
        for epoch in range(s.epochs):
            for chosen in self._minibatches(len(responses), epoch):
                sums = self._gradients(experience, chosen)
                sums["gradient_norm"] = self.optimizer.clip()
                steps.append(sums)
                if self.backbone.device.type == "cpu":  # elsewhere a look would wait for the device
                    prompts = ", ".join(responses[i].prompt.id for i in chosen[:8])
                    need_numbers(floats(sums), f"of update {self.step + 1} (prompts {prompts}, …)")
                self.optimizer.step(self.step)
        self.backbone.train(False)
        told = [floats(sums) for sums in steps]
        for figures in told:
            need_numbers(figures, f"of update {self.step + 1}")
        means = {name: sum(f[name] for f in told) / len(told) for name in told[0]}
        return means | {"reward": masked_sum(rewards, rollout.mask, dim=1).mean().item()}

    def _minibatches(self, count: int, epoch: int) -> list[list[int]]:
        """A new order for every (seed, update, epoch), cut into parts of nearly one size."""
        seed, parts = self.settings.seed, self.settings.minibatches
        order = sorted(range(count), key=lambda i: derive(seed, "minibatch", self.step, epoch, i))
        return [order[count * k // parts : count * (k + 1) // parts] for k in range(parts)]

    def _gradients(self, experience: Experience, chosen: Sequence[int]) -> dict[str, Tensor]:
        """Gradients of a minibatch, in pieces that fit into memory. Returns its mean figures."""
        some = [experience.responses[i] for i in chosen]
        return self._within_memory(some, lambda: self._accumulate(experience, chosen))

    def _accumulate(self, experience: Experience, chosen: Sequence[int]) -> dict[str, Tensor]:
        responses, rollout, advantages, returns = experience
        s = self.settings
        total = float(sum(len(responses[i].ids) for i in chosen))
        sums: dict[str, Tensor] = {}
        for piece in self._pieces(responses, chosen):
            some = [responses[i] for i in piece]
            rows = moved(torch.tensor(piece), self.backbone.device)
            logprobs, values = self._forward(some, rollout.mask.shape[1])
            mask = rollout.mask[rows]
            policy = policy_loss(
                logprobs, rollout.logprobs[rows], advantages[rows], mask, s.clip, total
            )
            value = value_loss(
                values, rollout.values[rows], returns[rows], mask, s.value_clip, total
            )
            (policy.loss + s.value_coef * value.loss).backward()  # type: ignore[no-untyped-call]
            share = sum(len(r.ids) for r in some) / total
            figures = {
                "policy_loss": policy.loss.detach(),
                "value_loss": value.loss.detach(),
                "clip_fraction": policy.clip_fraction * share,
                "value_clip_fraction": value.clip_fraction * share,
                "approximate_kl": policy.approximate_kl * share,
            }
            for name, figure in figures.items():
                sums[name] = sums[name] + figure if name in sums else figure
        return sums

    # -- watching -------------------------------------------------------------------------------

    def _watch(
        self, responses: Sequence[Response], rollout: Rollout, scores: Sequence[float]
    ) -> dict[str, float]:
        """Tell the monitors and the auditors; returns what the responses look like."""
        kl = rollout.kl.tolist()
        check = None if self.check is None else self.check(responses)
        seen = observe(responses, sum(kl) / len(kl), scores, check)
        self.stopped = self.monitors.watch(seen)
        if self.keep is not None:
            rows = [
                {
                    "update": self.step + 1,
                    "prompt_id": response.prompt.id,
                    "prompt": as_dicts(response.prompt.messages),
                    "response": response.text,
                    **({"reasoning": response.reasoning} if response.reasoning else {}),
                    "score": scores[i],
                    "kl": kl[i],
                    "tokens": len(response.ids),
                    "ended": response.ended,
                    **({} if check is None else {"check": check[i]}),
                }
                for i, response in enumerate(responses)
            ]
            self.keep(rows)
        figures = {
            "kl": seen.kl,
            "kl_largest": max(kl),
            "kl_coef": self.kl.coef,
            "score": seen.score,
            "score_spread": spread(scores),
            "length": seen.length,
            "repetition": seen.repetition,
            "unended": seen.unended,
            "distinct": seen.distinct,
            "entropy": -masked_mean(rollout.logprobs, rollout.mask).item(),
        }
        return figures if seen.check is None else figures | {"check": seen.check}

    # -- memory ---------------------------------------------------------------------------------

    def _pieces(self, responses: Sequence[Response], chosen: Sequence[int]) -> list[list[int]]:
        """Cut a choice of responses into parts of so many tokens as fit into memory."""
        lengths = [len(responses[i].prompt.ids) + len(responses[i].ids) for i in chosen]
        return [[chosen[k] for k in part] for part in shares(lengths, self.budget.tokens)]

    def _within_memory(self, responses: Sequence[Response], work: Callable[[], T]) -> T:
        """Do work that reads responses; with half the tokens at a time where memory ran out."""
        lengths = [len(r.prompt.ids) + len(r.ids) for r in responses]
        return self.budget.spend(work, lengths, self.backbone.device, self.optimizer.clear)


def _check_dropout(backbone: Backbone, policy: str) -> None:
    for name, module in backbone.model.named_modules():
        if name.endswith(f".lora_dropout.{policy}") and getattr(module, "p", 0) > 0:
            raise UsageError(
                f"The adapter {policy!r} has dropout {module.p:g}; PPO learns from exactly what"
                " was drawn, and needs 0.",
                hint="Backbone.no_dropout(policy) turns it off.",
            )
