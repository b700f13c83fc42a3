"""What a method on the policy's own responses has to add: `learn` on a reward, else an `update`.

Two small methods stand for others: REINFORCE on a reward, and distillation from a teacher, which
has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from cai.losses.masked import masked_sum
from cai.models.backbone import Backbone
from cai.training.config import CONFIGS, OnPolicyConfig, RlConfig
from cai.training.kl_controller import AdaptiveKl
from cai.training.loop import Loop
from cai.training.micro_batches import Metrics
from cai.training.on_policy import OnPolicyTrainer
from cai.training.rl import RlTrainer
from cai.training.rollout import Response, Rollout, logprobs_and_values
from cai.training.score_parts import ScorePart
from cai.training.scoring import FunctionScorer
from cai.training.train import TRAINERS
from tests.models.fresh import add_trained
from tests.training.ppo_runs import PROMPTS, backbone, share_of_e

SETTINGS = {
    "prompts_per_update": 8, "max_new_tokens": 8, "updates": 6, "learning_rate": 1e-2,
    "temperature": 1.0,
}  # fmt: skip


class Reinforce(RlTrainer):
    """Williams 1992: the baseline is the mean of the whole rollout."""

    def learn(
        self, responses: Sequence[Response], rollout: Rollout, parts: Sequence[ScorePart]
    ) -> dict[str, float]:
        rewards = rollout.scores - self.kl.coef * rollout.kl
        advantages = rewards - rewards.mean()

        def gradients(minibatch: Sequence[int]) -> Metrics:
            some = [responses[i] for i in minibatch]
            logprobs, _ = self.forward(some, rollout.mask.shape[1])
            sums = masked_sum(logprobs, rollout.mask[list(minibatch)], 1)
            loss = -(sums * advantages[list(minibatch)]).mean()
            loss.backward()
            return {"policy_loss": loss.detach()}

        return self.passes(responses, gradients) | {"reward": rewards.mean().item()}


class Distill(OnPolicyTrainer):
    """The student's responses, read by a teacher: here the adapter "teacher" of the same base."""

    def update(self) -> dict[str, float]:
        responses = self.sample_responses()
        scores = self.scorer(responses)
        rollout = self.evaluate_rollout(responses, self.scale(scores, responses))
        metrics = self.watch(responses, rollout, scores)
        width = rollout.mask.shape[1]
        with torch.no_grad():
            teacher, _ = logprobs_and_values(self.backbone, "teacher", responses, width, 1.0)
        logprobs, _ = self.forward(responses, width)
        penalty = (logprobs.detach() - teacher) * logprobs  # the gradient of the reverse KL
        loss = masked_sum(penalty, rollout.mask) / rollout.mask.sum()
        loss.backward()
        self.optimizer.step(self.step)
        self.step += 1
        return metrics


class TeacherScorer:
    """A response's log-probability under the teacher."""

    name = "teacher"

    def __init__(self, base: Backbone) -> None:
        self.base = base

    @torch.no_grad()
    def __call__(self, responses: Sequence[Response]) -> list[float]:
        width = max(len(response.ids) for response in responses)
        logprobs, _ = logprobs_and_values(self.base, "teacher", responses, width, 1.0)
        return [float(x) for x in logprobs.sum(1)]


def run(trainer: OnPolicyTrainer, folder: Path) -> list[dict[str, float]]:
    metrics: list[dict[str, float]] = []
    Loop(
        trainer, folder, 2, torch.device("cpu"), lambda report: metrics.append(report.metrics)
    ).run()
    return metrics


def test_a_method_on_a_reward_adds_what_it_learns(tmp_path: Path) -> None:
    """Rollout, KL controller, score scale, checkpoints and evaluation come from `RlTrainer`."""
    settings = RlConfig(**SETTINGS, kl_coef=0.1, target_kl=1.0)  # type: ignore[arg-type]
    trainer = Reinforce(
        backbone(), FunctionScorer(share_of_e, "e"), PROMPTS[:6], settings, held_out=PROMPTS[6:]
    )
    metrics = run(trainer, tmp_path)
    assert isinstance(trainer.kl, AdaptiveKl) and trainer.kl.coef != 0.1
    assert trainer.scale.normalise and trainer.scale.start.count == 6 * 8
    assert {"policy_loss", "kl", "score"} <= metrics[0].keys() and "reward" in metrics[-1]
    again = Reinforce(backbone(), FunctionScorer(share_of_e, "e"), PROMPTS[:6], settings)
    assert Loop(again, tmp_path, 2, torch.device("cpu"), lambda report: None).resume()
    assert again.step == 6 and again.kl.coef == trainer.kl.coef


def test_a_method_without_a_reward_adds_its_update(tmp_path: Path) -> None:
    """No penalty, scores as they are: what is evaluated is the teacher's own log-probability."""
    base = backbone()
    add_trained(base, "teacher", seed=3)
    settings = OnPolicyConfig(**SETTINGS)  # type: ignore[arg-type]
    trainer = Distill(base, TeacherScorer(base), PROMPTS[:6], settings, held_out=PROMPTS[6:])
    before = trainer.evaluate()
    metrics = run(trainer, tmp_path)
    assert metrics[0]["kl_coef"] == 0.0 and trainer.step == 6
    assert before["reward"] == pytest.approx(before["score"])
    assert trainer.evaluate()["score"] != before["score"]


def test_every_stage_has_its_trainer() -> None:
    assert TRAINERS.keys() == CONFIGS.keys()
    for stage, config in CONFIGS.items():
        assert config.stage == stage and config.title and config.summary and config.table
