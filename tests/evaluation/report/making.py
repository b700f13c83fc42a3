"""Evaluations and training runs with known numbers, as folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cai.evaluation.answers import ItemAnswer
from cai.evaluation.measures import SuiteMeasure
from cai.evaluation.preferences import ReplyPreference, win_rate_rows
from cai.evaluation.record import write_evaluation
from cai.evaluation.results import change_row, changes_of, result_row, results_of
from cai.types import Message

SUITES: dict[str, tuple[str, SuiteMeasure]] = {
    "harmful": ("harmlessness", SuiteMeasure("refused", "refused", "share", "higher")),
    "jailbreaks": ("harmlessness", SuiteMeasure("refused", "refused", "share", "higher")),
    "over-refusal": ("helpfulness", SuiteMeasure("refused", "refused", "share", "lower")),
    "instructions": ("helpfulness", SuiteMeasure("followed", "followed", "share", "higher")),
    "flattery": ("helpfulness", SuiteMeasure("sway", "sway", "mean", "lower")),
}
VALUES: dict[str, dict[str, list[float]]] = {
    "base": {
        "harmful": [1, 0, 0, 0], "jailbreaks": [1, 1, 0, 0], "over-refusal": [0, 0, 0, 0],
        "instructions": [1, 1, 1, 1], "flattery": [0.1, 0.2, 0.3, 0.4],
    },
    "sft": {
        "harmful": [1, 1, 0, 0], "jailbreaks": [1, 1, 0, 0], "over-refusal": [1, 0, 0, 0],
        "instructions": [1, 1, 0, 0], "flattery": [0.1, 0.2, 0.3, 0.4],
    },
    "ppo": {
        "harmful": [1, 1, 1, 1], "jailbreaks": [1, 1, 1, 0], "over-refusal": [1, 1, 0, 0],
        "instructions": [1, 1, 1, 0], "flattery": [0.1, 0.2, 0.3, 0.4],
    },
}  # fmt: skip
"""Values of four items of each suite, by model. Harmful and jailbreaks share their clusters."""


def make_evaluation(
    folder: Path,
    values: Mapping[str, Mapping[str, Sequence[float]]] = VALUES,
    *,
    texts: Sequence[str] = ("One two three.", "Four five six."),
    principles: Mapping[str, Mapping[str, float]] | None = None,
    preferences: Sequence[ReplyPreference] = (),
    **changed: Any,
) -> Path:
    """The folder of an evaluation. values: by model and suite, one an item.

    texts: replies, in turn. principles: by model, the judge's probability of each principle, alike
    for all replies. changed: fields of the record.
    """
    models = list(values)
    answers = {
        model: [
            answer
            for suite, some in values[model].items()
            for answer in _answers(suite, some, texts, models.index(model),
                                   (principles or {}).get(model, {}))
        ]
        for model in models
    }  # fmt: skip
    suites = list(values[models[0]])
    measures = {suite: [SUITES[suite][1]] for suite in suites}
    found = {
        model: {suite: [a for a in some if a.suite == suite] for suite in suites}
        for model, some in answers.items()
    }
    results = [
        result for model in models for suite in suites
        for result in results_of(model, suite, measures[suite], found[model][suite])
    ]  # fmt: skip
    record: dict[str, Any] = {
        "id": "e-0123456789ab",
        "models": [_model(model) for model in models],
        "suites": [
            {"id": suite, "version": "1.0.0", "title": f"Suite of {suite}", "about": "For tests.",
             "task": "response", "scoring": "letters", "items": len(values[models[0]][suite]),
             "digest": "d" * 64, "path": f"{suite}.yaml", "axis": SUITES[suite][0]}
            for suite in suites
        ],
        "settings": {"seed": 0, "temperature": 0.0, "max_new_tokens": 64},
        "judges": {}, "warnings": [], "results": [result_row(r) for r in results],
        "changes": [change_row(c) for c in changes_of(found, measures)],
        "win_rates": [
            row for model in models[1:]
            for row in win_rate_rows(models[0], model, [p for p in preferences if p.model == model])
        ],
        "agreement": [], "set_aside": [],
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_evaluation(folder, record | changed, answers, preferences)
    return folder


def _answers(
    suite: str, values: Sequence[float], texts: Sequence[str], turn: int,
    principles: Mapping[str, float],
) -> list[ItemAnswer]:  # fmt: skip
    group = "harm" if SUITES[suite][0] == "harmlessness" else suite
    return [
        ItemAnswer(
            suite, f"{suite}-{n}", "", f"{group}-{n}",
            (Message("user", f"Asked of {suite}: {texts[n % len(texts)]}"),),
            texts[(n + turn) % len(texts)], {SUITES[suite][1].name: value, "words": 3.0},
            principles=principles,
        )
        for n, value in enumerate(values)
    ]  # fmt: skip


def _model(name: str) -> dict[str, Any]:
    return {
        "name": name, "model": name, "fingerprint": "f" * 64, "base": None, "adapter": None,
        "server": None, "seconds": 12.5, "prompt_tokens": 1000, "response_tokens": 200,
        "cost": 0.0, "reused_steps": 0,
    }  # fmt: skip


METRICS: list[dict[str, Any]] = [
    {"step": 1, "held_out": False, "score": 0.0, "second_reward": 1.0, "kl": 0.0, "reward": 0.0},
    {
        "step": 2,
        "held_out": False,
        "score": 1.0,
        "second_reward": 0.5,
        "kl": 2.0,
        "reward": 0.9,
        "harmful/refused": 0.75,
    },
    {"step": 2, "held_out": True, "score": 0.5, "kl": 2.0, "reward": 0.4},
    {
        "step": 3,
        "held_out": False,
        "score": 2.0,
        "second_reward": -1.0,
        "kl": 9.0,
        "reward": 1.5,
        "harmful/refused": 0.5,
    },
    {"step": 3, "held_out": True, "score": 0.25, "kl": 9.0, "reward": 0.1},
]


def make_training(
    folder: Path, metrics: Sequence[Mapping[str, Any]] = METRICS, **changed: Any
) -> Path:
    """The folder of a training run, without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "format": "cai-model/1", "id": f"m-{folder.name}", "stage": "ppo", "status": "finished",
        "base": {"name": "miniature", "fingerprint": "f" * 64}, "results": {},
        "data": [{"name": "sft.jsonl", "sha256": "a" * 64}],
        "parents": [{"name": "reward", "part": "reward", "stage": "reward", "id": "m-r"}],
    } | changed  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    lines = [json.dumps(dict(row)) + "\n" for row in metrics]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder
