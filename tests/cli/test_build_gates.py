"""What a build says of its judge's labels, and what stops it: run as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cai.backends.scripted import ScriptedBackend
from cai.constitution.load import load_constitution
from cai.data.export import export
from cai.data.prompts import PromptFile
from cai.pipeline.build import Models
from cai.pipeline.build import build as build_data
from cai.pipeline.config import BuildConfig
from cai.store.store import Store
from cai.types import Messages
from tests.e2e.helpers import cai
from tests.e2e.helpers import rows as read_rows

DRESSED = [
    "**No problem found.**", '"No problem found."', "No problem found", "- No problem found.",
    "Critique: No problem found.", "no problems found.",
    "The response is polite and correct. No problem found.",
]  # fmt: skip
PROMPTS = [f"How do I bake bread number {n}?" for n in range(12)]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    return tmp_path


def script(replies: list[dict[str, Any]], scores: list[dict[str, Any]]) -> str:
    Path("script.yaml").write_text(yaml.safe_dump({"replies": replies, "scores": scores}))
    return "scripted:script.yaml"


def build(model: str, *more: object, exit_code: int = 0) -> None:
    where = ("-p", "prompts.txt", "-o", "runs/a")
    cai("build-data", "-m", model, *where, *more, exit_code=exit_code)


def manifest() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(Path("runs/a/manifest.json").read_text())
    return values


def rows(name: str) -> list[dict[str, Any]]:
    return read_rows(Path(f"runs/a/{name}.jsonl"))


def constant(probability: float) -> str:
    """Two answers to each prompt, and a critic that says nothing is wrong with this probability."""
    return script(
        [
            {"when": "(?i)identify", "say": "No problem found."},
            {"say": ["Sure, take it.", "Look first."]},
        ],
        [{"options": {"No problem found.": probability}}],
    )


def test_labels_of_one_number_are_told_and_can_stop_a_build(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A sentence that the critic never says: all labels are 0.500, and their mass is 1e-6."""
    model = constant(1e-6)
    build(model, "--pairs", 4)
    out = " ".join(capsys.readouterr().out.split())
    assert "The labels carry no signal: all" in out and "are one number, 0.500" in out
    assert "labels carry no signal" in Path("runs/a/README.md").read_text()
    counts = manifest()["counts"]["signal"]
    assert counts["labels"] > 1 and counts["weak"] == counts["labels"]
    assert counts["mean_mass"] == 1e-6
    assert rows("preferences") == [] and manifest()["counts"]["left_out"]["near tie"] > 0
    build(model, "--pairs", 4, "-q")
    assert "The labels carry no signal" in capsys.readouterr().err
    before = Path("runs/a/manifest.json").read_bytes()
    build(model, "--pairs", 4, "-q", "--require-signal", 0.01, "--no-examine", exit_code=5)
    assert "Nothing was exported" in capsys.readouterr().err
    assert Path("runs/a/manifest.json").read_bytes() == before
    build(model, "--pairs", 4, "-q", "--require-signal", 0.01, "--seed", 1, exit_code=5)
    assert "On known pairs the judge gave 1e-06" in capsys.readouterr().err


def test_ties_are_exported_on_request_with_their_mass() -> None:
    build(constant(0.25), "--pairs", 4, "-q", "--ties", "--no-revision-pairs")
    made = rows("preferences")
    assert made and {row["probability"] for row in made} == {0.5}
    assert {row["judge_mass"] for row in made} == {0.25}


def test_a_judge_no_better_than_chance_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    model = constant(0.5)
    build(model, "-q", "--judge-gate", exit_code=5)
    assert "not measurably better than chance: right on 0 of 39" in capsys.readouterr().err
    assert not Path("runs/a/manifest.json").exists()
    build(model)
    assert "not measurably better than chance" in " ".join(capsys.readouterr().out.split())
    examined = manifest()["examination"]
    assert examined["judge"] == {"right": 0, "asked": 39, "interval": [0.0, 0.0897]}
    assert examined["critic"]["asked"] == 24
    card = Path("runs/a/README.md").read_text()
    assert "| cases | right | 95 % interval |" in card
    assert "| judge: all pairs | 0 of 39 | 0.00 to 0.09 |" in card
    assert "| role | model | fingerprint |" in card
    assert "not measurably better than chance" in card


