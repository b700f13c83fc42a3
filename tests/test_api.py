"""The Python API: its names are promised, and the example runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import cai

ROOT = Path(__file__).parents[1]

NAMES = {
    "BuildConfig", "CaiError", "Comparison", "Constitution", "LocalBackend", "Message", "Models",
    "Preference", "Principle", "Prompt", "PromptFile", "ScriptedBackend", "Store", "Trace",
    "__version__", "build", "export", "load_constitution", "load_principle",
}  # fmt: skip
"""Adding a name is a feature; removing one breaks users and needs a major version."""


def test_the_names_are_these_and_all_load() -> None:
    assert set(cai.__all__) == NAMES
    assert len(cai.__all__) == len(NAMES)
    for name in cai.__all__:
        assert getattr(cai, name) is not None


def test_every_name_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    missing = [name for name in NAMES - {"__version__"} if f"`{name}" not in page]
    assert not missing


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'bulid'"):
        cai.bulid  # noqa: B018


def test_importing_cai_is_light() -> None:
    code = "import sys, cai; print([m for m in ('torch', 'yaml', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_runs(tmp_path: Path) -> None:
    script = ROOT / "examples" / "build_in_python.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "first preference:" in done.stdout
    manifest = json.loads((tmp_path / "example" / "manifest.json").read_text())
    assert manifest["config"]["prompts"]["count"] == 4
