"""The folders that a report is made of: evaluations, training runs, and what those learned from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cai.data.manifest import NAME as MANIFEST
from cai.data.manifest import Manifest
from cai.data.training_run import is_run, read_run
from cai.errors import DataError, UsageError
from cai.evaluation.answers import ItemAnswer
from cai.evaluation.folder import read_evaluation
from cai.evaluation.preferences import ReplyPreference
from cai.evaluation.record import answers_problems, is_evaluation, read_answers, read_preferences

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class ReportedEvaluation:
    """An evaluation. models: those that were asked, the baseline first. answers: by model."""

    record: Mapping[str, Any]
    answers: Mapping[str, Sequence[ItemAnswer]]
    preferences: Sequence[ReplyPreference]

    @property
    def id(self) -> str:
        """The evaluation's id, which every figure names."""
        return str(self.record["id"])

    @property
    def models(self) -> list[str]:
        """Names of the models, the baseline first."""
        return [model["name"] for model in self.record["models"]]

    def suite(self, suite: str) -> Mapping[str, Any]:
        """What the record says of a suite."""
        return next(row for row in self.record["suites"] if row["id"] == suite)

    def main_results(self) -> list[dict[str, Any]]:
        """The main measures of the models that were asked."""
        models = set(self.models)
        return [row for row in self.record["results"] if row["main"] and row["model"] in models]


@dataclass(frozen=True)
class ReportedTraining:
    """A training run. run: its record. metrics: a row a step and evaluation. builds: the runs of
    `cai build-data`, beside its folder, whose files it was trained on."""

    name: str
    run: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    builds: Sequence[Manifest]

    @property
    def stage(self) -> str:
        """sft, reward, dpo, ppo …"""
        return str(self.run["stage"])


@dataclass(frozen=True)
class ReportSources:
    """All that a report tells of."""

    evaluations: Sequence[ReportedEvaluation]
    trainings: Sequence[ReportedTraining]


def read_sources(folders: Sequence[Path]) -> ReportSources:
    """Read folders of evaluations and of training runs.

    Raises `UsageError` for a folder that is neither, and where none is an evaluation; `DataError`
    for what can't be read, and for answers that are not those that the evaluation wrote.
    """
    evaluations: dict[str, ReportedEvaluation] = {}
    trainings: dict[str, ReportedTraining] = {}
    for folder in folders:
        if is_evaluation(folder):
            evaluation = read_reported(folder)
            evaluations.setdefault(evaluation.id, evaluation)
        elif is_run(folder):
            training = _training(folder)
            trainings.setdefault(str(training.run["id"]), training)
        else:
            raise UsageError(f"{folder} is neither {_KINDS}", hint=_hint(folder))
    if not evaluations:
        raise UsageError(
            "There is no evaluation among the folders",
            hint="Make one with cai eval MODEL…, and name its folder too.",
        )
    return ReportSources(list(evaluations.values()), list(trainings.values()))


_KINDS = "an evaluation (cai eval) nor a training run (cai train)"


def _hint(folder: Path) -> str:
    if not folder.is_dir():
        return "There is no such folder: check the path."
    if (folder / MANIFEST).is_file():
        return (
            f"It is a run of cai build-data, which has a page of its own: cai audit report {folder}"
        )
    return "A report is made of the folders that those commands write."


def read_reported(folder: Path) -> ReportedEvaluation:
    """An evaluation with its answers. Raises `DataError`."""
    record = read_evaluation(folder)
    if problems := answers_problems(folder, record):
        raise DataError(
            f"{folder}: {problems[0]}", hint="Restore the file, or run the evaluation again."
        )
    answers: dict[str, list[ItemAnswer]] = {}
    for model, answer in read_answers(folder):
        answers.setdefault(model, []).append(answer)
    return ReportedEvaluation(record, answers, list(read_preferences(folder)))


def _training(folder: Path) -> ReportedTraining:
    run = read_run(folder)
    return ReportedTraining(
        folder.resolve().name, run, read_metric_rows(folder / METRICS), _builds(folder, run)
    )


def read_metric_rows(file: Path) -> list[dict[str, Any]]:
    """The metrics of a run, without a last line that was cut off. Raises `DataError`."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise DataError(f"{file} can't be read: {error}") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break
        try:
            row = json.loads(line)
            rows.append(dict(row) | {"step": int(row["step"]), "held_out": bool(row["held_out"])})
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{file}:{number} is no row of metrics") from None
    return rows


def _builds(folder: Path, run: Mapping[str, Any]) -> list[Manifest]:
    """Manifests beside a training run's folder that list files which it was trained on."""
    wanted = {str(data.get("sha256")) for data in run.get("data", ())}
    found = (_manifest(path) for path in sorted(folder.resolve().parent.glob(f"*/{MANIFEST}")))
    return [m for m in found if m and wanted & {entry.sha256 for entry in m.files.values()}]


def _manifest(path: Path) -> Manifest | None:
    try:
        return Manifest.read(path.parent)
    except DataError:
        return None  # it tells nothing of the data, and the report does without


def constitutions(sources: ReportSources) -> list[dict[str, Any]]:
    """The constitutions by which data was made or replies were judged, each once."""
    made = [build.constitution for training in sources.trainings for build in training.builds]
    judged = [
        evaluation.record["judges"]["constitution"]
        for evaluation in sources.evaluations
        if "constitution" in evaluation.record["judges"]
    ]
    return unique_by((*made, *judged), "digest")


def unique_by(rows: Iterable[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    """Rows with different values of a key, in their order."""
    return list({row.get(key): dict(row) for row in reversed(list(rows))}.values())[::-1]
