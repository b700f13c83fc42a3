"""`cai models`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cai.cli.models import branches
from cai.data.training_run import FORMAT
from cai.training.folder import lock
from tests.cli.project import cai


def parent(name: str, part: str = "start", stage: str = "sft") -> dict[str, str]:
    return {"name": name, "id": f"m-{name}", "stage": stage, "part": part, "digest": "0"}


def put(runs: Path, name: str, *parents: dict[str, str], **changes: Any) -> Path:
    """A run's record; `changes` overrides what it says."""
    folder = runs / name
    folder.mkdir(parents=True)
    values = {
        "format": FORMAT,
        "id": f"m-{folder.name}",
        "stage": "sft",
        "status": "finished",
        "base": {"name": "tiny", "fingerprint": "f"},
        "parents": parents,
        "counts": {"trained": 12},
        "results": {},
        **changes,
    }
    (folder / "run.json").write_text(json.dumps(values))
    return folder


def listed(runs: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    cai("models", "--runs-dir", runs)
    return capsys.readouterr().out.splitlines()


def test_a_real_run(sft_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, line = listed(sft_run.parent, capsys)
    assert header.split() == ["name", "id", "stage", "base", "status", "rows", "result"]
    run = json.loads((sft_run / "run.json").read_text())
    figures = [json.loads(row) for row in (sft_run / "metrics.jsonl").read_text().splitlines()]
    loss = [row["loss"] for row in figures if row["held_out"]][-1]
    assert line.split() == [
        "sft", run["id"], "sft", "miniature", "finished", str(run["counts"]["trained"]),
        "held-out", "loss", f"{loss:.3f}",
    ]  # fmt: skip


def test_a_reward_is_no_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PPO on the base stands alone; what a run of all weights made stands above its children."""
    put(tmp_path, "rm", stage="reward")
    put(tmp_path, "ppo", parent("rm", "reward", "reward"), stage="ppo")
    put(tmp_path, "full")
    put(tmp_path, "child", parent("full", "base"), stage="dpo")
    lines = [line.split("  ")[0] for line in listed(tmp_path, capsys)[1:]]
    assert lines == ["full", "└ child", "ppo", "rm"]
    assert listed(tmp_path, capsys)[3].endswith("reward rm m-rm")


def test_lineage_is_a_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ppo starts from sft and is rewarded by rm; dpo starts from a run that is elsewhere."""
    put(tmp_path, "ppo", parent("rm", "reward", "reward"), parent("sft"), stage="ppo")
    put(tmp_path, "sft")
    put(tmp_path, "rm", parent("sft"), stage="reward", results={"accuracy": 0.75})
    put(tmp_path, "dpo", parent("gone"), stage="dpo", status="running")
    _, *lines = listed(tmp_path, capsys)
    assert [line[: line.index(" m-")].rstrip() for line in lines] == [
        "gone (not here)", "└ dpo", "sft", "├ ppo", "└ rm",
    ]  # fmt: skip
    gone, dpo, _, ppo, rm = lines
    assert gone.split() == ["gone", "(not", "here)", "m-gone", "sft", "–", "–", "–"]
    assert "interrupted" in dpo
    assert ppo.endswith("reward rm m-rm")
    assert rm.endswith("held-out accuracy 0.750")


def test_the_lines_of_a_tree() -> None:
    """a over b (over c) and d; then e alone."""
    assert branches([0, 1, 2, 1, 0]) == ["", "├ ", "│ └ ", "└ ", ""]
    assert branches([0, 1, 2, 2]) == ["", "└ ", "  ├ ", "  └ "]


def test_a_training_that_runs_is_no_interrupted_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "sft", status="running")
    assert "interrupted" in listed(tmp_path, capsys)[1]
    with lock(tmp_path / "sft"):
        assert "running" in listed(tmp_path, capsys)[1]


def test_nothing_yet_and_a_missing_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(tmp_path / "nope", capsys)[0].startswith(
        f"No models yet: there is no folder {tmp_path / 'nope'}."
    )
    assert listed(tmp_path, capsys) == ["No models yet. Train one with: cai train sft --data RUN"]


def test_a_name_is_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reward function's id is its name, and one reward may have two equal parts."""
    function = {**parent("mine:f", "reward", "function"), "id": "mine:f"}
    second = {**function, "part": "second_reward"}
    put(tmp_path, "ppo", function, function, second, stage="ppo")
    assert listed(tmp_path, capsys)[1].endswith("  reward mine:f, second reward mine:f")


def test_a_training_that_an_error_ended_is_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "sft", status="failed", error="The reward function mine:f failed")
    assert " failed " in listed(tmp_path, capsys)[1]
    cai("models", "--help")
    assert "`failed`" in capsys.readouterr().out


def test_equal_runs_share_an_id_and_their_names_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "a", id="m-same")
    put(tmp_path, "b", id="m-same")
    put(tmp_path, "c", {**parent("b"), "id": "m-same"})
    assert [line.split("  ")[0] for line in listed(tmp_path, capsys)[1:]] == ["a", "b", "└ c"]


def test_records_that_form_a_ring_are_still_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "a", parent("b"))
    put(tmp_path, "b", parent("a"))
    assert len(listed(tmp_path, capsys)) == 3


DAMAGE = {
    "cut off": '{"format": "cai-',
    "no object": "[1]",
    "another format": '{"format": "other/1"}',
    "lacks a key": json.dumps({"format": FORMAT, "id": "m-1"}),
    "wrong type": json.dumps({"format": FORMAT, "id": "m-1", "parents": 3}),
    "too deep": "[" * 100_000,
    "no text": "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_is_told_and_the_others_go_on(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "good")
    (put(tmp_path, "bad\x1b[31m") / "run.json").write_text(DAMAGE[kind], encoding="latin-1")
    _, good, bad = listed(tmp_path, capsys)
    assert good.startswith("good ")
    assert bad.startswith("unreadable: bad␛[31m: ")


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "deep/rm", parent("sft"), stage="reward", results={"accuracy": 0.75})
    (put(tmp_path, "bad") / "run.json").write_text("{")
    cai("models", "--runs-dir", tmp_path, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == [
        {
            "name": "deep/rm", "id": "m-rm", "stage": "reward", "base": "tiny",
            "status": "finished", "rows": 12, "measure": "held-out accuracy", "value": 0.75,
            "parents": [{"name": "sft", "id": "m-sft", "stage": "sft", "part": "start"}],
        }
    ]  # fmt: skip
    assert [one["name"] for one in found["unreadable"]] == ["bad"]
