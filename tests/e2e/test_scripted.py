"""Promises of the command that need no model: sides, limits, repaired inputs, reuse, mistakes."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.helpers import EXPORTED, cai, digests, rows, write_rows

SCRIPT = """
replies:
  - {when: "no such problem", say: ["It is rude to the user.", "No problem found."]}
  - {when: "revised response only", say: ["Please ask first.", "Ask them."]}
  - {say: ["Sure, go on.", "Do it.", "Look first."]}
scores:
  - {options: {"No problem found.": 0.4, A: 0.7, B: 0.3}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("script.yaml").write_text(SCRIPT, "utf-8")
    Path("prompts.txt").write_text("".join(f"Question {n}?\n" for n in range(20)), "utf-8")
    return tmp_path


def build(out: str, *more: object, exit_code: int = 0) -> dict[str, Any]:
    common = ("build-data", "-m", "scripted:script.yaml", "-p", "prompts.txt", "-o", out)
    cai(*common, *more, exit_code=exit_code)
    manifest = Path(out) / "manifest.json"
    return json.loads(manifest.read_text()) if manifest.exists() else {}


@pytest.mark.usefixtures("here")
def test_no_pairs_is_sft_data_alone() -> None:
    manifest = build("runs/a", "--pairs", 0, "--rounds", 1)
    assert manifest["counts"]["traces"] == 20
    assert rows(Path("runs/a/preferences.jsonl")) == []
    assert not any("SFT side" in reason for reason in manifest["counts"]["left_out"])


@pytest.mark.usefixtures("here")
def test_rounds_and_draw_all_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    cai("init", "project")
    path = Path("project/constitution/default.yaml")
    path.write_text(path.read_text("utf-8").replace("draw: weighted", "draw: all"), "utf-8")
    build("runs/a", "-c", path, "--rounds", 1, exit_code=2)
    assert "--rounds has no effect" in capsys.readouterr().err
    manifest = build("runs/a", "-c", path, "--limit", 2)
    assert manifest["config"]["rounds"] == 11


@pytest.mark.usefixtures("here")
def test_a_repaired_file_leaves_no_trace_of_what_was_wrong() -> None:
    good = "".join(f"Question {n}?\n" for n in range(3))
    Path("prompts.txt").write_text(good + "a\0b\n", "utf-8")
    assert build("runs/a")["counts"]["set_aside"] == {"NUL": 1}
    Path("prompts.txt").write_text(good, "utf-8")
    build("runs/a")
    build("fresh/a")
    assert digests(Path("runs/a")) == digests(Path("fresh/a"))


@pytest.mark.usefixtures("here")
def test_rows_behind_the_limit_are_not_read() -> None:
    Path("prompts.txt").write_text("One?\nOne?\nTwo?\na\0b\n", "utf-8")
    manifest = build("runs/a", "--limit", 2)
    assert manifest["counts"]["set_aside"] == {"duplicate": 1}
    assert manifest["config"]["prompts"]["source"] == "prompts.txt"


@pytest.mark.usefixtures("here")
def test_the_summary_says_what_was_reused(capsys: pytest.CaptureFixture[str]) -> None:
    """Equal questions about equal texts are asked once even in a first run, so some are reused."""
    made, kept = [], []
    for limit in (10, 12):
        build("runs/a", "--limit", limit)
        line = re.search(r"Generated (\d+) steps?; (\d+) reused", capsys.readouterr().out)
        assert line is not None
        made.append(int(line[1]))
        kept.append(int(line[2]))
    assert 0 < made[1] < made[0]
    assert kept[1] >= made[0]
    build("runs/a", "--limit", 12)
    assert "the run was already complete" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_flips_are_shown_where_both_orders_were_asked(capsys: pytest.CaptureFixture[str]) -> None:
    build("runs/a", "--rounds", 1)
    assert "flip" not in capsys.readouterr().out
    build("runs/b", "-c", "harmlessness", "--rounds", 1)
    assert "with a verdict that flips with the order" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_a_place_that_can_not_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    build("script.yaml/runs", exit_code=2)
    build("script.yaml/runs/a", exit_code=2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_a_script_without_an_option_stops_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    Path("script.yaml").write_text(SCRIPT.replace(", A: 0.7, B: 0.3", ""), "utf-8")
    build("runs/a", "-c", "harmlessness", "--rounds", 1, exit_code=2)
    assert "no probability for the option 'A'" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_prompts_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are those of the same prompts in a file; only where they are from differs."""
    build("runs/file")
    text = Path("prompts.txt").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    manifest = build("runs/stdin", "-p", "-")
    assert manifest["config"]["prompts"]["source"] == "<stdin>"
    for name in EXPORTED:
        assert rows(Path("runs/stdin") / name) == rows(Path("runs/file") / name)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"n,prompt\n1,Hi?\n")))
    cai("plan", "-m", "scripted:script.yaml", "-p", "-", "--format", "csv")


@pytest.mark.usefixtures("here")
def test_families_and_system_turns_through_a_whole_build() -> None:
    """A question, the same under a system prompt, and a dialogue that begins with it: their rows
    are in one file, which is another file for another question."""
    asked = [f"Question {n}?" for n in range(12)]
    lines: list[dict[str, Any]] = [{"id": f"alone-{n}", "prompt": q} for n, q in enumerate(asked)]
    lines += [{"prompt": f"  {q.upper()}", "system": "Be brief."} for q in asked]
    for q in asked:
        talk = [("human", q), ("gpt", "Yes."), ("human", "And?")]
        lines.append({"conversations": [{"from": who, "value": text} for who, text in talk]})
    write_rows(Path("families.jsonl"), lines)
    build("runs/a", "-p", "families.jsonl", "--test-share", 0.4, "--rounds", 1, "--ties", "-q")
    places: dict[str, set[str]] = {}
    systems = 0
    for name in EXPORTED:
        for row in rows(Path("runs/a") / name):
            messages = row.get("prompt") or row["messages"]
            first = next(m["content"] for m in messages if m["role"] == "user")
            places.setdefault(first.strip().lower(), set()).add(name)
            systems += messages[0] == {"role": "system", "content": "Be brief."}
    assert set(places) <= {q.lower() for q in asked} and len(places) > 6
    assert all(len(files) == 1 for files in places.values())
    assert len({name for files in places.values() for name in files}) > 2
    assert systems > 6
