"""The folder of an evaluation: `evaluation.json`, and `answers.jsonl` with every answer.

`preferences.jsonl` has a judge's verdicts between two models' replies, where one was asked.
`evaluation.json` has what was asked of whom and how, and all results; its `id` is a digest of all
that decides them, so that the same command finds its own folder again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cai.data.files import staged
from cai.digest import digest
from cai.errors import UsageError
from cai.evaluation.answers import ItemAnswer
from cai.evaluation.folder import EVALUATION, FORMAT, files_problems, read_rows
from cai.evaluation.folder import read_evaluation as read_evaluation  # of the same folder
from cai.evaluation.preferences import ReplyPreference

NAME, ANSWERS, PREFERENCES = EVALUATION, "answers.jsonl", "preferences.jsonl"


def evaluation_id(
    models: Sequence[Mapping[str, Any]], suites: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any], judges: Mapping[str, Any],
) -> str:  # fmt: skip
    """Of everything that decides the results."""
    asked = [(suite["id"], suite["digest"]) for suite in suites]
    identity = [[model["fingerprint"] for model in models], asked, settings, judges]
    return f"e-{digest(identity)[:12]}"


def write_evaluation(
    out: Path,
    record: Mapping[str, Any],
    answers: Mapping[str, Sequence[ItemAnswer]],
    preferences: Sequence[ReplyPreference] = (),
) -> None:
    """Write all files, or none. answers: by model. Raises `StoreError`."""
    with staged(out, NAME) as files:
        with files.lines(ANSWERS) as lines:
            for model, some in answers.items():
                for answer in some:
                    lines.write(answer.row(model))
        digests = {ANSWERS: lines.sha256}
        if preferences:
            with files.lines(PREFERENCES) as lines:
                for preference in preferences:
                    lines.write(preference.row())
            digests[PREFERENCES] = lines.sha256
        values = {"format": FORMAT, **record, "files": digests}
        files.text(NAME, json.dumps(_finite(values), indent=2, ensure_ascii=False) + "\n")


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds an evaluation."""
    return (folder / NAME).is_file()


def read_answers(folder: Path) -> Iterator[tuple[str, ItemAnswer]]:
    """The answers of an evaluation, each with its model. Raises `DataError` for a broken line."""
    yield from read_rows(folder / ANSWERS, ItemAnswer.read, "an answer")


def read_preferences(folder: Path) -> Iterator[ReplyPreference]:
    """The judge's preferences; none without a judge. Raises `DataError` for a broken line."""
    path = folder / PREFERENCES
    if path.is_file():
        yield from read_rows(path, ReplyPreference.read, "a preference")


def answers_problems(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Where answers and preferences are not those that the evaluation wrote."""
    return files_problems(folder, record, "evaluation")


def require_evaluation_folder(out: Path) -> None:
    """Raise `UsageError` where a folder holds something else than an evaluation."""
    if out.is_dir() and any(out.iterdir()) and not is_evaluation(out):
        raise UsageError(
            f"{out} is not empty, and holds no evaluation", hint="Choose another --out."
        )


def validate_out(out: Path, evaluation: str) -> None:
    """Raise `UsageError` where a folder holds something else than this evaluation."""
    require_evaluation_folder(out)
    if is_evaluation(out) and read_evaluation(out)["id"] != evaluation:
        raise UsageError(
            f"{out} holds another evaluation", hint="Choose another --out, or delete it."
        )


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON lacks."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
