"""Loops: what each round runs, when they end, and how they go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cai.chain.step import StepFailedError
from cai.cli.main import main
from cai.constitution.load import load_constitution
from cai.data.split import family
from cai.data.training_run import FORMAT as TRAINING
from cai.errors import DataError, Interrupted, ModelError, UsageError
from cai.rounds.config import LoopConfig
from cai.rounds.measure import RoundMeasure, best_round, reason_to_stop, round_measure
from cai.rounds.prompts import divide
from cai.rounds.record import LoopRecord
from cai.rounds.run import run_loop
from cai.types import Constitution
from tests.e2e.helpers import cai, listen_to_ctrl_c, write_rows


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Forty prompts, of which two are of one family."""
    texts = [f"How do I mend kite {n}?" for n in range(39)] + ["how do I MEND kite 0?"]
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": text} for text in texts])


def evaluation(
    rate: tuple[float, float, float], change: float = 0.0, p: float | None = None
) -> dict[str, Any]:
    """A record of `cai eval`, of start and policy."""
    value, low, high = rate
    results = [
        {"model": model, "suite": suite, "measure": measure, "value": 0.25, "main": main,
         "better": "lower" if measure != "goodness" else "higher"}
        for model in ("start", "now")
        for suite, measure, main in (
            ("held-out", "violation", True), ("held-out", "goodness", False),
            ("over-refusal", "refused", True),
        )
    ]  # fmt: skip
    return {
        "format": 1, "models": [{"name": "start"}, {"name": "now"}], "results": results,
        "changes": [{
            "suite": "over-refusal", "measure": "refused", "title": "refused", "before": 0.1,
            "after": 0.1 + change, "change": change, "adjusted_p": p,
        }],
        "win_rates": [
            {"suite": "held-out", "win_rate": {"value": value, "low": low, "high": high}}
        ],
    }  # fmt: skip


class Commands:
    """Stands for the processes: notes the commands, and writes what an evaluation would."""

    def __init__(self, out: Path, rates: Sequence[tuple[float, float, float]]) -> None:
        self.out, self.rates = out, rates
        self.run: list[list[str]] = []
        self.codes: dict[str, int] = {}
        self.changes: dict[str, Any] = {}

    def __call__(self, arguments: Sequence[str]) -> int:
        self.run.append(list(arguments))
        folder = Path(arguments[arguments.index("--out") + 1])
        if code := self.codes.pop(folder.name, 0):
            return code
        folder.mkdir(parents=True, exist_ok=True)
        if arguments[0] == "eval":
            number = int(folder.name.rpartition("-")[2])
            record = evaluation(self.rates[number - 1], **self.changes.get(folder.name, {}))
            (folder / "evaluation.json").write_text(json.dumps(record))
        return 0

    @property
    def folders(self) -> list[str]:
        return [Path(a[a.index("--out") + 1]).name for a in self.run]


BETTER, EQUAL, WORSE = (0.7, 0.6, 0.8), (0.52, 0.45, 0.6), (0.3, 0.2, 0.4)


RULES = load_constitution("default")


def loop(
    out: Path, prompts: Path, commands: Commands, rules: Constitution = RULES, **changes: Any
) -> LoopRecord:
    config = LoopConfig(**{"held_out": 10, "rounds": 3} | changes)
    record = LoopRecord.open(out, config, rules, prompts)
    return run_loop(config, "default", divide(prompts, config), record, command=commands)


