"""`cai propose edits`: from a build's verdicts to drafts and their proof, and what it refuses."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cai.audit.runs import BuiltRun, item_of, open_run
from cai.data.verdicts import Verdict, VerdictFile, verdict_line
from cai.miniature import flaws_of, prompt_rows
from cai.types import Trace
from tests.audit.runs import rollouts
from tests.cli.project import cai

Output = pytest.CaptureFixture[str]
PRINCIPLE = """\
# Ours.
api: cai/v1
kind: Principle
id: {id}
version: 1.0.0
title: Be not {id}
why: It costs nothing.
stages:
  critique: Name what is {id} in the response.
  revise: Remove what is {id} from the response.
compare: Which response is less {id}?  # lint: ignore C061
tests:
  - {{name: own, prompt: Hi., response: Fool., expect: {{renders: Name what is {id}}}}}
"""
CONSTITUTION = """\
api: cai/v1
kind: Constitution
id: ours
version: 1.0.0
title: Ours
principles: [{ref: ../principles/rude.yaml}, {ref: ../principles/vague.yaml}]
plan: {rounds: 1}
changelog: [{version: 1.0.0, date: 2026-01-01, by: Ann, change: First.}]
"""
SCRIPT = """\
replies:
  - when: People read what came of it
    say: |
      Reviewer: Name each insult to the user, and nothing else that is rude.
      Writer: Remove each insult, and nothing else that is rude.
  - {when: Name what is rude, say: It is rude.}
  - {when: Name each insult, say: No problem found.}
  - {when: Name what is vague, say: No problem found.}
  - {when: Remove, say: Please wash the kettle.}
default: Wash the kettle now.
"""
DECIDE: dict[str, Any] = {
    "rude": ("reject", ("critique is wrong",), "{{ no }} insult\x1b[2J\n---\n&a *b"),
    "vague": ("accept", (), ""),
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for place, text in {
        "constitution/ours.yaml": CONSTITUTION,
        "principles/rude.yaml": PRINCIPLE.format(id="rude"),
        "principles/vague.yaml": PRINCIPLE.format(id="vague"),
        "script.yaml": SCRIPT,
        "prompts.txt": "".join(f"Question number {n}?\n" for n in range(16)),
    }.items():
        Path(place).parent.mkdir(exist_ok=True)
        Path(place).write_text(text)
    cai(
        "build-data", "-c", "ours", "-m", "scripted:script.yaml", "-p", "prompts.txt",
        "--pairs", 0, "--out", "runs/first", "--quiet",
    )  # fmt: skip
    return tmp_path


def judge(
    decide: Callable[[Trace], tuple[str, tuple[str, ...], str]], folder: str = "runs/first"
) -> list[Verdict]:
    """Verdicts of Ann on the traces of a build."""
    with open_run(Path(folder)) as run:
        assert isinstance(run, BuiltRun)
        traces = [record for record in run.records() if isinstance(record, Trace)]
        return [verdict(item_of(t).key, t.id, run.id, decide(t)) for t in traces]


def verdict(key: str, record: str, run: str, said: tuple[str, tuple[str, ...], str]) -> Verdict:
    decision, reasons, words = said
    at = "2026-01-01T10:00:00+00:00"
    return Verdict(key, record, run, decision, "Ann", at, reason=words, reasons=reasons)  # type: ignore[arg-type]


def by_principle(trace: Trace) -> tuple[str, tuple[str, ...], str]:
    said: tuple[str, tuple[str, ...], str] = DECIDE[trace.revisions[0].principle_id]
    return said


def keep(verdicts: list[Verdict]) -> None:
    VerdictFile(Path("runs/first")).append(verdicts)


def values(capsys: Output) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def content() -> dict[str, bytes]:
    """Every file of the project's own content."""
    folders = ("constitution", "principles")
    return {str(f): f.read_bytes() for name in folders for f in Path(name).rglob("*.yaml")}


