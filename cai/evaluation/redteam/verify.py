"""Whether a folder still holds what `cai redteam` wrote, and its counts follow from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cai.content import shown
from cai.errors import DataError
from cai.evaluation.folder import files_problems, read_redteam
from cai.evaluation.redteam.attacks import Attack
from cai.evaluation.redteam.record import (
    NAME,
    SLIPPED,
    read_attacks,
    read_redteam_answers,
    read_slipped,
)
from cai.evaluation.redteam.slips import Samples, principle_counts, sampled, slips_of

_TOLERANCE = 1e-9  # of numbers that another machine may round otherwise


def verify_redteam(folder: Path) -> tuple[int, int, int, list[str]]:
    """The number of files, attacks and answers, and what is wrong with them.

    The files against their digests; the counts by principle, and the slips, against attacks and
    answers. Raises `DataError` where the folder holds no red-teaming that can be read.
    """
    record = read_redteam(folder)
    problems = files_problems(folder, record, "red-teaming")
    attacks: list[Attack] = []
    answers = 0
    try:
        if not problems:
            attacks = list(read_attacks(folder))
            found = None
            if record["target"] is not None:
                read = list(read_redteam_answers(folder))
                answers, found = len(read), sampled(read)
            problems += _count_problems(record, attacks, found)
            problems += _slip_problems(folder, record, attacks, found)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{shown(folder / NAME)} is not what cai redteam writes: {error!r}",
            hint="Restore it from a copy, or run its cai redteam command again.",
        ) from None
    return 1 + len(record.get("files", {})), len(attacks), answers, problems


def _count_problems(
    record: Mapping[str, Any], attacks: Sequence[Attack], samples: Samples | None
) -> Iterator[str]:
    known = {row["principle"] for row in record["principles"]}
    for row in record["principles"]:
        found = principle_counts(row["principle"], attacks, row["wanted"], samples)
        wrong = [name for name, value in found.items() if not _alike(row.get(name), value)]
        for name in wrong:
            yield f"{NAME}: {name} of {row['principle']} is not that of its attacks and answers"
    for attack in attacks:
        if attack.principle_id not in known:
            yield f"{NAME}: it has no principle {attack.principle_id}, which {attack.id} aims at"


def _slip_problems(
    folder: Path, record: Mapping[str, Any], attacks: Sequence[Attack], samples: Samples | None
) -> Iterator[str]:
    slips = [slip.row for slip in slips_of(attacks, samples or {})]
    if record["slipped"] != len(slips):
        yield f"{NAME}: slipped is not that of its answers"
    if samples is not None and list(read_slipped(folder)) != slips:
        yield f"{SLIPPED}: its prompts are not those that slipped through"


def _alike(given: Any, found: Any) -> bool:
    if isinstance(found, Mapping):
        return isinstance(given, Mapping) and all(
            _alike(given.get(name), value) for name, value in found.items()
        )
    if isinstance(found, float):
        return isinstance(given, int | float) and math.isclose(
            given, found, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE
        )
    return bool(given == found)