def test_what_each_round_runs(prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "loop"
    commands = Commands(out, [BETTER] * 3)
    record = loop(out, prompts, commands, judge="J", held_out_judge="H", suite="over-refusal")
    assert commands.folders == [
        "data-1", "dpo-1", "measure-1",
        "data-2", "dpo-2", "measure-2", "compare-2",
        "data-3", "dpo-3", "measure-3", "compare-3",
    ]  # fmt: skip
    build, train, measure = commands.run[:3]
    assert "--adapter" not in build and "--adapter" not in train
    assert build[build.index("--critic") + 1] == build[build.index("--judge") + 1] == "J"
    assert measure[1:3] == ["miniature", str(out / "dpo-1")]
    assert measure[measure.index("--judge") + 1] == "H" and "over-refusal" in measure
    build, train, measure, compare = commands.run[3:7]
    for command in (build, train):
        assert command[command.index("--adapter") + 1] == str(out / "dpo-1")
    assert measure[1:3] == ["miniature", str(out / "dpo-2")]
    assert compare[1:3] == [str(out / "dpo-1"), str(out / "dpo-2")]
    assert "over-refusal" not in compare
    assert (record.best, record.stopped) == (3, "")
    assert json.loads((out / "loop.json").read_text())["best"] == 3


def test_from_an_adapter_the_first_round_starts_there(prompts: Path, tmp_path: Path) -> None:
    commands = Commands(tmp_path / "loop", [BETTER])
    loop(tmp_path / "loop", prompts, commands, adapter="runs/sft", rounds=1, method="kto")
    build, train, measure = commands.run
    assert build[build.index("--adapter") + 1] == train[train.index("--adapter") + 1] == "runs/sft"
    assert train[1] == "kto" and measure[1] == "runs/sft"


def test_rounds_of_sft_ask_no_judge(prompts: Path, tmp_path: Path) -> None:
    commands = Commands(tmp_path / "loop", [BETTER])
    loop(tmp_path / "loop", prompts, commands, rounds=1, method="sft",
         build_options="--rounds 2", train_options="--epochs 3")  # fmt: skip
    build, train, _ = commands.run
    assert "--judge-gate" not in build and build[-2:] == ["--rounds", "2"]
    assert build[build.index("--sft-share") + 1] == "1" and train[-2:] == ["--epochs", "3"]


@pytest.mark.parametrize(
    ("rates", "rounds", "best", "words"),
    [
        ([BETTER, WORSE, BETTER], 2, 1, "prefers the answers of round 1: win rate 30%"),
        ([WORSE], 1, 0, "prefers the answers of the start"),
        ([BETTER, EQUAL, EQUAL], 3, 1, "the last 2 rounds are not shown to be better"),
        ([EQUAL, BETTER, EQUAL], 3, 2, ""),
    ],
)
def test_when_a_loop_ends(
    rates: Any, rounds: int, best: int, words: str, prompts: Path, tmp_path: Path
) -> None:
    record = loop(tmp_path / "loop", prompts, Commands(tmp_path / "loop", rates))
    assert len(record.measures) == rounds and record.best == best
    assert words in record.stopped and bool(words) == bool(record.stopped)


def test_a_suite_that_is_worse_than_at_the_start_ends_it(prompts: Path, tmp_path: Path) -> None:
    """Refusals rise by 0.2 with p 0.01: the round is not kept, though the judge prefers it. A
    fall, and a rise by chance, are no reason."""
    for change, p, stops in ((0.2, 0.01, True), (-0.2, 0.01, False), (0.2, 0.3, False)):
        out = tmp_path / f"{change}-{p}"
        commands = Commands(out, [BETTER] * 3)
        commands.changes["measure-2"] = {"change": change, "p": p}
        record = loop(out, prompts, commands)
        assert bool(record.stopped) is stops and record.best == (1 if stops else 3)
        if stops:
            expected = "refused on over-refusal: 0.1 at the start, 0.3 now (p 0.01)"
            assert expected in record.stopped


def test_a_step_that_fails_is_run_again_and_no_other(prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "loop"
    commands = Commands(out, [BETTER] * 3)
    commands.codes["dpo-2"] = 4
    with pytest.raises(
        StepFailedError, match="The train step of round 2 ended with exit code 4"
    ) as error:
        loop(out, prompts, commands)
    assert error.value.exit_code == 4
    done = len(commands.run)
    record = loop(out, prompts, commands)
    assert commands.folders[done:][:2] == ["dpo-2", "measure-2"] and record.best == 3
    assert loop(out, prompts, commands).best == 3 and len(commands.run) == done + 7


def test_ctrl_c_in_a_step(prompts: Path, tmp_path: Path) -> None:
    commands = Commands(tmp_path / "loop", [BETTER] * 3)
    commands.codes["data-2"] = Interrupted.exit_code
    with pytest.raises(Interrupted, match="the build step of round 2"):
        loop(tmp_path / "loop", prompts, commands)
    assert loop(tmp_path / "loop", prompts, commands).best == 3


def test_training_that_stops_itself_ends_the_loop(prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "loop"
    commands = Commands(out, [BETTER] * 3)
    commands.codes["dpo-2"] = 7
    (out / "dpo-2").mkdir(parents=True)
    record = {
        "format": TRAINING, "id": "m", "stage": "dpo", "status": "stopped",
        "results": {"stopped": "It refuses everything."}, "settings": {}, "base": {},
        "parents": [], "data": [], "counts": {}, "files": {}, "versions": {},
    }  # fmt: skip
    config = LoopConfig(held_out=10, rounds=3)
    opened = LoopRecord(out, LoopRecord.open(tmp_path / "no", config, RULES, prompts).settings)
    (out / "dpo-2" / "run.json").write_text(json.dumps(record))
    ended = run_loop(config, "default", divide(prompts, config), opened, command=commands)
    assert ended.stopped == "round 2: its training stopped itself: It refuses everything."
    assert ended.best == 1
    again = loop(out, prompts, commands)
    assert again.stopped == ended.stopped and commands.folders[-1] == "dpo-2"


def test_other_settings_are_another_loop_but_more_rounds_are_not(
    prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "loop"
    commands = Commands(out, [BETTER] * 3)
    loop(out, prompts, commands, reuse_prompts=True, rounds=1)
    with pytest.raises(UsageError, match=r"another loop: no --judge there, --judge J here"):
        loop(out, prompts, commands, reuse_prompts=True, judge="J")
    assert loop(out, prompts, commands, reuse_prompts=True, rounds=2).best == 2
    assert commands.folders.count("data-1") == 1
    with pytest.raises(UsageError, match="--constitution"):
        loop(out, prompts, commands, load_constitution("miniature"), reuse_prompts=True)
    divided = Commands(tmp_path / "divided", [BETTER] * 3)
    loop(tmp_path / "divided", prompts, divided, rounds=2)
    with pytest.raises(UsageError, match="--rounds 2 there, --rounds 3 here"):
        loop(tmp_path / "divided", prompts, divided, rounds=3)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no loop"):
        loop(other, prompts, commands)


def test_a_loop_whose_judge_was_refused_goes_on_without_the_gate(
    prompts: Path, tmp_path: Path
) -> None:
    commands = Commands(tmp_path / "loop", [BETTER] * 3)
    commands.codes["data-1"] = ModelError.exit_code
    with pytest.raises(StepFailedError, match="The build step of round 1") as refused:
        loop(tmp_path / "loop", prompts, commands)
    assert "--no-judge-gate goes on" in refused.value.hint
    record = loop(tmp_path / "loop", prompts, commands, judge_gate=False)
    assert len(record.measures) == 3
    first, again = (words for words in commands.run if "data-1" in words[words.index("--out") + 1]
                    and words[0] == "build-data")  # fmt: skip
    assert "--judge-gate" in first and "--judge-gate" not in again


def test_options_that_all_commands_have_are_taken(prompts: Path, tmp_path: Path) -> None:
    words = ("--train-options", "--verbose --epochs 2", "--eval-options", "--verbose -q")
    cai("loop", "-p", prompts, "--rounds", 1, "--held-out", 10, *words, "--dry-run",
        "-o", tmp_path / "loop")  # fmt: skip


def test_what_a_switch_is_there_and_here(prompts: Path, tmp_path: Path) -> None:
    commands = Commands(tmp_path / "loop", [BETTER] * 3)
    loop(tmp_path / "loop", prompts, commands, rounds=1)
    with pytest.raises(UsageError, match="no --reuse-prompts there, --reuse-prompts here"):
        loop(tmp_path / "loop", prompts, commands, rounds=1, reuse_prompts=True)
    with pytest.raises(UsageError, match="--seed 0 there, --seed 1 here"):
        loop(tmp_path / "loop", prompts, commands, rounds=1, seed=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--train-options", "--lora 3"), "--train-options: No such option '--lora'"),
        (("--train-options", "--epochs much"), "--train-options: Invalid value for '--epochs'"),
        (("--eval-options", "runs/x --limit 3"), "--eval-options: 'runs/x' belongs to no option"),
        (("--build-options", "--pairs"), "--build-options: Option '--pairs' requires an argument"),
    ],
)
def test_options_that_a_step_would_refuse_are_refused_before_the_first(
    options: tuple[str, str], words: str, prompts: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "loop"
    cai("loop", "-p", prompts, "--rounds", 1, "--held-out", 10, *options, "-o", out, exit_code=2)
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_suites_that_can_t_be_asked_are_refused_before_the_first_step(
    prompts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, asked = tmp_path / "loop", ("--held-out", "10", "--suite", "oops")
    with pytest.raises(SystemExit) as error:
        main(["loop", "-p", str(prompts), *asked, "-o", str(out), "--dry-run"])
    said = capfd.readouterr().err
    assert error.value.code != 0 and "Traceback" not in said
    assert "oops" in said and "evaluation's options ended with exit code" in said
    assert not out.exists()


def test_a_loop_that_ended_goes_on_with_more_patience(prompts: Path, tmp_path: Path) -> None:
    commands = Commands(tmp_path / "loop", [EQUAL, EQUAL, BETTER])
    assert loop(tmp_path / "loop", prompts, commands).stopped
    assert len(loop(tmp_path / "loop", prompts, commands).measures) == 2
    record = loop(tmp_path / "loop", prompts, commands, patience=3)
    assert len(record.measures) == 3 and record.best == 3 and not record.stopped


def test_prompts_are_divided_by_families(prompts: Path) -> None:
    config = LoopConfig(held_out=10, rounds=3)
    divided = divide(prompts, config)
    parts = [divided.held_out, *divided.rounds]
    assert sum(map(len, parts)) == 40 and len(divided.held_out) in (10, 11)
    families = [{family(p.messages) for p in part} for part in parts]
    for i, some in enumerate(families):
        assert not any(some & other for other in families[i + 1 :])
    assert divide(prompts, config) == divided
    assert divide(prompts, LoopConfig(held_out=10, rounds=3, seed=1)) != divided
    (only,) = divide(prompts, LoopConfig(held_out=10, reuse_prompts=True)).rounds
    assert len(only) + len(divided.held_out) == 40
    with pytest.raises(DataError, match="too few for 38 held-out ones and 3 rounds"):
        divide(prompts, LoopConfig(held_out=38, rounds=3))


def test_files_of_prompts_that_can_t_be_used(tmp_path: Path, capfd: Any) -> None:
    """No such file, and one whose only row is broken: a message with the place, no traceback."""
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": 3\n')
    for file, words in ((tmp_path / "none.jsonl", "none.jsonl"), (broken, "broken.jsonl:1: ")):
        with pytest.raises(SystemExit) as error:
            main(["loop", "-p", str(file), "--out", str(tmp_path / "loop")])
        said = capfd.readouterr().err
        assert error.value.code not in (0, None) and words in said and "Traceback" not in said
    assert not (tmp_path / "loop").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "ppo"}, "one of dpo, sft, kto"),
        ({"rounds": 0}, "1 or more"),
        ({"train_options": "--out elsewhere"}, "may not have --out"),
        ({"build_options": "--judge=X"}, "may not have --judge=X"),
        ({"eval_options": "--limit 'x"}, "can't be read"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LoopConfig(**changes)


def test_the_measure_of_a_round() -> None:
    """The win rate is against the round before; the rest is against the start."""
    measure = round_measure(evaluation(BETTER, 0.2, 0.01), evaluation(EQUAL))
    assert (measure.win_rate, measure.from_start) == (0.52, 0.7)
    assert (measure.goodness, measure.violations, measure.words) == (0.25, 0.25, None)
    assert not measure.is_better and len(measure.worse) == 1
    kept = [RoundMeasure(0.7, 0.6, 0.8, 0.7, None, None, None, ())] * 2
    assert best_round([*kept, measure]) == 2 and "worse than" in reason_to_stop([measure], 2)


REAL = (
    "loop", "-p", "prompts.jsonl", "-c", "miniature", "--no-judge-gate", "--held-out", "12",
    "--rounds", "2", "--patience", "2", "--build-options",
    "--max-new-tokens 40 --device cpu --quiet --no-examine", "--train-options",
    "--device cpu --quiet --learning-rate 2e-3", "--eval-options",
    "--device cpu --quiet --max-new-tokens 40",
)  # fmt: skip


@pytest.mark.slow
def test_a_real_loop_is_killed_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the miniature: killed -9 in the first training, stopped by Ctrl-C later; then the same
    adapters as without either, and every step can be verified."""
    monkeypatch.chdir(tmp_path)
    made = subprocess.run(
        [sys.executable, "-m", "cai.miniature.prompts", "--n", "40", "--split", "train"],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "prompts.jsonl").write_bytes(made.stdout)
    cai(*REAL, "--out", "straight", "--quiet")

    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "cai", *REAL, "--out", "broken", "--quiet"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=listen_to_ctrl_c,
        )  # fmt: skip

    def until(path: str, process: subprocess.Popen[bytes]) -> None:
        while not (tmp_path / "broken" / path).exists() and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, f"it ended before {path}"

    first = started()
    until("dpo-1/run.log", first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    second = started()
    until("data-2/run.log", second)
    os.killpg(second.pid, signal.SIGINT)
    assert second.wait() == Interrupted.exit_code
    cai(*REAL, "--out", "broken", "--quiet")
    for number in (1, 2):
        weights = f"dpo-{number}/adapter/adapter_model.safetensors"
        assert (tmp_path / "straight" / weights).read_bytes() == (
            tmp_path / "broken" / weights
        ).read_bytes()
        for step in ("data", "dpo"):
            cai("verify", f"broken/{step}-{number}")
        cai("trace", f"broken/data-{number}/preferences.jsonl:1")
