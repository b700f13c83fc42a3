"""The build's procedures with fixed texts in place of the generator's first responses.

Everything after the fixed texts runs as in a build, under one principle or under all. Tests of
principles and the examination of a judge use these.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from cai.data.prompts import default_id
from cai.pipeline.compare import compare
from cai.pipeline.steps import Draws, Steps
from cai.types import (
    Comparison,
    Constitution,
    Generation,
    Member,
    Message,
    Principle,
    Prompt,
    Result,
)

T = TypeVar("T")

FIXED_TEXT = "given"
"""The model name of a text that was passed in rather than generated."""


def compare_texts(
    prompt: Prompt, constitution: Constitution, draws: Draws, first: str, second: str
) -> Steps[Comparison]:
    """Compare two fixed responses as a build compares two sampled ones."""
    return with_texts(compare(prompt, 0, constitution, draws), first, second)


def single_principle(constitution: Constitution, principle: Principle) -> Constitution:
    """The constitution reduced to one principle: one round of critique, and the only one to judge.

    The principle need not be one of the constitution's.
    """
    plan = replace(constitution.plan, rounds=1, draw="fixed", with_replacement=False, check=False)
    feedback = replace(constitution.feedback, principles_per_pair="all")
    return replace(constitution, members=(Member(principle),), plan=plan, feedback=feedback)


def with_texts(steps: Steps[T], *texts: str) -> Steps[T]:
    """Run a procedure with fixed texts as the results of its first request."""
    next(steps)
    results: tuple[Result, ...] = tuple(_generation(text) for text in texts)
    try:
        while True:
            results = yield steps.send(results)
    except StopIteration as end:
        outcome: T = end.value
        return outcome


def as_prompt(text: str, source: str = "") -> Prompt:
    """A prompt of one user turn, with the default id of a row in a prompts file."""
    messages = (Message("user", text),)
    return Prompt(default_id(messages), messages, source)


def _generation(text: str) -> Generation:
    return Generation(text, (), "stop", FIXED_TEXT, "", 0, 0)
