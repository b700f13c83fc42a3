"""RLOO's and GRPO's arithmetic is that of TRL 1.16's trainers, in float32, to 1e-5.

The losses are the peer's own `_compute_loss`, called on our numbers in place of a model's. The
advantages stand in the middle of a long method: the statements are cut out of its syntax tree and
run on our rewards.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cai.losses.group import group_advantages, part_advantages
from cai.losses.kl import k3
from cai.losses.masked import masked_sum
from cai.losses.ppo import policy_loss, sequence_policy_loss

pytestmark = pytest.mark.peers
pytest.importorskip("trl", reason="needs the peers extra")

from trl.trainer import grpo_trainer, rloo_trainer  # noqa: E402

GROUPS, K, WIDTH = 3, 4, 9
LENGTHS = torch.tensor([9, 1, 7, 4, 9, 9, 2, 3, 5, 6, 1, 8])
LONGEST = 16
BETA, LOW, HIGH = 0.3, 0.2, 0.35
CLOSE: Any = {"atol": 1e-5, "rtol": 1e-5}


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def advantages_of(module: Any, trainer: str, rewards: Tensor, **settings: Any) -> Tensor:
    """The peer's advantages [B] of rewards [B, functions], by its own statements."""
    source = getattr(module, trainer)._generate_and_score_completions
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(source))).body
    assert isinstance(function, ast.FunctionDef)
    texts = [ast.unparse(statement) for statement in function.body]
    start = next(i for i, text in enumerate(texts) if text.startswith("unscorable_mask ="))
    end = max(i for i, text in enumerate(texts) if text.startswith("advantages = torch.nan_to"))
    body = ast.Module(function.body[start : end + 1], [])
    this = SimpleNamespace(
        reward_weights=settings.pop("weights", torch.ones(rewards.shape[1])),
        reward_funcs=[None] * rewards.shape[1],
        **settings,
    )
    names = {
        "torch": torch, "self": this, "rewards_per_func": rewards, "num_generations": K,
        "device": rewards.device, "gather": lambda x: x, "nanstd": module.nanstd,
        **settings.get("names", {}),
    }  # fmt: skip
    exec(compile(body, "trl", "exec"), names)
    out: Tensor = names["advantages"]
    return out


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
def test_advantages_of_grpo(scale: str) -> None:
    rewards = numbers(1, GROUPS * K, 1)
    rewards[:K] = 0.25  # a group without variance
    theirs = advantages_of(
        grpo_trainer, "GRPOTrainer", rewards, scale_rewards=scale,
        multi_objective_aggregation="sum_then_normalize",
    )  # fmt: skip
    ours = group_advantages(rewards.view(GROUPS, K), "group-mean", scale)  # type: ignore[arg-type]
    torch.testing.assert_close(ours.flatten(), theirs, **CLOSE)


def test_advantages_of_gdpo() -> None:
    rewards = numbers(2, GROUPS * K, 3) * torch.tensor([1.0, 50.0, 0.01])
    weights = torch.tensor([1.0, 0.5, 2.0])
    theirs = advantages_of(
        grpo_trainer, "GRPOTrainer", rewards, weights=weights,
        multi_objective_aggregation="normalize_then_sum",
    )  # fmt: skip
    ours = part_advantages(rewards.view(GROUPS, K, 3), weights)
    torch.testing.assert_close(ours.flatten(), theirs, **CLOSE)


def test_advantages_of_rloo() -> None:
    """Their KL penalty is in the reward, as here: the sum of log π − log π_ref."""
    rewards = numbers(3, GROUPS * K, 1)
    old, reference = numbers(4, 2, GROUPS * K, WIDTH)
    mask = torch.arange(WIDTH) < LENGTHS[:, None]
    theirs = advantages_of(
        rloo_trainer, "RLOOTrainer", rewards, beta=BETA, reward_clip_range=None,
        normalize_advantages=False,
        names={
            "old_per_token_logps": old, "ref_per_token_logps": reference, "completion_mask": mask,
        },
    )  # fmt: skip
    paid = rewards[:, 0] - BETA * masked_sum(old - reference, mask, 1)
    ours = group_advantages(paid.view(GROUPS, K), "leave-one-out")
    torch.testing.assert_close(ours.flatten(), theirs, **CLOSE)


