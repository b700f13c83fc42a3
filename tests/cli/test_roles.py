"""Who plays which part: models, their adapters, and what a run says of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cai.cli.roles import RoleModel, make_models, role_models
from cai.errors import ModelError, UsageError
from cai.models.fingerprint import adapter_digest
from cai.models.load import LoadedModel, load_model
from cai.models.names import resolve_model
from tests.e2e.helpers import cai, write_rows


def options(**given: Any) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("model", "adapter", "critic", "critic_adapter", "judge", "judge_adapter")
    )
    how = {"batch_size": 2, "device": "cpu", "dtype": "float32", "thinking": "auto"}
    return {**empty, **how, "template_args": (), "date": None, **given}


@pytest.mark.parametrize(
    ("given", "critic", "judge"),
    [
        ({}, RoleModel("M", "a"), RoleModel("M", "a")),
        ({"critic": "M"}, RoleModel("M"), RoleModel("M")),
        ({"critic": "C"}, RoleModel("C"), RoleModel("C")),
        ({"judge": "M"}, RoleModel("M", "a"), RoleModel("M")),
        ({"critic_adapter": "b"}, RoleModel("M", "b"), RoleModel("M", "b")),
        ({"critic": "C", "critic_adapter": "b"}, RoleModel("C", "b"), RoleModel("C", "b")),
        ({"critic": "C", "judge_adapter": "d"}, RoleModel("C"), RoleModel("C", "d")),
        ({"critic": "C", "judge": "M", "judge_adapter": "a"}, RoleModel("C"), RoleModel("M", "a")),
    ],
)
def test_a_model_that_is_named_plays_without_the_writers_adapter(
    given: dict[str, str], critic: RoleModel, judge: RoleModel
) -> None:
    chosen = role_models(options(model="M", adapter="a", **given))
    assert chosen == {"generator": RoleModel("M", "a"), "critic": critic, "judge": judge}


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names under which bases are loaded."""
    out: list[str] = []

    def counted(name: str, *rest: Any, **more: Any) -> LoadedModel:
        out.append(name)
        return load_model(name, *rest, **more)

    monkeypatch.setattr("cai.models.load.load_model", counted)
    return out


def test_parts_share_what_they_have_in_common(sft_run: Path, loads: list[str]) -> None:
    """One base, by two of its names: loaded once; the same chosen_model is the same backend."""
    folder = resolve_model("miniature")
    models = make_models(options(model="miniature", adapter=str(sft_run), critic=folder))
    assert loads == ["miniature"] or loads == [folder]
    assert models.judge is models.critic is not models.generator
    assert models.generator.info.base == models.critic.info
    assert models.generator.info.adapter is not None
    assert models.generator.info.adapter.name == "sft"
    assert models.generator.info.adapter.fingerprint == adapter_digest(sft_run / "adapter")
    alone = make_models(options(model="miniature"))
    assert alone.generator is alone.critic is alone.judge
    assert alone.critic.info.fingerprint == models.critic.info.fingerprint


def test_what_cannot_play_is_told_before_weights_are_loaded(
    sft_run: Path, tmp_path: Path, loads: list[str]
) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("default: Yes.\n", "utf-8")
    with pytest.raises(UsageError, match=r"script\.yaml takes no adapter, and"):
        make_models(options(model="miniature", critic=f"scripted:{script}", critic_adapter="x/y"))
    with pytest.raises(ModelError, match="There is no folder"):
        make_models(options(model="miniature", judge_adapter=str(tmp_path / "nowhere")))
    broken = shutil.copytree(sft_run / "adapter", tmp_path / "broken")
    (broken / "adapter_model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="can't be read"):
        make_models(options(model="miniature", judge_adapter=str(broken)))
    assert loads == []


def test_a_run_says_who_played_and_how_text_was_drawn(
    sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The writer with its adapter; the critic alone, with sampling settings of its own. What the
    critic said is what it says where no adapter was ever loaded: same model, same keys."""
    critic = shutil.copytree(resolve_model("miniature"), tmp_path / "critic")
    (critic / "generation_config.json").write_text(
        json.dumps({"eos_token_id": 3, "temperature": 0.5, "top_k": 9, "do_sample": True})
    )
    prompts = write_rows(tmp_path / "p.jsonl", [{"id": "a", "prompt": "How do rivers form?"}])
    out = tmp_path / "runs" / "r"
    given = (
        "build-data", "-p", prompts, "--adapter", sft_run, "--top-p", 0.9, "--out", out,
        "--no-examine",
    )  # fmt: skip
    cai(*given, "--critic", critic, "--max-new-tokens", 12, "--rounds", 1)
    said = capsys.readouterr().out
    models = json.loads((out / "manifest.json").read_text())["models"]
    writer = models["generator"]
    assert (writer["name"], writer["base"]["name"], writer["adapter"]["name"]) == (
        "miniature+sft", "miniature", "sft",
    )  # fmt: skip
    assert writer["adapter"]["fingerprint"] == adapter_digest(sft_run / "adapter")
    assert len({writer["fingerprint"], writer["base"]["fingerprint"]}) == 2
    assert models["critic"] == models["judge"]
    assert models["critic"]["name"] == "critic" and "adapter" not in models["critic"]
    assert writer["sampling"]["temperature"] == 1.0 and writer["sampling"]["top_p"] == 0.9
    assert writer["sampling_from"]["temperature"] == "default"
    held = models["critic"]["sampling"]
    assert (held["temperature"], held["top_p"], held["top_k"]) == (0.5, 0.9, 9)
    assert models["critic"]["sampling_from"]["top_k"] == "generation_config.json"
    words = "temperature 0.5, top_k 9, from the model's generation_config.json; top_p 0.9, from"
    assert words in " ".join(said.split())
    assert words in (out / "README.md").read_text()
    alone = load_model(str(critic), "auto", "auto")
    assert models["critic"]["fingerprint"] == alone.fingerprint


def test_greedy_pairs_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """do_sample: false draws both responses of a pair alike: nothing to compare."""
    model = shutil.copytree(resolve_model("miniature"), tmp_path / "model")
    (model / "generation_config.json").write_text('{"eos_token_id": 3, "do_sample": false}')
    prompts = write_rows(tmp_path / "p.jsonl", [{"id": "a", "prompt": "Hello."}])
    cai("plan", "-m", model, "-p", prompts, "--no-probe")
    said = capsys.readouterr().out
    assert "sampling: temperature 0 (greedy), from the model's generation_config.json" in said
    assert "give --temperature" in said
    cai("plan", "-m", model, "-p", prompts, "--temperature", 1, "--no-probe")
    said = capsys.readouterr().out
    assert "sampling: temperature 1, from the options" in said
    assert "give --temperature" not in said
