"""One update of PPO, number by number, against plain loops (`tests.training.oracle`).

The update is the run's second: the first has moved policy, critic and the KL penalty coefficient,
so that ratio, KL and clipping are no longer 1, 0 and idle. Temperature, γ, λ, both clips and the
weight of the value loss are all different from each other and from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cai.models.heads import ScalarHead
from cai.training.loop import Loop, StepReport
from cai.training.ppo import PpoTrainer
from cai.training.rollout import Response, generate_responses
from cai.training.scoring import FunctionScorer
from tests.models.fresh import assert_close
from tests.training import oracle
from tests.training.ppo_runs import PROMPTS, trainer

HOT, GAMMA, LAM, KL_COEF, TARGET, EOS = 1.4, 0.9, 0.8, 0.3, 5.0, 0.5
CLIP, VALUE_CLIP, VALUE_COEF = 0.1, 0.02, 0.4
SETTINGS: dict[str, Any] = {
    "temperature": HOT, "gamma": GAMMA, "lam": LAM, "kl_coef": KL_COEF, "target_kl": TARGET,
    "missing_eos_penalty": EOS, "clip": CLIP, "value_clip": VALUE_CLIP, "value_coef": VALUE_COEF,
    "prompts_per_update": 6, "max_new_tokens": 9, "epochs": 2, "minibatches": 2,
    "micro_tokens": 60, "learning_rate": 2e-2, "seed": 2,
}  # fmt: skip


def length_and_e(prompts: Any, responses: Sequence[str]) -> list[float]:
    """A reward that tells all responses apart."""
    return [len(r) / 7 + r.count("e") for r in responses]


def run_of(**changes: Any) -> PpoTrainer:
    scorer = FunctionScorer(length_and_e, "length_and_e")
    return trainer(scorer=scorer, prompts=PROMPTS[:6], **SETTINGS | changes)


class Watched:
    """The second update of a run: its rollout, and the gradient of every step before clipping."""

    def __init__(self, run: PpoTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = run
        self.first = (
            run.sample_responses()
        )  # drawn again by the update: draws depend on seeds alone
        run.update()
        self.second = run.sample_responses()
        self.orders = [run.minibatches(6, epoch) for epoch in range(2)]
        self.old, self.reference = (
            [self.read(name, response) for response in self.second] for name in ("policy", None)
        )
        self.steps: list[dict[str, Tensor]] = []
        self.expected: list[dict[str, Tensor]] = []
        clip = run.optimizer.clip

        def noted() -> Tensor:
            self.note()
            return clip()

        monkeypatch.setattr(run.optimizer, "clip", noted)
        self.advantages, self.returns, self.rewards = self.teach()
        self.figures = run.update()

    def read(self, adapter: str | None, response: Response) -> oracle.Read:
        """Without a gradient, at the temperature of the run."""
        head = self.run.value_head
        assert isinstance(head, ScalarHead)
        with torch.no_grad():
            return oracle.read(self.run.backbone, head, adapter, response, HOT)

    def teach(self) -> tuple[list[list[float]], list[list[float]], list[float]]:
        """Whitened advantages, returns and sums of rewards.

        The KL was 0 in the first update: the coefficient fell by 0.1 · 0.2 (Ziegler et al. 2019).
        The start's scores are those of both updates.
        """
        scores = length_and_e([], [r.text for r in self.second])
        start = [*length_and_e([], [r.text for r in self.first]), *scores]
        mean = sum(start) / 12
        unit = (sum((x - mean) ** 2 for x in start) / 11) ** 0.5
        rewards = [
            oracle.taught(
                old, reference, (x - mean) / unit - (0.0 if response.ended else EOS),
                KL_COEF * 0.98, GAMMA, LAM,
            )
            for old, reference, x, response in zip(
                self.old, self.reference, scores, self.second, strict=True
            )
        ]  # fmt: skip
        advantages = oracle.whitened([t.advantages for t in rewards])
        return advantages, [t.returns for t in rewards], [t.reward for t in rewards]

    def note(self) -> None:
        """The gradients at hand, and those of the plain loss of the same minibatch."""
        run, number = self.run, len(self.steps)
        self.steps.append(
            {n: p.grad.clone() for n, p in run.parameters.items() if p.grad is not None}
        )
        chosen = self.orders[number // 2][number % 2]
        head = run.value_head
        assert isinstance(head, ScalarHead)
        now = [oracle.read(run.backbone, head, "policy", self.second[i], HOT) for i in chosen]
        loss = oracle.ppo_loss(
            now,
            [self.old[i] for i in chosen],
            [self.advantages[i] for i in chosen],
            [self.returns[i] for i in chosen],
            CLIP,
            VALUE_CLIP,
            VALUE_COEF,
        )
        self.expected.append(oracle.gradients(loss, run.parameters))


def test_every_gradient_of_an_update_is_that_of_a_plain_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two epochs of two minibatches, each cut into pieces of unequal size."""
    run = run_of()
    watched = Watched(run, monkeypatch)
    lengths = [len(r.prompt.ids) + len(r.ids) for r in watched.second]
    pieces = [len(some) for some in run.budget.split(lengths, watched.orders[0])]
    assert len(set(pieces)) > 1, "pieces of unequal size must be there for their weights to show"
    assert len(watched.steps) == 4
    for ours, expected in zip(watched.steps, watched.expected, strict=True):
        assert_close(ours, expected, 1e-3)
    assert {r.ended for r in watched.second} == {True, False}
    figures = watched.figures
    assert figures["clip_fraction"] > 0 and figures["value_clip_fraction"] > 0
    assert figures["kl_coef"] == pytest.approx(KL_COEF * 0.98)
    assert figures["reward"] == pytest.approx(sum(watched.rewards) / 6, abs=1e-3)
    kl = [
        (old.logprobs - reference.logprobs).sum().item()
        for old, reference in zip(watched.old, watched.reference, strict=True)
    ]
    assert abs(sum(kl)) > 1, "the policy must have moved"
    assert figures["kl"] == pytest.approx(sum(kl) / 6, abs=1e-3)


