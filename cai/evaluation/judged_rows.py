"""Preference rows as a judge sees them, under one constitution or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from cai.backends.base import Backend
from cai.data.training_rows import PairRow
from cai.errors import CaiError, Interrupted
from cai.pipeline.build import Models
from cai.pipeline.drive import PromptTask, Tally, drive
from cai.pipeline.fixed_texts import compare_texts
from cai.pipeline.steps import Draws
from cai.store.store import Store
from cai.types import Comparison, Constitution, Prompt, SetAside


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A row, and the comparison of `chosen`, first, with `rejected` under each constitution."""

    row: PairRow
    comparisons: tuple[Comparison, ...]


def judge_rows(
    pairs: Sequence[PairRow | SetAside],
    constitutions: Sequence[Constitution],
    judge: Backend,
    store: Store,
    draws: Draws,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[JudgedRow], list[SetAside]]:
    """Judge rows as a build judges its pairs; the verdicts are kept in the store.

    Returns the rows in order, and those set aside: the ones given as such, rows with a response of
    several messages, and rows that the judge can't read. progress: called with the number of
    verdicts and their total. Raises `Interrupted` on Ctrl-C.
    """
    set_aside = [row for row in pairs if isinstance(row, SetAside)]
    usable: dict[str, PairRow] = {}
    for number, row in enumerate(p for p in pairs if isinstance(p, PairRow)):
        if len(row.chosen) == len(row.rejected) == 1:
            usable[f"{row.id or 'pair'}/{number}"] = row
        else:
            set_aside.append(SetAside(row.source or row.id, "a response of several messages"))
    found: dict[tuple[str, int], Comparison] = {}
    models = Models.all(judge)
    draws = replace(draws, reasoners=models.reasoners)
    tally = Tally(total=len(constitutions) * len(usable))

    def tasks() -> Iterator[PromptTask[Comparison]]:
        for name, row in usable.items():
            prompt = Prompt(name, row.prompt, row.source)
            for side, rules in enumerate(constitutions):
                texts = row.chosen[0].content, row.rejected[0].content
                steps = compare_texts(prompt, rules, draws, *texts)
                yield PromptTask(f"{side}/{name}", prompt, steps)

    def finish(task: PromptTask[Comparison], comparison: Comparison) -> None:
        side, _, name = task.name.partition("/")
        found[name, int(side)] = comparison

    def give_up(task: PromptTask[Comparison], error: CaiError) -> None:
        set_aside.append(SetAside(task.prompt.source or task.prompt.id, error.message))

    try:
        with store.lock():
            drive(
                tasks(), models.by_role, store, tally, finish=finish, give_up=give_up,
                tick=lambda: progress(tally.finished + tally.set_aside, tally.total),
            )  # fmt: skip
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped: {tally.finished} of {tally.total} verdicts are there.",
            hint="They are kept. Run the same command again to resume.",
        ) from None
    sides = range(len(constitutions))
    return [
        JudgedRow(row, tuple(found[name, side] for side in sides))
        for name, row in usable.items()
        if all((name, side) in found for side in sides)
    ], set_aside