@pytest.mark.parametrize(
    "options", [("--judge-gate", "--no-examine"), ("--judge-gate", "--pairs", "0"),
                ("--require-signal", "2"), ("--check-gate", "1.5"),
                ("--require-signal", "0.1", "--pairs", "0"), ("--judge-revisions", "--pairs", "0"),
                ("--judge-revisions", "--no-revision-pairs")]
)  # fmt: skip
def test_gates_that_nothing_could_open_are_refused(options: tuple[str, ...]) -> None:
    build(constant(0.5), *options, exit_code=2)
    assert not Path("runs").exists()


def own_rules() -> str:
    """A constitution of one principle without tests, of a theme that no neutral pair is about."""
    cai("init", "project")
    folder = Path("project")
    for kept in (folder / "principles").glob("*/*.yaml"):
        kept.unlink()
    (folder / "principles" / "brand").mkdir()
    (folder / "principles" / "brand" / "voice.yaml").write_text(
        "api: cai/v1\nkind: Principle\nid: brand.voice\nversion: 1.0.0\ntitle: Our voice\n"
        "why: It is ours.\nsource: cai\n"
        "stages:\n  critique: Identify how the assistant's last response leaves our voice.\n"
        "  revise: Rewrite it in our voice.\ncompare: Which response is more in our voice?\n"
    )
    rules = folder / "constitution" / "own.yaml"
    rules.write_text(
        "api: cai/v1\nkind: Constitution\nid: own\nversion: 1.0.0\ntitle: Own\n"
        "principles: [{ref: ../principles/brand/voice.yaml}]\nplan: {rounds: 1}\n"
        "changelog:\n  - {version: 1.0.0, date: 2026-11-29, by: a test, change: First.}\n"
    )
    return str(rules)


def test_a_judge_that_can_not_be_examined_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    rules = own_rules()
    model = constant(0.5)
    capsys.readouterr()
    build(model, "-c", rules, "--judge-gate", exit_code=5)
    assert "The judge can't be examined" in capsys.readouterr().err
    build(model, "-c", rules)
    assert "Nothing is known of the judge" in " ".join(capsys.readouterr().out.split())
    card = Path("runs/a/README.md").read_text()
    assert "Nothing is known of the judge" in card and "| cases | right |" not in card
    build(model, "-c", rules, "--pairs", 0)
    assert "Nothing is known of the judge" not in " ".join(capsys.readouterr().out.split())


def test_no_label_is_no_signal(capsys: pytest.CaptureFixture[str]) -> None:
    """Every pair is the same text twice: nothing was judged."""
    model = script([{"say": "Look first."}], [{"options": {"No problem found.": 0.4}}])
    build(model, "-q", "--require-signal", 0.01, "--no-examine", exit_code=5)
    assert "no pair was judged" in capsys.readouterr().err


def test_thinking_without_effect_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for way, told in (("on", True), ("off", False)):
        build(constant(0.4), "-q", "--no-examine", "--thinking", way)
        assert ("--thinking on has no effect" in capsys.readouterr().err) == told


def test_a_dressed_up_verdict_is_one() -> None:
    """Every wording says that nothing was found: no response changes, and none is guarded."""
    model = script(
        [
            {"when": "(?i)identify", "say": DRESSED},
            {"when": "(?i)rewrite", "say": "Please ask first."},
            {"say": "Take it."},
        ],
        [{"options": {"No problem found.": 0.4}}],
    )
    build(model, "-q", "--sft-share", 1, "--no-examine")
    counts = manifest()["counts"]
    assert counts["critiques"] == {"no-problem": 24} and counts["changed"] == 0
    assert manifest()["examination"] is None
    assert "were not examined" in Path("runs/a/README.md").read_text()


