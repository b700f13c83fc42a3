"""What a conversation with models looks like from inside: ask, get an answer, go on.

A procedure such as `revise` is a generator. It yields an `Ask` and is sent the results; it never
sees a batch, a cache or the store. `drive` runs many of them at once.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar

from cai.errors import PromptError
from cai.text import seeds
from cai.types import Generate, Generation, Prompt, Request, Result, Sampling, Score, Scores

ModelRole: TypeAlias = Literal["generator", "critic", "judge"]
"""Who is asked. The roles may be filled by different models, or all by one."""

BuildStage: TypeAlias = Literal[
    "response", "critique", "revision", "check", "pair", "reasoning", "judgement"
]
"""What is asked for; also the stage that seeds a draw."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """A group of requests for one model; several scores in a group share their prefix.

    `stage` says what for, in the words that progress and traces use.
    """

    role: ModelRole
    stage: BuildStage
    group: tuple[Request, ...]


Steps: TypeAlias = Generator[Ask, tuple[Result, ...], T]
"""A procedure under way that will return a T."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The run's seed and how text is sampled; makes the `Sampling` of each step.

    None leaves a setting to the model that is asked; where it states none, text is drawn at
    temperature 1, as in the paper.
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
    """The results of a group of `Generate`.

    Raises `PromptError` where one of them is reasoning that never came to an answer.
    """
    out = tuple(r for r in results if isinstance(r, Generation))
    if len(out) != len(results):
        raise TypeError("a backend answered a Generate with scores")
    for r in out:
        if r.reasoning and not r.text and r.finish_reason == "length":
            raise PromptError(
                f"no answer: the reasoning of {r.model} did not come to one within"
                f" {r.response_tokens} tokens",
                hint="Raise --max-reasoning-tokens, or turn reasoning off: --thinking off.",
            )
    return out


def scores(results: tuple[Result, ...]) -> tuple[Scores, ...]:
    """The results of a group of `Score`."""
    out = tuple(r for r in results if isinstance(r, Scores))
    if len(out) != len(results):
        raise TypeError("a backend answered a Score with text")
    return out


_ANSWER = 8
"""Tokens of an answer that is written for the sake of the reasoning before it."""


def scored(
    ask: Ask, prompt: Prompt, draws: Draws, *place: object
) -> Steps[tuple[tuple[Scores, ...], tuple[Generation, ...]]]:
    """Ask a group of scores; a model that reasons is scored behind its own reasoning.

    Returns the scores, and what was reasoned for each of them: nothing by a model that does not.
    `place` tells this question from the prompt's others. Raises `PromptError` for reasoning that
    does not come to its end.
    """
    if ask.role not in draws.reasoners:
        return scores((yield ask)), ()
    asked = [request for request in ask.group if isinstance(request, Score)]
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
                    for number, request in enumerate(asked)
                ),
            )
        )
    )
    behind = tuple(
        replace(request, reasoning=thought.reasoning)
        for request, thought in zip(asked, thoughts, strict=True)
    )
    return scores((yield Ask(ask.role, ask.stage, behind))), thoughts
