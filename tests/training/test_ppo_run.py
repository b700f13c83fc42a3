"""A run of PPO in its folder: it goes on bit for bit, and stops itself with the reason."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from cai.data.files import json_line
from cai.data.training_run import FORMAT, NAME, read_run
from cai.errors import DataError, Interrupted, TrainingError, UsageError
from cai.training.config import PpoConfig, RewardConfig, SftConfig
from cai.training.lineage import find_adapter
from cai.training.metrics_log import ROLLOUTS, forget_lines
from cai.training.monitors import rollout_warnings
from cai.training.reward_report import HEAD
from cai.training.train import Callbacks, train
from tests.e2e.helpers import rows
from tests.training.interrupted import goes_on_bit_for_bit, stop_after_first

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
    monkeypatch.delitem(sys.modules, "rewards_of_a_test", raising=False)
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Tell me about {n}."}) + "\n" for n in "abcdef"))
    return file


def write_pairs(folder: Path) -> Path:
    """Eight preferences."""
    file = folder / "pairs.jsonl"
    rows = [{"prompt": f"What of {c}?", "chosen": "Gladly.", "rejected": "No."} for c in "abcdefgh"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_it_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    """Stopped by Ctrl-C after the first update of three: the same files as without a stop."""
    record = goes_on_bit_for_bit(PpoConfig(**SMALL), data, tmp_path)
    own = {"adapter/adapter_model.safetensors", "value.safetensors", ROLLOUTS}
    assert own <= set(record["files"])
    rollouts = rows(tmp_path / "broken" / ROLLOUTS)
    assert [row["update"] for row in rollouts] == [1] * 4 + [2] * 4 + [3] * 4
    assert all(abs(row["kl"]) < 1e-4 for row in rollouts[:4])


def test_a_run_that_stops_itself_says_why(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A monitor's reason is in the record and in the error, and the adapter is no parent."""
    monkeypatch.setattr("cai.training.monitors.Monitors.watch", lambda self, seen: "All is lost.")
    with pytest.raises(TrainingError, match=r"Stopped after step 1: All is lost\."):
        train(PpoConfig(**SMALL), [data], tmp_path / "ppo")
    assert read_run(tmp_path / "ppo")["results"]["stopped"] == "All is lost."
    with pytest.raises(DataError, match="stopped itself: All is lost"):
        find_adapter(str(tmp_path / "ppo"), "start")


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("no_such_module:f", "no module 'no_such_module'"),
        ("rewards_of_a_test:long", "no function 'long'"),
        ("half*rewards_of_a_test:short", "no weight that is a number"),
        ("rewards_of_a_test:short,", "has no name"),
        ("runs/nope", "There is no folder runs/nope, and it names no function"),
        ("runs", "is not the folder of a training run"),
    ],
)
def test_a_reward_that_is_none(reward: str, said: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises((UsageError, DataError), match=said):
        train(PpoConfig(**SMALL | {"reward": reward}), [data], tmp_path / "ppo")
    assert not (tmp_path / "ppo").exists()


def test_a_reward_model_must_be_finished(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reward"
    folder.mkdir()
    (folder / HEAD).write_bytes(b"")
    (folder / NAME).write_text(json.dumps({"format": FORMAT, "status": "running"}))
    with pytest.raises(DataError, match="reward is not finished"):
        train(PpoConfig(**SMALL | {"reward": str(folder)}), [data], tmp_path / "ppo")


def test_several_rewards_are_weighed(data: Path, tmp_path: Path) -> None:
    """2 × short − 1 × short is short, as long as no part is measured in its own spread."""
    for name, reward in (
        ("one", SMALL["reward"]),
        ("two", "2*{0}, -1*{0}".format(SMALL["reward"])),
    ):
        config = PpoConfig(**SMALL | {"reward": reward, "updates": 1}, normalise_scores=False)
        train(config, [data], tmp_path / name)
    one, two = (rows(tmp_path / name / ROLLOUTS) for name in ("one", "two"))
    assert [[part["weight"] for part in row.pop("parts")] for row in two] == [[2.0, -1.0]] * len(
        one
    )
    assert one == two


def test_a_stopped_run_keeps_what_it_was_and_is_not_run_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alarm from the second update on: `best` is the start, which all commands take."""
    out = tmp_path / "ppo"

    seen: list[Any] = []

    def alarm(start: Any, now: Any, bounds: Any) -> str | None:
        seen.append(now)
        return "All is lost." if len(seen) > 1 else None

    monkeypatch.setattr("cai.training.monitors.ALARMS", (alarm,))
    monkeypatch.setattr("cai.training.monitors.FEWEST", 1)  # each update counts by itself
    with pytest.raises(TrainingError, match="from before the alarm are in"):
        train(PpoConfig(**SMALL | {"updates": 9}), [data], out)
    record = read_run(out)
    assert record["status"] == "stopped" and record["results"]["best_step"] == 0
    assert [r["step"] for r in rows(out / "metrics.jsonl") if not r["held_out"]] == [1, 2, 3]
    start = load_file(out / "best" / "adapter" / "adapter_model.safetensors")
    assert all(not t.any() for name, t in start.items() if "lora_B" in name)  # a fresh adapter
    with pytest.raises(UsageError, match="stopped itself: All is lost"):
        train(PpoConfig(**SMALL | {"updates": 9}), [data], out)
    before = read_run(out)["files"]
    with pytest.raises(DataError, match="stopped itself") as error:
        find_adapter(str(out), "merge")
    assert str(out / "best") in error.value.hint
    config = PpoConfig(**SMALL | {"lora_r": None, "updates": 1}, adapter=str(out / "best"))
    train(config, [data], tmp_path / "again")
    (parent, _) = read_run(tmp_path / "again")["parents"]
    assert parent["id"] == record["id"] and parent["name"] == "ppo-best"
    assert before == read_run(out)["files"]


def test_what_is_held_out_is_answered_and_the_best_is_kept(data: Path, tmp_path: Path) -> None:
    test = tmp_path / "prompts.test.jsonl"
    test.write_text('{"prompt": "What is bread?"}\n{"prompt": "Where is Rome?"}\n')
    out = tmp_path / "ppo"
    config = PpoConfig(**SMALL | {"updates": 4}, eval_every=1, normalise_scores=False)
    train(config, [data, test], out)
    evaluations = [row for row in rows(out / "metrics.jsonl") if row["held_out"]]
    assert [row["step"] for row in evaluations] == [1, 2, 3, 4]
    best = max(evaluations, key=lambda row: float(row["reward"]))
    results = read_run(out)["results"]
    assert results["best_step"] == best["step"]
    assert results["best_reward"] == pytest.approx(best["reward"], abs=1e-5)
    assert (out / "best" / "adapter").is_dir() == (best["step"] != 4)
    assert read_run(out)["counts"]["held out"] == 2


def test_the_best_of_few_responses_is_the_last(data: Path, tmp_path: Path) -> None:
    """Their scores give no scale yet on which evaluations could be compared; that is told."""
    notes: list[str] = []
    config = PpoConfig(**SMALL | {"updates": 3}, eval_every=1)
    train(config, [data], tmp_path / "ppo", Callbacks(note=notes.append))
    assert read_run(tmp_path / "ppo")["results"]["best_step"] == 3
    assert any("fewer than 256 responses give rewards no scale" in note for note in notes)


def test_any_character_may_stand_in_a_rollout(tmp_path: Path) -> None:
    """What some readers take for line breaks is escaped, so that a resumed run can cut the file."""
    file = tmp_path / ROLLOUTS
    with file.open("ab") as out:
        out.writelines(json_line({"update": n, "response": "a\u2028b\x85c\u2029"}) for n in (1, 2))
        out.write(b'{"update": 2, "resp')  # cut off by a kill
    forget_lines(file, "update", 1)
    assert rows(file) == [{"update": 1, "response": "a\u2028b\x85c\u2029"}]


@pytest.mark.parametrize("score", ["1.0", "1.0 + 1e-9 * i"])
def test_a_flat_reward_is_told_once(score: str, data: Path, tmp_path: Path) -> None:
    """One number for all, or numbers that differ by rounding alone."""
    with (tmp_path / "rewards_of_a_test.py").open("a") as file:
        file.write(
            f"def flat(prompts, responses):\n    return [{score} for i in range(len(responses))]\n"
        )
    notes: list[str] = []
    config = PpoConfig(**SMALL | {"reward": "rewards_of_a_test:flat", "max_new_tokens": 4})
    train(config, [data], tmp_path / "ppo", Callbacks(note=notes.append))
    flat = "All responses of an update have the same score, 1, but for rounding: nothing to learn."
    assert notes.count(flat) == 1


def test_a_second_reward_without_a_spread_is_told() -> None:
    """It is measured in its own spread at the start, which is 0; and a rollout of one text."""
    config = PpoConfig(**SMALL)
    figures = {
        "score": 1.0,
        "score_spread": 1.0,
        "distinct": 1.0,
        "missing_eos": 0.0,
        "second_reward": 2.0,
    }
    assert dict(rollout_warnings(config, figures, second_reward_is_constant=False)) == {}
    warnings = dict(rollout_warnings(config, figures, second_reward_is_constant=True))
    assert list(warnings) == ["blind"] and "the same value, in the last 2:" in warnings["blind"]
    assert list(dict(rollout_warnings(config, figures | {"distinct": 0.25}, False))) == ["same"]
    assert list(dict(rollout_warnings(config, figures, False, unit=0.26))) == []
    (told,) = dict(rollout_warnings(config, figures, False, unit=0.2)).values()
    assert "vary 5 times as much as at the start" in told
    untaught = figures | {"taught": 0.0, "score": 0.0, "score_spread": 0.0}
    assert list(dict(rollout_warnings(config, untaught, False))) == ["untaught"]
    assert list(dict(rollout_warnings(config, figures | {"distinct": 0.5}, False))) == []


def test_responses_that_are_cut_off_are_told_once(data: Path, tmp_path: Path) -> None:
    """Two tokens end no answer of the miniature; a hundred end most."""
    message = "did not end within --max-new-tokens 2 and were scored as cut off"
    for most, times in ((2, 1), (100, 0)):
        notes: list[str] = []
        config = PpoConfig(**SMALL | {"max_new_tokens": most})
        train(config, [data], tmp_path / f"ppo-{most}", Callbacks(note=notes.append))
        assert sum(message in note for note in notes) == times


def test_a_reward_model_is_what_its_run_wrote(data: Path, tmp_path: Path) -> None:
    """One bit of its adapter, its head or its report, and it is refused."""
    reward = tmp_path / "reward"
    config = RewardConfig(device="cpu", max_steps=1, batch_size=2, lora_r=4)
    train(config, [write_pairs(tmp_path)], reward)
    settings = SMALL | {"reward": str(reward), "gate": False}
    for name in ("adapter/adapter_model.safetensors", "head.safetensors", "report.json"):
        file = reward / name
        before = file.read_bytes()
        file.write_bytes(before[:-2] + bytes([before[-2] ^ 1]) + before[-1:])
        with pytest.raises(DataError, match="is not as the training run reward wrote it"):
            train(PpoConfig(**settings), [data], tmp_path / "ppo")
        file.write_bytes(before)
    train(PpoConfig(**settings | {"updates": 1}), [data], tmp_path / "ppo")


def test_a_reward_s_code_is_part_of_the_run(data: Path, tmp_path: Path) -> None:
    """The same name, other code: another run, and the folder is not taken for it."""
    out = tmp_path / "ppo"
    with pytest.raises(Interrupted):
        train(PpoConfig(**SMALL), [data], out, Callbacks(report=stop_after_first))
    with (tmp_path / "rewards_of_a_test.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(UsageError, match="another run: rewards_of_a_test:short changed"):
        train(PpoConfig(**SMALL), [data], out)


def test_a_run_that_an_error_ended_is_failed_and_can_be_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reward function that raises at the second update: recorded with the reason, and resumed."""
    (tmp_path / "rewards_of_a_test.py").write_text(
        "import os\n"
        "calls = []\n"
        "def short(prompts, responses):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 2 and 'BROKEN' in os.environ:\n"
        "        raise ValueError('no such word')\n"
        "    return [-float(len(r)) for r in responses]\n"
    )
    monkeypatch.setenv("BROKEN", "1")
    out = tmp_path / "ppo"
    config = PpoConfig(**SMALL | {"save_every": 1, "test_share": 0.0})
    with pytest.raises(UsageError, match="no such word"):
        train(config, [data], out)
    record = read_run(out)
    assert record["status"] == "failed" and "no such word" in record["error"]
    assert record["files"] == {}
    with pytest.raises(DataError, match=r"not finished: .*no such word"):
        find_adapter(str(out))
    with pytest.raises(UsageError, match="another run: --updates 3 there, 4 here"):
        train(dataclasses.replace(config, updates=4), [data], out)
    monkeypatch.delenv("BROKEN")
    notes: list[str] = []
    statuses: list[str] = []
    watch = Callbacks(lambda _: statuses.append(read_run(out)["status"]), notes.append)
    train(config, [data], out, watch)
    assert "Resuming after step 1 of 3." in notes and set(statuses) == {"running"}
    record = read_run(out)
    assert record["status"] == "finished" and "error" not in record


def test_a_run_that_failed_before_its_first_step_is_in_nobody_s_way(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reward function is repaired: the same folder serves, though the code is another."""
    functions = tmp_path / "rewards_of_a_test.py"
    working = functions.read_text()
    functions.write_text(working.replace("float(len(r))", "1 / 0"))
    with pytest.raises(UsageError, match="division by zero"):
        train(PpoConfig(**SMALL), [data], tmp_path / "ppo")
    assert read_run(tmp_path / "ppo")["status"] == "failed"
    functions.write_text(working)
    monkeypatch.delitem(sys.modules, "rewards_of_a_test")
    train(PpoConfig(**SMALL), [data], tmp_path / "ppo")
    assert read_run(tmp_path / "ppo")["status"] == "finished"


def test_a_start_with_dropout_serves(data: Path, tmp_path: Path) -> None:
    """PPO turns it off; what it writes has none."""
    sft = tmp_path / "sft"
    talk = tmp_path / "talk.jsonl"
    talk.write_text('{"prompt": "Hi?", "completion": "Hello."}\n' * 2)
    train(SftConfig(device="cpu", lora_r=4, lora_dropout=0.1, max_steps=1), [talk], sft)
    out = tmp_path / "ppo"
    config = PpoConfig(**SMALL | {"lora_r": None, "updates": 1}, adapter=str(sft))
    train(config, [data], out)
    dropout = [
        json.loads((run / "adapter" / "adapter_config.json").read_text())["lora_dropout"]
        for run in (sft, out)
    ]
    assert dropout == [0.1, 0.0]


def test_processes_that_cannot_meet_are_refused(data: Path, tmp_path: Path) -> None:
    """Two that would write one folder: a launcher's variables, without where they meet."""
    env = os.environ | {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "x"}
    done = subprocess.run(
        [sys.executable, "-m", "cai", "train", "ppo", "--data", str(data), "--reward",
         SMALL["reward"], "--out", str(tmp_path / "ppo"), "--device", "cpu"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "MASTER_PORT is not set" in done.stderr
    assert not (tmp_path / "ppo").exists()


@pytest.mark.slow
def test_with_monitors_it_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    """Asked at updates 1, 2 and 3 by a suite and a judge, and stopped by Ctrl-C after the first."""
    (tmp_path / "asked.jsonl").write_text(
        "".join(json.dumps({"id": c, "prompt": f"What is {c}?"}) + "\n" for c in "abcdefgh")
    )
    (tmp_path / "asked.yaml").write_text(
        "api: cai/v1\nkind: Suite\nid: asked\nversion: 1.0.0\ntitle: Questions\nabout: Of a test.\n"
        "task: response\njudges: {refused: lower}\nitems: asked.jsonl\n"
    )
    config = PpoConfig(
        **SMALL, monitor="asked.yaml", monitor_every=1, monitor_items=8, monitor_new_tokens=12,
        monitor_judge="miniature",
    )  # fmt: skip
    goes_on_bit_for_bit(config, data, tmp_path)
    asked = [r for r in rows(tmp_path / "broken" / "metrics.jsonl") if "asked/violation" in r]
    assert [r["step"] for r in asked] == [1, 2, 3]
