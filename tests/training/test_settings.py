"""Settings reach the loss: from a configuration to the first batch's loss, against plain loops.

Each setting has two values here, of which one is not the default, and data that tells them apart:
a setting that nobody reads gives the same loss for both.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cai.errors import UsageError
from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.training.batches import Tokens
from cai.training.config import DpoConfig, KtoConfig, RewardConfig, SftConfig, TrainConfig
from cai.training.dpo import DpoObjective
from cai.training.kto import KtoObjective
from cai.training.offline import OfflineTrainer
from cai.training.pairs import EncodedPair
from cai.training.policy import resolve
from cai.training.reference import LiveReference, StoredReference
from cai.training.reward import RewardObjective
from cai.training.train import make_trainer, train
from tests.models.fresh import adapter_state, load_adapter_state
from tests.training import oracle

GOOD, BAD = "I am happy to help you with that.", "No."
PAIRS = [("Hello?", 0.8, 0.9), ("What is bread?", 0.6, 0.0), ("Why is it so?", 0.9, 0.4)]
"""Prompt, the judge's probability, margin."""
TALK = (("Hello?", "First I say this."), ("And then?", "Then that."))
SMALL: dict[str, Any] = {"device": "cpu", "lora_r": 4, "batch_size": 3, "test_share": 0.0}


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    return write(
        tmp_path / "pairs.jsonl",
        [
            {"prompt": prompt, "chosen": GOOD, "rejected": BAD, "probability": p, "margin": margin}
            for prompt, p, margin in PAIRS
        ],
    )


def first_step(config: TrainConfig, data: Path) -> tuple[OfflineTrainer[Any], Backbone]:
    """The trainer of a run, and its backbone with a policy that has moved."""
    trainer = make_trainer(resolve(config), [data])
    trainer.prepare(lambda done, total: None)
    assert isinstance(trainer, OfflineTrainer)
    noise = torch.Generator().manual_seed(3)
    state = adapter_state(trainer.backbone, "policy")
    for name, tensor in state.items():
        if ".lora_B." in name:
            tensor.copy_(0.03 * torch.randn(tensor.shape, generator=noise))
    load_adapter_state(trainer.backbone, "policy", state)
    return trainer, trainer.backbone


def line_of(pair: EncodedPair) -> int:
    """Where its row stands in the file, from 0: its id is `pairs.jsonl:LINE ID`."""
    return int(pair.id.split()[0].rpartition(":")[2]) - 1


def loss_of(trainer: OfflineTrainer[Any]) -> float:
    loss: float = trainer._gradients(trainer._batch(0))["loss"].item()
    return loss


def binary(z: torch.Tensor, p: float) -> float:
    """Cross-entropy of σ(z) against p."""
    return -(p * oracle.log_sigmoid(z) + (1 - p) * oracle.log_sigmoid(-z)).item()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"labels": "hard"},
        {"centering": 0.5},
        {"centering": 0.0},
        {"margins": False},
    ],
    ids=str,
)
def test_of_a_reward_model(change: dict[str, Any], pairs: Path) -> None:
    """By default soft labels, margins, and a centering of 0.01."""
    trainer, bone = first_step(RewardConfig(**SMALL, **change), pairs)
    objective = trainer.objective
    assert isinstance(objective, RewardObjective)
    head: ScalarHead = objective.head
    with torch.no_grad():
        head.weight.mul_(20.0)  # scores far from 0, for centering to weigh
        losses = []
        for pair in trainer.train:
            _, p, margin = PAIRS[line_of(pair)]
            chosen, rejected = (oracle.score(bone, head, t) for t in (pair.chosen, pair.rejected))
            z = chosen - rejected - (margin if change.get("margins", True) else 0.0)
            centre = change.get("centering", 0.01) * (chosen + rejected).item() ** 2
            losses.append(binary(z, 1.0 if change.get("labels") == "hard" else p) + centre)
    assert loss_of(trainer) == pytest.approx(sum(losses) / 3, rel=1e-4)


