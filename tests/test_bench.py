"""The scripts of bench/ use the public API, and those that need little run at a small size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_layers import imported

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CAI_TEST_DATA", ROOT.parent / "shared" / "data"))
MINIATURE = ROOT / "bench" / "results" / "2026-11-26-miniature"
RUNS = {
    "alignment_tax": ("miniature", "--pairs", "8", "--limit", "4"),
    "distill": ("--seeds", "0", "--arms", "control", "--updates", "1", "--n", "2"),
    "edits": ("--n", "6"),
    "feedback": ("--repeats", "1", "--principles", "3", "--prefix", "40"),
    "generate": ("--repeats", "1", "--conversations", "2", "--batch", "2"),
    "guard": ("--n", "1", "--timed", "1"),
    "hacks": ("--seeds", "1", "--controls", "1", "--updates", "1"),
    "judges": ("--prompts", "24", "--items", "4"),
    "real_methods": ("miniature", "--pairs", "16", "--steps", "1", "--limit", "2"),
    "reliability": ("--only", "6,13", "--scale", "0.1", "--out", "reliability"),
    "rows": ("--rows", "600"),
    "scaling": (),
    "scaling_work": ("--prompts", "16"),
    "startup": ("--runs", "1"),
    "store": ("--steps", "3000"),
    "two_runs": (f"{MINIATURE}.json", f"{MINIATURE}-seed-0.json"),
}  # fmt: skip
"""Those left out need a browser, the `peers` extra, or many minutes."""


INSIDES = {
    "align",
    "alignment_tax",
    "audit_page",
    "distill",
    "feedback",
    "generate",
    "guard",
    "hacks",
    "judges",
    "noise",
    "ppo_curve",
    "ray_scaling",
    "real_methods",
    "scaling_training",
    "results_file",
    "reward_hh",
    "rows",
    "scaling_work",
    "server_agreement",
    "store",
}
"""Scripts that measure a part of cai by itself."""
PUBLIC = {"miniature", "stats"}
SCRIPTS = [*sorted((ROOT / "bench").glob("*.py")), *sorted((ROOT / "examples").glob("*.py"))]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_uses_the_public_api(script: Path) -> None:
    names = (name.split(".") for name in imported(script) if name.startswith("cai."))
    insides = {".".join(name) for name in names if name[1] not in PUBLIC}
    assert bool(insides) == (script.stem in INSIDES), insides


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_it_runs(name: str, tmp_path: Path) -> None:
    if name in ("alignment_tax", "real_methods") and not DATA.is_dir():
        pytest.skip(f"no public files at {DATA}; set CAI_TEST_DATA")
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / f"{name}.py"), *RUNS[name]],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "CAI_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout
