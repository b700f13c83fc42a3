"""A run of PPO in its folder: it goes on bit for bit, and stops itself with the reason."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from cai.errors import DataError, Interrupted, TrainingError, UsageError
from cai.train.config import PpoConfig
from cai.train.folder import FORMAT, NAME, read_run
from cai.train.loop import Report
from cai.train.ppo_run import ROLLOUTS, train_ppo
from cai.train.prepare import find_parent
from cai.train.reward_report import HEAD
from cai.train.train import Show
from tests.e2e.helpers import rows

SMALL: dict[str, Any] = {
    "device": "cpu", "lora_r": 4, "prompts_per_update": 4, "max_new_tokens": 12, "updates": 3,
    "epochs": 1, "reward": "rewards_of_a_test:short",
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rewards_of_a_test.py").write_text(
        "def short(prompts, responses):\n    return [-float(len(r)) for r in responses]\n"
    )
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Tell me about {n}."}) + "\n" for n in "abcdef"))
    return file


def test_it_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    """Stopped by Ctrl-C after the first update of three: the same files as without a stop."""
    config = PpoConfig(**SMALL)
    train_ppo(config, [data], tmp_path / "straight")

    def stop(report: Report) -> None:
        if report.step == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="after update 1 of 3"):
        train_ppo(config, [data], tmp_path / "broken", Show(report=stop))
    notes: list[str] = []
    train_ppo(config, [data], tmp_path / "broken", Show(note=notes.append))
    assert notes == ["Going on after update 1 of 3."]
    records = [read_run(tmp_path / name) for name in ("straight", "broken")]
    assert records[0]["files"] == records[1]["files"]
    assert {"adapter/adapter_model.safetensors", "value.safetensors", ROLLOUTS} <= set(
        records[0]["files"]
    )
    written = rows(tmp_path / "broken" / ROLLOUTS)
    assert [row["update"] for row in written] == [1] * 4 + [2] * 4 + [3] * 4
    assert all(abs(row["kl"]) < 1e-4 for row in written[:4])


def test_a_run_that_stops_itself_says_why(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A monitor's reason is in the record and in the error, and the adapter is no parent."""
    monkeypatch.setattr("cai.train.monitors.Monitors.watch", lambda self, seen: "All is lost.")
    with pytest.raises(TrainingError, match=r"Stopped after update 1: All is lost\."):
        train_ppo(PpoConfig(**SMALL), [data], tmp_path / "ppo")
    assert read_run(tmp_path / "ppo")["results"]["stopped"] == "All is lost."
    with pytest.raises(DataError, match="stopped itself: All is lost"):
        find_parent(str(tmp_path / "ppo"), "start")


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("no_such_module:f", "no module 'no_such_module'"),
        ("rewards_of_a_test:long", "no function 'long'"),
        ("half*rewards_of_a_test:short", "no weight that is a number"),
        ("runs", "holds no reward model"),
    ],
)
def test_a_reward_that_is_none(reward: str, said: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises((UsageError, DataError), match=said):
        train_ppo(PpoConfig(**SMALL | {"reward": reward}), [data], tmp_path / "ppo")
    assert not (tmp_path / "ppo").exists()


def test_a_reward_model_must_be_finished(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reward"
    folder.mkdir()
    (folder / HEAD).write_bytes(b"")
    (folder / NAME).write_text(json.dumps({"format": FORMAT, "status": "running"}))
    with pytest.raises(DataError, match="reward is not finished"):
        train_ppo(PpoConfig(**SMALL | {"reward": str(folder)}), [data], tmp_path / "ppo")


def test_several_rewards_are_weighed(data: Path, tmp_path: Path) -> None:
    """2 × short − 1 × short is short: the same rollouts and scores."""
    for name, reward in (
        ("one", SMALL["reward"]),
        ("two", "2*{0}, -1*{0}".format(SMALL["reward"])),
    ):
        train_ppo(PpoConfig(**SMALL | {"reward": reward, "updates": 1}), [data], tmp_path / name)
    assert rows(tmp_path / "one" / ROLLOUTS) == rows(tmp_path / "two" / ROLLOUTS)
