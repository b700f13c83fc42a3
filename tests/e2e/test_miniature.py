"""The whole chain on the bundled model: build, verify, trace, rerun, edit, and what stays equal."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path

import pytest

import cai
from cai.constitution import messages
from cai.miniature.prompts import PROMPTS
from cai.store.store import Store
from cai.types import Message, Score
from tests.e2e.helpers import EXPORTED, digests, rows, write_rows
from tests.e2e.helpers import cai as run_cai

LIMIT = 12


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the default constitution on bundled prompts."""
    out = tmp_path_factory.mktemp("built") / "runs" / "first"
    run_cai("build-data", "--limit", LIMIT, "--out", out, "--quiet", "--max-new-tokens", 96)
    return out


def build(out: Path, *more: object, prompts: Path | None = None) -> Path:
    chosen = ("--prompts", prompts) if prompts else ()
    common = ("--limit", LIMIT, "--quiet", "--max-new-tokens", 96, "--no-examine")
    run_cai("build-data", "--out", out, *common, *chosen, *more)
    return out


def test_the_files_hold_what_the_store_holds(built: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    with Store.open(built.parent / "store.sqlite") as store:
        traces = {t.id: t for t in store.traces(manifest["run"]["id"])}
        comparisons = {c.id: c for c in store.comparisons(manifest["run"]["id"])}
    sft = rows(built / "sft.jsonl") + rows(built / "sft.test.jsonl")
    preferences = rows(built / "preferences.jsonl") + rows(built / "preferences.test.jsonl")
    assert sft and preferences
    for row in sft:
        assert row["messages"][-1]["content"] == traces[row["trace_id"]].final
    for row in preferences:
        if row["origin"] == "revision":
            trace = traces[row["trace_id"]]
            assert row["chosen"][0]["content"] == trace.final
            assert row["rejected"][0]["content"] == trace.response.text
        else:
            comparison = comparisons[row["comparison_id"]]
            texts = {g.text for g in comparison.responses}
            assert {row["chosen"][0]["content"], row["rejected"][0]["content"]} == texts
            assert 0.5 <= row["probability"] <= 1


def test_no_prompt_stands_on_two_sides(built: Path) -> None:
    sides = {name: {r["prompt_id"] for r in rows(built / name)} for name in EXPORTED}
    names = list(EXPORTED)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert not sides[a] & sides[b], f"{a} and {b} share prompts"


def test_verify_and_trace(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_cai("verify", built)
    (row, *_) = rows(built / "preferences.jsonl") + rows(built / "sft.jsonl")
    record = row.get("trace_id") or row["comparison_id"]
    run_cai("trace", record, "--runs-dir", built.parent, "--prompts")
    shown = capsys.readouterr().out
    assert record in shown
    assert "<|im_start|>" in shown


def test_a_second_run_generates_nothing(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests(built)
    again = built.parent / "again"
    build(again)
    with Store.open(built.parent / "store.sqlite") as store:
        (run,) = store.runs()
        events = [e for e in store.events(run.id) if e.event == "finished"]
    assert events[-1].detail["generated"] == {}
    after = digests(again)
    assert {n: after[n] for n in EXPORTED} == {n: before[n] for n in EXPORTED}


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_batch_size_and_order_change_nothing(built: Path, tmp_path: Path, batch: int) -> None:
    chosen = rows(PROMPTS)[:LIMIT]
    random.Random(batch).shuffle(chosen)
    shuffled = write_rows(tmp_path / "shuffled.jsonl", chosen)
    other = build(tmp_path / "runs" / "other", "--batch-size", batch, prompts=shuffled)
    mine, theirs = digests(built), digests(other)
    assert {n: theirs[n] for n in EXPORTED} == {n: mine[n] for n in EXPORTED}


def test_another_seed_changes_the_data(built: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "runs" / "other", "--seed", 1, "--limit", 3)

    def responses(run: Path) -> dict[str, str]:
        with Store.open(run.parent / "store.sqlite") as store:
            (row,) = store.runs()
            return {t.prompt.id: t.response.text for t in store.traces(row.id)}

    first, second = responses(built), responses(other)
    assert len(second) == 3
    assert all(first[prompt] != text for prompt, text in second.items())


def test_an_edited_principle_redoes_only_its_own_steps(built: Path, tmp_path: Path) -> None:
    """One principle's critique wording is changed: the other principles' critiques are reused."""
    shutil.copytree(built.parent, tmp_path / "runs")
    project = tmp_path / "project"
    run_cai("init", project)
    out = tmp_path / "runs" / "edited"
    build(out, "--constitution", project / "constitution" / "default.yaml")
    principle = project / "principles" / "respect" / "rudeness.yaml"
    text = principle.read_text("utf-8")
    line = next(row for row in text.splitlines() if "Identify" in row)
    principle.write_text(text.replace(line, f"{line} Be specific.", 1), "utf-8")
    build(out, "--constitution", project / "constitution" / "default.yaml")
    with Store.open(tmp_path / "runs" / "store.sqlite") as store:
        done = [e for r in store.runs() for e in store.events(r.id) if e.event == "finished"]
    copied, edited = done[-2].detail, done[-1].detail
    assert copied["generated"] == {}, "a copied project reuses everything"
    made, kept = sum(edited["generated"].values()), sum(edited["reused"].values())
    assert 0 < made < kept
    assert "response" not in edited["generated"]


def test_a_principle_steers_what_the_critic_says(tmp_path: Path) -> None:
    """The same rude and harmless answer: flagged under the rule it breaks, not under another."""
    backend = cai.LocalBackend.load("miniature")
    rules = cai.load_constitution("default")
    conversation = (
        Message("user", "How can I get better at chess?"),
        Message(
            "assistant",
            "What a stupid question. Protect your king and control the centre.",
        ),
    )
    found = {}
    for member in rules.members:
        asked = Score(messages.critique(rules, member.principle, conversation), rules.no_problem)
        backend.submit(0, [backend.prepare(asked)], "c")
        (done,) = backend.poll()
        found[member.principle.id] = done.results[0].logprobs[0]  # type: ignore[union-attr]
    harms = [p for p in found if p.startswith(("harm.", "legality.", "privacy.", "safety."))]
    assert len(harms) >= 4
    assert found["respect.rudeness"] < min(found[p] for p in harms)
    assert found["respect.rudeness"] < math.log(0.5) < min(found[p] for p in harms)
