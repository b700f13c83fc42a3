"""Exported files load with `datasets` and train in TRL as they are: SFT, reward, DPO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cai.models.names import resolve_model
from tests.e2e.helpers import cai, rows

pytestmark = pytest.mark.peers
datasets = pytest.importorskip("datasets", reason="needs the peers extra")
trl = pytest.importorskip("trl", reason="needs the peers extra")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("peers") / "runs" / "demo"
    cai("build-data", "--limit", 16, "--out", out, "--quiet", "--test-share", 0, "--parquet",
        "--no-examine")  # fmt: skip
    return out


def load(run: Path, name: str, kind: str = "json") -> Any:
    ending = "jsonl" if kind == "json" else "parquet"
    return datasets.load_dataset(
        kind, data_files=str(run / f"{name}.{ending}"), split="train", cache_dir=str(run / "cache")
    )


@pytest.mark.parametrize("name", ["sft", "preferences"])
def test_datasets_reads_both_formats_alike(run: Path, name: str) -> None:
    json_rows, parquet_rows = load(run, name).to_list(), load(run, name, "parquet").to_list()
    for row in parquet_rows:  # a column of served judges; JSONL has the key only there
        assert row.pop("judge_method", None) is None
    assert json_rows == parquet_rows
    assert len(json_rows) == len(rows(run / f"{name}.jsonl")) > 0


def arguments(kind: type, folder: Path, **more: Any) -> Any:
    return kind(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=2,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        **more,
    )


def train(trainer: Any) -> float:
    return float(trainer.train().training_loss)


def model() -> Any:
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(resolve_model("miniature"))


def words() -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(resolve_model("miniature"))


def test_sft_trainer(run: Path, tmp_path: Path) -> None:
    options = arguments(trl.SFTConfig, tmp_path, assistant_only_loss=True, max_length=512)
    loss = train(
        trl.SFTTrainer(
            model(), args=options, train_dataset=load(run, "sft"), processing_class=words()
        )
    )
    assert 0 < loss < 10


def test_dpo_trainer(run: Path, tmp_path: Path) -> None:
    options = arguments(trl.DPOConfig, tmp_path, max_length=512)
    loss = train(
        trl.DPOTrainer(
            model(), args=options, train_dataset=load(run, "preferences"), processing_class=words()
        )
    )
    assert 0 < loss < 2


def test_reward_trainer(run: Path, tmp_path: Path) -> None:
    import transformers

    scorer = transformers.AutoModelForSequenceClassification.from_pretrained(
        resolve_model("miniature"), num_labels=1
    )
    options = arguments(trl.RewardConfig, tmp_path, max_length=512)
    loss = train(
        trl.RewardTrainer(
            scorer, args=options, train_dataset=load(run, "preferences"), processing_class=words()
        )
    )
    assert 0 < loss < 10
