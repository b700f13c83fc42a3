"""Training on the policy's own responses: rollouts, evaluation, monitors, checkpoints.

Prompts are answered, the responses are scored, policy and reference model compute their
log-probabilities, and the monitors watch. `cai.training.rl` makes the scores a reward; how a policy
learns from a rollout is up to a method, such as `cai.training.ppo`.

Every random choice is a function of (seed, update) and of a prompt's id, so the state of a run is
its parameters, AdamW's moments and a few numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cai.backends.server.lora_server import LoraServer
from cai.data.files import json_line, store_errors
from cai.errors import DataError, UsageError
from cai.losses.masked import masked_mean
from cai.models.backbone import Backbone
from cai.stats import spread
from cai.text.seeds import derive
from cai.training.batches import to_device
from cai.training.config import OnPolicyConfig
from cai.training.folder import Facts
from cai.training.kl_controller import FixedKl, KlController
from cai.training.metrics_log import (
    ROLLOUTS,
    last_metrics,
    start_noise,
    write_constitutions,
)
from cai.training.micro_batches import Metrics, TokenBudget
from cai.training.monitors import AlarmBounds, Monitors, observe, rollout_warnings
from cai.training.optimizer import Optimizer, Schedule
from cai.training.policy import save_policy
from cai.training.rollout import (
    Response,
    Rollout,
    draw_prompts,
    encode_prompts,
    logprobs_and_values,
    response_mask,
    rollout_rows,
)
from cai.training.samplers import LocalSampler, ResponseSampler
from cai.training.score_parts import Scored, ScorePart, StartScores, part_means
from cai.training.scoring import Scorer, ScoreScale, scored
from cai.training.served_sampler import ServedSampler, require_agreement
from cai.training.sharding import whole
from cai.training.trainer import LastGoodWeights, LearnedUnit, OnProgress, StepResult, Workload
from cai.types import Constitution, Prompt, SetAside

EVALUATION_PROMPTS = 64
"""Most held-out prompts that are answered in an evaluation."""
EVAL_SEED_STEP = -1
"""Takes the place of the update in the seeds of an evaluation's responses."""


