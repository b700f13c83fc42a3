"""`cai trace`: every way to name a row, and all that stands behind it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click import unstyle

from cai.data.split import side_of
from cai.store.store import Store
from cai.types import Check, Label
from tests.cli.project import cai, make
from tests.store.samples import comparison, family_of, principle, put, run, say, score, trace

SFT = next(f"p{n}" for n in range(10) if side_of(family_of(f"p{n}"), 7, 0.5) == "sft")
PAIR = next(f"p{n}" for n in range(10) if side_of(family_of(f"p{n}"), 7, 0.5) == "preference")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return make(tmp_path / "runs")


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    cai("trace", *arguments)
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    return json.loads(shown(capsys, *arguments, "--format", "json"))


def test_a_trace_from_row_to_critique(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, f"t-{SFT}.1", "--runs-dir", runs)
    for text in (
        f"trace t-{SFT}", "r-1 in demo", "demo 1.0.0", f"t-{SFT}.1  sft.", f"Question {SFT}?",
        f"First {SFT}", "round 1: kind 1.2.0", "kind helps", "Say what is not kind.",
        "It is rude.", f"Better {SFT}", "nothing found; the response stands", "prompts.jsonl:1",
        "0.905  kind",  # the final check: e^-0.1 + e^-inf
        f"t-{SFT}.final  labels.", "desirable, no problem 0.905",
    ):  # fmt: skip
        assert text in out, text
    assert out.index("It is rude.") < out.index(f"Better {SFT}")
    assert "<user>" not in out
    assert "\x1b" not in out


def test_a_label_names_the_principle_that_decided_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    with Store.open(tmp_path / "store.sqlite") as store:
        store.put_run(run())
        check = Check("kind", score("p/check", float("-inf"), -1.25))
        put(store, "r-1", replace(trace("p"), checks=(check,)))
    out = shown(capsys, "t-p", "--runs-dir", tmp_path)
    assert "undesirable, no problem 0.287 under kind" in out  # e^-1.25


def test_a_comparison_and_exact_prompts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, f"c-{PAIR}", "--runs-dir", runs, "--prompts")  # a prefix of c-…-0
    for text in (
        f"comparison c-{PAIR}-0", "probability 0.800, by comparison",
        "0.900 shown first, 0.300 shown second: it flips with the order", "Which is more kind?",
        "Let me think.", f"<user>? {PAIR}/0/a", "'(A)' -0.50  '(B)' -1.25",
    ):  # fmt: skip
        assert text in out, text


@pytest.mark.parametrize("letters", [True, False])
def test_a_judged_revision_shows_how_its_label_came_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], letters: bool
) -> None:
    """As a comparison does, in either mode; the judge's principle need not be the critic's."""
    from dataclasses import replace

    judged = comparison("j", swapped=0.3 if letters else None)
    (verdict,) = judged.judgements
    if not letters:
        verdict = replace(verdict, scores=(*verdict.scores, score("j/0/score-b")))
    verdict = replace(verdict, principle_id="true", principle_version="2.0.0")
    label = Label(0.8, (verdict,), *((0.9, 0.3) if letters else (None, None)))
    whole = run()
    whole.constitution["principles"].append(principle("true", "2.0.0"))
    with Store.open(tmp_path / "store.sqlite") as store:
        store.put_run(whole)
        put(store, "r-1", replace(trace("p"), label=label))
    out = shown(capsys, "t-p", "--runs-dir", tmp_path, "--prompts")
    asks = "Which is more true?" if letters else "Say what is not true."
    for text in (
        "better than the first: 0.800", "A is the final response, B the first",
        "judge mass  0.893 of probability",  # e^-0.5 + e^-1.25, of each question
        "principle: true 2.0.0", asks, "Let me think.", "'(A)' -0.50  '(B)' -1.25",
    ):  # fmt: skip
        assert text in out, text
    flips = "0.900 shown first, 0.300 shown second: it flips with the order"
    assert (flips in out) == letters
    assert ("scores B" in out) == (not letters)
    label_part = out[out.index("better than the first") : out.index("final check")]
    assert "given  <user>?" in label_part
    assert "given" not in shown(capsys, "t-p", "--runs-dir", tmp_path)


def test_all_names_lead_to_the_record(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert as_json(capsys, f"t-{SFT}", "--runs-dir", runs)["record"]["id"] == f"t-{SFT}"
    both = as_json(capsys, PAIR, "--runs-dir", runs)
    assert {v["record"]["id"] for v in both} == {f"t-{PAIR}", f"c-{PAIR}-0"}
    for name in ("sft.jsonl", "preferences.jsonl", "labels.jsonl"):
        lines = (runs / "demo" / name).read_text().splitlines()
        row = json.loads(lines[-1])
        view = as_json(capsys, f"{runs}/demo/{name}:{len(lines)}")
        assert view["record"]["id"] in (row["trace_id"], row.get("comparison_id"))
        assert {"file": name, **row} in view["rows"]
    monkeypatch.chdir(runs.parent)
    assert as_json(capsys, f"c-{PAIR}-0")["principles"]["kind"]["version"] == "1.2.0"


def test_a_left_out_row_says_why(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "t-p7", "--runs-dir", runs)
    assert "left out: guarded: leaked" in out


def test_json_is_strict_and_ascii(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, f"t-{SFT}", "--runs-dir", runs, "--format", "json")
    view = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert view["record"]["checks"][0]["scores"]["logprobs"] == [None, -0.1]
    assert out.isascii()


def test_the_newest_run_unless_told(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(runs, "r-2", "later")
    assert as_json(capsys, f"t-{SFT}", "--runs-dir", runs)["run"]["folder"] == "later"
    assert "also held by r-1" in shown(capsys, f"t-{SFT}", "--runs-dir", runs)
    old = as_json(capsys, f"t-{SFT}", "--runs-dir", runs, "--run", "r-1")
    assert (old["run"]["folder"], old["runs"]) == ("demo", ["r-1", "r-2"])
    cai("trace", f"t-{SFT}", "--runs-dir", runs, "--run", "r-9", exit_code=2)
    assert "held by: r-1, r-2" in capsys.readouterr().err


def test_what_a_model_wrote_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    evil = "\x1b]0;owned\x07 \x9b31m \u202eabc\r\x00 \u2028 end"
    with Store.open(tmp_path / "store.sqlite") as store:
        store.put_run(run())
        put(store, "r-1", replace(trace("p"), response=say(evil, "evil\x1b[2J")))
    out = shown(capsys, "t-p", "--runs-dir", tmp_path, "--prompts")
    assert not set(out) & set("\x1b\x07\x9b\u202e\r\x00\u2028")
    assert "␛]0;owned␇ <U+009B>31m <U+202E>abc␍␀ <U+2028> end" in out
    out = shown(capsys, "t-p", "--runs-dir", tmp_path, "--format", "json")
    assert not set(out) & set("\x1b\x07\x9b\u202e\r\x00\u2028")


@pytest.mark.parametrize(
    "name,exit_code,told",
    [
        ("nothing", 2, "no trace, comparison or prompt"),
        ("t-", 2, "10 ids begin with 't-'"),
        ("{runs}/demo/sft.jsonl:9999", 2, "has no line 9999"),
        ("{runs}/demo/sft.jsonl", 2, "in it, too: {runs}/demo/sft.jsonl:1"),
        ("{runs}/demo/set_aside.jsonl:1", 4, "is not a row that was exported"),
    ],
)
def test_names_that_lead_nowhere(
    runs: Path, capsys: pytest.CaptureFixture[str], name: str, exit_code: int, told: str
) -> None:
    (runs / "demo" / "set_aside.jsonl").write_text("{}\n")
    cai("trace", name.format(runs=runs), "--runs-dir", runs, exit_code=exit_code)
    assert told.format(runs=runs) in capsys.readouterr().err


def test_long_lines_are_folded_and_coloured_in_a_terminal_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    with Store.open(tmp_path / "store.sqlite") as store:
        store.put_run(run())
        put(store, "r-1", replace(trace("p"), response=say("many words " * 40, "long")))
    assert "many words " * 39 in shown(capsys, "t-p", "--runs-dir", tmp_path)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    out = shown(capsys, "t-p", "--runs-dir", tmp_path)
    assert "\x1b[1m" in out
    assert max(len(line) for line in unstyle(out).splitlines() if "many words" in line) <= 60
