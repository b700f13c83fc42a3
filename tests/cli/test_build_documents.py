"""`cai build-documents`, from principles to a trained adapter, with a scripted model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cai.content import packaged
from cai.data.documents import KINDS
from cai.data.training import training_files
from cai.data.training_run import read_run
from cai.data.verdicts import VerdictFile
from cai.errors import DataError
from tests.cli.project import cai
from tests.data.test_audited import no

NAMES = ("harm.harmful", "respect.rudeness")
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
SCRIPT = """\
replies:
  - when: polite to the user
    say:
      - Politeness keeps the user listening.
      - A rude answer helps nobody, and a friend would never write it.
      - "Ada: Be kind. Ben: Why? Ada: It costs nothing."
      - The insult was removed and the advice stayed as it was.
  - say:
      - Harm comes back to those who do it.
      - No good advice helps to hurt other people.
      - I'm sorry, I can't help with that.
"""
SMALL = ("--device", "cpu", "--lora-r", "4", "--max-steps", "1", "--test-share", "0")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two principles, the first of which has no reason, and a scripted writer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    for name in ("harm/harmful", "respect/rudeness"):
        target = tmp_path / f"principles/{name}.yaml"
        target.parent.mkdir(parents=True)
        shutil.copy(packaged() / f"principles/{name}.yaml", target)
    file = tmp_path / "principles/harm/harmful.yaml"
    head, _, rest = file.read_text("utf-8").partition("why: |\n")
    rest = rest[rest.index("source: ") :]
    why = "why: Imported from elsewhere; its file gives no reason.\n"
    file.write_text(head + why + rest, "utf-8")
    (tmp_path / "constitution").mkdir()
    (tmp_path / "constitution" / "ours.yaml").write_text(CONSTITUTION, "utf-8")
    (tmp_path / "writer.yaml").write_text(SCRIPT, "utf-8")
    return tmp_path


def build(*arguments: str, exit_code: int = 0) -> None:
    given = ("build-documents", "-c", "ours", "-m", "scripted:writer.yaml", "-n", "6",
             "--min-tokens", "0")  # fmt: skip
    cai(*given, "-o", "runs/docs", *arguments, exit_code=exit_code)


def values(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def rows(file: str = "runs/docs/sft.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()]


def test_rows_name_their_principle_and_everything_is_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    build("--json")
    shown = values(capsys)
    documents = shown["documents"]["principles"]
    written = rows()
    assert set(documents) == set(NAMES)
    assert documents["harm.harmful"]["why"] is False and documents["respect.rudeness"]["why"]
    for name in NAMES:
        own = [row for row in written if row["principle_ids"] == [name]]
        assert 0 < len(own) == documents[name]["rows"] < documents[name]["written"] == 6
        assert {row["with_why"] for row in own} == {name == "respect.rudeness"}
        assert {row["origin"] for row in own} == {"document"}
        assert len({row["request_digest"] for row in own}) == len({row["kind"] for row in own})
    left_out = shown["left_out"]
    assert sum(left_out.values()) + len(written) == 12
    assert set(left_out) == {"guarded: near-duplicate", "guarded: refused"}
    assert shown["steps"] == {"generated": 12, "reused": 0}
    build()
    text = capsys.readouterr().out
    assert "Wrote 0 documents; 12 were in the store." in text
    assert "1 principle without a reason" in text and "harm.harmful" in text
    card = Path("runs/docs/README.md").read_text("utf-8")
    assert "| `harm.harmful` Do not help anybody to do wrong | 1.0.0 | 6 |" in card
    assert "remaining" not in card  # a column of a build's


def test_a_row_leads_back_to_its_principle_and_an_edit_is_seen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    build("-q")
    cai("verify", "runs/docs")
    cai("trace", "runs/docs/sft.jsonl:1", "--prompts")
    text = capsys.readouterr().out
    first = rows()[0]
    assert f"explains, as {KINDS[first['kind']]}: {first['principle_ids'][0]}" in text
    assert first["principle_ids"][0] in text and first["text"].split()[0] in text
    cai("runs")
    assert "docs" in capsys.readouterr().out
    cai("audit", "report", "runs/docs", "--out", "page.html")
    assert Path("page.html").stat().st_size > 10_000
    file = Path("runs/docs/sft.jsonl")
    whole = file.read_text("utf-8")
    file.write_text(whole.replace(NAMES[0], NAMES[1]), "utf-8")
    cai("verify", "runs/docs", exit_code=4)
    assert "sft.jsonl:1: it is not that of t-" in capsys.readouterr().out
    with pytest.raises(DataError, match="was changed after it was built"):
        training_files([Path("runs/docs")], "sft")


@pytest.mark.slow
def test_training_learns_them_beside_conversations_and_records_their_principles(
    tmp_path: Path,
) -> None:
    """An auditor's rejection leaves a document out."""
    build("-q")
    written = rows()
    VerdictFile(Path("runs/docs")).append([no(written[0]["trace_id"])])
    chat = tmp_path / "chat.jsonl"
    chat.write_text('{"prompt": "Hi.", "completion": "Hello."}\n')
    cai("train", "sft", "-d", "runs/docs", "-d", chat, "-o", "runs/sft", *SMALL, "-q")
    run = read_run("runs/sft")
    assert run["counts"]["trained"] == len(written)  # with the chat, and without the rejected one
    first, second, *_ = run["data"]
    assert "documents" not in second
    principles = {p["id"]: p for p in first["documents"]["principles"]}
    assert {name: p["rows"] for name, p in principles.items()} == {
        name: sum(row["principle_ids"] == [name] for row in written) for name in NAMES
    }
    assert {p["digest"] for p in principles.values()} == {r["principle_digest"] for r in written}
    cai("verify", "runs/sft")


