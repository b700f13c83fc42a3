"""Every shipped constitution, and every mode of the plan and the feedback, on the bundled model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cai.constitution.load import load_constitution
from cai.store.store import Store
from cai.types import Comparison, Trace
from tests.e2e.helpers import cai, rows

SHIPPED = [
    "default",
    "miniature",
    "contrast",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("harmlessness", "brand-voice", "direct", "high-stakes")
    ),
]

PLANS = {
    "append": "plan: {rounds: 2, draw: fixed, history: append, skip_revision_if: never}",
    "few-shot": "plan: {rounds: 2, draw: fixed, fewshot: 2}",
    "direct": "plan: {rounds: 2, draw: all, critique: false}",
    "never-skip": "plan: {rounds: 1, skip_revision_if: never, check: false}",
}
FEEDBACKS = {
    "one-order": "feedback: {mode: letters, both_orders: false, principles_per_pair: 1}",
    "reasoned": (
        "feedback: {mode: letters, chain_of_thought: true, reasoning_samples: 2, clamp: [0.4, 0.6]}"
    ),
}


def build(
    folder: Path, constitution: object, *more: object
) -> tuple[list[Trace], list[Comparison]]:
    out = folder / "runs" / "run"
    cai(
        "build-data", "-c", constitution, "--limit", 4, "-o", out, "-q", "--sft-share", 0,
        "--max-new-tokens", 64, "--no-examine", *more,
    )  # fmt: skip
    cai("verify", out)
    run_id = json.loads((out / "manifest.json").read_text())["run"]["id"]
    with Store.open(out.parent / "store.sqlite") as store:
        return list(store.traces(run_id)), list(store.comparisons(run_id))


def project(folder: Path, settings: str) -> Path:
    """A constitution of two shipped principles with the given settings."""
    cai("init", folder / "project")
    path = folder / "project" / "constitution" / "own.yaml"
    path.write_text(
        "api: cai/v1\nkind: Constitution\nid: own\nversion: 1.0.0\ntitle: Own\n"
        "principles:\n"
        "  - {ref: ../principles/harm/harmful.yaml}\n"
        "  - {ref: ../principles/respect/rudeness.yaml}\n"
        f"{settings}\n"
        "changelog:\n  - {version: 1.0.0, date: 2026-11-21, by: a test, change: First.}\n",
        "utf-8",
    )
    cai("lint", path)
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_constitution(name: str, tmp_path: Path) -> None:
    traces, comparisons = build(tmp_path, name)
    found = load_constitution(name)
    rounds = len(found.phase("sl")) if found.plan.draw == "all" else found.plan.rounds
    assert len(traces) == len(comparisons) == 4
    assert all(len(t.revisions) == rounds for t in traces)
    assert all(len(t.checks) == len(found.members) for t in traces)


@pytest.mark.parametrize("name", PLANS)
def test_a_plan(name: str, tmp_path: Path) -> None:
    traces, _ = build(tmp_path, project(tmp_path, PLANS[name]))
    for trace in traces:
        for revision in trace.revisions:
            if name == "direct":
                assert revision.critique is None and revision.response is not None
            if name == "few-shot":
                assert revision.critique is not None
                # two examples of six turns, then prompt, response and critique request
                assert revision.critique.rendered_prompt.count("<|im_start|>") == 2 * 6 + 4
            if name == "never-skip":
                assert revision.response is not None
        if name == "append":
            second = trace.revisions[1].critique
            assert second is not None and second.rendered_prompt.count("<|im_start|>") == 8
    assert len(traces) == 4


@pytest.mark.parametrize("name", FEEDBACKS)
def test_a_feedback(name: str, tmp_path: Path) -> None:
    _, comparisons = build(tmp_path, project(tmp_path, FEEDBACKS[name]), "--no-revision-pairs")
    judged = [c for c in comparisons if c.judgements]
    assert judged
    for comparison in judged:
        judgement = comparison.judgements[0]
        if name == "one-order":
            assert len(comparison.judgements) == 1
            assert judgement.p_first_swapped is None
            assert len(judgement.scores) == 1
        else:
            assert 0.4 <= comparison.probability <= 0.6
            assert len(comparison.judgements) == 2
            assert len(judgement.reasoning) == len(judgement.scores) == 4
            assert "The answer is: (" in judgement.scores[0].rendered_prompt
    made = rows(tmp_path / "runs" / "run" / "preferences.jsonl")
    assert all(r["origin"] == "comparison" for r in made)


def test_parts_may_be_played_by_different_models(tmp_path: Path) -> None:
    script = tmp_path / "critic.yaml"
    script.write_text(
        'name: strict\nreplies:\n  - {say: "It is rude to the user."}\n'
        'scores:\n  - {options: {"No problem found.": 0.2}}\n',
        "utf-8",
    )
    traces, comparisons = build(tmp_path, "default", "--critic", f"scripted:{script}")
    for trace in traces:
        for revision in trace.revisions:
            assert revision.critique is not None and revision.response is not None
            assert (revision.critique.model, revision.response.model) == ("strict", "miniature")
    assert {c.judgements[0].scores[0].model for c in comparisons} == {"strict"}
    assert {c.probability for c in comparisons} == {0.5}