class OnPolicyTrainer(ABC):
    """Samples, scores and monitors rollouts: a `StageTrainer` but for its `update`.

    A method's `update` calls `sample_responses`, `score`, `evaluate_rollout` and `watch`, then
    learns by `forward` and `accumulate`, and increments `step`. Responses, scores and rollouts are
    those of the whole update in every process; the work on them is shared.

    scorer: returns the scores that evaluations and monitors use.

    policy: the adapter that learns. reference: the adapter of the reference model, a frozen copy of
    the policy's start; None if the policy is a fresh adapter: the base with adapters off.
    second_scorer: a reward that nothing is trained on, for the monitors. held_out: prompts that are
    answered in evaluations alone. value_head: on the policy's hidden states, trained with it.
    set_aside: invalid prompts so far; those that are too long are added. parents, data: for the
    record of the run. other_models: bases that are held beside the policy's. rollout_server: the
    one that `settings.rollout_server` names, in the first process.

    Raises `DataError` if no prompt can be used, and `UsageError` if the policy has dropout: the
    log-probabilities would not be those of the sampled distribution.
    """

    best_metric = "reward"
    higher_is_better = True
    screen_metrics: Sequence[str] = ()
    signal: LearnedUnit = "response"
    """What teaches: as in `Workload`."""
    notes: Sequence[str] = ()

    def __init__(
        self,
        backbone: Backbone,
        scorer: Scorer,
        prompts: Sequence[Prompt],
        settings: OnPolicyConfig,
        *,
        policy: str = "policy",
        reference: str | None = None,
        second_scorer: Scorer | None = None,
        held_out: Sequence[Prompt] = (),
        bounds: AlarmBounds | None = None,
        value_head: nn.Module | None = None,
        set_aside: Sequence[SetAside] = (),
        parents: Sequence[dict[str, Any]] = (),
        data: Sequence[dict[str, Any]] = (),
        other_models: Sequence[nn.Module] = (),
        rollout_server: LoraServer | None = None,
    ) -> None:
        self.backbone = backbone
        self.scorer = scorer
        self.settings = settings
        self.policy = policy
        self.reference = reference
        self.second_scorer = second_scorer
        self.value_head = value_head.to(backbone.device) if value_head is not None else None
        self.rollouts: Path | None = None
        """The file that every update's responses are written to, for auditors."""
        self.step = 0
        self.steps = settings.steps
        self.stopped: str | None = None
        """Why the monitors ended the run."""
        self.last_good: LastGoodWeights | None = None
        """What was trained, before the last update without an alarm."""
        self.kl = self._kl_controller()
        self._start_kl_coef = self.kl.coef
        self.monitors = Monitors(
            bounds or AlarmBounds(kl=settings.max_kl), settings.prompts_per_update
        )
        self.scale = self._score_scale()
        self.budget = TokenBudget(settings.micro_tokens)
        self._warned: set[str] = set()

        self.max_reasoning_tokens = (
            settings.max_reasoning_tokens if backbone.encoder.template.reasons else 0
        )
        room = backbone.context - settings.max_new_tokens - self.max_reasoning_tokens - 1
        self.prompts, too_long = encode_prompts(backbone.encoder, prompts, room)
        evaluated, too_long_held_out = encode_prompts(backbone.encoder, held_out, room)
        self.set_aside = [*set_aside, *too_long, *too_long_held_out]
        evaluated.sort(key=lambda prompt: derive(settings.seed, "evaluated", prompt.id))
        self.held_out = evaluated[:EVALUATION_PROMPTS]
        if not self.prompts:
            why = f": {self.set_aside[0].reason}" if self.set_aside else ""
            raise DataError(
                f"None of the {len(self.set_aside)} prompts can be used{why}",
                hint="Lower --max-new-tokens or --max-reasoning-tokens, or give shorter prompts:"
                " all must fit into the model's context.",
            )
        longest = (
            max(len(p.ids) for p in (*self.prompts, *self.held_out))
            + self.max_reasoning_tokens
            + settings.max_new_tokens
        )
        _require_no_dropout(backbone, policy)
        backbone.train_only(policy)
        value = self.value_head.named_parameters() if self.value_head is not None else ()
        self.optimizer = Optimizer(
            {
                **{f"policy/{n}": p for n, p in backbone.trainable().items()},
                **{f"value/{n}": p for n, p in value},
            },
            Schedule(settings.schedule, settings.rate, self.steps, settings.warmup),
            settings.weight_decay,
            settings.max_grad_norm,
        )
        self.facts = Facts(
            base={"name": backbone.name, "fingerprint": backbone.fingerprint},
            parents=tuple(parents),
            data=tuple(data),
            counts={
                "prompts": len(self.prompts),
                "held out": len(self.held_out),
                "set aside": len(self.set_aside),
            },
        )
        self.workload = Workload(
            rows=len(self.prompts),
            held_out=len(self.held_out),
            tokens=self.steps * settings.responses_per_update * settings.max_new_tokens,
            steps=self.steps,
            longest=longest,
            signal=self.signal,
            signals=self.steps
            * settings.responses_per_update
            * (settings.max_new_tokens if self.signal == "token" else 1),
            other_models=other_models,
        )
        self.sampler: ResponseSampler = (
            ServedSampler(rollout_server, backbone, settings, self.max_reasoning_tokens, longest)
            if settings.rollout_server
            else LocalSampler(backbone, policy, settings, self.max_reasoning_tokens)
        )

    @property
    def done(self) -> bool:
        """As in `Trainer`."""
        return self.step >= self.steps or self.stopped is not None

    @property
    def comparable(self) -> bool:
        """As in `Trainer`."""
        return True

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """As in `Trainer`: the policy's and the value head's."""
        return self.optimizer.parameters

    def train_step(self) -> StepResult:
        """As in `Trainer`: an update."""
        metrics = self.update()
        return StepResult(metrics, round(metrics["length"] * self.settings.responses_per_update))

    @abstractmethod
    def update(self) -> dict[str, float]:
        """Do one update: a rollout, and the steps that learn from it. Returns its metrics."""

    def evaluate(self) -> dict[str, float]:
        """Metrics of responses to the held-out prompts, sampled from the same seeds every time.

        reward: the mean score, scaled as in training, less the KL penalty at the coefficient that
        the run began with.
        """
        if not self.held_out:
            return {}
        responses = self.sampler.respond([(prompt, 0) for prompt in self.held_out], EVAL_SEED_STEP)
        scores, parts = self.score(responses)
        rollout = self.evaluate_rollout(responses, self.scale(scores, responses))
        kl = rollout.kl.mean().item()
        return (
            self._sampler_metrics(responses, rollout)
            | part_means(parts)
            | {
                "reward": rollout.scores.mean().item() - self._start_kl_coef * kl,
                "score": sum(scores) / len(scores),
                "kl": kl,
                "length": sum(len(r.ids) for r in responses) / len(responses),
            }
        )

    # -- a run of `cai train` -------------------------------------------------------------------

    def prepare(self, progress: OnProgress) -> None:
        """Test that a server samples from the policy, if one samples."""
        self.sampler.test(
            [(prompt, 0) for prompt in self.prompts],
            lambda responses: self.evaluate_rollout(responses, [0.0] * len(responses)).logprobs,
        )

    def prepare_steps(self, steps: int) -> float:
        """No-op: nothing to prepare."""
        return 1.0

    def attach(self, folder: Path) -> None:
        """As in `StageTrainer`: every update's responses are kept, and the constitutions' texts."""
        self.rollouts = folder / ROLLOUTS
        if self.constitutions:
            write_constitutions(folder, self.constitutions)

    @property
    def constitutions(self) -> Sequence[Constitution]:
        """The constitutions that a run learns from."""
        return ()

    def warn(self, metrics: Mapping[str, float]) -> str | None:
        """As in `StageTrainer`: rewards without spread, equal responses, missing ends."""
        for name, warning in rollout_warnings(
            self.settings, metrics, self.monitors.second_reward_is_constant, self.scale.unit
        ):
            if name not in self._warned:
                self._warned.add(name)
                return warning
        return None

    def save(self, folder: Path) -> dict[str, Any]:
        """As in `StageTrainer`: the policy; the results are the last step's metrics."""
        save_policy(self.backbone, folder)
        metrics = last_metrics(folder)
        results = {  # + 0.0: no -0.0
            name: round(metrics[name], 4) + 0.0 for name in self.screen_metrics if name in metrics
        }
        sampler = self.sampler.description
        return results | start_noise(folder) | ({"sampled_by": sampler} if sampler else {})

    def close(self) -> None:
        """As in `StageTrainer`."""
        self.sampler.close()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a resumed run needs: tensors by name, and plain values for JSON.

        The tensors are the run's own: save or copy them before the next update.
        """
        good = self.last_good
        tensors = {f"last_good/{n}": t for n, t in good.tensors.items()} if good else {}
        return {**self.optimizer.tensors(), **tensors}, {
            "step": self.step,
            "stopped": self.stopped,
            "kl_coef": self.kl.coef,
            "score_start": self.scale.start.state(),
            "micro_tokens": self.budget.tokens,
            "monitors": self.monitors.state(),
            "last_good": good.step if good else None,
        }

    def load_state(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Resume from what `state` returned, bit for bit on a CPU."""
        self.optimizer.restore(tensors)
        self.step, self.stopped = state["step"], state["stopped"]
        self.kl.coef = state["kl_coef"]
        self.scale.start = StartScores(**state["score_start"])
        self.budget.tokens = min(self.budget.tokens, state["micro_tokens"])
        self.monitors.load_state(state["monitors"])
        if state["last_good"] is not None:
            weights = {n: tensors[f"last_good/{n}"] for n in self.parameters}
            self.last_good = LastGoodWeights(state["last_good"], weights)

    def _kl_controller(self) -> KlController:
        """The coefficient of the KL penalty in the reward; 0 for a method without a reward."""
        return FixedKl(0.0)

    def _score_scale(self) -> ScoreScale:
        """How scores are scaled; a method without a reward takes them as they are."""
        return ScoreScale(normalise=False, clip=None, missing_eos=None)

    # -- the rollout ----------------------------------------------------------------------------

    def sample_responses(self) -> list[Response]:
        """Responses to the update's prompts, sampled from the policy."""
        s = self.settings
        prompts = draw_prompts(self.prompts, s.prompts_per_update, s.seed, self.step)
        return self.sampler.respond(prompts, self.step)

    def score(self, responses: Sequence[Response], calibrate: bool = False) -> Scored:
        """The scores of responses, and what each part of the reward adds to them.

        calibrate: as of `PartedScorer.scored`.
        """
        return scored(self.scorer, responses, calibrate)

    @torch.no_grad()
    def evaluate_rollout(
        self,
        responses: Sequence[Response],
        scores: Sequence[float],
        groups: Sequence[Sequence[int]] | None = None,
    ) -> Rollout:
        """Log-probabilities under policy and reference model, and values, before the update.

        groups: the responses that may share a micro-batch, each in one group; all by default.
        """
        mask = response_mask(responses, self.backbone.device)
        width = mask.shape[1]

        def read(batch: list[int]) -> Tensor:
            micro_batch = [responses[i] for i in batch]
            logprobs, values = self.forward(micro_batch, width)
            reference, _ = logprobs_and_values(
                self.backbone, self.reference, micro_batch, width, self.settings.temperature
            )
            return torch.stack([logprobs, reference, values], dim=1)

        rows = self.budget.rows(
            read, _lengths(responses), self.backbone.device, shape=(3, width), groups=groups,
            clear=self.optimizer.clear,
        )  # fmt: skip
        logprobs, reference, values = (rows[:, k].contiguous() for k in range(3))
        scaled_scores = to_device(torch.tensor(scores), self.backbone.device)
        return Rollout(mask, logprobs, reference, values, scaled_scores)

    def forward(self, responses: Sequence[Response], width: int) -> tuple[Tensor, Tensor]:
        """log π of the sampled tokens, and V before them (0 without a value head): [B, width]."""
        logprobs, values = logprobs_and_values(
            self.backbone,
            self.policy,
            responses,
            width,
            self.settings.temperature,
            self.value_head,
        )
        return logprobs, torch.zeros_like(logprobs) if values is None else values

    def accumulate(
        self,
        loss: Callable[[list[int]], tuple[Tensor, Metrics]],
        responses: Sequence[Response],
        groups: Sequence[Sequence[int]] | None = None,
    ) -> Metrics:
        """Accumulate gradients over micro-batches of responses, as `TokenBudget.accumulate`."""
        return self.budget.accumulate(
            loss, _lengths(responses), self.backbone.device, groups=groups,
            clear=self.optimizer.clear,
        )  # fmt: skip

    # -- watching -------------------------------------------------------------------------------

    def watch(
        self,
        responses: Sequence[Response],
        rollout: Rollout,
        scores: Sequence[float],
        parts: Sequence[ScorePart] = (),
        details: Sequence[Mapping[str, Any]] | None = None,
    ) -> dict[str, float]:
        """Show the rollout to the monitors, log it for auditors, and return its metrics.

        parts: of the scores, as `score` returns them. details: what else the log says of each
        response.

        If the monitors stop the run, `stopped` is set to their reason. If there is no alarm, the
        weights that wrote these responses become the last good ones.
        """
        sampler_metrics = self._sampler_metrics(responses, rollout)
        kl = rollout.kl.tolist()
        second = (
            scored(self.second_scorer, responses, calibrate=True).scores
            if self.second_scorer is not None
            else None
        )
        observation = observe(responses, sum(kl) / len(kl), scores, second)
        self.stopped = self.monitors.watch(observation)
        if self.monitors.no_alarm:
            weights = {n: whole(p).to("cpu", copy=True) for n, p in self.parameters.items()}
            self.last_good = LastGoodWeights(self.step, weights)
        if self.rollouts is not None:
            rows = rollout_rows(self.step + 1, responses, scores, kl, second, parts, details)
            with store_errors(self.rollouts), self.rollouts.open("ab") as file:
                file.writelines(map(json_line, rows))
        metrics = (
            sampler_metrics
            | part_means(parts)
            | {
                "kl": observation.kl,
                "kl_largest": max(kl),
                "kl_coef": self.kl.coef,
                "score": observation.score,
                "score_spread": spread(scores),
                "length": observation.length,
                "repetition": observation.repetition,
                "missing_eos": observation.missing_eos,
                "distinct": observation.distinct,
                "entropy": -masked_mean(rollout.logprobs, rollout.mask).item(),
            }
        )
        if observation.second_score is not None:
            metrics["second_reward"] = observation.second_score
        return metrics

    def _sampler_metrics(self, responses: Sequence[Response], rollout: Rollout) -> dict[str, float]:
        return require_agreement(
            responses, rollout.logprobs, self.settings.rollout_tolerance, self.step + 1
        )


def _lengths(responses: Sequence[Response]) -> list[int]:
    """Tokens of each response with its prompt."""
    return [len(r.prompt.ids) + len(r.ids) for r in responses]


def _require_no_dropout(backbone: Backbone, policy: str) -> None:
    for name, module in backbone.model.named_modules():
        if name.endswith(f".lora_dropout.{policy}") and getattr(module, "p", 0) > 0:
            raise UsageError(
                f"The adapter {policy!r} has dropout {module.p:g}; training on a policy's own"
                " responses needs 0, or it would not learn from what was drawn.",
                hint="Backbone.no_dropout(policy) turns it off.",
            )