def test_an_evaluation_subtracts_the_kl_penalty() -> None:
    """reward = mean of what a response is worth − kl_coef · mean KL, at the run's temperature; the
    coefficient is the one that the run began with, so that evaluations can be compared."""
    run = run_of(held_out=PROMPTS[6:], updates=3)
    start: list[float] = []
    for _ in range(2):
        start += length_and_e([], [r.text for r in run.sample_responses()])
        run.update()
    mean = sum(start) / 12
    unit = (sum((x - mean) ** 2 for x in start) / 11) ** 0.5
    responses = generate_responses(
        run.backbone, "policy", [(prompt, 0) for prompt in run.held_out], 9, HOT, 2, -1
    )
    worth, kl = [], []
    head = run.value_head
    assert isinstance(head, ScalarHead) and len(responses) == 2
    for response, score in zip(
        responses, length_and_e([], [r.text for r in responses]), strict=True
    ):
        worth.append((score - mean) / unit - (0.0 if response.ended else EOS))
        policy, reference = (
            oracle.read(run.backbone, head, name, response, HOT).logprobs.sum().item()
            for name in ("policy", None)
        )
        kl.append(policy - reference)
    figures = run.evaluate()
    assert abs(sum(kl)) > 1, "the policy must have moved"
    assert figures["kl"] == pytest.approx(sum(kl) / 2, abs=1e-3)
    assert figures["reward"] == pytest.approx((sum(worth) - KL_COEF * sum(kl)) / 2, abs=1e-3)


def test_the_best_is_chosen_with_the_kl_penalty(tmp_path: Path) -> None:
    """At a high rate the policy leaves its reference: one evaluation has the highest score,
    another the highest reward, which is the score less 1 a nat of KL."""
    run = run_of(
        held_out=PROMPTS[6:], kl_coef=1.0, target_kl=None, learning_rate=5e-2, updates=3,
        normalise_scores=False, missing_eos_penalty=0.0, seed=1,
    )  # fmt: skip
    evaluations: list[StepReport] = []
    loop = Loop(run, tmp_path, 99, run.backbone.device, evaluations.append, eval_every=1)
    loop.run()
    held = [r.metrics for r in evaluations if r.held_out]
    scores, rewards = ([f[name] for f in held] for name in ("score", "reward"))
    best = max(range(3), key=lambda i: rewards[i])
    assert scores[best] < max(scores), "the best by score alone must be another"
    assert loop.best["step"] == best + 1
    for f in held:
        assert f["reward"] == pytest.approx(f["score"] - f["kl"], abs=1e-3)