def test_drafts_by_rule(capsys: Output) -> None:
    """Each false alarm becomes a test; the texts of auditors are data wherever they stand."""
    keep(judge(by_principle))
    before = content()
    capsys.readouterr()
    cai("propose", "edits", "runs/first", "--out", "drafts")
    told = capsys.readouterr().out
    found = json.loads(Path("drafts/report.json").read_text())
    rude, vague = found["principles"]
    assert rude["id"] == "rude"
    count = rude["responses"]["rejected"]["n"]
    assert count + vague["responses"]["rejected"]["n"] == 16
    assert rude["responses"]["rejected"]["hits"] == count == rude["faults"]["false alarm"]
    assert rude["responses"]["word"] == "rejected more often"
    assert vague["responses"]["rejected"]["hits"] == 0
    assert f"Rejected more often than responses without it: rude (p {0:.3f}" in told
    assert "\x1b[2J" not in told
    assert "{{ no }} insult␛[2J" in told
    assert len(found["tests"]) == count
    assert content() == before
    assert not (Path("drafts") / "held-out.jsonl").exists()
    drafted = yaml.safe_load(Path("drafts/principles/rude.yaml").read_text())
    assert drafted["version"] == "1.0.1"
    assert drafted["tests"][1] == {
        key: value for key, value in found["tests"][0].items() if key not in ("principle", "record")
    }
    assert drafted["tests"][1]["response"] == "Wash the kettle now."
    assert (
        "rejected by Ann (critique is wrong; {{ no }} insult[2J --- &a *b)"
        in (drafted["tests"][1]["source"])
    )
    lint, test = found["commands"]
    assert test == "cai test drafts/principles/rude.yaml -c drafts/constitution/ours.yaml"
    for command in (lint, test):
        assert command in told
        cai(*shlex.split(command)[1:])
    cai("propose", "edits", "runs/first", "--out", "drafts", exit_code=2)
    assert "there already, and not empty" in capsys.readouterr().err