@pytest.mark.parametrize(
    "change", [{}, {"beta": 0.5}, {"labels": "hard"}, {"nll": 0.3}, {"packing": True}], ids=str
)
def test_of_dpo(change: dict[str, Any], pairs: Path) -> None:
    """By default β is 0.1, labels are soft, and there is no NLL."""
    trainer, bone = first_step(DpoConfig(**SMALL, **change), pairs)
    objective = trainer.objective
    assert isinstance(objective, DpoObjective)
    assert (objective.capacity > 0) == change.get("packing", False)
    losses = []
    with torch.no_grad():
        for pair in trainer.train:
            _, p, _ = PAIRS[line_of(pair)]
            sides = pair.chosen, pair.rejected
            policy = [oracle.sequence_logprob(bone, "policy", side) for side in sides]
            reference = [oracle.sequence_logprob(bone, None, side) for side in sides]
            z = (policy[0] - reference[0]) - (policy[1] - reference[1])
            likelihood = policy[0].item() / pair.chosen.counted
            losses.append(
                binary(change.get("beta", 0.1) * z, 1.0 if change.get("labels") == "hard" else p)
                - change.get("nll", 0.0) * likelihood
            )
    assert loss_of(trainer) == pytest.approx(sum(losses) / 3, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "reached"),
    [
        ({}, ("sigmoid", 0.1, 0.0, 0.0)),
        ({"loss": "ipo"}, ("ipo", 0.1, 0.0, 0.0)),
        ({"loss": "ipo", "beta": 0.7}, ("ipo", 0.7, 0.0, 0.0)),
        ({"loss": "simpo"}, ("simpo", 2.0, 1.0, 0.0)),
        ({"loss": "simpo", "beta": 2.5, "margin": 0.3}, ("simpo", 2.5, 0.3, 0.0)),
        ({"loss": "simpo", "margin": 0.0}, ("simpo", 2.0, 0.0, 0.0)),
        ({"loss": "robust"}, ("robust", 0.1, 0.0, 0.1)),
        ({"loss": "robust", "label_smoothing": 0.3}, ("robust", 0.1, 0.0, 0.3)),
    ],
    ids=str,
)
def test_which_loss_of_dpo(
    change: dict[str, Any], reached: tuple[str, float, float, float], pairs: Path
) -> None:
    """A loss's own settings reach it, with their defaults; the first loss is that loss's own."""
    trainer, bone = first_step(DpoConfig(**SMALL, **change), pairs)
    objective = trainer.objective
    assert isinstance(objective, DpoObjective)
    name, beta, margin, smoothing = reached
    assert (objective.loss_type, objective.beta) == (name, beta)
    assert (objective.margin, objective.label_smoothing) == (margin, smoothing)
    losses = []
    with torch.no_grad():
        for pair in trainer.train:
            _, p, _ = PAIRS[line_of(pair)]
            sides = pair.chosen, pair.rejected
            policy = [oracle.sequence_logprob(bone, "policy", side) for side in sides]
            base = [oracle.sequence_logprob(bone, None, side) for side in sides]
            by_token = [side.counted if name in ("ipo", "simpo") else 1 for side in sides]
            rewards = [
                beta * (now - (0 if name == "simpo" else was)) / n
                for now, was, n in zip(policy, base, by_token, strict=True)
            ]
            d = rewards[0] - rewards[1]
            if name == "ipo":
                h, target = d / beta, 1 / (2 * beta)
                losses.append((p * (h - target) ** 2 + (1 - p) * (h + target) ** 2).item())
            elif name == "simpo":
                losses.append(
                    -(p * oracle.log_sigmoid(d - margin)
                      + (1 - p) * oracle.log_sigmoid(-d - margin)).item()
                )  # fmt: skip
            else:
                scale = 1 - 2 * smoothing
                right, wrong = (1 - smoothing) / scale, smoothing / scale
                losses.append(binary(d, p) * right - binary(-d, p) * wrong)
    assert loss_of(trainer) == pytest.approx(sum(losses) / 3, rel=1e-4)