class Batch:
    """Rows of sampled tokens: new, old and reference log-probabilities [B, T], advantages [B]."""

    def __init__(self) -> None:
        old, noise, apart = numbers(5, 3, GROUPS * K, WIDTH)
        self.old = -old.abs()
        self.new = (self.old + 0.3 * noise).requires_grad_()
        self.reference = self.old + 0.5 * apart
        self.mask = torch.arange(WIDTH) < LENGTHS[:, None]
        self.advantages = numbers(6, GROUPS * K)
        self.tokens = float(LENGTHS.sum())

    def theirs(self, trainer: Any, **settings: Any) -> Tensor:
        """The peer's loss of these rows."""
        this = SimpleNamespace(
            model=SimpleNamespace(training=True), top_entropy_quantile=1.0,
            off_policy_mask_threshold=None, beta=0.0, epsilon_low=LOW,
            epsilon_high=HIGH, use_vllm=False, current_gradient_accumulation_steps=1,
            max_completion_length=LONGEST, aux_loss_enabled=False, _entropy_bonus_enabled=False,
            importance_sampling_level="token", _metrics=defaultdict(lambda: defaultdict(list)),
            args=SimpleNamespace(
                use_bias_correction_kl=False, delta=None, steps_per_generation=1
            ),
            accelerator=SimpleNamespace(
                gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1
            ),
        )  # fmt: skip
        vars(this).update(settings)
        this._get_per_token_logps_and_entropies = lambda *a, **k: (
            self.new, torch.zeros_like(self.new), None
        )  # fmt: skip
        ids = torch.ones(GROUPS * K, WIDTH, dtype=torch.long)
        loss: Tensor = trainer._compute_loss(
            this,
            SimpleNamespace(training=True),
            {
                "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1], "completion_ids": ids,
                "completion_mask": self.mask.long(), "advantages": self.advantages,
                "old_per_token_logps": self.old, "ref_per_token_logps": self.reference,
                "old_logps": masked_sum(self.old, self.mask, 1),
                "num_items_in_batch": torch.tensor(self.tokens),
            },
        )  # fmt: skip
        return loss

    def same(self, ours: Tensor, theirs: Tensor) -> None:
        """The same loss, and the same gradient of every log-probability."""
        torch.testing.assert_close(ours, theirs, **CLOSE)
        gradients = [torch.autograd.grad(loss, self.new)[0] for loss in (ours, theirs)]
        assert gradients[0].abs().max() > 0.01
        torch.testing.assert_close(*gradients, **CLOSE)


def test_the_loss_of_rloo() -> None:
    batch = Batch()
    ours = sequence_policy_loss(
        batch.new, batch.old, batch.advantages, batch.mask, LOW, GROUPS * K, HIGH
    )
    batch.same(ours.loss, batch.theirs(rloo_trainer.RLOOTrainer))


@pytest.mark.parametrize("beta", [0.0, BETA], ids=["no-kl", "kl"])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("dapo", "token"), ("bnpo", "token"), ("grpo", "sequence"), ("dr_grpo", "constant")],
)
def test_the_loss_of_grpo(theirs: str, ours: str, beta: float) -> None:
    """By the weights and totals of `RlooTrainer`: tests/training/test_rloo.py holds it to them."""
    batch = Batch()
    weights = torch.ones(GROUPS * K, WIDTH)
    if ours == "sequence":
        weights /= LENGTHS[:, None]
    total = {
        "token": batch.tokens, "sequence": float(GROUPS * K),
        "constant": float(GROUPS * K * LONGEST),
    }[ours]  # fmt: skip
    terms = policy_loss(
        batch.new, batch.old, batch.advantages[:, None] * weights, batch.mask,
        LOW, total, HIGH,
    )  # fmt: skip
    kl = masked_sum(k3(batch.new, batch.reference, batch.mask) * weights, batch.mask)
    peer = batch.theirs(grpo_trainer.GRPOTrainer, loss_type=theirs, beta=beta)
    batch.same(terms.loss + beta * kl / total, peer)
