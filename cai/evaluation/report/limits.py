"""What a report says against its own numbers: how far its judges err, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cai.evaluation.labelled import SOURCES
from cai.evaluation.report import numbers
from cai.evaluation.report.blocks import counted
from cai.evaluation.report.sources import ReportedEvaluation, ReportedTraining

_HELD_OUT = "held out"
"""What `cai.training.reward_report` calls rows that a reward model was not trained on."""


def limits_of(
    evaluation: ReportedEvaluation, trainings: Sequence[ReportedTraining] = ()
) -> list[str]:
    """Sentences on an evaluation's judges, warnings and cut replies, without their full stops.

    trainings: the runs of the report, among which the reward model's may be.
    """
    record = evaluation.record
    judges = record["judges"]
    lines = rules_errors(record)
    if "model" in judges:
        lines.append(
            f"the judge, {judges['model']['name']}, is a model and errs; see its agreement with the"
            " rules"
        )
    if "reward" in judges:
        lines.append(_reward_error(judges["reward"], trainings))
    return [*lines, *record["warnings"], *cut_off(evaluation)]


def rules_errors(record: Mapping[str, Any]) -> list[str]:
    """How often each rule is wrong that results rest on, as the record has it."""
    rules = record["judges"].get("rules", {})
    lines = [f"“{rule}” is read by a rule: {_errors(rules[rule])}" for rule in rules]
    if not lines and any(row["task"] in ("response", "conversation") for row in record["suites"]):
        lines.append("refusals and the like are read by rules, which misread some replies")
    return lines


def _errors(by_source: Mapping[str, Mapping[str, Any]]) -> str:
    """`precision 85%, recall 90% on 60 replies labelled by hand (SmolLM2-135M); …`."""
    names: Mapping[str, str] = {str(source): name for source, name in SOURCES.items()}
    return "; ".join(
        f"precision {numbers.number(row['precision'], 'share')}, recall"
        f" {numbers.number(row['recall'], 'share')} on"
        f" {counted(row['replies'], 'reply', 'replies')} labelled by hand"
        f" ({names.get(source, source)})"
        for source, row in by_source.items()
    )


def _reward_error(facts: Mapping[str, Any], trainings: Sequence[ReportedTraining]) -> str:
    """What the reward model's own run measured of it."""
    run = next((t.run for t in trainings if t.run["id"] == facts.get("id")), {})
    accuracy = reward_accuracy(facts if "accuracy" in facts else run.get("results") or {})
    name = f"the reward model, {facts.get('name')}"
    if not accuracy:
        return f"{name}, errs; how often is not known here, as its training run is not named"
    return f"{name}, errs: {accuracy}"


def reward_accuracy(results: Mapping[str, Any]) -> str:
    """A reward model's accuracy on pairs, beside that of length alone; "" where it has none."""
    if results.get("accuracy") is None:
        return ""
    low, high = results.get("interval") or (None, None)
    rows = str(results.get("rows", _HELD_OUT))
    pairs = "held-out pairs" if rows == _HELD_OUT else f"pairs {rows}"
    text = f"accuracy on {pairs} {results['accuracy']:.0%}"
    text += f" ({numbers.interval(low, high, 'share')})" if low is not None else ""
    if results.get("length_baseline") is not None:
        length = f"{results['length_baseline']:.0%}"
        text += f"; preferring the longer or the shorter alone gives {length}"
    return text


def cut_off(evaluation: ReportedEvaluation) -> list[str]:
    """Which models' replies ran into the token limit, and how many."""
    lines = []
    for model in evaluation.models:
        replies = [a for a in evaluation.answers.get(model, ()) if "words" in a.values]
        cut = sum(answer.cut for answer in replies)
        if cut:
            lines.append(
                f"{model}: {cut:,} of {counted(len(replies), 'reply', 'replies')} ran into the"
                " token limit"
            )
    return lines
