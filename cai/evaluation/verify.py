"""Whether an evaluation's folder still holds what `cai eval` wrote, and its results follow from it.

Every result and every change is computed anew from the answers: both are means, intervals and tests
with fixed seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from cai.content import shown
from cai.errors import DataError
from cai.evaluation.answers import ItemAnswer
from cai.evaluation.folder import read_evaluation
from cai.evaluation.measures import SuiteMeasure
from cai.evaluation.record import NAME, answers_problems, evaluation_id, read_answers
from cai.evaluation.results import SuiteResult, change_row, changes_of, estimate, result_row

_Answers: TypeAlias = dict[str, dict[str, list[ItemAnswer]]]
"""By model, then by suite."""
_TOLERANCE = 1e-9  # of numbers that another machine may round otherwise


def verify_evaluation(folder: Path) -> tuple[int, int, list[str]]:
    """The number of files and of answers, and what is wrong with them.

    The files against their digests, the id against what it is made of, and results and changes
    against the answers. Raises `DataError` where the folder holds no evaluation that can be read.
    """
    record = read_evaluation(folder)
    problems = answers_problems(folder, record)
    try:
        identity = (record["models"], record["suites"], record["settings"], record["judges"])
        if record["id"] != evaluation_id(*identity):
            problems.append(
                f"{NAME}: its id is not that of the models, suites, settings and judges it names"
            )
        count = 0
        if not problems:
            answers: _Answers = {str(model["name"]): {} for model in record["models"]}
            for model, answer in read_answers(folder):
                count += 1
                answers.setdefault(model, {}).setdefault(answer.suite, []).append(answer)
            problems += _result_problems(record, answers)
            problems += _change_problems(record, answers)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{shown(folder / NAME)} is not what cai eval writes: {error!r}",
            hint="Restore it from a copy, or run its cai eval command again.",
        ) from None
    return 1 + len(record.get("files", {})), count, problems


def _measure(row: Mapping[str, Any]) -> SuiteMeasure:
    return SuiteMeasure(row["measure"], row["title"], row["kind"], row["better"])


def _result_problems(record: Mapping[str, Any], answers: _Answers) -> Iterator[str]:
    missing = {(model, suite) for model, suites in answers.items() for suite in suites}
    for row in record["results"]:
        place = row["model"], row["suite"]
        some = answers.get(place[0], {}).get(place[1], [])
        found = SuiteResult(*place, _measure(row), estimate(_measure(row), some), row["main"])
        missing.discard(place)
        if not _alike(row, result_row(found)):
            yield f"{NAME}: {row['measure']} of {' on '.join(place)} is not that of its answers"
    for model, suite in sorted(missing):
        yield f"{NAME}: it has no result of {model} on {suite}"


def _change_problems(record: Mapping[str, Any], answers: _Answers) -> list[str]:
    """Of the models alone: a reward model, whose answers are there too, is compared with none."""
    measures = {row["suite"]: [SuiteMeasure(row["measure"], row["title"], row["kind"])]
                for row in record["changes"]}  # fmt: skip
    measures |= {row["suite"]: [_measure(row)] for row in record["results"] if row["main"]}
    order = [suite["id"] for suite in record["suites"] if suite["id"] in measures]
    found = changes_of(
        {model["name"]: answers[model["name"]] for model in record["models"]},
        {suite: measures[suite] for suite in order},
    )
    rows = [change_row(change) for change in found]
    if len(rows) == len(record["changes"]) and all(map(_alike, record["changes"], rows)):
        return []
    return [f"{NAME}: its changes are not those of its answers"]


def _alike(given: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether a row says what was found; JSON has None for numbers that are none."""
    return given.keys() == found.keys() and all(
        _same(given[name], value) for name, value in found.items()
    )


def _same(given: Any, found: Any) -> bool:
    if isinstance(found, float):
        if not math.isfinite(found):
            return given is None
        return isinstance(given, int | float) and math.isclose(
            given, found, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE
        )
    return bool(given == found)
