"""The whole command line on each family's tokenizer and template, with a tiny random model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cai.models.backbone import Backbone
from cai.types import Message
from tests.e2e.helpers import cai, rows, write_rows
from tests.real.families import of_each_family, save_tiny

pytestmark = pytest.mark.real

USER = ("How do I bake bread?", "Tell me a story about a fox.", "What is fair?", "Is 7 a prime?")
ANSWER = ("Mix flour, water and yeast.", "A fox ran home.", "To share alike.", "Yes, it is.")
WORSE = ("No idea.", "There was none.", "Whatever.", "Perhaps, who can say?")
WHOLE = (
    "qwen3", "qwen3_5", "llama3_2", "gemma3", "deepseek_v3", "deepseek_r1", "gptoss",
    "mistral_nemo", "phi3", "olmo3", "glm4",
)  # fmt: skip
"""Families that differ in kind; the others differ from one of these in words alone."""
SYSTEM = {"role": "system", "content": "Be brief."}


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def conversations() -> list[list[dict[str, str]]]:
    """Prompts of one turn, of several, and behind a system turn."""
    single = [[said("user", u)] for u in USER]
    longer = [[said("user", f"Hi, {n}."), said("assistant", "Hello."), said("user", u)]
              for n, u in enumerate(USER)]  # fmt: skip
    return [*single, *longer, [SYSTEM, said("user", "And with a rule?")]]


def data(folder: Path) -> dict[str, Path]:
    asked = conversations()
    chosen = [said("assistant", ANSWER[i % 4]) for i in range(len(asked))]
    rejected = [said("assistant", WORSE[i % 4]) for i in range(len(asked))]
    every = list(zip(asked, chosen, rejected, strict=True))
    return {
        "prompts": write_rows(folder / "prompts.jsonl", [{"messages": p} for p in asked[2:6]]),
        "sft": write_rows(folder / "sft.jsonl", [{"messages": [*p, c]} for p, c, _ in every]),
        "pairs": write_rows(
            folder / "pairs.jsonl",
            [{"prompt": p, "chosen": [c], "rejected": [r]} for p, c, r in every],
        ),
    }


def finished(run: Path) -> list[dict[str, Any]]:
    """The figures of a run that came to its end and could use every row."""
    record = json.loads((run / "run.json").read_text())
    aside = rows(run / "set_aside.jsonl") if (run / "set_aside.jsonl").exists() else []
    assert record["status"] == "finished" and not aside, aside
    figures = rows(run / "metrics.jsonl")
    numbers = [v for row in figures for v in row.values() if isinstance(v, float)]
    assert figures and all(math.isfinite(v) for v in numbers)
    return figures


@of_each_family(*WHOLE)
def test_a_family_runs_the_whole_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data, the four trainings and a merge, on rows of one and of several turns; none set aside."""
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    model = save_tiny(name, tmp_path / "model")
    files = data(tmp_path)
    built = tmp_path / "runs" / "built"
    # A random model whose prompt begins its reasoning would never come to an answer.
    cai("build-data", "-m", model, "-p", files["prompts"], "-o", built, "--rounds", 1,
        "-c", "brand-voice", "--max-new-tokens", 6, "--thinking", "off", "--no-examine",
        "-q")  # fmt: skip
    counts = json.loads((built / "manifest.json").read_text())["counts"]
    assert counts["traces"] == 4 and not rows(built / "set_aside.jsonl")
    cai("verify", built)

    few = ("--max-steps", 2, "--batch-size", 3, "--test-share", 0, "--lora-r", 2, "-q")
    sft, reward, dpo, ppo = (tmp_path / n for n in ("sft", "reward", "dpo", "ppo"))
    cai("train", "sft", "-d", files["sft"], "--model", model, "-o", sft, *few)
    finished(sft)
    after = ("--model", model, "--adapter", sft)
    cai("train", "reward", "-d", files["pairs"], *after, "-o", reward, *few)
    finished(reward)
    cai("train", "dpo", "-d", files["pairs"], *after, "-o", dpo, *few)
    # Policy and reference are the same model before the first update: -log sigmoid(0) = ln 2.
    assert finished(dpo)[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    cai("train", "ppo", "-d", files["sft"], *after, "--reward", reward, "--no-gate", "-o", ppo,
        "--updates", 1, "--prompts-per-update", 3, "--max-new-tokens", 6, "--test-share", 0,
        "--max-reasoning-tokens", 8, "--lora-r", 2, "-q")  # fmt: skip
    finished(ppo)
    cai("merge", dpo, "--out", tmp_path / "merged")
    assert_merged(model, dpo, tmp_path / "merged")


@torch.no_grad()
def assert_merged(model: Path, run: Path, merged: Path) -> None:
    """The merged model, loaded by transformers alone, gives the logits of base and adapter."""
    backbone = Backbone.load(str(model), device="cpu", dtype="float32")
    backbone.load_adapter("a", run / "adapter")
    turn = backbone.encoder.turn((Message("user", USER[0]),), ANSWER[0])
    ids = torch.tensor([turn.ids])
    with backbone.using("a"):
        adapted = backbone.inner(ids).logits
    theirs = transformers.AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
    assert (theirs(ids).logits - adapted).abs().max() < 1e-3
