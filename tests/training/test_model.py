"""A trained model loaded from its run: its adapter, its base, its template's options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import cai
from cai.errors import DataError
from tests.models.tiny import tiny
from tests.text.families import family

FAST: dict[str, Any] = {
    "device": "cpu", "dtype": "float32", "lora_r": 4, "learning_rate": 2e-2, "max_steps": 6,
    "batch_size": 4, "test_share": 0.0,
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"What of {c}?", "completion": "Gladly, my friend."} for c in "abcd"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_the_adapter_answers(data: Path, tmp_path: Path) -> None:
    """What was learned is said, and the base beside it says something else."""
    cai.train(cai.SftConfig(**FAST), [data], tmp_path / "sft")
    greedy = cai.Sampling(temperature=0.0, max_new_tokens=12)
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
    trained = cai.load_model(adapter=tmp_path / "sft", **options)
    base = cai.load_model("miniature", **options)
    answers = [cai.respond(model, "What of b?", greedy).text for model in (trained, base)]
    assert answers[0] != answers[1]
    assert trained.info.base is not None and trained.info.base.fingerprint == base.info.fingerprint


def test_another_base_is_refused_and_the_template_is_kept(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "qwen"
    tiny().save_pretrained(folder)
    family("qwen3").save_pretrained(folder)
    cai.train(cai.SftConfig(model=str(folder), thinking="off", **FAST), [data], tmp_path / "sft")
    with pytest.raises(DataError, match="miniature is not the base that sft was trained on"):
        cai.load_model("miniature", adapter=tmp_path / "sft")
    trained = cai.load_model(adapter=tmp_path / "sft", device="cpu")
    assert trained.info.template == {"thinking": "off"}


def test_a_checkpoint_of_another_version_is_told(data: Path, tmp_path: Path) -> None:
    from cai.errors import TrainingError
    from cai.training.checkpoint import load_tensors, save_tensors
    from cai.training.loop import Loop
    from cai.training.policy import resolve
    from cai.training.train import make_trainer

    trainer = make_trainer(resolve(cai.SftConfig(**FAST)), [data])
    loop = Loop(trainer, tmp_path, 1, trainer.backbone.device, lambda report: None)
    loop.save()
    tensors, state = load_tensors(loop.checkpoint)
    del state["trainer"]["step"]
    save_tensors(loop.checkpoint, tensors, state)
    with pytest.raises(TrainingError, match="another version of cai wrote it"):
        loop.resume()
