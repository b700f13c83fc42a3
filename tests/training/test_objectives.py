"""Objectives on rows, on one batch: loss, figures and every gradient, against plain loops.

Each batch is read whole, in pieces of unequal size (long rows alone, short ones together), and
packed: a mean of the pieces' means would weigh a token or a pair by how small its piece is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.training.batches import Tokens
from cai.training.dpo import DpoObjective
from cai.training.kto import KtoObjective
from cai.training.labelled import EncodedLabel, with_mismatches
from cai.training.micro_batches import TokenBudget
from cai.training.optimizer import Optimizer, Schedule
from cai.training.pairs import EncodedPair
from cai.training.reference import LiveReference
from cai.training.reward import RewardObjective
from cai.training.rows import Objective, RowsTrainer, StepPlan
from cai.training.sft import EncodedTurn, SftObjective
from tests.models import fresh
from tests.training import oracle

WHOLE = 10**6
"""Tokens read at once: all of a batch."""
ROWS, PAIRS = 40, 100
"""So few that pieces differ in size: the longest conversation, or pair, has one of its own."""


def talk(prompt: int, response: int, seed: int) -> Tokens:
    """A conversation of random tokens, of which the response's count."""
    ids = fresh.token_ids(prompt + response, seed=seed).tolist()
    return Tokens(tuple(ids), (False,) * prompt + (True,) * response)


TALKS = [talk(4, 30, 0), talk(8, 3, 1), talk(5, 9, 2), talk(3, 1, 3), talk(6, 6, 4)]
LABELS = (None, 0.8, 0.5, 0.6, 1.0)
MARGINS = (0.7, None, 0.2, 1.5, None)


def pairs() -> list[EncodedPair]:
    """Five pairs whose sides differ in length, with and without a label and a margin."""
    return [
        EncodedPair(str(i), TALKS[i], talk(5, 4 * i + 2, 10 + i), label, margin)
        for i, (label, margin) in enumerate(zip(LABELS, MARGINS, strict=True))
    ]


def label_of(pair: EncodedPair, soft: bool) -> float:
    """Its probability; hard: 1, but one half for a tie."""
    probability = pair.probability
    if probability is None:
        return 1.0
    return probability if soft or probability == 0.5 else 1.0


@pytest.fixture
def bone() -> Backbone:
    """A policy that has been trained, and a reference that is another."""
    base = fresh.backbone()
    fresh.add_trained(base, "policy", seed=5)
    fresh.add_trained(base, "reference", seed=6)
    base.train_only("policy")
    return base


def one_batch(
    objective: Objective[Any],
    examples: Sequence[Any],
    parameters: Mapping[str, nn.Parameter],
    micro_tokens: int,
    bone: Backbone,
) -> tuple[dict[str, float], dict[str, Tensor], dict[str, float]]:
    """Figures and gradients of a batch by the trainer, and the same figures as held out."""
    updates = Optimizer(parameters, Schedule("constant", 1e-3, 1, 0.0))
    plan = StepPlan(len(examples), 1.0, micro_tokens, seed=0)
    trainer = RowsTrainer(
        bone.train, objective, updates, examples, examples, plan, bone.device,
        before_batch=getattr(objective, "look", None),
    )  # fmt: skip
    sizes = {len(piece) for piece in trainer.budget.split(list(map(objective.tokens, examples)))}
    assert sizes == {len(examples)} if micro_tokens == WHOLE else len(sizes) > 1
    figures = {name: value.item() for name, value in trainer._gradients(examples).items()}
    gradients = {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in parameters.items()
    }
    return figures, {n: g.clone() for n, g in gradients.items()}, trainer.evaluate()


