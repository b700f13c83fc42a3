"""`cai train`: options, files of settings, the dry run, and mistakes told in a line or two."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml

from cai.training.config import CONFIGS
from tests.e2e.helpers import cai, rows

FAST = ("--device", "cpu", "--max-steps", "2", "--batch-size", "2", "--quiet")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "pairs.jsonl"
    file.write_text(
        "".join(
            json.dumps({"prompt": f"Question {n}?", "chosen": "Yes, gladly.", "rejected": "No."})
            + "\n"
            for n in range(6)
        )
    )
    return file


@pytest.mark.parametrize("stage", CONFIGS)
def test_help_names_every_setting(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    cai("train", stage, "--help")
    said = capsys.readouterr().out
    for item in dataclasses.fields(CONFIGS[stage]):
        assert f"--{item.name.replace('_', '-')}" in said


def test_older_names_of_options_work_and_are_hidden(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stage, old in (("ppo", "--check"), ("reward", "--centring"), ("sft", "--learned")):
        cai("train", stage, "--help")
        assert f"{old} " not in capsys.readouterr().out
    given = ("-d", data, "-o", tmp_path / "out", "--dry-run")
    cai("train", "ppo", *given, "--reward", "json:dumps", "--check", "nowhere", exit_code=2)
    assert "no folder nowhere" in capsys.readouterr().err
    cai("train", "reward", *given, "--centring", "inf", exit_code=2)
    assert "--centering is inf" in capsys.readouterr().err
    sft = tmp_path / "sft.jsonl"
    sft.write_text('{"prompt": "Hi.", "completion": "Hello."}\n' * 2)
    cai(
        "train",
        "sft",
        "-d",
        sft,
        "-o",
        tmp_path / "out",
        "--dry-run",
        "--learned",
        "al",
        exit_code=2,
    )
    assert "'al' is not one of 'last', 'all'" in capsys.readouterr().err


def test_options_override_the_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the written config.yaml is a file of settings itself: the same id comes of it."""
    settings = tmp_path / "settings.yaml"
    settings.write_text("beta: 0.3\nlearning_rate: 1e-3\nlora_r: 4\n")
    cai(
        "train", "dpo", "-d", data, "-o", tmp_path / "a", "--config", settings, "--beta", 0.2, *FAST
    )
    told = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    assert (told["beta"], told["learning_rate"], told["lora_r"]) == (0.2, 1e-3, 4)
    cai("train", "dpo", "-d", data, "-o", tmp_path / "b", "--config", tmp_path / "a/config.yaml",
        "--quiet")  # fmt: skip
    records = [json.loads((tmp_path / x / "run.json").read_text()) for x in ("a", "b")]
    assert records[0]["id"] == records[1]["id"] and records[0]["files"] == records[1]["files"]
    capsys.readouterr()
    cai("train", "dpo", "-d", data, "-o", tmp_path / "b", "--config", tmp_path / "a/config.yaml")
    told = capsys.readouterr()
    assert "This run is already finished in" in told.err and "written" in told.out


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_a_dry_run_counts_and_writes_nothing(
    stage: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six rows in batches of two: three steps."""
    cai("train", stage, "-d", data, "-o", tmp_path / "out", "--batch-size", 2, "--test-share", 0,
        "--dry-run")  # fmt: skip
    said = capsys.readouterr().out
    assert "6 (0 held out, 0 set aside)" in said and "steps  3" in said and "memory" in said
    cai("train", stage, "-d", data, "-o", tmp_path / "out", "--batch-size", 2, "--test-share", 0,
        "--max-steps", 1, "--dry-run")  # fmt: skip
    texts = "\n".join([said, capsys.readouterr().out])
    tokens = [int(n.replace(",", "")) for n in re.findall(r"tokens  ([\d,]+)", texts)]
    assert len(tokens) == 2
    assert tokens[1] == pytest.approx(tokens[0] / 3, abs=1)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache" / "reference").exists()  # DPO's reference was not read


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_dry_run_sets_the_adapter_s_capacity_beside_the_data(
    stage: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Queries of 4 layers at rank 1: 4 × (256 + 256) = 2,048 parameters, twice that in bits.

    Six pairs are six bits; of SFT the tokens of the responses count, in one epoch as in three.
    """
    common = ("train", stage, "-d", data, "-o", tmp_path / "out", "--test-share", 0, "--dry-run",
              "--no-probe", "--json")  # fmt: skip
    found = []
    for epochs in (1, 3):
        cai(*common, "--lora-r", 1, "--lora-targets", "q_proj", "--epochs", epochs)
        found.append(json.loads(capsys.readouterr().out))
    once, thrice = (values["capacity"] for values in found)
    assert once == thrice and once["trained"] == 2048 and once["bits"] == 4096
    assert once["coverage"]["adapted"] == 4 * 256 * 256
    if stage == "dpo":
        assert (once["signal"], once["signals"], once["needed"]) == ("row", 6, 6)
    else:
        assert once["signal"] == "token" and 6 < once["signals"] < found[0]["tokens"]
    cai(*common, "--lora-targets", "all")
    assert json.loads(capsys.readouterr().out)["capacity"]["trained"] == 303_104, "all-linear's"


def test_a_dry_run_under_a_launcher_gives_the_memory_of_each_process(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The miniature has 4 layers of 4 × 256² + 3 × 256 × 640 + 2 × 256 = 754,176 parameters.

    In float32 they are 12,066,816 bytes. Of 8 processes each holds an eighth and two whole layers,
    5/8 of them, so 4,525,056 less. The adapter is in both.
    """
    for name, value in {"WORLD_SIZE": "8", "RANK": "0", "MASTER_ADDR": "127.0.0.1",
                        "MASTER_PORT": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    given = ("train", "sft", "-d", data, "-o", tmp_path / "out", "--device", "cpu", "--dtype",
             "float32", "--no-probe", "--dry-run")  # fmt: skip
    values = []
    for parallel in ("ddp", "fsdp"):
        cai(*given, "--parallel", parallel, "--json")
        values.append(json.loads(capsys.readouterr().out))
        assert (values[-1]["processes"], values[-1]["parallel"]) == (8, parallel)
    assert values[0]["memory"] - values[1]["memory"] == 4_525_056
    cai(*given, "--parallel", "fsdp")
    said = capsys.readouterr().out
    assert "in each process (fsdp: of the layers its share)" in said
    assert "8; time and peak are those of one process on its own" in said


def test_fsdp_in_one_process_is_no_silent_option(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cai("train", "sft", "-d", data, "-o", tmp_path / "out", *FAST, "--parallel", "fsdp")
    assert "--parallel fsdp has no effect in one process" in capsys.readouterr().err
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Trained by one process." in card and "| process_timeout |" not in card
    assert json.loads((tmp_path / "out" / "run.json").read_text())["processes"] == 1


def test_json_names_the_run_its_steps_and_its_rows(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six rows without any held out, in two steps; -m is the base."""
    out = tmp_path / "out"
    cai(
        "train", "dpo", "-d", data, "-o", out, "-m", "miniature", *FAST, "--test-share", 0, "--json"
    )
    values = json.loads(capsys.readouterr().out)
    record = json.loads((out / "run.json").read_text())
    assert values["run"] == record["id"] and values["stage"] == "dpo"
    assert (values["steps"], values["rows"], values["folder"]) == (2, 6, str(out))
    assert record["settings"]["model"] == "miniature"


def test_a_result_says_which_rows_it_is_of(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [option for option in FAST if option != "--quiet"]
    cai("train", "reward", "-d", data, "-o", tmp_path / "out", *options, "--test-share", 0.5)
    assert re.search(r"^ *evaluated rows  held out$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("stage", ["sft", "dpo", "ppo"])
def test_a_dry_run_measures_a_step(
    stage: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time of all steps is that of one times their number, and what comes before the first."""
    options = {"ppo": ("--updates", 7, "--prompts-per-update", 2, "--max-new-tokens", 8)}.get(
        stage, ("--batch-size", 1, "--epochs", 2, "--test-share", 0)
    )
    given = ("train", stage, "-d", data, "-o", tmp_path / "out", *options, "--dry-run")
    cai(*given, "--json")
    values = json.loads(capsys.readouterr().out)
    time = values["time"]
    measured = time["measured"]
    assert values["steps"] == {"ppo": 7}.get(stage, 12) and time["reason"] is None
    assert measured["steps"] == 2 and measured["seconds"] > 0 and measured["tokens"] > 0
    assert time["seconds"] == pytest.approx(
        measured["seconds"] * values["steps"] + measured["prepare"]
    )
    assert (measured["prepare"] > 0) == (stage == "dpo")
    assert measured["peak"] > 100_000_000  # bytes: Python and torch alone take more
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache" / "reference").exists()
    cai(*given, "--no-probe")
    out = capsys.readouterr().out
    assert "time  not estimated (--no-probe)" in out and "measured" not in out


def test_a_step_that_fails_is_no_hindrance_to_a_dry_run(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cai.errors import TrainingError
    from cai.training.sft import SftTrainer

    def fail(self: object) -> None:
        raise TrainingError("Out of memory on cpu with a single example")

    monkeypatch.setattr(SftTrainer, "train_step", fail)
    cai("train", "sft", "-d", data, "-o", tmp_path / "out", "--dry-run")
    out = capsys.readouterr().out
    assert "not estimated (Out of memory on cpu with a single example)" in out
    assert "calculated for the longest row" in out


def test_a_dry_run_of_ppo_needs_no_reward_and_counts_all_that_is_held(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two updates of three responses of eight tokens. In full, the value head is trained too."""
    small = ("--prompts-per-update", 3, "--max-new-tokens", 8, "--updates", 9, "--max-steps", 2)
    cai("train", "ppo", "-d", data, "-o", tmp_path / "out", *small, "--dry-run")
    said = capsys.readouterr().out
    assert "5 (1 held out, 0 set aside)" in said and "steps  2" in said and "tokens  48" in said
    assert "a reward that is not named yet" in said
    (tmp_path / "rewards_of_a_dry_run.py").write_text("def one(p, r):\n    return [1.0] * len(r)\n")
    monkeypatch.chdir(tmp_path)
    named = ("--reward", "rewards_of_a_dry_run:one")
    cai("train", "ppo", "-d", data, "-o", tmp_path / "out", *small, *named, "--dry-run")
    said = capsys.readouterr().out
    assert "evaluations and checkpoints; responses may become longer" in said
    cai("train", "ppo", "-d", data, "-o", tmp_path / "out", *small, "--full", "--dry-run")
    (line,) = (x for x in capsys.readouterr().out.splitlines() if "parameters" in x)
    trained, every = line.split()[1], line.split()[-1]
    assert trained == every
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("learning_rte: 1", 2, "Did you mean 'learning_rate'?"),
        ("stage: dpo", 2, "is for another stage"),
        ("- 1", 2, "does not hold settings"),
        ("epochs: [", 2, "settings.yaml:2:1: C005"),
        ("epochs: soon", 2, "epochs is 'soon'; it must be a number"),
    ],
)
def test_a_bad_file_of_settings(
    text: str, code: int, said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    cai("train", "sft", "-d", data, "--config", file, exit_code=code)
    assert said in capsys.readouterr().err


def test_ppo_needs_a_reward_that_may_be_used(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """None; one that knows no more than length (the longer one always wins here); a function."""
    reward, out = tmp_path / "reward", tmp_path / "ppo"
    small = ("--updates", 1, "--prompts-per-update", 2, "--max-new-tokens", 8, "--quiet")
    cai("train", "ppo", "-d", data, "-o", out, *small, exit_code=2)
    assert "PPO needs a reward" in capsys.readouterr().err
    cai("train", "reward", "-d", data, "-o", reward, *FAST)
    cai("train", "ppo", "-d", data, "-o", out, "--reward", reward, *small, exit_code=2)
    assert "length alone is right on 100.0%" in capsys.readouterr().err
    cai("train", "ppo", "-d", data, "-o", out, "--reward", reward, "--no-gate", *small)
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "finished" and record["parents"][0]["part"] == "reward"
    written = rows(out / "rollouts.jsonl")
    assert len(written) == 2 and {"prompt_id", "response", "score", "kl"} <= written[0].keys()
    assert all(abs(row["kl"]) < 1e-4 for row in written)


def test_a_reward_model_of_all_weights_serves_ppo(data: Path, tmp_path: Path) -> None:
    """It is a model of its own beside the policy's base."""
    reward, out = tmp_path / "reward", tmp_path / "ppo"
    cai("train", "reward", "-d", data, "-o", reward, "--full", "--learning-rate", 1e-4, *FAST)
    cai("train", "ppo", "-d", data, "-o", out, "--reward", reward, "--no-gate", "--updates", 1,
        "--prompts-per-update", 2, "--max-new-tokens", 8, "--quiet")  # fmt: skip
    assert len({row["score"] for row in rows(out / "rollouts.jsonl")}) == 2
