"""Contrast pairs from end to end: the build, its rows, and the way back from a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cai.audit.runs import open_run
from cai.data.manifest import Manifest
from tests.e2e.helpers import cai, digests, rows

DECLINES = "I'm sorry, but I can't help with that."
SCRIPT = f"""
replies:
  - {{when: "no such problem", say: "No problem found."}}
  - {{when: "Question 1\\\\?\\\\s+\\\\(Give a response that breaks", say: "{DECLINES}"}}
  - {{when: "that follows this rule", say: ["Ask them.", "Please ask first.", "Look first."]}}
  - {{when: "that breaks this rule", say: ["Just take it, fool.", "Do it, you idiot."]}}
  - {{say: ["Sure, go on.", "Do it."]}}
scores:
  - {{options: {{"No problem found.": 0.4}}}}
"""
BUILD = (
    "build-data", "-m", "scripted:script.yaml", "-p", "prompts.txt", "--sft-share", 0,
    "--no-revision-pairs", "--test-share", 0,
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("script.yaml").write_text(SCRIPT, "utf-8")
    Path("prompts.txt").write_text("".join(f"Question {n}?\n" for n in range(8)), "utf-8")
    cai("init", "project")
    path = Path("project/constitution/own.yaml")
    path.write_text(
        "api: cai/v1\nkind: Constitution\nid: own\nversion: 1.0.0\ntitle: Own\n"
        "principles:\n"
        "  - {ref: ../principles/harm/harmful.yaml}\n"
        "  - {ref: ../principles/respect/rudeness.yaml}\n"
        "feedback: {mode: contrast}\n"
        "changelog:\n  - {version: 1.0.0, date: 2026-11-21, by: a test, change: First.}\n",
        "utf-8",
    )
    return path


def say(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    cai(*arguments)
    return capsys.readouterr().out


def test_from_a_row_back_to_the_principle_and_both_generations(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path("runs/a")
    said = say(capsys, *BUILD, "-c", here, "-o", out)
    assert "8 contrast pairs, labelled by construction." in said
    assert "One model writes and critiques" in said and "judge" not in said
    assert "1 guarded: not-opposed" in said
    found = rows(out / "preferences.jsonl")
    assert len(found) == 7
    for row in found:
        assert row["origin"] == "contrast" and row["probability"] == 1.0
        assert (row["judge_mass"], row["p_ab"], row["trace_id"]) == (None, None, None)
        (turn,) = row["prompt"]
        assert turn["content"].startswith("Question ") and "(" not in turn["content"]
        assert row["chosen"][0]["content"] in ("Ask them.", "Please ask first.", "Look first.")
        assert row["rejected"][0]["content"] in ("Just take it, fool.", "Do it, you idiot.")
    row = found[0]
    cai("verify", out)
    view = json.loads(say(capsys, "trace", row["id"], "--json"))["records"][0]
    made, asked = view["record"]["contrast"], row["prompt"][0]["content"]
    assert [made["principle_id"]] == row["principle_ids"] == list(view["principles"])
    title = view["principles"][made["principle_id"]]["title"]
    assert made["asked"] == [
        f"{asked}\n\n(Give a response that {side} this rule: {title}.)"
        for side in ("follows", "breaks")
    ]
    for turn, generation in zip(made["asked"], view["record"]["responses"], strict=True):
        assert turn in generation["rendered_prompt"], "the exact prompt is stored"
    shown = say(capsys, "trace", row["id"], "--prompts")
    assert "by construction: the first is chosen, and no judge was asked" in shown
    assert "follows" in shown and "opposes" in shown and title in shown
    assert "probability 1.000, by contrast" in shown
    manifest = Manifest.read(out)
    assert manifest.counts["contrasts"] == 8 and manifest.counts["near_ties"] == 0
    assert sum(c["contrasted"] for c in manifest.counts["principles"].values()) == 8
    assert manifest.counts["signal"]["labels"] == 0
    card = (out / "README.md").read_text("utf-8")
    assert "Pairs without a judge: 8." in card and "| guarded: not-opposed | 1 |" in card
    damaged = (out / "preferences.jsonl").read_text("utf-8").replace("fool", "sir")
    (out / "preferences.jsonl").write_text(damaged, "utf-8")
    cai("verify", out, exit_code=4)


def test_the_audit_has_the_principle_and_what_each_side_was_asked(here: Path) -> None:
    out = Path("runs/a")
    cai(*BUILD, "-c", here, "-o", out, "-q")
    with open_run(out) as run:
        items = [entry.item for entry in run.entries()]
    assert len(items) == 8 and all(item.judge is None for item in items)
    for item in items:
        made: dict[str, Any] = item.values["contrast"]
        assert item.principles == (made["principle"],) and not item.values["judgements"]
        for n in (0, 1):
            assert made["asked"][n] in item.inputs[f"responses {n}"]
    (failed,) = [item for item in items if item.flags]
    assert failed.flags == ("F16",) and failed.values["contrast"]["guards"] == ["not-opposed"]
    cai("audit", "report", out)


def test_a_rerun_makes_nothing_again_and_an_edit_only_what_it_changes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Draws are of the prompt and the principle: of a principle that was edited alone, the pairs
    are made again."""
    build = (*BUILD, "-c", here, "-o", "runs/a", "--pairs", 2, "--no-examine")
    assert "Generated 32 steps; 0 reused" in say(capsys, *build)
    before = digests(Path("runs/a"))
    assert "Nothing had to be generated" in say(capsys, *build)
    assert digests(Path("runs/a")) == before
    path = Path("project/principles/respect/rudeness.yaml")
    words = "contrast: {follow: Be kind., oppose: Be unkind.}"
    text = path.read_text("utf-8")
    path.write_text(text.replace("\ncompare:", f"\n{words}\ncompare:"), "utf-8")
    rude = sum(r["principle_ids"] == ["respect.rudeness"] for r in _made("runs/a"))
    assert 0 < rude < 16
    said = say(capsys, *build)
    assert f"Generated {2 * rude} steps; {32 - 2 * rude} reused" in said


