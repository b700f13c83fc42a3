"""Prompts nobody here wrote: human turns and whole dialogues of HH-RLHF run through the command."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from tests.e2e.helpers import cai, rows

DATA = Path(os.environ.get("CAI_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
HH = DATA / "hh-harmless-dev.jsonl.gz"

pytestmark = pytest.mark.skipif(
    not HH.exists(), reason=f"real data is not here: {HH} (set CAI_TEST_DATA)"
)


@pytest.mark.parametrize("turns", [pytest.param("first", marks=pytest.mark.slow), "all"])
def test_hh_dialogues(turns: str, tmp_path: Path) -> None:
    out = tmp_path / "runs" / turns
    cai(
        "build-data", "--prompts", HH, "--turns", turns, "--limit", 12, "--out", out, "--quiet",
        "--max-new-tokens", 48, "--no-examine",
    )  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["config"]["prompts"]["count"] == 12
    made = [r for n in ("sft", "preferences") for r in rows(out / f"{n}.jsonl")]
    assert made
    if turns == "all":
        assert any(len(r.get("prompt", r.get("messages", []))) > 2 for r in made)
    cai("verify", out)


@pytest.mark.slow
def test_all_of_hh(tmp_path: Path) -> None:
    """Every dialogue of the file: used, or set aside with its reason; nothing breaks."""
    out = tmp_path / "runs" / "hh"
    cai(
        "build-data", "--prompts", HH, "--out", out, "--quiet", "--max-new-tokens", 24,
        "--rounds", 1, "--no-examine",
    )  # fmt: skip
    with gzip.open(HH) as file:
        lines = sum(1 for _ in file)
    manifest = json.loads((out / "manifest.json").read_text())
    aside = rows(out / "set_aside.jsonl")
    unread = [r for r in aside if r["reason"].startswith("duplicate")]
    assert manifest["config"]["prompts"]["count"] + len(unread) == lines
    assert manifest["counts"]["traces"] > lines * 0.9
    assert all(r["reason"] and r["source"].startswith(HH.name) for r in aside)
