"""Whether a principle's own text leaves enough of a model's context length for conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cai.authoring.rendering import STAGES, StageTexts, stage_messages
from cai.constitution.load import Loader
from cai.errors import Problem
from cai.types import Constitution, Messages

SHARE = 0.5
"""The share of the context that a principle's own text may take."""


def too_long(
    constitution: Constitution, context: int, count: Callable[[Messages], int]
) -> Iterator[Problem]:
    """Problems of principles whose messages alone take more than half of the context.

    count: messages → tokens as the model reads them. context: positions of the model.
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
    what = f"{stage} takes {tokens:,} of the model's {context:,} tokens with an empty conversation"
    hint = "Shorten it, or show fewer examples."
    if source is None:
        return Problem(file, 1, 1, "C073", what, hint)
    return source.problem(place, "C073", what, hint, key=True)