def test_simpo_has_no_reference_model(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is one kept nor anything read before the first step; all weights or an adapter."""
    sft = tmp_path / "sft"
    train(SftConfig(**SMALL, max_steps=1), [pairs], sft)
    monkeypatch.setattr(StoredReference, "_compute", never_called)
    monkeypatch.setattr(LiveReference, "__call__", never_called)
    monkeypatch.setattr(Backbone, "freeze_reference", never_called)
    own = SMALL | {"lora_r": None, "max_steps": 1}
    for name, more in (("adapter", {"adapter": str(sft)}), ("full", {"full": True})):
        config = DpoConfig(**own, **more, loss="simpo", learning_rate=1e-5)
        trainer = make_trainer(resolve(config), [pairs])
        adapters = set() if trainer.backbone.full else set(trainer.backbone.model.peft_config)
        assert adapters <= {"policy"}
        results = train(config, [pairs], tmp_path / name)
        assert "noise_floor" not in results
        (line,) = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        assert json.loads(line)["chosen_reward"] < 0


@pytest.mark.parametrize(
    ("loss", "reward", "warns"),
    [
        ("sigmoid", -0.1 * 0.6 * 12, True),  # of the pairs' chosen responses, 12 tokens or fewer
        ("ipo", -0.1 * 0.6, True),
        ("simpo", -2.0 * 0.6, False),  # that is where it started
        ("ipo", -0.1 * 0.4, False),
    ],
)
def test_the_warning_of_a_collapse_goes_by_the_loss_s_rewards(
    loss: str, reward: float, warns: bool, pairs: Path
) -> None:
    """Half a nat a token below the reference: β times the length in DPO, β alone in IPO."""
    trainer, _ = first_step(DpoConfig(**SMALL, loss=loss), pairs)
    said = [trainer.warn({"chosen_reward": reward}) for _ in range(4)]
    assert any(said) == warns
    if loss == "simpo":
        fallen = [trainer.warn({"chosen_reward": reward - 2.0 * 0.6}) for _ in range(4)]
        assert "than in the first steps" in (fallen[-1] or "")


def never_called(*arguments: object, **options: object) -> None:
    raise AssertionError("a reference model is read")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"margin": 0.5}, "margin is 0.5; it has no place beside --loss sigmoid: only simpo"),
        ({"margin": 0.0, "loss": "ipo"}, "margin is 0.0; it has no place beside --loss ipo"),
        ({"label_smoothing": 0.2}, "label_smoothing is 0.2; it has no place beside --loss sigmoid"),
        ({"label_smoothing": 0.2, "loss": "simpo"}, "beside --loss simpo: only robust reads it"),
        (
            {"label_smoothing": 0.5, "loss": "robust"},
            "label_smoothing is 0.5; it must be 0 or more",
        ),
        ({"loss": "hinge"}, "loss is 'hinge'; it must be"),
    ],
    ids=str,
)
def test_settings_of_another_loss_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        DpoConfig(**settings)


RESPONSES = [("Hello?", GOOD, True), ("What is bread?", BAD, False), ("Why is it so?", BAD, False)]
"""Prompt, response, label."""


@pytest.mark.parametrize(
    ("change", "weights"),
    [
        ({}, (2.0, 1.0)),  # 2 · 1 = 1 · 2
        ({"beta": 0.7}, (2.0, 1.0)),
        ({"desirable_weight": 0.3}, (0.3, 0.15)),
        ({"undesirable_weight": 3.0}, (6.0, 3.0)),
        ({"desirable_weight": 0.3, "undesirable_weight": 3.0}, (0.3, 3.0)),
        ({"packing": True}, (2.0, 1.0)),
    ],
    ids=str,
)
def test_of_kto(
    change: dict[str, Any], weights: tuple[float, float], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By default β is 0.1, and the weights balance one desirable row with two undesirable ones."""
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    rows = [{"prompt": p, "completion": c, "label": x} for p, c, x in RESPONSES]
    trainer, bone = first_step(KtoConfig(**SMALL, **change), write(tmp_path / "rows.jsonl", rows))
    objective = trainer.objective
    assert isinstance(objective, KtoObjective)
    assert (objective.capacity > 0) == change.get("packing", False)

    def ratio(tokens: Tokens) -> float:
        policy, reference = (oracle.sequence_logprob(bone, n, tokens) for n in ("policy", None))
        return (policy - reference).item()

    with torch.no_grad():
        z0 = max(0.0, sum(ratio(row.mismatched) for row in trainer.train) / 3)
        losses = []
        for row in trainer.train:
            gain = change.get("beta", 0.1) * (ratio(row.tokens) - z0)
            sign = 1 if row.desirable else -1
            losses.append(weights[not row.desirable] / (1 + math.exp(sign * gain)))
    assert [row.desirable for row in trainer.train] == [True, False, False]
    assert loss_of(trainer) == pytest.approx(sum(losses) / 3, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "learned"),
    [
        ({"loss_on": "all"}, ("First I say this.", "Then that.")),
        ({"loss_on": "last"}, ("Then that.",)),
        ({"loss_on": "last", "packing": False}, ("Then that.",)),
    ],
    ids=str,
)
def test_of_sft(change: dict[str, Any], learned: tuple[str, ...], tmp_path: Path) -> None:
    """Which turns are learned, and whether several talks stand in a row."""
    messages = [
        {"role": role, "content": text}
        for turn in TALK
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    data = write(tmp_path / "talks.jsonl", [{"messages": messages}])
    trainer, bone = first_step(SftConfig(**SMALL, **change), data)
    (example,) = trainer.train
    tokens = example.tokens
    counted = [i for i, counts in zip(tokens.ids, tokens.response, strict=True) if counts]
    text = bone.encoder.decode([i for i in counted if i not in bone.encoder.eos_ids])
    assert "".join(text.split()) == "".join("".join(learned).split())
    assert (trainer.objective.capacity > 0) == change.get("packing", True)  # type: ignore[attr-defined]
    with torch.no_grad():
        expected = -oracle.sequence_logprob(bone, "policy", tokens).item() / len(counted)
    assert loss_of(trainer) == pytest.approx(expected, rel=1e-4)
