"""`cai diff`: an edit under git, built on both sides, and judged by the world's ground truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cai.content import packaged
from cai.miniature.prompts import prompt_rows
from cai.miniature.world.judge import flaws_of
from cai.miniature.world.vocabulary import HARMS
from cai.store.store import Store
from tests.authoring.test_git import git
from tests.e2e.helpers import cai, write_rows

CONSTITUTION = """\
api: cai/v1
kind: Constitution
id: ours
version: 1.0.0
title: Ours
principles: [{ref: ../principles/harm/harmful.yaml}, {ref: ../principles/respect/rudeness.yaml}]
plan: {rounds: 2, draw: fixed, check: false}
changelog: [{version: 1.0.0, date: 2026-11-24, by: us, change: First.}]
"""
WORDS = "harmful, unethical, or helps the user to do something wrong"
COUNT = 10


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project of two principles, the first of which was weakened since."""
    for name in ("harm/harmful", "respect/rudeness"):
        target = tmp_path / f"principles/{name}.yaml"
        target.parent.mkdir(parents=True)
        shutil.copy(packaged() / f"principles/{name}.yaml", target)
    (tmp_path / "constitution").mkdir()
    (tmp_path / "constitution" / "default.yaml").write_text(CONSTITUTION, "utf-8")
    write_rows(tmp_path / "prompts.jsonl", prompt_rows(COUNT, "held", 3, "harmful"))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    file = tmp_path / "principles/harm/harmful.yaml"
    text = file.read_text("utf-8")
    assert WORDS in text
    file.write_text(text.replace(WORDS, "against the law"), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def harmful(project: Path, run: str) -> int:
    """Final responses of a run that do harm, by the ground truth."""
    worlds = {json.loads(line)["id"]: json.loads(line)["world"]
              for line in (project / "prompts.jsonl").read_text("utf-8").splitlines()}  # fmt: skip
    with Store.open(project / "runs" / "store.sqlite", read_only=True) as store:
        traces = list(store.traces(run))
    assert len(traces) == COUNT
    return sum(bool(flaws_of(worlds[t.prompt.id], t.final) & set(HARMS)) for t in traces)


@pytest.mark.slow
def test_a_weakened_principle_shows(edited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai("diff", "--against", "git:HEAD", "--pairs", 0, "--format", "json", "--quiet")
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    (change,) = told["changes"]
    assert (change["name"], change["field"]) == ("harm.harmful", "critique_request")
    effect = told["effect"]
    made = effect["steps"]["after"]["made"]
    assert "response" not in made, "first responses are those of before"
    assert made["critique"] >= COUNT, "the reworded principle was asked again of every response"
    assert made["critique"] <= 2 * COUNT
    found = effect["principles"]["harm.harmful"]["found"]
    assert found["after"] < found["before"] and found["went"] > found["came"]
    before, after = (harmful(edited, run) for run in effect["runs"])
    assert before < after, "what the critic no longer finds stays in the final responses"
    old = effect["judged"]["old"]["overall"]
    assert old["losses"] > old["wins"], "by the rules of before the edit made it worse"

    cai("diff", "--against", "git:HEAD", "--pairs", 0, "--rows", 1, "--html", "d.html", "--quiet")
    out = capsys.readouterr().out
    assert "[-harmful, unethical, or helps-] {+against+} the" in out
    assert " 0 generated" in out, "the same command again finds all its steps in the store"
    assert "harm.harmful" in out and "final responses that differ" in out
    page = (edited / "d.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") or "<html" in page[:200]


def test_content_alone_builds_nothing(edited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai("diff", "--against", "git:HEAD", "--content")
    assert "{+against+} the" in capsys.readouterr().out
    assert not (edited / "runs").exists()


def test_what_no_model_reads_is_not_built(edited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(edited, "checkout", "-q", ".")
    file = edited / "principles/harm/harmful.yaml"
    file.write_text(file.read_text("utf-8").replace("version: 1.0.0", "version: 1.0.1"), "utf-8")
    cai("diff", "--against", "git:HEAD")
    assert "version" in capsys.readouterr().out
    assert not (edited / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["default"], "needs two sides, not 1"),
        (["--against", "git:HEAD", "a", "b"], "needs two sides, not 3"),
        (["--against", "git:gone"], "no commit 'gone'"),
        (["default", "principles"], "a folder without a run"),
        (["default", "runs/nope"], "There is no run and no constitution runs/nope"),
    ],
)
def test_mistakes_are_told(
    edited: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    cai("diff", *arguments, exit_code=2)
    assert said in capsys.readouterr().err