def agree(
    results: tuple[dict[str, float], dict[str, Tensor], dict[str, float]],
    loss: Tensor,
    parameters: Mapping[str, nn.Parameter],
    figures: Mapping[str, Any] | None = None,
) -> None:
    """The trainer's figures and gradients are those of the plain loss; held out likewise."""
    ours, our_gradients, held_out = results
    expected = {"loss": loss.item()} | {n: float(v) for n, v in (figures or {}).items()}
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
        assert held_out[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    fresh.assert_close(our_gradients, oracle.gradients(loss, parameters), 1e-4)


@pytest.mark.parametrize(
    ("micro_tokens", "capacity"), [(WHOLE, 0), (ROWS, 0), (WHOLE, 48), (ROWS, 48)]
)
def test_sft_is_a_mean_over_the_tokens_of_a_batch(
    bone: Backbone, micro_tokens: int, capacity: int
) -> None:
    """30 + 3 + 9 + 1 + 6 tokens count: Σ −log π / 49, however the batch is cut."""
    examples = [EncodedTurn(str(i), tokens) for i, tokens in enumerate(TALKS)]
    parameters = bone.trainable()
    results = one_batch(SftObjective(bone, capacity), examples, parameters, micro_tokens, bone)
    loss = -torch.stack([oracle.sequence_logprob(bone, "policy", t) for t in TALKS]).sum() / 49
    agree(results, loss, parameters)


@pytest.mark.parametrize(
    ("micro_tokens", "soft", "centering", "margins"),
    [
        (PAIRS, True, 0.3, True),
        (WHOLE, True, 0.0, True),
        (PAIRS, False, 0.3, True),
        (PAIRS, True, 0.3, False),
    ],
)
def test_a_reward_model_learns_that_chosen_is_better(
    bone: Backbone, micro_tokens: int, soft: bool, centering: float, margins: bool
) -> None:
    """Mean over pairs of −p log σ(d) − (1 − p) log σ(−d) + c (s + s')², d = s − s' − margin."""
    head = ScalarHead(bone.hidden_size, seed=2, std=0.3)
    parameters = {**bone.trainable(), **{f"head.{n}": p for n, p in head.named_parameters()}}
    objective = RewardObjective(bone, head, soft, centering, margins)
    results = one_batch(objective, pairs(), parameters, micro_tokens, bone)
    losses, leads, right, scores = [], [], [], []
    for pair in pairs():
        chosen, rejected = (oracle.score(bone, head, t) for t in (pair.chosen, pair.rejected))
        p = label_of(pair, soft)
        d = chosen - rejected - ((pair.margin or 0.0) if margins else 0.0)
        loss = -(p * oracle.log_sigmoid(d) + (1 - p) * oracle.log_sigmoid(-d))
        losses.append(loss + centering * (chosen + rejected) ** 2)
        leads.append((chosen - rejected).item())
        scores.append((chosen + rejected).item() / 2)
        right.append(0.5 if pair.probability == 0.5 else float(leads[-1] > 0))
    figures = {
        "margin": sum(leads) / 5,
        "accuracy": sum(right) / 5,
        "mean_score": sum(scores) / 5,
    }
    assert abs(figures["margin"]) > 0.01, "a pair's sides must differ for a swap to show"
    agree(results, torch.stack(losses).mean(), parameters, figures)


@pytest.mark.parametrize(
    ("micro_tokens", "capacity", "beta", "nll", "soft"),
    [
        (PAIRS, 0, 0.3, 0.4, True),
        (WHOLE, 48, 0.05, 0.4, True),
        (WHOLE, 0, 0.3, 0.0, False),
        (PAIRS, 0, 0.3, 0.4, False),
    ],
)
def test_dpo_against_its_reference(
    bone: Backbone, micro_tokens: int, capacity: int, beta: float, nll: float, soft: bool
) -> None:
    """z = β ((log π − log π_ref)(chosen) − (…)(rejected)); the mean over pairs of
    −p log σ(z) − (1 − p) log σ(−z) − nll · log π(chosen) / tokens of chosen."""
    parameters = bone.trainable()
    reference = LiveReference(bone, "reference")
    objective = DpoObjective(bone, reference, beta, soft, nll, capacity)
    results = one_batch(objective, pairs(), parameters, micro_tokens, bone)
    losses, sums = [], torch.zeros(4)
    for pair in pairs():
        sides = pair.chosen, pair.rejected
        chosen, rejected = (oracle.sequence_logprob(bone, "policy", side) for side in sides)
        was_chosen, was_rejected = (
            oracle.sequence_logprob(bone, "reference", side) for side in sides
        )
        first, second = beta * (chosen - was_chosen), beta * (rejected - was_rejected)
        z, p = first - second, label_of(pair, soft)
        loss = -(p * oracle.log_sigmoid(z) + (1 - p) * oracle.log_sigmoid(-z))
        losses.append(loss - nll * chosen / pair.chosen.counted)
        sums += torch.stack([chosen, rejected, first, second]).detach()
    names = ("chosen_logprob", "rejected_logprob", "chosen_reward", "rejected_reward")
    figures = dict(zip(names, (sums / 5).tolist(), strict=True))
    figures["margin"] = figures["chosen_reward"] - figures["rejected_reward"]
    agree(results, torch.stack(losses).mean(), parameters, figures)


@pytest.mark.parametrize("micro_tokens", [WHOLE, PAIRS])
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("loss", ["ipo", "robust", "simpo"])
def test_dpo_s_relatives(bone: Backbone, loss: str, soft: bool, micro_tokens: int) -> None:
    """The mean over pairs of p·L(chosen wins) + (1 − p)·L(rejected wins) − 0.4·log π(chosen)/n:

    - IPO: (h − 1/(2β))² of h = Δ(chosen)/tokens − Δ(rejected)/tokens
    - robust: (0.8·(−log σ(z)) − 0.2·(−log σ(−z))) / 0.6 of z = β(Δ(chosen) − Δ(rejected))
    - SimPO: −log σ(β·log π(chosen)/tokens − β·log π(rejected)/tokens − 0.7), without a reference
    """
    beta, parameters = {"ipo": 0.4, "robust": 0.3, "simpo": 2.0}[loss], bone.trainable()
    reference = None if loss == "simpo" else LiveReference(bone, "reference")
    objective = DpoObjective(
        bone, reference, beta, soft, 0.4, loss_type=loss, margin=0.7, label_smoothing=0.2
    )
    results = one_batch(objective, pairs(), parameters, micro_tokens, bone)
    losses, sums = [], torch.zeros(2)
    for pair in pairs():
        sides = pair.chosen, pair.rejected
        now = [oracle.sequence_logprob(bone, "policy", side) for side in sides]
        before = [oracle.sequence_logprob(bone, "reference", side).detach() for side in sides]
        if loss == "simpo":
            rewards = [beta * x / side.counted for x, side in zip(now, sides, strict=True)]
        elif loss == "ipo":
            rewards = [
                beta * (x - y) / side.counted for x, y, side in zip(now, before, sides, strict=True)
            ]
        else:
            rewards = [beta * (x - y) for x, y in zip(now, before, strict=True)]
        d, p = rewards[0] - rewards[1], label_of(pair, soft)
        of: dict[str, Any] = {
            "ipo": lambda d: (d / 0.4 - 1 / 0.8) ** 2,
            "robust": lambda d: (0.2 * oracle.log_sigmoid(-d) - 0.8 * oracle.log_sigmoid(d)) / 0.6,
            "simpo": lambda d: -oracle.log_sigmoid(d - 0.7),
        }
        both = p * of[loss](d) + (1 - p) * of[loss](-d)
        losses.append(both - 0.4 * now[0] / pair.chosen.counted)
        sums += torch.stack(rewards).detach()
    figures = {"chosen_reward": sums[0].item() / 5, "rejected_reward": sums[1].item() / 5}
    figures["margin"] = figures["chosen_reward"] - figures["rejected_reward"]
    agree(results, torch.stack(losses).mean(), parameters, figures)


def labelled(count: int = 5) -> list[EncodedLabel]:
    """Rows of both kinds with weights of their own, each with a response to another's prompt."""
    weights = (1.0, 2.0, 0.5, 1.0, 3.0)
    rows = [EncodedLabel(str(i), TALKS[i], TALKS[i], i in (1, 4), weights[i]) for i in range(count)]
    return with_mismatches(rows, rows, seed=0, limit=64) if count > 1 else rows


@pytest.mark.parametrize(
    ("micro_tokens", "capacity", "beta", "weights"),
    [
        (WHOLE, 0, 0.1, (1.0, 1.0)),
        (ROWS, 0, 0.7, (1.5, 0.8)),
        (WHOLE, 48, 0.7, (1.5, 0.8)),
        (ROWS, 48, 0.3, (1.0, 2.0)),
    ],
)
@pytest.mark.parametrize("turn", [1, -1], ids=["z0 above 0", "z0 at 0"])
def test_kto_against_its_reference(
    bone: Backbone,
    micro_tokens: int,
    capacity: int,
    beta: float,
    weights: tuple[float, float],
    turn: int,
) -> None:
    """z0 = max(0, mean of all five Δ of mismatched responses), however the batch is cut; then the
    mean of w·λ_D·(1 − σ(β(Δ − z0))) and w·λ_U·(1 − σ(β(z0 − Δ))). Policy and reference change
    places for the other sign of z0."""
    policy, other = ("policy", "reference")[::turn]
    if turn == -1:
        state = fresh.adapter_state(bone, "policy")
        fresh.load_adapter_state(bone, "policy", fresh.adapter_state(bone, "reference"))
        fresh.load_adapter_state(bone, "reference", state)
        policy, other = other, policy
    rows, parameters = labelled(), bone.trainable()
    objective = KtoObjective(bone, LiveReference(bone, other), beta, *weights, capacity)
    results = one_batch(objective, rows, parameters, micro_tokens, bone)

    def ratio(tokens: Tokens) -> Tensor:
        now, was = (oracle.sequence_logprob(bone, name, tokens) for name in (policy, other))
        return now - was.detach()

    with torch.no_grad():
        mean = torch.stack([ratio(row.mismatched) for row in rows]).mean().item()
    z0 = max(0.0, mean)
    assert abs(mean) > 0.01, "z0 must matter"
    losses, rewards, logprobs = [], {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    for row in rows:
        delta = ratio(row.tokens)
        gain = beta * (delta - z0) if row.desirable else beta * (z0 - delta)
        kind = weights[0] if row.desirable else weights[1]
        losses.append(row.weight * kind * (1 - 1 / (1 + torch.exp(-gain))))
        rewards[row.desirable] += beta * delta.item()
        logprobs[row.desirable] += oracle.sequence_logprob(bone, policy, row.tokens).item()
    figures = {
        "kl": z0, "desirable": 2, "undesirable": 3,
        "desirable_reward": rewards[True] / 2, "undesirable_reward": rewards[False] / 3,
        "desirable_logprob": logprobs[True] / 2, "undesirable_logprob": logprobs[False] / 3,
        "margin": rewards[True] / 2 - rewards[False] / 3,
    }  # fmt: skip
    assert results[0].keys() == results[2].keys() == {"loss", *figures}
    agree(results, torch.stack(losses).mean(), parameters, figures)


def test_kto_in_batches_of_one(bone: Backbone) -> None:
    """z0 is of the row's own mismatched response; no mean is made of the kind that is absent."""
    rows = labelled()[:1]
    objective = KtoObjective(bone, LiveReference(bone, "reference"), 0.1)
    parameters = bone.trainable()
    updates = Optimizer(parameters, Schedule("constant", 1e-3, 1, 0.0))
    plan = StepPlan(1, 1.0, WHOLE, seed=0)
    trainer = RowsTrainer(
        bone.train, objective, updates, rows, (), plan, bone.device, before_batch=objective.look
    )
    figures = trainer.train_step().metrics or {}
    assert "desirable_reward" not in figures and "margin" not in figures
    assert figures["undesirable"] == 1 and figures["desirable"] == 0
    assert figures["gradient_norm"] > 0


def test_what_a_whole_batch_shares_is_looked_at_without_dropout(bone: Backbone) -> None:
    """z0 has no noise of dropout and no gradient, and training goes on with dropout behind it."""
    seen: list[tuple[str, bool]] = []
    objective = KtoObjective(bone, LiveReference(bone, "reference"), 0.1)

    def look(batch: Sequence[EncodedLabel], budget: TokenBudget) -> None:
        seen.append((f"{len(batch)} rows", torch.is_grad_enabled()))
        objective.look(batch, budget)

    updates = Optimizer(bone.trainable(), Schedule("constant", 1e-3, 1, 0.0))
    plan = StepPlan(5, 1.0, ROWS, seed=0)
    trainer = RowsTrainer(
        lambda on: seen.append(("dropout", on)), objective, updates, labelled(), (), plan,
        bone.device, before_batch=look,
    )  # fmt: skip
    trainer.train_step()
    dropout_on, dropout_off = ("dropout", True), ("dropout", False)
    assert seen == [dropout_on, dropout_off, ("5 rows", False), dropout_on]
