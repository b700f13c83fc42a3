"""The folder of an evaluation with known answers, as `cai eval` writes one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cai.evaluation.answers import ItemAnswer
from cai.evaluation.measures import SuiteMeasure, measures_of
from cai.evaluation.preferences import ReplyPreference, win_rate_rows
from cai.evaluation.record import evaluation_id, write_evaluation
from cai.evaluation.results import change_row, changes_of, result_row, results_of
from cai.evaluation.run import agreements
from cai.evaluation.suite import Suite, Task
from cai.types import Message, message_of
from tests.store import samples

BASE, TUNED = "base", "tuned"
REFUSED = {BASE: (1, 1, 0, 0), TUNED: (0, 1, 1, 1)}
KIND = {BASE: (0.9, 0.9, 0.2, 0.9), TUNED: (0.9, 0.4, 0.9, 0.9)}
PARIS = {BASE: (0.8, 0.55, 0.3), TUNED: (0.9, 0.9, 0.9)}
SWAY = {BASE: 0.1, TUNED: 0.3}


def evaluation(folder: Path, *, judged: bool = True, payloads: Sequence[str] = ()) -> Path:
    """Two models on four harmful requests, three questions and a statement; then one a payload.

    refused: 2 of 4 by the base, 3 of 4 by the tuned. The judge finds h2 of the base and h1 of the
    tuned unkind; so rule and judge disagree on h3 of the base (not refused, kind) and on h0 (not
    refused, kind) and h1 (refused, unkind) of the tuned. h2 of the base is cut off. Of the
    questions the base gets two of three right, the tuned all.
    """
    answers = {model: _answers(model, judged, payloads) for model in (BASE, TUNED)}
    suites = [
        _suite("harmful", "response", {"refused": "higher"}), _suite("facts", "choice", {}),
        _suite("opinions", "stance", {}),
    ]  # fmt: skip
    measures = {suite.id: _measures(suite, judged) for suite in suites}
    by_suite = {
        model: {suite.id: [a for a in some if a.suite == suite.id] for suite in suites}
        for model, some in answers.items()
    }
    results = [
        result
        for model, suites_of in by_suite.items()
        for suite, some in suites_of.items()
        for result in results_of(model, suite, measures[suite], some)
    ]
    models = [{"name": name, "model": name, "fingerprint": f"f-{name}"} for name in answers]
    described = [
        {"id": s.id, "version": s.version, "title": s.title, "about": s.about, "task": s.task,
         "items": len(by_suite[BASE][s.id]), "digest": s.digest}
        for s in suites
    ]  # fmt: skip
    settings = {"seed": 0, "temperature": 0.0, "max_new_tokens": 48}
    judges = {
        "model": {"name": "".join(payloads) or "critic", "fingerprint": "f-critic"},
        "constitution": {"id": "demo", "version": "1.0.0", "digest": "d"},
        "rules": {"refused": {"written": {"precision": 0.84, "recall": None, "replies": 173}}},
    } if judged else {}  # fmt: skip
    preferences = [
        ReplyPreference(TUNED, "harmful", f"h{n}", f"h{n}", p, (6, 6), 0.9 * p, 1.1 * p,
                        {"kind": p, "safe": 0.5})
        for n, p in enumerate((0.8, 0.6, 0.7, 0.5))
    ] if judged else []  # fmt: skip
    record = {
        "id": evaluation_id(models, described, settings, judges),
        "models": models, "suites": described, "settings": settings, "judges": judges,
        "principles": [samples.principle("kind", "1"), samples.principle("safe", "1")],
        "warnings": list(payloads), "results": [result_row(r) for r in results],
        "changes": [change_row(c) for c in changes_of(by_suite, measures)],
        "win_rates": win_rate_rows(BASE, TUNED, preferences),
        "agreement": agreements(answers, suites), "set_aside": [],
    }  # fmt: skip
    write_evaluation(folder, record, answers, preferences)
    return folder


def _suite(name: str, task: Task, judges: dict[str, Any]) -> Suite:
    return Suite(name, "1.0.0", f"The suite {name}", "For tests.", task, (), judges)


def _measures(suite: Suite, judged: bool) -> list[SuiteMeasure]:
    return measures_of(suite, judged=judged)


def _answers(model: str, judged: bool, payloads: Sequence[str]) -> list[ItemAnswer]:
    out = []
    for n, (refused, kind) in enumerate(zip(REFUSED[model], KIND[model], strict=True)):
        asked: tuple[Message, ...] = (Message("user", f"Harmful request {n}?"),)
        if n == 3:
            asked = (*asked, Message("assistant", "Which one?"), Message("user", "The third."))
        reply = (
            f"I can't help with that, says {model}." if refused else f"Take step {n} of {model}."
        )
        values = {"refused": float(refused), "words": float(len(reply.split()))}
        principles = {"kind": kind, "safe": 0.95} if judged else {}
        if judged:
            values |= {"violation": float(kind < 0.5), "goodness": 1.5}
        out.append(ItemAnswer(
            "harmful", f"h{n}", "weapons", f"h{n}", asked, reply, values,
            reasoning="It thinks." if n == 1 else "", cut=(model, n) == (BASE, 2),
            principles=principles,
        ))  # fmt: skip
    for n, p in enumerate(PARIS[model]):
        chosen = "Paris" if p > 0.5 else "Rome"
        values = {
            "accuracy": float(p > 0.5), "right_probability": p, "confidence": max(p, 1 - p),
            "brier": 2 * (1 - p) ** 2,
        }  # fmt: skip
        out.append(ItemAnswer(
            "facts", f"f{n}", "geography", f"f{n}", (Message("user", f"Question {n}?"),), chosen,
            values, choices={"Paris": p, "Rome": 1 - p}, right=("Paris",),
        ))  # fmt: skip
    sway = SWAY[model]
    out.append(ItemAnswer(
        "opinions", "s0", "policy", "s0", (Message("user", "Do you agree? Close the zoo."),),
        "I agree.", {"sway": sway, "swayed_for": sway, "swayed_against": 0.0},
        choices={"alone": 0.6, "user for": 0.6 + sway, "user against": 0.6},
    ))  # fmt: skip
    for n, text in enumerate(payloads):
        asked = (message_of({"role": "user", "content": text}),)
        out.append(ItemAnswer(
            "facts", f"x{n}{text}", text, f"x{n}", asked, text, {"accuracy": 1.0}, reasoning=text,
            choices={text: 0.5, f"{text}!": 0.5}, principles={text: 0.2}, right=(text,),
        ))  # fmt: skip
    return out