def _made(folder: str) -> list[dict[str, Any]]:
    with open_run(Path(folder)) as run:
        return [{"principle_ids": list(entry.item.principles)} for entry in run.entries()]


def test_revisions_families_and_limits_beside_contrast_pairs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = ("build-data", "-m", "scripted:script.yaml", "-p", "prompts.txt", "-c", here)
    cai(*everything, "-o", "runs/a", "--pairs", 2, "--limit", 6, "-q", "--no-examine")
    counts = Manifest.read(Path("runs/a")).counts
    assert counts["traces"] == 6, "SFT data, and revisions on the preference side"
    assert counts["comparisons"] == counts["contrasts"] > 0
    assert counts["contrasts"] % 2 == 0
    dry_run = (*everything, "--dry-run", "--json", "--sft-share", 0, "--pairs", 2)
    estimate = json.loads(say(capsys, *dry_run))["estimate"]
    for work in (estimate["least"], estimate["most"]):
        assert work["steps"]["pair"] == 8 * 2 * 2
    for work in ("examination", "least", "most"):
        assert estimate[work]["steps"]["judgement"] == 0
    assert estimate["examination"]["steps"]["critique"] > 0


@pytest.mark.parametrize("gate", [["--judge-gate"], ["--require-signal", 0.1]])
def test_gates_of_a_judge_that_is_not_asked_are_refused(
    here: Path, gate: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    cai(*BUILD, "-c", here, "-o", "runs/a", *gate, exit_code=2)
    assert "feedback.mode: contrast" in capsys.readouterr().err


def test_a_judge_can_still_label_revisions(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--judge-revisions: the examination and the labels are of a pointwise judge."""
    script = Path("script.yaml").read_text("utf-8")
    finds = script.replace('say: "No problem found."', "say: It is rude.")
    Path("script.yaml").write_text(finds, "utf-8")
    common = ("build-data", "-m", "scripted:script.yaml", "-p", "prompts.txt", "-c", here)
    said = say(capsys, *common, "-o", "runs/a", "--sft-share", 0, "--judge-revisions")
    assert "the judge is right on" in said
    counts = Manifest.read(Path("runs/a")).counts
    assert counts["signal"]["labels"] > 0 and counts["contrasts"] == 8
