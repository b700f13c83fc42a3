"""A trained adapter for the commands that speak with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.helpers import write_rows


@pytest.fixture(scope="session")
def sft_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an SFT run on the miniature: two steps, at a rate that shows."""
    from cai.training.config import SftConfig
    from cai.training.train import train

    folder = tmp_path_factory.mktemp("trained")
    answer = {"role": "assistant", "content": "Bread, bread and bread again."}
    data = write_rows(
        folder / "rows.jsonl",
        [
            {"messages": [{"role": "user", "content": f"Speak of {n} loaves."}, answer]}
            for n in range(10)
        ],
    )
    config = SftConfig(max_steps=2, batch_size=4, lora_r=4, learning_rate=0.01, test_share=0.2)
    train(config, [data], folder / "sft")
    return folder / "sft"
