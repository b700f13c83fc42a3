"""Kill −9 anywhere: nothing lost, nothing twice, the export byte for byte a straight run's."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.helpers import digests

SCRIPT = """
delay: 0.002
replies:
  - {match: "If there is no such problem", reply: "It is rude to the user."}
  - {match: "Answer with the revised response only", reply: "Please ask first."}
  - {match: "", reply: "Sure, go on and take it."}
scores:
  - {match: "", logprobs: [-1.0, -2.0]}
"""


def start(arguments: Sequence[object]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cai", "build-data", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finish(arguments: Sequence[object]) -> None:
    process = start(arguments)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said.decode()


def killed_often(
    arguments: Sequence[object], kills: int, longest: float, draw: random.Random
) -> int:
    """Start the build and kill it at random moments; returns how often it was still running."""
    caught = 0
    for _ in range(kills):
        process = start(arguments)
        time.sleep(draw.uniform(0.0, longest))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        caught += process.returncode == -signal.SIGKILL
    return caught


def steps_of(store: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as opened:
        return sorted(key for (key,) in opened.execute("SELECT key FROM steps"))


def test_25_kills_of_a_scripted_build(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT, "utf-8")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"Question number {n}?\n" for n in range(60)), "utf-8")
    common = ("--prompts", prompts, "--model", f"scripted:{script}", "--pairs", 2, "--quiet")
    straight, killed = tmp_path / "straight" / "run", tmp_path / "killed" / "run"
    begin = time.monotonic()
    finish([*common, "--out", straight])
    spent = time.monotonic() - begin
    caught = killed_often([*common, "--out", killed], 25, spent, random.Random(5))
    finish([*common, "--out", killed])
    assert caught >= 10, "the kills came too late to test anything"
    assert digests(killed) == digests(straight)
    assert steps_of(killed.parent / "store.sqlite") == steps_of(straight.parent / "store.sqlite")


@pytest.mark.slow
def test_8_kills_of_a_build_on_the_miniature(tmp_path: Path) -> None:
    common = ("--limit", 16, "--quiet", "--max-new-tokens", 96)
    straight, killed = tmp_path / "straight" / "run", tmp_path / "killed" / "run"
    begin = time.monotonic()
    finish([*common, "--out", straight])
    spent = time.monotonic() - begin
    caught = killed_often([*common, "--out", killed], 8, spent, random.Random(6))
    finish([*common, "--out", killed])
    assert caught >= 4
    assert digests(killed) == digests(straight)
    assert steps_of(killed.parent / "store.sqlite") == steps_of(straight.parent / "store.sqlite")


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT.replace("0.002", "0.05"), "utf-8")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"Question number {n}?\n" for n in range(60)), "utf-8")
    arguments = [
        "--prompts", prompts, "--model", f"scripted:{script}", "--out", tmp_path / "runs" / "run",
    ]  # fmt: skip
    process = start(arguments)
    store = tmp_path / "runs" / "store.sqlite"
    for _ in range(200):
        time.sleep(0.05)
        if store.exists() and len(steps_of(store)) > 3:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Run the same command again" in said
    assert b"Traceback" not in said
