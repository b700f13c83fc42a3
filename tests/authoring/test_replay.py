"""A run is replayed from what it recorded: to the same records, and to what another one lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cai
from cai.authoring.ablation_replay import config_of
from cai.authoring.replay import Missing, RunProcedures, reasoners_of, replay
from cai.errors import DataError
from cai.pipeline.snapshot import constitution_of
from cai.store.records import Run
from cai.types import Comparison, Constitution, Feedback, Plan, Trace
from tests.authoring.builds import built, records_of, scripted
from tests.factories import constitution

ALL = Plan(rounds=2, draw="all")


def procedures_of(run: Run, records: list[Trace | Comparison]) -> RunProcedures:
    models: Any = {role: model["fingerprint"] for role, model in run.config["models"].items()}
    return RunProcedures(config_of(run), models, reasoners_of(records))


@pytest.mark.parametrize(
    ("rules", "options"),
    [
        (constitution(plan=ALL), {}),
        (constitution(plan=replace(ALL, history="append", skip_revision_if="never")), {}),
        (constitution(plan=Plan(rounds=1, critique=False)), {"judge_revisions": True}),
        (constitution(feedback=Feedback(principles_per_pair=2)), {"pairs": 2, "sft_share": 0.0}),
        (constitution(plan=ALL, feedback=Feedback(mode="letters")), {"judge_revisions": True}),
        (constitution(feedback=Feedback(mode="letters", both_orders=False)), {}),
        (constitution(feedback=Feedback(mode="contrast")), {"judge_revisions": True}),
        (
            constitution(
                feedback=Feedback(mode="letters", chain_of_thought=True, reasoning_samples=2)
            ),
            {},
        ),
    ],
)
def test_a_run_is_replayed_to_itself(
    tmp_path: Path, rules: Constitution, options: dict[str, Any]
) -> None:
    with built(tmp_path, rules, **options) as (store, run):
        records = records_of(store, run)
    recorded = constitution_of(run.constitution)
    procedures = procedures_of(run, records)
    answers = procedures.answers(records, recorded)
    for record in records:
        steps = procedures.steps_of(record, recorded)
        assert replay(steps, answers, procedures.models) == record
    pairs = [r for r in records if isinstance(r, Comparison)]
    assert any(pair.judgements or pair.contrast for pair in pairs)


@pytest.mark.parametrize("mode", ["pointwise", "letters"])
def test_a_judge_that_reasons(tmp_path: Path, mode: Any) -> None:
    """Its reasoning is in the records of judgements, and asked for before each score."""
    judge = scripted(reasons=True, name="thinker")
    models = cai.Models(scripted(), scripted(), judge)
    rules = constitution(feedback=Feedback(mode=mode))
    with built(tmp_path, rules, models) as (store, run):
        records = records_of(store, run)
    assert reasoners_of(records) == {"judge"}
    procedures = procedures_of(run, records)
    answers = procedures.answers(records, constitution_of(run.constitution))
    for record in records:
        steps = procedures.steps_of(record, constitution_of(run.constitution))
        assert replay(steps, answers, procedures.models) == record


def test_what_was_not_asked_is_missing(tmp_path: Path) -> None:
    """`rude` comes first of three rounds. Without it, the others move up, and their critiques have
    the seeds of other rounds: the first of them is missing."""
    with built(tmp_path, constitution(plan=ALL)) as (store, run):
        records = records_of(store, run)
    procedures = procedures_of(run, records)
    answers = procedures.answers(records, constitution_of(run.constitution))
    rest = constitution("harmful", "vague", plan=ALL)
    trace = next(r for r in records if isinstance(r, Trace))
    found = replay(procedures.steps_of(trace, rest), answers, procedures.models)
    assert found == Missing("critique", 1)
    pair = next(r for r in records if isinstance(r, Comparison) and r.judgements)
    found = replay(procedures.steps_of(pair, rest), answers, procedures.models)
    assert isinstance(found, Comparison) and len(found.judgements) == 2
    added = constitution("rude", "harmful", "vague", "long", "short", plan=ALL)
    found = replay(procedures.steps_of(pair, added), answers, procedures.models)
    assert found == Missing("judgement", 2)


def test_an_answer_of_another_model_is_none(tmp_path: Path) -> None:
    with built(tmp_path, constitution()) as (store, run):
        records = records_of(store, run)
    procedures = procedures_of(run, records)
    answers = procedures.answers(records, constitution_of(run.constitution))
    others: Any = procedures.models | {"critic": "f" * 64}  # type: ignore[operator]
    trace = next(r for r in records if isinstance(r, Trace))
    found = replay(procedures.steps_of(trace, constitution()), answers, others)
    assert isinstance(found, Missing) and found.stage == "critique"


def test_a_record_of_other_procedures_is_refused(tmp_path: Path) -> None:
    with built(tmp_path, constitution(plan=ALL)) as (store, run):
        records = records_of(store, run)
    procedures = procedures_of(run, records)
    recorded = constitution_of(run.constitution)
    trace = next(r for r in records if isinstance(r, Trace))
    for changed in (replace(trace, id="t-else"), replace(trace, checks=())):
        with pytest.raises(DataError, match="is not what this version of cai makes"):
            procedures.answers([changed], recorded)
