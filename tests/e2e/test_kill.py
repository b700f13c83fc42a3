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

from tests.e2e.helpers import digests, listen_to_ctrl_c

SCRIPT = """
replies:
  - {when: "If there is no such problem", say: ["It is rude to the user.", "No problem found."]}
  - {when: "Answer with the revised response only", say: ["Please ask first.", "Ask them."]}
  - {say: ["Sure, go on and take it.", "Do it.", "Look first."]}
scores:
  - {options: {"No problem found.": 0.4}}
"""


def start(arguments: Sequence[object]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cai", "build-data", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=listen_to_ctrl_c,
    )


def finish(arguments: Sequence[object]) -> None:
    process = start(arguments)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said.decode()


def killed_often(arguments: Sequence[object], store: Path, moments: Sequence[int]) -> int:
    """Start the build again and again, each time killed once the store holds so many steps.

    Returns how often the process was still running when the signal came.
    """
    caught, draw = 0, random.Random(5)
    for moment in moments:
        process = start(arguments)
        while process.poll() is None and count_steps(store) < moment:
            time.sleep(0.002)
        time.sleep(draw.uniform(0.0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        caught += process.returncode == -signal.SIGKILL
    return caught


def count_steps(store: Path) -> int:
    try:
        return len(steps_of(store))
    except sqlite3.Error:  # not there yet
        return 0


def steps_of(store: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as opened:
        return sorted(key for (key,) in opened.execute("SELECT key FROM steps"))


def compare_killed_with_straight(common: Sequence[object], kills: int, folder: Path) -> None:
    straight, killed = folder / "straight" / "run", folder / "killed" / "run"
    finish([*common, "--out", straight])
    steps = steps_of(straight.parent / "store.sqlite")
    moments = sorted(random.Random(kills).sample(range(len(steps)), kills))
    store = killed.parent / "store.sqlite"
    caught = killed_often([*common, "--out", killed], store, moments)
    finish([*common, "--out", killed])
    assert caught >= kills * 0.8, "the kills came too late to test anything"
    assert digests(killed) == digests(straight)
    assert steps_of(store) == steps


@pytest.mark.slow
def test_25_kills_of_a_scripted_build(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT, "utf-8")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"Question number {n}?\n" for n in range(200)), "utf-8")
    common = ["--prompts", prompts, "--model", f"scripted:{script}", "--pairs", 2, "--quiet"]
    compare_killed_with_straight(common, 25, tmp_path)


@pytest.mark.slow
def test_kills_of_a_build_of_contrast_pairs(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT, "utf-8")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"Question number {n}?\n" for n in range(200)), "utf-8")
    common = [
        "--prompts", prompts, "--model", f"scripted:{script}", "--pairs", 2, "--quiet",
        "--constitution", "contrast",
    ]  # fmt: skip
    compare_killed_with_straight(common, 6, tmp_path)


@pytest.mark.slow
def test_8_kills_of_a_build_on_the_miniature(tmp_path: Path) -> None:
    compare_killed_with_straight(["--limit", 16, "--quiet", "--no-examine"], 8, tmp_path)


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT, "utf-8")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"Question number {n}?\n" for n in range(3000)), "utf-8")
    arguments = [
        "--prompts", prompts, "--model", f"scripted:{script}", "--out", tmp_path / "runs" / "run",
    ]  # fmt: skip
    process = start(arguments)
    store = tmp_path / "runs" / "store.sqlite"
    for _ in range(200):
        time.sleep(0.05)
        if count_steps(store) > 3:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Run the same command again" in said
    assert b"Traceback" not in said
