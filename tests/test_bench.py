"""The scripts of bench/ run: each that needs little, at its smallest size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MINIATURE = ROOT / "bench" / "results" / "2026-11-26-miniature"
RUNS = {
    "edits": ("--n", "6"),
    "feedback": ("--repeats", "1", "--principles", "3", "--prefix", "40"),
    "generate": ("--repeats", "1", "--conversations", "2", "--batch", "2"),
    "startup": ("--runs", "1"),
    "two_runs": (f"{MINIATURE}.json", f"{MINIATURE}-seed-0.json"),
}  # fmt: skip
"""Those left out need a browser, the `peers` extra, a data set, or many minutes."""


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_it_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / f"{name}.py"), *RUNS[name]],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "CAI_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout
