"""Procedures of a build on texts that are given, under one principle or under all.

A given text stands in for what the generator would have written first; everything after it is
asked as in a build. Tests of principles and the examination of a judge are made of these.
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

GIVEN = "given"
"""What stands as the model of a text that none wrote."""


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


def _written(text: str) -> Generation:
    return Generation(text, (), "stop", GIVEN, "", 0, 0)
