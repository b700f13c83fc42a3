"""Builds both sides of a diff on the same prompts, or reads two runs, and compares the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

from cai.authoring.effects import PromptDiff, changed_preferences, rows
from cai.authoring.head_to_head import HeadToHead, head_to_head
from cai.authoring.sides import Side, StepCounts, build_side, open_side
from cai.errors import DataError
from cai.pipeline.build import Models, Progress
from cai.pipeline.config import BuildConfig
from cai.pipeline.drive import Tally
from cai.stats import Proportion
from cai.store.store import Store
from cai.types import Prompt, SetAside

Watch: TypeAlias = Callable[[], AbstractContextManager[Callable[[Progress], None]]]
"""Opens the progress display of a build that is about to start."""


@dataclass(frozen=True, slots=True)
class DiffResult:
    """The effect of an edit.

    turned: of a build's pairs of responses, those whose preference flipped. runs: the ids of both.
    work: the steps of each; None where runs were read. judged: the judge's verdicts on the final
    responses that differ, under the `new` constitution and under the `old`; empty where runs were
    read, since a run's snapshot of its constitution is not enough to prompt a judge with.
    """

    rows: list[PromptDiff]
    turned: Proportion
    runs: tuple[str, str]
    work: tuple[StepCounts, StepCounts] | None = None
    judged: Mapping[str, HeadToHead] = field(default_factory=dict)


def build_diff(
    before: Side,
    after: Side,
    prompts: Iterable[Prompt | SetAside],
    store: Store,
    models: Models,
    config: BuildConfig,
    *,
    source: str,
    watch: Watch,
) -> DiffResult:
    """Build both sides on the same prompts in one store, and have the judge compare them.

    Steps that are in the store are reused. Raises `Interrupted` on Ctrl-C; the same call resumes.
    Other arguments as in `build`.
    """
    runs, work = [], []
    for side, name in ((before, "diff-before"), (after, "diff-after")):
        with watch() as show:
            run, counts = build_side(
                side, prompts, store, models, config,
                name=name, source=source, progress=show,
            )  # fmt: skip
        runs.append(run.id)
        work.append(counts)
    result = _paired((store, runs[0]), (store, runs[1]))
    judged: dict[str, HeadToHead] = {}
    for rules, side in (("new", after), ("old", before)):
        assert side.constitution is not None
        tally = Tally(total=sum(not row.same for row in result.rows))
        with watch() as show:
            judged[rules] = head_to_head(
                result.rows, side.constitution, models, store, config.draws, tally,
                tick=lambda show=show, tally=tally: show(Progress(tally, 0, 0, 0)),  # type: ignore[misc]
            )  # fmt: skip
    return DiffResult(result.rows, result.turned, result.runs, (work[0], work[1]), judged)


def read_diff(before: Side, after: Side) -> DiffResult:
    """Compare two runs on the prompts that both have; nothing is built."""
    with open_side(before) as one, open_side(after) as two:
        return _paired(one, two)


def _paired(before: tuple[Store, str], after: tuple[Store, str]) -> DiffResult:
    (one, first), (two, second) = before, after
    prompt_diffs = rows(one.traces(first), two.traces(second))
    pairs = changed_preferences(one.comparisons(first), two.comparisons(second))
    if not prompt_diffs and not pairs.n:
        raise DataError(
            "no prompt was critiqued and revised on both sides",
            hint="Compare runs that were built from the same prompts.",
        )
    return DiffResult(prompt_diffs, pairs, (first, second))
