"""The reference of DPO: stored in float32, beside the policy in half precision; exact at the start.

In bfloat16 the log-probability of a response depends on the batch that it is read in. Where policy
and reference are read in the same rows a policy that has not moved has a margin of 0, to the bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cai.data.training_run import read_run
from cai.errors import Interrupted
from cai.models.backbone import Backbone
from cai.training.batches import collate
from cai.training.config import DpoConfig
from cai.training.dpo import DpoObjective
from cai.training.optimizer import Optimizer, Schedule
from cai.training.pairs import EncodedPair, both_sides
from cai.training.reference import LiveReference, StoredReference, make_reference
from cai.training.rows import RowsTrainer, StepPlan
from cai.training.train import train
from tests.models import fresh
from tests.training import oracle
from tests.training.test_objectives import PAIRS, pairs


def silent(done: int, total: int) -> None:
    """Tells nobody."""


def logprobs(reference: LiveReference | StoredReference, some: Sequence[EncodedPair]) -> Tensor:
    sides = both_sides(some)
    return reference(sides, collate(sides)).view(2, len(some))


@pytest.fixture
def bone() -> Backbone:
    """In float32, with a trained adapter."""
    base = fresh.backbone()
    fresh.add_trained(base, "start", seed=6)
    return base


@pytest.mark.parametrize("adapter", [None, "start"])
def test_both_references_are_the_plain_log_probabilities(
    bone: Backbone, adapter: str | None, tmp_path: Path
) -> None:
    """Chosen first, in the order asked for, and of any part of the pairs."""
    stored = StoredReference(bone, adapter, "id", 64, tmp_path)
    stored.prepare(both_sides(pairs()), silent)
    live = LiveReference(bone, adapter)
    some = [pairs()[i] for i in (3, 0, 4)]
    expected = [
        [oracle.sequence_logprob(bone, adapter, side).item() for side in sides]
        for sides in ([p.chosen for p in some], [p.rejected for p in some])
    ]
    for reference in (stored, live):
        values = logprobs(reference, some)
        assert values.shape == (2, 3) and not values.requires_grad
        assert values.tolist() == [pytest.approx(row, abs=1e-3) for row in expected]


def test_a_stored_reference_is_read_once(bone: Backbone, tmp_path: Path) -> None:
    """From the file the second time; another reference, and other rows, are read anew."""
    counts: list[int] = []

    def read(identity: str, some: Sequence[EncodedPair]) -> Tensor:
        counts.clear()
        reference = StoredReference(bone, None, identity, 64, tmp_path)
        reference.prepare(both_sides(some), lambda done, total: counts.append(done))
        return logprobs(reference, some)

    first = read("id", pairs())
    assert counts[-1] == 10
    assert torch.equal(read("id", pairs()), first) and not counts
    read("other", pairs())
    assert counts
    read("id", pairs()[1:])
    assert counts
    with pytest.raises(KeyError):
        logprobs(StoredReference(bone, None, "id", 64, tmp_path), pairs())


def test_a_stored_reference_that_was_stopped_goes_on(bone: Backbone, tmp_path: Path) -> None:
    """Ctrl-C after the first of several passes: what was read is not read again."""
    counts: list[int] = []

    def read(cache: Path, stop: bool = False) -> Tensor:
        def tell(done: int, total: int) -> None:
            counts.append(done)
            if stop:
                raise KeyboardInterrupt

        reference = StoredReference(bone, None, "base", 40, cache)
        reference.prepare(both_sides(pairs()), tell)
        return logprobs(reference, pairs())

    straight = read(tmp_path / "straight")
    passes = len(counts)
    assert passes > 3
    with pytest.raises(Interrupted, match="those so far are kept"):
        read(tmp_path / "broken", stop=True)
    counts.clear()
    assert torch.equal(read(tmp_path / "broken"), straight)
    assert len(counts) == passes - 1
    assert [f.name.count("partial") for f in (tmp_path / "broken").iterdir()] == [0]


# -- half precision -------------------------------------------------------------------------------


def at_the_start(kind: str, **options: Any) -> tuple[Backbone, str | None]:
    """A bfloat16 backbone before its first step, and the name of its reference."""
    bone = fresh.backbone(dtype=torch.bfloat16, **options)
    if kind == "all weights":
        bone.freeze_reference()
        bone.train_only("policy")
        return bone, "reference"
    if kind == "fresh adapter":
        bone.add_adapter("policy", fresh.SMALL, seed=1)
    else:
        fresh.add_trained(bone, "policy", seed=5)
        bone.copy_adapter("policy", "reference")
    bone.train_only("policy")
    return bone, None if kind == "fresh adapter" else "reference"


def trainer_of(
    bone: Backbone, objective: DpoObjective, micro_tokens: int
) -> RowsTrainer[EncodedPair]:
    updates = Optimizer(bone.trainable(), Schedule("constant", 1e-3, 1, 0.0))
    return RowsTrainer(
        bone.train, objective, updates, pairs(), pairs(), StepPlan(5, 1.0, micro_tokens, seed=0),
        bone.device, noise=objective.noise,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["fresh adapter", "trained adapter", "all weights"])
@pytest.mark.parametrize("capacity", [0, 64])
def test_the_first_step_in_bfloat16_starts_at_zero(kind: str, capacity: int) -> None:
    """Batches in pieces, padded or packed, under gradients and without: no rounding is between
    policy and reference, so the first step's margin is 0 and so is the noise floor."""
    checkpointed = kind == "trained adapter"
    bone, name = at_the_start(kind, full=kind == "all weights", gradient_checkpointing=checkpointed)
    reference = make_reference(bone, name, "id", 64, Path("unused"))
    assert isinstance(reference, LiveReference)
    trainer = trainer_of(bone, DpoObjective(bone, reference, 0.1, capacity=capacity), PAIRS)
    held_out = trainer.evaluate()
    figures = trainer.train_step().metrics
    assert figures is not None
    for metrics in (held_out, figures):
        rewards = (metrics["chosen_reward"], metrics["rejected_reward"], metrics["margin"])
        if kind == "all weights" and metrics is figures:
            # the trained head takes log-softmax in float32 by another formula
            assert rewards == pytest.approx((0, 0, 0), abs=1e-5)
        else:
            assert rewards == (0, 0, 0)
    assert figures["noise_floor"] == pytest.approx(0, abs=1e-4 if kind == "all weights" else 0)


