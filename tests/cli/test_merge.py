"""`cai merge`, and the training run's folder as an adapter and as a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cai.models.backbone import Backbone
from cai.models.load import load_model
from cai.models.names import part_of_run, resolve_model
from cai.store.store import Store
from cai.training.lineage import find_adapter
from cai.types import Message
from tests.e2e.helpers import cai, write_rows

WEIGHTS = Path(resolve_model("miniature"))
PROMPT = (Message("user", "What is bread?"),)


@pytest.fixture(scope="module")
def merged(sft_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("merged") / "model"
    cai("merge", sft_run, "--out", out)
    return out


def copy(run: Path, to: Path, **changes: object) -> Path:
    """A copy of a run whose record says something else."""
    shutil.copytree(run, to)
    record = json.loads((to / "run.json").read_text())
    (to / "run.json").write_text(json.dumps(record | changes))
    return to


@torch.no_grad()
def test_the_merged_model_is_the_adapted_one(merged: Path, sft_run: Path) -> None:
    """Logits to 1e-4 and greedy tokens, through transformers alone on one side."""
    backbone = Backbone.load("miniature", dtype="float32")
    backbone.load_adapter("a", sft_run / "adapter")
    ids = torch.tensor([backbone.encoder.encode(PROMPT).ids])
    arguments = {"max_new_tokens": 24, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    model = transformers.AutoModelForCausalLM.from_pretrained(merged, dtype="auto")
    assert model.dtype == torch.float32
    with backbone.using("a"):
        adapted = backbone.inner(ids).logits
        tokens = backbone.inner.generate(ids, **arguments)
    with backbone.using(None):
        assert (backbone.inner(ids).logits - adapted).abs().max() > 1  # it did learn something
    assert (model(ids).logits - adapted).abs().max() < 1e-4
    assert model.generate(ids, **arguments).tolist() == tokens.tolist()


def test_tokenizer_template_and_end_tokens_come_along(merged: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(merged)
    chat = [{"role": "user", "content": "What is bread?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    base, model = load_model("miniature"), load_model(str(merged))
    assert tuple(ids) == base.encoder.encode(PROMPT).ids == model.encoder.encode(PROMPT).ids
    assert model.encoder.eos_ids == base.encoder.eos_ids
    assert "run `m-" in (merged / "README.md").read_text()


def test_build_data_speaks_alike_with_all_three(
    merged: Path, sft_run: Path, tmp_path: Path
) -> None:
    """--adapter RUN, --model MERGED, and --model RUN of a run that trained all weights."""
    full = copy(sft_run, tmp_path / "full")
    shutil.rmtree(full / "adapter")
    shutil.copytree(merged, full / "model")
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "What is bread?"}])
    ways = {"run": ("--adapter", sft_run), "merged": ("-m", merged), "full": ("-m", full)}
    for name, way in ways.items():
        arguments = ("-p", prompts, "--max-new-tokens", 12, "--rounds", 1, "-q", "--sft-share", 1)
        cai("build-data", *way, *arguments, "--test-share", 0, "-o", tmp_path / name / "run",
            "--no-examine")  # fmt: skip
    said = {}
    for name in ways:
        with Store.open(tmp_path / name / "store.sqlite", read_only=True) as store:
            (trace,) = store.traces(store.runs()[0].id)
        said[name] = trace.texts
    assert said["run"] == said["merged"] == said["full"]
    assert said["run"][0]


def test_it_writes_less_when_told(sft_run: Path, tmp_path: Path) -> None:
    cai("merge", sft_run / "adapter", "-o", tmp_path / "half", "--dtype", "bfloat16")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_folder_with_something_in_it_is_refused(
    merged: Path, sft_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(merged.iterdir())
    cai("merge", sft_run, "--out", merged, exit_code=2)
    assert "not empty" in capsys.readouterr().err
    assert sorted(merged.iterdir()) == before


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "a reward model": ({"stage": "reward"}, 2, "reward model"),
    "an unfinished run": ({"status": "running"}, 4, "not finished"),
    "a run that stopped itself": (
        {"status": "stopped", "results": {"stopped": "It hacked."}},
        4,
        "stopped itself: It hacked.",
    ),
    "a damaged record": ({"base": {}}, 4, "fingerprint"),
    "another base": ({"base": {"name": "x", "fingerprint": "0"}}, 4, "not the base"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("part", ["", "adapter"])
def test_what_can_not_be_merged_is_refused(
    what: str, part: str, sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the run's folder, and by the adapter's inside it, which says what is meant."""
    changes, code, said = REFUSED[what]
    if part and "stopped" in what:
        pytest.skip("this is how to take what it came to")
    run = copy(sft_run, tmp_path / "run", **changes)
    cai("merge", run / part, "--out", tmp_path / "out", exit_code=code)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_base_that_changed_is_refused_unless_forced(
    sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "base"
    shutil.copytree(WEIGHTS, changed)
    arguments = ("merge", sft_run, "--model", changed, "--out", tmp_path / "out")
    (changed / "README.md").write_text("Says nothing to the model.")
    cai(*arguments[:-1], tmp_path / "same")
    (changed / "generation_config.json").write_text('{"eos_token_id": 4}')
    cai(*arguments, exit_code=4)
    assert "--force" in capsys.readouterr().err
    cai(*arguments, "--force")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_an_adapter_without_a_run_names_its_own_base(sft_run: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(sft_run / "adapter", adapter)
    cai("merge", adapter, "--out", tmp_path / "out")
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = None
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    cai("merge", adapter, "--out", tmp_path / "other", exit_code=2)
    cai("merge", adapter, "--out", tmp_path / "other", "--model", "miniature")


def test_the_best_of_a_run_is_a_name_too(sft_run: Path, tmp_path: Path) -> None:
    """RUN/best and RUN/best/adapter are the run's, for all who take an adapter."""
    run = copy(sft_run, tmp_path / "run")
    shutil.copytree(run / "adapter", run / "best" / "adapter")
    for given in (run / "best", run / "best" / "adapter"):
        found = find_adapter(str(given))
        assert found.name == "run-best" and found.folder == run / "best" / "adapter"
        assert found.record is not None and found.record.id == json.loads(
            (run / "run.json").read_text()
        )["id"]  # fmt: skip
    shutil.rmtree(run / "best")  # as where the last step was the best: the run itself is meant
    for given in (run / "best", run / "best" / "adapter"):
        assert find_adapter(str(given)).folder == run / "adapter"
    cai("merge", run / "best", "--out", tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_name_that_is_nowhere_is_told(sft_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside folders that are there, it is no name on the hub."""
    cai("chat", "--adapter", sft_run.parent / "nope", exit_code=5)
    assert "There is no folder" in capsys.readouterr().err


def test_parts_of_a_run(sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert part_of_run("owner/name", "model") == "owner/name"
    assert part_of_run(str(sft_run), "adapter") == str(sft_run / "adapter")
    cai("chat", "--model", sft_run, exit_code=5)
    assert f"cai merge {sft_run}" in capsys.readouterr().err
    full = copy(sft_run, tmp_path / "full")
    (full / "adapter").rename(full / "model")
    assert resolve_model(str(full)) == str(full / "model")
    cai("chat", "--adapter", full, exit_code=5)
    assert f"--model {full}" in capsys.readouterr().err
    cai("merge", full, "--out", tmp_path / "out", exit_code=2)
    assert "nothing to merge" in capsys.readouterr().err
    shutil.rmtree(full / "model")
    cai("chat", "--adapter", full, exit_code=5)
    assert "no adapter yet" in capsys.readouterr().err
