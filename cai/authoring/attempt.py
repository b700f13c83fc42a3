"""Runs one principle on one prompt, by the procedures of a build.

`revise` and `compare` run exactly as in a build, under a constitution reduced to the one principle.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cai.errors import CaiError
from cai.pipeline.build import Models
from cai.pipeline.drive import PromptTask, Tally, drive
from cai.pipeline.fixed_texts import compare_texts, with_texts
from cai.pipeline.revise import revise
from cai.pipeline.steps import Draws, Steps
from cai.store.store import Store
from cai.types import Comparison, Constitution, Prompt, Trace

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """The results for one prompt; None for a part that was not requested."""

    trace: Trace | None = None
    comparison: Comparison | None = None


def attempt(
    prompt: Prompt,
    constitution: Constitution,
    draws: Draws,
    *,
    response: str | None = None,
    other: str | None = None,
) -> Steps[Attempt]:
    """Critique and revise a response; compare it with another if one is given.

    response: if None, the generator writes it, with the seed that a build would use.
    """
    steps = revise(prompt, constitution, draws)
    trace = yield from steps if response is None else with_texts(steps, response)
    if other is None:
        return Attempt(trace)
    pair = compare_texts(prompt, constitution, draws, trace.response.text, other)
    return Attempt(trace, (yield from pair))


def run_tasks(
    tasks: Iterable[PromptTask[T]],
    models: Models,
    *,
    finish: Callable[[PromptTask[T], T], None],
    give_up: Callable[[PromptTask[T], CaiError], None],
    store: Store | None = None,
) -> Tally:
    """Run procedures on models concurrently, as a build does. Returns the counts of steps.

    finish and give_up: as in `drive`. store: a cache of results; None keeps nothing.
    """
    tally = Tally()
    with ExitStack() as stack:
        if store is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cai-"))
            store = stack.enter_context(Store.open(Path(folder) / "store.sqlite"))
        drive(iter(tasks), models.by_role, store, tally, finish=finish, give_up=give_up)
    return tally
