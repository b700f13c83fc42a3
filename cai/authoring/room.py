"""Whether what a principle adds to a prompt leaves room in a model's context."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cai.authoring.stages import STAGES, StageTexts, stage_messages
from cai.constitution.load import Loader
from cai.errors import Problem
from cai.types import Constitution, Messages

SHARE = 0.5
"""Of the context, what a principle's own words may take."""


def too_long(
    constitution: Constitution, context: int, count: Callable[[Messages], int]
) -> Iterator[Problem]:
    """Principles whose messages, with nothing but them in it, take more than half of the context.

    count: the tokens of messages as the model reads them. context: positions of the model.
    """
    empty = StageTexts("", "", "", "")
    for member in constitution.members:
        principle = member.principle
        for stage in STAGES:
            messages, _ = stage_messages(stage, constitution, principle, empty)
            tokens = count(messages)
            if tokens > SHARE * context:
                place = ("examples",) if principle.examples else ("stages",)
                yield _problem(principle.path, place, stage, tokens, context)
                break


def _problem(file: str, place: tuple[str], stage: str, tokens: int, context: int) -> Problem:
    source = Loader().source(Path(file))
    what = f"{stage} takes {tokens:,} of the model's {context:,} tokens before anybody speaks"
    hint = "Shorten it, or show fewer examples."
    if source is None:
        return Problem(file, 1, 1, "C073", what, hint)
    return source.problem(place, "C073", what, hint, key=True)
