"""`--json`: one object on stdout from every command that has results; the rest on stderr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cai.cli.output import counted, print_json
from tests.cli.project import cai, make
from tests.e2e.helpers import write_rows


def result(capsys: pytest.CaptureFixture[str], *arguments: object, exit_code: int = 0) -> Any:
    capsys.readouterr()
    cai(*arguments, "--json", exit_code=exit_code)
    value = json.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return value


def test_commands_that_read_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path)
    (run,) = result(capsys, "runs", "--runs-dir", tmp_path)["runs"]
    assert (run["id"], run["status"], run["models"]) == ("r-1", "finished", ["tiny"])
    assert run["rows"].keys() == {"sft", "preferences", "labels"}
    verified = result(capsys, "verify", tmp_path / "demo")
    assert verified["ok"] and verified["files"] == 9 and verified["problems"] == []
    (tmp_path / "demo" / "README.md").write_text("x")
    damaged = result(capsys, "verify", tmp_path / "demo", exit_code=4)
    assert not damaged["ok"] and damaged["differences"] == 1
    assert damaged["problems"][0].startswith("README.md: ")
    (record,) = result(capsys, "trace", "t-p1", "--runs-dir", tmp_path)["records"]
    assert record["kind"] == "trace"
    assert result(capsys, "models", "--runs-dir", tmp_path) == {"models": [], "unreadable": []}


def test_commands_of_authoring(capsys: pytest.CaptureFixture[str]) -> None:
    assert result(capsys, "lint", "principles/respect", "--no-git")["problems"] == []
    stages = result(capsys, "render", "respect.rudeness", "--prompt", "Why?")["stages"]
    assert [stage["stage"] for stage in stages] == ["critique", "revise", "compare"]
    tests = result(capsys, "test", "respect.rudeness")
    assert sum(tests["counts"].values()) == len(tests["tests"]) > 0


def test_a_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("script.yaml").write_text('replies:\n  - {say: "Fine."}\n')
    write_rows(Path("p.jsonl"), [{"prompt": f"{n} loaves?"} for n in range(4)])
    build = ("-m", "scripted:script.yaml", "-p", "p.jsonl")
    value = result(capsys, "build-data", *build, "-o", "runs/a")
    assert value["folder"] == "runs/a" and value["prompts"] == {"source": "p.jsonl", "count": 4}
    assert value["steps"]["generated"] > 0
    files = json.loads(Path("runs/a/manifest.json").read_text())["files"]
    assert value["rows"] and all(files[name]["rows"] == n for name, n in value["rows"].items())
    assert result(capsys, "plan", *build)["prompts"] == 4


def test_numbers_that_json_lacks_become_null_and_terminals_obey_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"a": [float("nan"), float("inf"), 1.5], "b": "\x1b[31m\x7f\u202e"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": [None, None, 1.5], "b": "\x1b[31m\x7f\u202e"}
    assert "\x1b" not in out and "\x7f" not in out and "\u202e" not in out


def test_numbers_agree_with_their_nouns() -> None:
    assert [counted(n, "row") for n in (0, 1, 2, 1234)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "1,234 rows",
    ]
    assert counted(2, "entry", "entries") == "2 entries"


def test_a_piped_summary_has_no_trailing_spaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cai("build-data", "--limit", 1, "--no-examine", "--pairs", 0, "-q")
    cai("build-data", "--limit", 1, "--no-examine", "--pairs", 0)
    lines = capsys.readouterr().out.splitlines()
    assert any("1 row " in line for line in lines) and "1 prompt of prompts.jsonl" in lines[1]
    assert [line for line in lines if line != line.rstrip()] == []
