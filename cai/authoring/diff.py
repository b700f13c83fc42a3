"""From the two sides of a diff to what was found: both are built on the same prompts, or read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

from cai.authoring.effects import PromptDiff, rows, turned
from cai.authoring.head_to_head import HeadToHead, head_to_head
from cai.authoring.sides import Side, StepCounts, build_side, opened
from cai.errors import DataError
from cai.pipeline.build import BuildConfig, Models, Progress
from cai.pipeline.drive import Tally
from cai.stats import Proportion
from cai.store.store import Store
from cai.types import Prompt, SetAside

Watch: TypeAlias = Callable[[], AbstractContextManager[Callable[[Progress], None]]]
"""Opens a view of a build that is about to start."""


@dataclass(frozen=True, slots=True)
class DiffResult:
    """What an edit does.

    turned: of the pairs of a build, those whose preferred response is now the other one. runs: the
    ids of both. work: what had to be made for each; None where runs were read. judged: the judge's
    verdicts on the final responses that differ, under the `new` rules and under the `old`; empty
    where runs were read, since what they hold of a constitution is not enough to ask with.
    """

    rows: list[PromptDiff]
    turned: Proportion
    runs: tuple[str, str]
    work: tuple[StepCounts, StepCounts] | None = None
    judged: Mapping[str, HeadToHead] = field(default_factory=dict)


def built(
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

    Steps that the store knows are not made again. Raises `Interrupted` on Ctrl-C; the same call
    goes on where it stopped. Other arguments as `build`.
    """
    runs, work = [], []
    for side, name in ((before, "diff-before"), (after, "diff-after")):
        with watch() as show:
            run, spent = build_side(
                side, prompts, store, models, config,
                name=name, source=source, progress=show,
            )  # fmt: skip
        runs.append(run.id)
        work.append(spent)
    found = _paired((store, runs[0]), (store, runs[1]))
    asked: dict[str, HeadToHead] = {}
    for rules, side in (("new", after), ("old", before)):
        assert side.constitution is not None
        tally = Tally(total=sum(not row.same for row in found.rows))
        with watch() as show:
            asked[rules] = head_to_head(
                found.rows, side.constitution, models, store, config.draws, tally,
                tick=lambda show=show, tally=tally: show(Progress(tally, 0, 0, 0)),  # type: ignore[misc]
            )  # fmt: skip
    return DiffResult(found.rows, found.turned, found.runs, (work[0], work[1]), asked)


def read(before: Side, after: Side) -> DiffResult:
    """What two runs hold of the same prompts; nothing is built."""
    with opened(before) as one, opened(after) as two:
        return _paired(one, two)


def _paired(before: tuple[Store, str], after: tuple[Store, str]) -> DiffResult:
    (one, first), (two, second) = before, after
    found = rows(one.traces(first), two.traces(second))
    pairs = turned(one.comparisons(first), two.comparisons(second))
    if not found and not pairs.n:
        raise DataError(
            "no prompt was critiqued and revised on both sides",
            hint="Compare runs that were built from the same prompts.",
        )
    return DiffResult(found, pairs, (first, second))
