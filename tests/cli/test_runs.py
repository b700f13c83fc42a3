"""`cai runs`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cai.store.store import Store
from tests.cli.project import cai, make
from tests.evaluation.report.making import make_evaluation
from tests.store.samples import run


def listed(runs: Path, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    cai("runs", "--runs-dir", runs)
    lines = capsys.readouterr().out.splitlines()
    return [[c.strip() for c in line.split("  ") if c.strip()] for line in lines]


def test_a_line_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path)
    with Store.open(tmp_path / "store.sqlite") as store:
        store.put_run(run("r-2"))
        store.put_run(run("r-3"))
        store.add_event("r-3", "started")
        header, first, second, third = listed(tmp_path, capsys)
        assert header == ["name", "id", "when (UTC)", "status", "rows", "constitution", "model"]
        assert first[:2] == ["demo", "r-1"]
        assert first[2].startswith("20") and len(first[2]) == 16
        assert first[3] == "finished"
        assert first[4].endswith(" labels") and " sft + " in first[4]
        assert first[5:] == ["demo 1.0.0", "tiny"]
        assert second[3:5] == ["new", "–"]
        assert third[3] == "interrupted"  # started, and nobody holds the lock
        with store.lock():
            assert listed(tmp_path, capsys)[3][3] == "running"


def test_hostile_names_are_shown_as_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    with Store.open(tmp_path / "store.sqlite") as store:
        store.put_run(replace(run(), name="\x1b[31mred\u202e"))
    cai("runs", "--runs-dir", tmp_path)
    out = capsys.readouterr().out
    assert "␛[31mred<U+202E>" in out and "\x1b" not in out


def test_no_store_and_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai("runs", "--runs-dir", tmp_path)
    assert "cai build-data" in capsys.readouterr().out
    cai("runs", "--runs-dir", tmp_path, "--json")
    assert json.loads(capsys.readouterr().out) == {"runs": [], "measured": []}
    with Store.open(tmp_path / "store.sqlite"):
        pass
    cai("runs", "--runs-dir", tmp_path)
    assert "No runs yet" in capsys.readouterr().out


def test_evaluations_in_a_list_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_evaluation(tmp_path / "eval")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "redteam.json").write_text("[")
    os.utime(tmp_path / "broken" / "redteam.json", (0, 0))
    header, broken, first = listed(tmp_path, capsys)
    assert header == ["name", "id", "when (UTC)", "kind", "models", "outcome"]
    assert broken == ["broken", "–", "1970-01-01 00:00", "red-teaming", "–",
                      "redteam.json can't be read: cai verify says why"]  # fmt: skip
    assert first[:2] == ["eval", "e-0123456789ab"]
    assert first[3:] == ["evaluation", "base, sft, ppo", "5 suites, 20 items"]
    make(tmp_path)
    assert [line[:1] for line in listed(tmp_path, capsys)] == [
        ["name"], ["demo"], [], ["name"], ["broken"], ["eval"],
    ]  # fmt: skip