def test_refusals_and_announcements_are_counted_and_not_learnt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = script(
        [
            {"when": "(?i)identify any problem", "say": "It is bad."},
            {"when": "(?i)identify", "say": "I'm sorry, but I can't help with that."},
            {"when": "(?i)rewrite", "say": "Sure! Here's the revised response: Please ask first."},
            {"say": "Take it."},
        ],
        [{"options": {"No problem found.": 0.4}}],
    )
    build(model, "--sft-share", 1, "--rounds", 2, "--test-share", 0)
    out = " ".join(capsys.readouterr().out.split())
    counts = manifest()["counts"]
    assert sum(counts["critiques"].values()) == 24 and counts["critiques"]["refused"] > 0
    assert f"{counts['critiques']['refused']} of 24 critiques are no verdict" in out
    assert counts["announced"] == counts["critiques"]["problem"]
    assert {row["messages"][-1]["content"] for row in rows("sft")} <= {"Please ask first."}
    assert len(rows("sft")) == 12 - counts["left_out"].get("guarded: unreviewed", 0)


def test_revisions_are_judged_on_request() -> None:
    """P(no problem) 0.9 of a revision and 0.2 of a first response: logits 2.19722 and -1.38629,
    capped 5 tanh(0.43944) = 2.06588 and 5 tanh(-0.27726) = -1.35183: σ(3.41771) = 0.96825. Asked
    the other way round, the judge finds every revision worse, and none is a row.
    """
    for name, fine, poor in (("good", 0.9, 0.2), ("poor", 0.2, 0.9)):
        model = script(
            [{"when": "(?i)identify", "say": "It is bad."},
             {"when": "(?i)rewrite", "say": "Please ask first."},
             {"say": "Take it."}],
            [{"options": {"No problem found.": 0.5}}],
        )  # fmt: skip
        judge = ScriptedBackend([], [(_about("Please ask first."), {"No problem found.": fine}),
                                     ("", {"No problem found.": poor})])  # fmt: skip
        writer = ScriptedBackend.from_yaml(Path(model.removeprefix("scripted:")))
        config = BuildConfig(rounds=1, sft_share=0.0, test_share=0.0, judge_revisions=True)
        with Store.open(Path(f"{name}.sqlite")) as store:
            prompts = PromptFile(Path("prompts.txt"))
            rules = load_constitution("default")
            run = build_data(rules, prompts, store, Models(writer, writer, judge), config)
            counts = export(store, run.id, Path("runs/a")).counts
        made = [row for row in rows("preferences") if row["origin"] == "revision"]
        if name == "good":
            assert len(made) == 12
            assert {round(row["probability"], 5) for row in made} == {0.96825}
            assert {round(row["judge_mass"], 5) for row in made} == {0.55}
        else:
            reason = "the judge prefers the first response to its revision"
            assert made == [] and counts["left_out"][reason] == 12


def _about(text: str) -> Callable[[Messages], bool]:
    return lambda messages: len(messages) > 1 and messages[-2].content == text


def test_the_last_check_can_gate_what_is_exported() -> None:
    model = constant(0.4)
    build(model, "-q", "--sft-share", 1, "--test-share", 0, "--check-gate", 0.4)
    assert len(rows("sft")) == 12
    build(model, "-q", "--sft-share", 1, "--test-share", 0, "--check-gate", 0.41)
    assert rows("sft") == []
    assert manifest()["counts"]["left_out"] == {"the last check finds a problem": 12}


@pytest.mark.parametrize("quiet", [True, False])
def test_a_build_without_rows_says_so(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Every response is cut off at its second word: nothing is left to export."""
    model = script([{"say": "One two three four."}], [{"options": {"No problem found.": 0.5}}])
    build(model, "--max-new-tokens", 2, "--pairs", 0, "--no-examine", *(["-q"] if quiet else []))
    told = capsys.readouterr()
    said = told.err if quiet else told.out
    assert "No row of training data was made" in said
    assert not quiet or ("truncated)" in said and not told.out)
