"""Procedures of a build: generators that yield requests for models and are sent the results.

A procedure such as `revise` yields an `Ask` and is sent its results; it knows nothing of batches,
caches and the store. `drive` runs many procedures at once.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar

from cai.errors import PromptError
from cai.text import seeds
from cai.types import Generate, Generation, Prompt, Request, Result, Sampling, Score, Scores

ModelRole: TypeAlias = Literal["generator", "critic", "judge"]
"""The role of a model in a build. One model may fill several roles."""

BuildStage: TypeAlias = Literal[
    "response",
    "critique",
    "revision",
    "check",
    "pair",
    "reasoning",
    "judgement",
    "choice",
    "document",
]
"""The stage of a request; random draws are seeded by it. `choice`: of an evaluation."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """A group of requests for one role; several scores in a group share their prefix.

    `stage` is the name of the stage in progress and traces.
    """

    role: ModelRole
    stage: BuildStage
    group: tuple[Request, ...]


Steps: TypeAlias = Generator[Ask, tuple[Result, ...], T]
"""A running procedure that will return a T."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The run's seed and sampling settings; makes the `Sampling` of each step.

    None leaves a setting to the model; without settings of its own it samples at temperature 1, as
    in the paper.
    """

    seed: int = 0
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int = 256
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_reasoning_tokens: int = 1024
    reasoners: frozenset[ModelRole] = frozenset()
    """Roles whose model reasons before it answers."""

    def sampling(
        self, prompt: Prompt, stage: BuildStage, *place: object, stop: tuple[str, ...] = ()
    ) -> Sampling:
        """Seeded by (run seed, prompt id, stage, place); `place` is a round, or pair and side."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            max_reasoning_tokens=self.max_reasoning_tokens,
            stop=stop,
            seed=seeds.derive(self.seed, prompt.id, stage, *place),
        )


def generations(results: tuple[Result, ...]) -> tuple[Generation, ...]:
    """The results of a group of `Generate` requests.

    Raises `PromptError` when one of them is reasoning that hit its limit before an answer.
    """
    out = tuple(r for r in results if isinstance(r, Generation))
    if len(out) != len(results):
        raise TypeError("a backend answered a Generate with scores")
    for r in out:
        if r.reasoning and not r.text and r.finish_reason == "length":
            raise PromptError(
                f"no answer: the reasoning of {r.model} was not finished after"
                f" {r.response_tokens} tokens",
                hint="Raise --max-reasoning-tokens, or turn reasoning off: --thinking off.",
            )
    return out


def scores(results: tuple[Result, ...]) -> tuple[Scores, ...]:
    """The results of a group of `Score` requests."""
    out = tuple(r for r in results if isinstance(r, Scores))
    if len(out) != len(results):
        raise TypeError("a backend answered a Score with text")
    return out


_ANSWER = 8
"""Most tokens of an answer that is generated only for the reasoning before it."""


def ask_scores(
    ask: Ask, prompt: Prompt, draws: Draws, *place: object
) -> Steps[tuple[tuple[Scores, ...], tuple[Generation, ...]]]:
    """Request a group of scores; a model that reasons is scored after its own reasoning.

    Returns the scores and the reasoning before each; empty for a model that does not reason.
    `place` distinguishes this question from the prompt's others. Raises `PromptError` for
    reasoning that hits its limit.
    """
    if ask.role not in draws.reasoners:
        return scores((yield ask)), ()
    requests = [request for request in ask.group if isinstance(request, Score)]
    thoughts = generations(
        (
            yield Ask(
                ask.role,
                "reasoning",
                tuple(
                    Generate(
                        request.messages,
                        replace(
                            draws.sampling(prompt, "reasoning", ask.stage, *place, number),
                            max_new_tokens=_ANSWER,
                        ),
                    )
                    for number, request in enumerate(requests)
                ),
            )
        )
    )
    with_reasoning = tuple(
        replace(request, reasoning=thought.reasoning)
        for request, thought in zip(requests, thoughts, strict=True)
    )
    return scores((yield Ask(ask.role, ask.stage, with_reasoning))), thoughts
