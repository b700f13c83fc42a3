"""What rounding comes to before the first step: policy against reference, and π against π_old.

    python bench/noise.py MODEL PAIRS [--dtype bfloat16] [--batch 16] [--longest 128] [--json FILE]

MODEL: a folder, a hub id or `miniature`. PAIRS: preferences that `cai train dpo` reads, the first
of which, so many and of so many tokens at most, are the first batch. A fresh adapter changes
nothing, so policy and reference are one model, and whatever is between them is rounding. DPO: the
mean of |log π − log π_ref| over the batch's responses, in nats a response, with the reference read
in the policy's rows (`live`) and ahead, in batches of its own (`stored`). PPO: a rollout of 8
responses of up to 16 tokens, |log π − log π_old| a token where it is learned from in the parts that
it was read in (`same parts`), and in other ones (`other parts`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import cai

# Rounding inside a step is measured: each piece of a trainer is called by itself.
from cai.data.training import PairRow, read_pairs
from cai.models.adapters import LoraSettings
from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.training.dpo import DpoObjective
from cai.training.optimizer import Optimizer, Schedule
from cai.training.pairs import EncodedPair, both_sides, encode_pair
from cai.training.ppo import PpoTrainer
from cai.training.reference import LiveReference, StoredReference
from cai.training.rows import RowsTrainer, StepPlan
from cai.training.scoring import FunctionScorer

ROLLOUT, WRITTEN = 8, 16


def main() -> None:
    """Measure, print, and write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--longest", type=int, default=128)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    backbone = Backbone.load(options.model, device="auto", dtype=options.dtype)
    backbone.add_adapter("policy", LoraSettings(), seed=0)
    backbone.train_only("policy")
    rows, pairs = usable(backbone, options.pairs, options.batch, options.longest)
    record: dict[str, Any] = {
        "model": Path(options.model).name, "dtype": options.dtype, "device": str(backbone.device),
        "torch": torch.__version__, "pairs": len(pairs), "longest": options.longest,
    }  # fmt: skip
    prompts = [cai.Prompt(str(i), row.prompt) for i, row in enumerate(rows[:ROLLOUT])]
    for name, measured in (("dpo", dpo(backbone, pairs)), ("ppo", ppo(backbone, prompts))):
        record[name] = measured
        print(name, json.dumps(record[name]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")


def usable(
    backbone: Backbone, file: Path, count: int, longest: int
) -> tuple[list[PairRow], list[EncodedPair]]:
    """The first pairs of so many tokens at most, as text and as tokens."""
    rows: list[PairRow] = []
    pairs: list[EncodedPair] = []
    for row in read_pairs([file]):
        if len(pairs) < count and isinstance(row, PairRow):
            try:
                pairs.append(encode_pair(backbone.encoder, row, min(longest, backbone.context)))
            except cai.CaiError:
                continue
            rows.append(row)
    return rows, pairs


def dpo(backbone: Backbone, pairs: Sequence[EncodedPair]) -> dict[str, Any]:
    """|log π − log π_ref| of the batch's responses, by where the reference is read."""
    noise: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as cache:
        stored = StoredReference(backbone, None, "bench", 8192, Path(cache))
        stored.prepare(both_sides(pairs), lambda done, total: None)
        for name, reference in (("stored", stored), ("live", LiveReference(backbone, None))):
            objective = DpoObjective(backbone, reference, 0.1)
            updates = Optimizer(backbone.trainable(), Schedule("constant", 1e-6, 1, 0.0))
            trainer = RowsTrainer(
                backbone.train,
                objective,
                updates,
                pairs,
                (),
                StepPlan(len(pairs), 1.0, 8192, 0),
                backbone.device,
            )
            batch = trainer._batch(0)
            pieces = trainer.budget.split([objective.tokens(pair) for pair in batch])
            rows = [gap for piece in pieces for gap in gaps(objective, [batch[i] for i in piece])]
            noise[name] = {"mean": sum(rows) / len(rows), "largest": max(rows)}
    return noise


@torch.no_grad()
def gaps(objective: DpoObjective, pairs: Sequence[EncodedPair]) -> list[float]:
    """|log π − log π_ref| of each response."""
    policy, reference = objective._logprobs(pairs)
    assert reference is not None
    differences: list[float] = (policy.detach() - reference).abs().flatten().tolist()
    return differences


@torch.no_grad()
def ppo(backbone: Backbone, prompts: Sequence[cai.Prompt]) -> dict[str, Any]:
    """The noise of the ratio, in the parts that a rollout was read in and in others."""
    trainer = PpoTrainer(
        backbone,
        FunctionScorer(lambda p, r: [float(len(x)) for x in r], "length"), prompts,
        cai.PpoConfig(prompts_per_update=ROLLOUT, max_new_tokens=WRITTEN),
        value_head=ScalarHead(backbone.hidden_size, 0, std=0.0),
    )  # fmt: skip
    responses = trainer.sample_responses()
    parts = [trainer.minibatches(len(responses), epoch) for epoch in range(2)]
    first, same, other = (
        trainer.evaluate_rollout(responses, [0.0] * len(responses), part)
        for part in (parts[0], parts[0], parts[1])
    )

    def figures(read: Any) -> dict[str, float]:
        off = (read.logprobs - first.logprobs).abs()[first.mask]
        return {"mean": off.mean().item(), "largest": off.max().item()}

    return {
        "reference": first.kl.abs().mean().item(),
        "same parts": figures(same),
        "other parts": figures(other),
        "tokens": int(first.mask.sum()),
    }


if __name__ == "__main__":
    main()
