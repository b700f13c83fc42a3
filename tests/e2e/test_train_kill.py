"""Training killed at any step and started again: weights bit for bit a straight run's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cai.digest import file_digest
from tests.e2e.helpers import cai, listen_to_ctrl_c

pytestmark = pytest.mark.slow
ROWS = ("--batch-size", "2", "--epochs", "16")
OPTIONS = {
    "sft": ROWS, "reward": ROWS, "dpo": ROWS, "kto": ROWS,
    "ppo": (
        "--reward", "rewards_of_a_test:short", "--updates", "24", "--prompts-per-update", "6",
        "--max-new-tokens", "60", "--learning-rate", "1e-5",  # where no monitor ends it
    ),
    "rloo": (
        "--reward", "constitution:miniature", "--updates", "24", "--prompts-per-update", "2",
        "--max-new-tokens", "40", "--learning-rate", "1e-5",
    ),
    "distill": (
        "--constitution", "miniature", "--updates", "24", "--prompts-per-update", "6",
        "--max-new-tokens", "80", "--learning-rate", "1e-5",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 12 prompts, and beside them a reward for PPO."""
    out = tmp_path_factory.mktemp("train") / "runs" / "demo"
    (out.parent.parent / "rewards_of_a_test.py").write_text(
        "def short(prompts, responses):\n    return [-float(len(r)) for r in responses]\n"
    )
    cai("build-data", "--limit", 12, "--out", out, "--quiet", "--max-new-tokens", 60,
        "--no-examine")  # fmt: skip
    return out


def start(stage: str, run: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            sys.executable, "-m", "cai", "train", stage, "--data", run, "--out", out,
            *OPTIONS[stage], "--save-every", "2", "--quiet", "--device", "cpu",
        ],
        cwd=run.parent.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CAI_CACHE": str(run.parent / "cache")},
        preexec_fn=listen_to_ctrl_c,
    )  # fmt: skip


def steps(out: Path) -> int:
    file = out / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    return sum('"held_out": false' in line for line in lines)


def until(process: subprocess.Popen[bytes], out: Path, count: int) -> None:
    while process.poll() is None and steps(out) < count:
        time.sleep(0.01)


OWN = {"sft": (), "reward": ("head.safetensors",), "dpo": (), "kto": (),
       "ppo": ("value.safetensors", "rollouts.jsonl"),
       "rloo": ("rollouts.jsonl", "constitutions.json"),
       "distill": ("rollouts.jsonl", "constitutions.json")}  # fmt: skip


def trained(stage: str, out: Path) -> dict[str, str]:
    names = ("adapter/adapter_model.safetensors", "metrics.jsonl", *OWN[stage])
    return {name: file_digest(out / name) for name in names}


@pytest.mark.parametrize("stage", OPTIONS)
def test_killed_and_started_again(stage: str, run: Path, tmp_path: Path) -> None:
    """Killed −9 after step 3 (a checkpoint stands at 2), stopped after 10 by Ctrl-C, finished.

    The run has twice as many steps, so that neither signal comes too late.
    """
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    _, said = start(stage, run, straight).communicate(timeout=300)
    assert steps(straight) >= 20, said.decode()
    process = start(stage, run, broken)
    until(process, broken, 3)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert (broken / "checkpoint.safetensors").is_file()
    process = start(stage, run, broken)
    until(process, broken, 10)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in said, said.decode()
    assert b"again to resume" in said
    process = start(stage, run, broken)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0 and b"Resuming after" in said, said.decode()
    assert trained(stage, broken) == trained(stage, straight)
    assert not (broken / "checkpoint.safetensors").exists()
    record = json.loads((broken / "run.json").read_text())
    assert record["status"] == "finished" and record["id"] == _record(straight)["id"]


def _record(out: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((out / "run.json").read_text())
    return found