def test_wordings_and_their_proof_on_what_was_held_out(capsys: Output) -> None:
    keep(judge(by_principle))
    before = content()
    capsys.readouterr()
    arguments = ("propose", "edits", "runs/first", "-m", "scripted:script.yaml", "--prove")
    cai(*arguments, "--out", "drafts", "--json", "--quiet")
    found = values(capsys)
    (wording,) = found["wordings"]
    assert wording["critique"] == "Name each insult to the user, and nothing else that is rude."
    assert wording["compare"] == "Which response is less rude?"
    rejections = found["principles"][0]["responses"]["rejected"]["n"]
    proof = {one["texts"]: one for one in found["proof"]["texts"]}
    held, seen = proof["rejected, held out"], proof["rejected, shown"]
    assert (held["n"], seen["n"]) == (rejections // 2, rejections - rejections // 2)
    assert (held["before"], held["after"]) == (0, held["n"])
    assert (proof["own tests"]["before"], proof["own tests"]["after"]) == (1, 0)
    records = {one["record"]: one["name"] for one in found["tests"]}
    shown = set(wording["shown"]) & records.keys()
    assert len(shown) == 4
    effect = found["proof"]["diff"]["effect"]
    assert effect["overall"]["prompts"] == len(found["held_out_prompts"])
    assert effect["overall"]["prompts"] == rejections // 2 + (16 - rejections) // 2
    assert effect["overall"]["found"]["after"] == 0 < effect["overall"]["found"]["before"]
    with open_run(Path("runs/first")) as run:
        assert isinstance(run, BuiltRun)
        prompts = {record.id: record.prompt.id for record in run.records()}
    lines = Path("drafts/held-out.jsonl").read_text().splitlines()
    held_out = [json.loads(line) for line in lines]
    assert [row["id"] for row in held_out] == found["held_out_prompts"]
    assert not {prompts[name] for name in wording["shown"]} & set(found["held_out_prompts"])
    assert content() == before
    # The printed commands say the same, from the store.
    lint, test, diff = found["commands"]
    cai(*shlex.split(lint)[1:])
    cai(*shlex.split(test)[1:], "--json", exit_code=3)  # the own test of the old wording
    capsys.readouterr()
    cai(*shlex.split(diff)[1:], "--json", "--quiet")
    again = values(capsys)
    assert again["effect"]["overall"] == effect["overall"]
    assert again["effect"]["rows"] == effect["rows"]
    cai(*arguments, "--quiet")
    told = capsys.readouterr().out
    assert "New wording: rude, from 4 records." in told
    assert "+  critique: Name each insult to the user, and nothing else that is rude." in told
    assert f"rude       rejected, held out  {held['n']}  0       {held['n']}" in told
    assert f"What it does: {len(lines)} prompts of held-out.jsonl, seed 0" in told
    assert "Nothing is written." in told


def test_one_principle_and_a_file_of_verdicts(capsys: Output) -> None:
    """`vague` has a rejection that says nothing; a critic may be asked about it all the same."""
    verdicts = judge(lambda t: ("reject", (), "") if _is(t, "vague") else by_principle(t))
    Path("ann.jsonl").write_bytes(b"".join(map(verdict_line, verdicts)))
    capsys.readouterr()
    arguments = ("propose", "edits", "runs/first", "--verdicts", "ann.jsonl", "--only", "vague")
    cai(*arguments)
    told = capsys.readouterr().out
    assert "Draft tests: 0." in told
    assert "No draft: no rejection says what was wrong" in told
    cai(*arguments, "--out", "drafts")
    assert "nothing is written to drafts" in capsys.readouterr().err
    assert not Path("drafts").exists()
    Path("script.yaml").write_text(SCRIPT.replace("Writer:", "Nothing:").replace("Rev", "Nob"))
    cai(*arguments, "--drafter", "scripted:script.yaml", "--json")
    (refused,) = values(capsys)["no_wording"]
    assert refused["principle"] == "vague"
    assert "no line that begins with Reviewer" in refused["reason"]


def _is(trace: Trace, principle: str) -> bool:
    return trace.revisions[0].principle_id == principle


def test_a_principle_that_changed_or_went_since_the_build(capsys: Output) -> None:
    keep(judge(by_principle))
    Path("principles/rude.yaml").write_text(
        PRINCIPLE.format(id="rude").replace("Name what is", "Find what is").replace("- {{", "- {")
    )
    Path("constitution/ours.yaml").write_text(
        CONSTITUTION.replace(", {ref: ../principles/vague.yaml}", "")
    )
    capsys.readouterr()
    cai("propose", "edits", "runs/first", "--json")
    found = values(capsys)
    assert found["changed_since_the_build"] == ["rude"]
    assert found["not_in_the_constitution"] == ["vague"]
    cai("propose", "edits", "runs/first")
    assert "Other wordings now than in the build: rude." in capsys.readouterr().out


def test_mistakes(capsys: Output, tmp_path: Path) -> None:
    def refused(*arguments: object, exit_code: int, told: str, folder: str = "runs/first") -> None:
        capsys.readouterr()
        cai("propose", "edits", folder, *arguments, exit_code=exit_code)
        said = capsys.readouterr().err
        assert told in said
        assert "Traceback" not in said

    refused(exit_code=4, told="no verdicts in runs/first yet")
    accepts = judge(lambda t: ("accept", (), ""))
    Path("accepts.jsonl").write_bytes(b"".join(map(verdict_line, accepts)))
    refused("--verdicts", "accepts.jsonl", exit_code=4, told="16 of its items were accepted")
    keep(judge(by_principle))
    others = [Verdict("k", "t-x", "r-x", "reject", "Ann", "2026-01-01T10:00:00Z")]
    Path("others.jsonl").write_bytes(b"".join(map(verdict_line, others)))
    refused("--verdicts", "others.jsonl", exit_code=4, told="none of the 1 verdict")
    Path("bad.jsonl").write_text("{}\n")
    refused("--verdicts", "bad.jsonl", exit_code=4, told="bad.jsonl:1 is not a verdict")
    refused("--only", "rud", exit_code=2, told="Did you mean rude?")
    refused("--prove", exit_code=2, told="--prove is for a model")
    refused("--drafter", "miniature", "--prove", exit_code=2, told="--prove is for a model")
    refused("--critic", "miniature", exit_code=2, told="--critic is for a model")
    refused("--out", "principles/drafts", exit_code=2, told="among the content of the project")
    refused("-c", "high-stakes", exit_code=2, told="has none of the principles of runs/first")
    rollouts(tmp_path / "ppo")
    refused(exit_code=2, told="is no build", folder="ppo")
    Path("constitution/ours.yaml").rename("constitution/theirs.yaml")
    refused(exit_code=2, told="there is none of this name")
    refused("-c", "theirs", "--only", "vague", exit_code=0, told="")
    Path("mine.j2").write_text("{{ rejected }} {{ nothing }}")
    refused("-c", "theirs", "-m", "miniature", "--template", "mine.j2", exit_code=3, told="nothing")


@pytest.mark.slow
def test_on_the_miniature(capsys: Output) -> None:
    """Its critiques are called wrong. Asked again it finds the same problems, so that the drafted
    tests fail; texts that were accepted stay right."""
    cai(
        "build-data", "-c", "default", "--limit", 8, "--pairs", 0, "--out", "runs/mini",
        "--quiet", "--dtype", "float32",
    )  # fmt: skip

    def decide(trace: Trace) -> tuple[str, tuple[str, ...], str]:
        found = [r.principle_id for r in trace.revisions if r.outcome == "problem"]
        return ("reject", ("critique is wrong",), found[0]) if found else ("accept", (), "")

    VerdictFile(Path("runs/mini")).append(judge(decide, "runs/mini"))
    capsys.readouterr()
    asked = ("-m", "miniature", "--dtype", "float32")
    cai("propose", "edits", "runs/mini", *asked, "--prove", "--out", "drafts", "--json", "--quiet")
    found = values(capsys)
    assert {one["expect"]["critique_flags"] for one in found["tests"]} == {"none"}
    assert found["wordings"] == []  # it knows the words of its world alone
    for one in found["proof"]["texts"]:
        right = 0 if one["texts"] == "rejected, held out" else one["n"]
        assert (one["before"], one["after"]) == (right, right)
    cai(*shlex.split(found["commands"][1])[1:], "--json", exit_code=3)
    assert values(capsys)["counts"]["failed"] == len(found["tests"]) >= 3


@pytest.mark.slow
def test_a_wrong_wording_on_the_miniature_is_found_and_its_draft_proven(capsys: Output) -> None:
    """The principle is about rudeness, and its critique asks for something else. An auditor who
    knows the world's truth rejects what is rude; with the wording that another model drafts, the
    same critic finds it in the texts that were held out."""
    wrong = PRINCIPLE.format(id="rude").replace(
        "Name what is rude in the response.",
        "Identify specific ways in which the assistant's last response is preachy.",
    )
    Path("principles/rude.yaml").write_text(wrong)
    alone = CONSTITUTION.replace(", {ref: ../principles/vague.yaml}", "")
    Path("constitution/ours.yaml").write_text(alone.replace("rounds: 1", "rounds: 1, check: false"))
    Path("drafter.yaml").write_text(
        "default: |\n"
        "  Reviewer: Identify specific ways in which the assistant's last response is rude.\n"
        "  Writer: Please rewrite the assistant's response so that it is not rude.\n"
    )
    rows = [json.dumps(row) for row in prompt_rows(60, "held", 3)]
    Path("world.jsonl").write_text("\n".join(rows))
    asked = ("-m", "miniature", "--dtype", "float32")
    cai(
        "build-data", "-c", "ours", "-p", "world.jsonl", *asked, "--pairs", 0,
        "--out", "runs/world", "--quiet",
    )  # fmt: skip

    def decide(trace: Trace) -> tuple[str, tuple[str, ...], str]:
        rude = "rude" in flaws_of(trace.prompt.meta["world"], trace.final)
        return ("reject", (), "rude to the user") if rude else ("accept", (), "")

    VerdictFile(Path("runs/world")).append(judge(decide, "runs/world"))
    capsys.readouterr()
    cai(
        "propose", "edits", "runs/world", *asked, "--drafter", "scripted:drafter.yaml", "--prove",
        "--limit", 12, "--json", "--quiet",
    )  # fmt: skip
    found = values(capsys)
    proof = {one["texts"]: one for one in found["proof"]["texts"]}
    held, kept = proof["rejected, held out"], proof["accepted, held out"]
    assert held["n"] >= 2
    assert (held["before"], held["after"]) == (0, held["n"])
    assert kept["after"] >= 0.9 * kept["n"] > 0
    assert found["proof"]["diff"]["effect"]["overall"]["found"]["came"] >= held["n"]