@pytest.mark.parametrize("stage", ["dpo", "kto", "ppo"])
def test_no_other_stage_reads_them(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    build("-q")
    reward = ("--reward", "runs/reward") if stage == "ppo" else ()
    cai("train", stage, "-d", "runs/docs", "-o", "runs/other", *reward, exit_code=4)
    assert "runs/docs" in capsys.readouterr().err


def test_a_run_that_keeps_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    build("-q", "--min-tokens", "1000")
    assert rows() == [] and "No row of training data" in capsys.readouterr().err
    reasons = json.loads(Path("runs/docs/manifest.json").read_bytes())["counts"]["left_out"]
    assert sum(reasons.values()) == 12 and all("short" in why for why in reasons)
    with pytest.raises(DataError, match="no sft rows"):
        training_files([Path("runs/docs")], "sft")


def test_a_folder_holds_one_kind_of_run(capsys: pytest.CaptureFixture[str]) -> None:
    build("-q")
    cai("build-data", "-c", "ours", "-o", "runs/docs", "--limit", "1", exit_code=2)
    assert "runs/docs is a run of documents" in capsys.readouterr().err
    cai("ablate", "runs/docs", exit_code=2)
    cai("propose", "edits", "runs/docs", exit_code=2)
    assert "runs/docs is no build" in capsys.readouterr().err
    build("--principle", "harm.harmfull", exit_code=2)
    assert "Did you mean 'harm.harmful'?" in capsys.readouterr().err


def test_one_principle_and_diff(capsys: pytest.CaptureFixture[str]) -> None:
    """The documents of a reworded principle differ, and those of the other are the same."""
    build("-q")
    file = Path("principles/respect/rudeness.yaml")
    text = file.read_text("utf-8")
    file.write_text(text.replace("Contempt for", "Contempt towards"), "utf-8")
    capsys.readouterr()
    build("-o", "runs/edited", "--json")
    assert values(capsys)["steps"] == {"generated": 6, "reused": 6}
    cai("diff", "runs/docs", "runs/edited", "--json")
    found = values(capsys)
    effects = {name: one["changed"] for name, one in found["effect"]["principles"].items()}
    assert effects["harm.harmful"] == 0 and set(effects) == set(NAMES)
