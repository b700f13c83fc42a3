"""`cai ablate --train`: what it runs, what it prints, and what it says where it can't."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from cai.errors import Interrupted
from tests.authoring.test_retraining import Commands
from tests.cli.project import cai
from tests.cli.test_ablate import project  # noqa: F401  # a fixture
from tests.e2e.helpers import listen_to_ctrl_c

Output = pytest.CaptureFixture[str]
VALUES: dict[str, Sequence[Sequence[float]]] = {
    "all": [[0] * 8] * 2, "without-rude": [[1] * 8] * 2, "without-vague": [[1] + [0] * 7] * 2,
}  # fmt: skip
TRAIN = (
    "ablate", "runs/demo", "--train", "kto", "--train-options", "--model miniature",
    "--suite", "harmful",
)  # fmt: skip
MODEL = ("--model", "scripted:script.yaml", "--device", "cpu")


class Processes(Commands):
    """Runs `cai ablate` and `cai eval --list` here, and stands for the other commands."""

    def __init__(self) -> None:
        super().__init__(VALUES)
        self.made: list[list[str]] = []

    def __call__(self, arguments: Sequence[str], *, shows: bool = True) -> int:
        if arguments[0] == "ablate" or "--list" in arguments:
            self.made.append(list(arguments))
            with redirect_stdout(sys.stdout if shows else io.StringIO()):
                try:
                    cai(*arguments)
                except AssertionError:
                    return 2
            return 0
        if shows:
            print(f"what {arguments[0]} prints")
        return super().__call__(arguments)


@pytest.fixture
def processes(
    project: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Processes:
    stand_in = Processes()
    monkeypatch.setattr("cai.chain.step.run_command", stand_in)
    monkeypatch.setattr("cai.cli.ablate_train._seconds", lambda training: 90.0)
    return stand_in


def test_it_makes_the_data_trains_and_measures(processes: Processes, capsys: Output) -> None:
    """The missing answers are made by a command of their own, with the options that were given;
    then everything of each side is trained and measured. `never` has the same rows."""
    cai(*TRAIN, *MODEL, "--seeds", 2, "--out", "runs/ablation")
    listed, made = processes.made
    assert listed == ["eval", "--suite", "harmful", "--list"]
    assert made == [
        "ablate", "runs/demo", "--principle", "rude", "--principle", "vague", "--principle",
        "never", "--model", "scripted:script.yaml", "--device", "cpu",
    ]  # fmt: skip
    told = capsys.readouterr()
    record = json.loads(Path("runs/ablation/ablation.json").read_text())
    trained = [s["folder"] for s in record["steps"] if s["step"] == "train"]
    assert trained == [
        f"{n}-s{s}" for s in (0, 1) for n in ("all", "without-rude", "without-vague")
    ]
    assert "To do: 6 trainings, some 9 min 0 s, and 2 evaluations of 3 models." in told.err
    assert "training 1 of 6: cai train kto --data runs/ablation/data/all.jsonl" in told.err
    out = told.out
    assert "kto without each principle in turn, 2 seeds" in out
    assert "\n\ns: harm ↓, 0 with all principles, 8 items\n" in out
    (line,) = [line for line in out.splitlines() if line.startswith("rude")]
    assert "+1.00 (" in line and line.endswith("+1.00 +1.00")
    assert "Beyond chance (p < 0.05, adjusted for 2 comparisons): rude (harm on s)." in out
    assert "never: a trainer reads the same rows without it." in out
    assert "written  runs/ablation" in out

    done = len(processes.run)
    assert "what train prints" in out and "what eval prints" in out
    cai(*TRAIN, "--out", "runs/alone", "--json")
    assert json.loads(capsys.readouterr().out)["folder"] == "runs/alone"
    done += 4
    cai(*TRAIN, "--seeds", 2, "--out", "runs/ablation", "--json")
    assert json.loads(capsys.readouterr().out)["effects"] == record["effects"]
    assert len(processes.run) == done
    cai("runs")
    assert "3 principles left out" in (listing := capsys.readouterr().out)
    assert "6 trainings by kto" in listing and "ablation" in listing
    cai("verify", "runs/ablation", exit_code=4)  # the stand-ins trained nothing
    assert "all-s0" in capsys.readouterr().err


def test_a_principle_that_takes_all_rows_with_it(processes: Processes, capsys: Output) -> None:
    """All pairs are revisions under `rude`: nothing is left to train on without it."""
    cai(*TRAIN, *MODEL, "--train", "dpo")
    assert "rude: no row to train on is left without it." in capsys.readouterr().out
    assert processes.run == ["all-s0", "without-vague-s0", "eval-s0"]


def test_a_dry_run_shows_commands_and_leaves_nothing(processes: Processes, capsys: Output) -> None:
    cai(*TRAIN, *MODEL, "--dry-run")
    told = capsys.readouterr().out
    assert "cai ablate runs/demo --principle rude" in told and "depend on the data" in told
    cai("ablate", "runs/demo", *MODEL, "-q")
    capsys.readouterr()
    cai(*TRAIN, "--dry-run")
    told, said = capsys.readouterr()
    assert "cai train kto --data runs/ablation/data/without-rude.jsonl" in told
    assert "cai eval runs/ablation/all-s0" in told and "To do: " in said
    assert not Path("runs/ablation").exists() and not processes.run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (TRAIN, "Name the run's model, which makes them: --model MODEL"),
        ((*TRAIN, "--suite", "nothing"), "There is no suite nothing"),
        (("ablate", "runs/demo", "--train", "dpo", *MODEL), '--train-options "--model MODEL"'),
        (("ablate", "runs/demo", "--seeds", "2"), "--seeds is of a training"),
        (("ablate", "runs/demo", "--dry-run"), "there is no --train"),
    ],
)
def test_what_it_refuses(
    arguments: tuple[str, ...], words: str, processes: Processes, capsys: Output
) -> None:
    """Before anything is made or trained."""
    cai(*arguments, exit_code=2)
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said
    assert not processes.run and not Path("runs/ablation").exists()


REAL = (
    "ablate", "runs/first", "--model", "miniature", "--train", "sft", "-k", "harm.harmful",
    "-k", "respect.rudeness", "--suite", "suites/world-harmful.yaml",
    "--train-options", "--device cpu --learning-rate 2e-3 --epochs 2 --quiet",
    "--eval-options", "--device cpu --max-new-tokens 40 --quiet", "--device", "cpu",
)  # fmt: skip


@pytest.mark.slow
def test_a_real_one_is_interrupted_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """On the miniature: Ctrl-C in the second training, then the rest; everything can be verified,
    and the model that learned from all rows is as the same command trains it by itself."""
    monkeypatch.chdir(tmp_path)
    for module, words in (("prompts", ("--split", "train")), ("truth", ("--out", "suites"))):
        made = subprocess.run(
            [sys.executable, "-m", f"cai.miniature.{module}", "--n", "40", *words],
            check=True, capture_output=True,
        )  # fmt: skip
        if module == "prompts":
            Path("prompts.jsonl").write_bytes(made.stdout)
    cai("build-data", "-c", "miniature", "-p", "prompts.jsonl", "--out", "runs/first",
        "--max-new-tokens", 40, "--no-examine", "--sft-share", 1, "--pairs", 0, "-q")  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "cai", *REAL], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, preexec_fn=listen_to_ctrl_c,
    )  # fmt: skip
    second = Path("runs/ablation/without-harm.harmful-s0/run.log")
    while not second.exists() and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, "it ended before the second training"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == Interrupted.exit_code
    before = second.stat().st_ctime
    weights = Path("runs/ablation/all-s0/adapter/adapter_model.safetensors")
    first = weights.stat().st_mtime_ns
    capsys.readouterr()
    cai(*REAL, "--json")
    assert weights.stat().st_mtime_ns == first and second.stat().st_ctime >= before
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {e["principle"] for e in record["effects"]} == {"harm.harmful", "respect.rudeness"}
    assert all(e["change"]["n"] == 40 for e in record["effects"])
    cai("verify", "runs/ablation")
    (training,) = [s for s in record["steps"] if s["folder"] == "all-s0"]
    command = [w if w != "runs/ablation/all-s0" else "alone" for w in training["command"]]
    cai(*command)
    alone = Path("alone/adapter/adapter_model.safetensors")
    assert alone.read_bytes() == weights.read_bytes()