def test_the_noise_floor_is_a_mean_over_responses(bone: Backbone) -> None:
    """|log π − log π_ref| of ten responses, in nats; here of two adapters, so that it is not 0."""
    fresh.add_trained(bone, "policy", seed=5)
    bone.train_only("policy")
    trainer = trainer_of(bone, DpoObjective(bone, LiveReference(bone, "start"), 0.1), PAIRS)
    apart = [
        oracle.sequence_logprob(bone, "policy", side) - oracle.sequence_logprob(bone, "start", side)
        for side in both_sides(pairs())
    ]
    figures = trainer.train_step().metrics
    assert figures is not None
    expected = sum(abs(x.item()) for x in apart) / 10
    assert figures["noise_floor"] == pytest.approx(expected, rel=1e-4) and expected > 0.1


def test_a_run_in_bfloat16_says_its_noise_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the miniature, packed: a reference that was read in rows of its own is off there, by some
    thousandths of a nat. In figures, record and card; nothing is cached."""
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"Tell me of {n}.", "chosen": "I am happy to help. " * n, "rejected": "No."}
        for n in range(1, 6)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DpoConfig(
        device="cpu", dtype="bfloat16", lora_r=4, batch_size=3, packing=True, max_steps=2,
        max_length=256, test_share=0.2,
    )  # fmt: skip
    results = train(config, [data], tmp_path / "dpo")
    first, *others = map(json.loads, (tmp_path / "dpo" / "metrics.jsonl").read_text().splitlines())
    assert first["step"] == 1 and first["noise_floor"] == first["margin"] == 0.0
    assert first["loss"] == pytest.approx(math.log(2))
    assert not any("noise_floor" in line for line in others)
    assert results["noise_floor"] == read_run(tmp_path / "dpo")["results"]["noise_floor"] == 0.0
    assert "- noise_floor: 0.0" in (tmp_path / "dpo" / "README.md").read_text()
    assert not (tmp_path / "cache" / "reference").exists()


def test_a_reference_in_float32_is_stored_and_close(tmp_path: Path) -> None:
    """Rounding in float32 is a ten-thousandth of a nat a response at most."""
    bone = fresh.backbone()
    bone.add_adapter("policy", fresh.SMALL, seed=1)
    bone.train_only("policy")
    reference = make_reference(bone, None, "id", 40, tmp_path)
    assert isinstance(reference, StoredReference)
    reference.prepare(both_sides(pairs()), silent)
    figures = trainer_of(bone, DpoObjective(bone, reference, 0.1), 10**6).train_step().metrics
    assert figures is not None
    assert 0 <= figures["noise_floor"] < 1e-4


def test_dropout_is_no_part_of_the_noise_floor() -> None:
    """A policy that starts from a trained adapter with dropout 0.5: the step's margin feels it,
    the floor does not, and the step after the measurement is taken with dropout."""
    settings = type(fresh.SMALL)(r=4, alpha=8, dropout=0.5)
    bone = fresh.backbone(dtype=torch.bfloat16)
    fresh.add_trained(bone, "policy", seed=5, settings=settings)
    bone.copy_adapter("policy", "reference")
    bone.train_only("policy")
    objective = DpoObjective(bone, LiveReference(bone, "reference"), 0.1)
    figures = trainer_of(bone, objective, 10**6).train_step().metrics
    assert figures is not None
    assert figures["noise_floor"] == 0.0
    assert figures["chosen_reward"] != 0.0


def test_later_steps_measure_no_floor(bone: Backbone) -> None:
    bone.train_only("start")
    bone.add_adapter("policy", fresh.SMALL, seed=1)
    bone.train_only("policy")
    objective = DpoObjective(bone, LiveReference(bone, None), 0.1)
    updates = Optimizer(bone.trainable(), Schedule("constant", 1e-3, 2, 0.0))
    trainer = RowsTrainer(
        bone.train, objective, updates, pairs(), (), StepPlan(2, 1.0, 100, seed=0), bone.device,
        noise=objective.noise,
    )  # fmt: skip
    first, second = (trainer.train_step().metrics or {} for _ in range(2))
    assert "noise_floor" in first and "noise_floor" not in second
