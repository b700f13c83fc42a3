"""One principle at work on one prompt, by the procedures of a build.

Nothing is asked in a way of its own here: `revise` and `compare` run as they do in a build, under
a constitution that is left with the one principle. A text that is given stands in for what the
generator would have written first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from cai.data.prompts import default_id
from cai.errors import PromptError
from cai.pipeline.build import Models
from cai.pipeline.compare import compare
from cai.pipeline.drive import Tally, Task, drive
from cai.pipeline.revise import revise
from cai.pipeline.steps import Draws, Steps
from cai.store.store import Store
from cai.types import (
    Comparison,
    Constitution,
    Generation,
    Member,
    Message,
    Principle,
    Prompt,
    Result,
    Trace,
)

T = TypeVar("T")

GIVEN = "given"
"""What stands as the model of a text that none wrote."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one prompt came to; None for the part that was not asked for."""

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
    """Critique and revise a response, and compare it with another where there is one.

    response: None lets the generator write it, with the seed that a build would use.
    """
    steps = revise(prompt, constitution, draws)
    trace = yield from steps if response is None else given(steps, response)
    if other is None:
        return Attempt(trace)
    pair = compared(prompt, constitution, draws, trace.response.text, other)
    return Attempt(trace, (yield from pair))


def compared(
    prompt: Prompt, constitution: Constitution, draws: Draws, first: str, second: str
) -> Steps[Comparison]:
    """Which of two given responses is better."""
    return given(compare(prompt, 0, constitution, draws), first, second)


def alone(constitution: Constitution, principle: Principle) -> Constitution:
    """The constitution's templates and settings with one principle, asked once and judging alone.

    The principle need not be one of the constitution's.
    """
    plan = replace(constitution.plan, rounds=1, draw="fixed", with_replacement=False, check=False)
    feedback = replace(constitution.feedback, principles_per_pair="all")
    return replace(constitution, members=(Member(principle),), plan=plan, feedback=feedback)


def given(steps: Steps[T], *texts: str) -> Steps[T]:
    """A procedure that is given what it asks for first: a response, or a pair of them."""
    next(steps)
    results: tuple[Result, ...] = tuple(_written(text) for text in texts)
    try:
        while True:
            results = yield steps.send(results)
    except StopIteration as end:
        outcome: T = end.value
        return outcome


def as_prompt(text: str, source: str = "") -> Prompt:
    """One user turn, with the id that a row of a prompts file gets where it names none."""
    messages = (Message("user", text),)
    return Prompt(default_id(messages), messages, source)


def play(
    tasks: Iterable[Task[T]],
    models: Models,
    *,
    finish: Callable[[Task[T], T], None],
    give_up: Callable[[Task[T], PromptError], None],
) -> None:
    """Run procedures at once on models, as a build does; what they wrote is not kept.

    finish and give_up: as in `drive`.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cai-") as folder,
        Store.open(Path(folder) / "store.sqlite") as store,
    ):
        drive(iter(tasks), models.parts, store, Tally(), finish=finish, give_up=give_up)


def _written(text: str) -> Generation:
    return Generation(text, (), "stop", GIVEN, "", 0, 0)
