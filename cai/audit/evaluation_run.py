"""An evaluation of `cai eval` as a run that can be audited: its answers, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cai.audit.answers import answer_item, answered_suites, evaluation_values
from cai.audit.items import Entry, RunKind
from cai.content import shown
from cai.errors import DataError
from cai.evaluation.folder import read_evaluation
from cai.evaluation.record import NAME, answers_problems, read_answers, read_preferences


class EvaluationRun:
    """The answers of an evaluation of `cai eval`."""

    kind: RunKind = "evaluation"
    relations: dict[str, Any] | None = None

    def __init__(self, folder: Path) -> None:
        record = read_evaluation(folder)
        self.folder = folder
        self.name = folder.name
        self.draw = ""
        self.licence = "unknown"
        self._record = record
        try:
            self.id = str(record["id"])
            self.principles: list[dict[str, Any]] = list(record.get("principles", ()))
            self.results: dict[str, Any] | None = evaluation_values(
                record, read_preferences(folder)
            )
            self._suites = answered_suites(record)
            self.facts = _evaluation_facts(record)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(
                f"{shown(folder / NAME)} is not what cai eval writes: {error!r}",
                hint="Was it edited, or written by an earlier version? Run its cai eval command"
                " again: what was answered is in the store.",
            ) from None
        self._count = sum(1 for _ in read_answers(folder))

    def problems(self) -> list[str]:
        """Where the answers are not those that the evaluation wrote."""
        return answers_problems(self.folder, self._record)

    def __len__(self) -> int:
        return self._count

    def entries(self) -> Iterator[Entry]:
        """Every answer, model by model."""
        for model, answer in read_answers(self.folder):
            suite = self._suites.get(answer.suite)
            if suite is None:
                raise DataError(
                    f"{shown(self.folder)} has an answer of {answer.suite}, and no such suite",
                    hint="Was it edited? cai verify tells.",
                )
            yield Entry(answer_item(model, answer, suite))

    def provenance(self) -> str:
        """Nothing but the facts: suites and models are in `evaluation.json`."""
        return ""


def _evaluation_facts(record: Mapping[str, Any]) -> dict[str, str]:
    settings, judges = record["settings"], record["judges"]
    constitution = judges.get("constitution")
    names = {
        "judge": judges.get("model", {}).get("name"),
        "constitution": constitution and f"{constitution['id']} {constitution['version']}",
        "reward model": judges.get("reward", {}).get("name"),
    }
    return {
        "models": ", ".join(str(model["name"]) for model in record["models"]),
        "suites": ", ".join(f"{s['id']} {s['version']}" for s in record["suites"]),
        **{label: str(name) for label, name in names.items() if name},
        "sampling": f"temperature {settings['temperature']:g}, at most"
        f" {settings['max_new_tokens']:,} tokens",
        "seed": str(settings["seed"]),
        "run": str(record["id"]),
    }
