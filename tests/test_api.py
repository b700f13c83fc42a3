"""The Python API: its names are promised, and the example runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cai
from cai import errors, miniature, stats

ROOT = Path(__file__).parents[1]

NAMES = {
    "AnswerRequest", "BudgetError", "BuildConfig", "CaiError", "Callbacks", "Comparison",
    "Constitution", "ContentError", "DataError", "DistillConfig", "DpoConfig", "Generation",
    "GuardConfig", "GuardError", "GuardedAnswer", "GuardedModel", "Interrupted", "Judgement",
    "KtoConfig", "LocalBackend", "Manifest", "Message", "ModelEntry", "ModelError", "Models",
    "PpoConfig", "Preference", "Principle", "Problem", "Prompt", "PromptError", "PromptFile",
    "Revision", "RewardConfig", "RewardModel", "RlooConfig", "Sampling", "ScriptedBackend",
    "ServerBackend", "ServerError", "SftConfig", "Store", "StoreError", "Trace", "TrainingError",
    "UsageError",
    "__version__", "build", "export", "judge", "load_constitution", "load_model",
    "load_principle", "read_run", "respond", "train",
}  # fmt: skip
"""Adding a name is a feature; removing one breaks users and needs a major version."""
STATS = ("Proportion", "wilson", "Paired", "difference")
"""Names of `cai.stats` that are public."""


def test_the_names_are_these_and_all_load() -> None:
    assert set(cai.__all__) == NAMES
    assert len(cai.__all__) == len(NAMES)
    for name in cai.__all__:
        assert getattr(cai, name) is not None


def test_every_error_is_among_them() -> None:
    kinds = {
        n for n, v in vars(errors).items() if isinstance(v, type) and v.__module__ == "cai.errors"
    }
    assert kinds <= NAMES
    with pytest.raises(cai.ContentError) as error:
        cai.load_constitution("no-such-constitution")
    assert isinstance(error.value.problems[0], cai.Problem)


def test_dir_lists_them() -> None:
    """Before any is loaded: what a notebook completes."""
    code = "import cai; print(sorted(set(cai.__all__) - set(dir(cai))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_folders_may_be_text(tmp_path: Path) -> None:
    for read in (cai.read_run, cai.Manifest.read):
        with pytest.raises(cai.CaiError, match="is not the folder of a"):
            read(str(tmp_path))


@pytest.mark.parametrize("kind", [str, Path])
def test_the_data_to_train_on_may_be_one_path(kind: type, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    with pytest.raises(cai.CaiError) as error:
        cai.train(cai.SftConfig(), kind(path), tmp_path / "out")
    assert f"There is no file or folder {path}" in str(error.value)


def test_public_modules_need_no_import_of_their_own() -> None:
    code = "import cai; print(cai.stats.Proportion(3, 10).share, cai.miniature.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.3 cai.miniature"


def test_dir_lists_only_what_is_public() -> None:
    code = "import cai; print([n for n in dir(cai) if n not in cai.__all__ and n[:2] != '__'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['miniature', 'stats']"


def test_every_name_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    missing = [name for name in NAMES - {"__version__"} if f"`{name}" not in page]
    missing += [name for name in STATS if not hasattr(stats, name) or name not in page]
    assert not missing


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'bulid'"):
        cai.bulid  # noqa: B018


def test_the_names_of_the_miniature_load_and_are_in_the_docs() -> None:
    page = (ROOT / "docs" / "miniature.md").read_text(encoding="utf-8")
    for name in miniature.__all__:
        assert getattr(miniature, name) is not None
        assert f"`{name}" in page or name == "RequestKind", name
        assert name in dir(miniature)
    with pytest.raises(AttributeError, match="no attribute 'jugde'"):
        miniature.jugde  # noqa: B018


@pytest.mark.parametrize("module", ["cai", "cai.miniature"])
def test_importing_is_light(module: str) -> None:
    heavy = "('torch', 'yaml', 'pydantic', 'cai.miniature.world.judge')"
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    script = ROOT / "examples" / "build_in_python.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "first preference:" in done.stdout
    manifest = json.loads((tmp_path / "example" / "manifest.json").read_text())
    assert manifest["config"]["prompts"]["count"] == 4


@pytest.mark.slow
def test_the_training_example_runs(tmp_path: Path) -> None:
    """SFT, reward model and DPO on 24 prompts; the trained model answers and is judged."""
    script = ROOT / "examples" / "train_in_python.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "CAI_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "SFT: held-out loss" in done.stdout
    assert "the aligned model:" in done.stdout and "is better with probability" in done.stdout
    assert "the reward model gives them" in done.stdout
    assert (tmp_path / "dpo" / "run.json").is_file()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    """Its cells, one after the other, in one process."""
    notebook = json.loads((ROOT / "examples" / "walk_a_row_back.ipynb").read_text("utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert len(cells) >= 4
    done = subprocess.run(
        [sys.executable, "-c", "\n\n".join(cells)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "CAI_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "critique:" in done.stdout and "principle:" in done.stdout
    assert all(not c.get("outputs") for c in notebook["cells"])  # none of this machine's
