"""Small values for tests: a constitution of three principles, generations, a procedure's player."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from cai.pipeline.steps import Ask, Steps
from cai.types import (
    Constitution,
    Example,
    Generate,
    Generation,
    Member,
    Message,
    Principle,
    Prompt,
    Request,
    Result,
    Scores,
    Templates,
)

T = TypeVar("T")

TEMPLATES = Templates(
    critique="{{ critique_request }} Else say: {{ no_problem }}",
    revise="{{ revision_request }}",
    compare="{{ conversation }}\n(A) {{ response_a }}\n(B) {{ response_b }}\n{{ question }}",
    compare_cot="(A) {{ response_a }}\n(B) {{ response_b }}\nThink: {{ question }}",
    contrast="{{ prompt }} ({% if wording %}{{ wording }}{% elif follow %}Be {{ principle }}."
    "{% else %}Be not {{ principle }}.{% endif %})",
)


def principle(name: str, **fields: Any) -> Principle:
    values: dict[str, Any] = {
        "id": name,
        "version": "1.0.0",
        "title": name.title(),
        "why": f"because of {name}",
        "critique_request": f"Name what is {name}.",
        "revision_request": f"Remove what is {name}.",
        "comparison_question": f"Which is less {name}?",
        "digest": f"digest-{name}",
    }
    return Principle(**(values | fields))


def constitution(*names: str, **fields: Any) -> Constitution:
    members = tuple(Member(principle(n)) for n in names or ("rude", "harmful", "vague"))
    values: dict[str, Any] = {
        "id": "test",
        "version": "1.0.0",
        "title": "Test",
        "members": members,
        "templates": TEMPLATES,
        "digest": "digest-constitution",
    }
    return Constitution(**(values | fields))


def prompt(text: str = "How do I bake bread?", name: str = "p-1", **meta: Any) -> Prompt:
    return Prompt(name, (Message("user", text),), "prompts.jsonl:1", meta)


def example(text: str) -> Example:
    return Example(f"{text}?", f"{text}!", f"{text} is bad.", f"{text}, please.")


def generation(text: str, key: str = "", finish: str = "stop") -> Generation:
    return Generation(text, (1, 2), finish, "model", "rendered", 3, 2, key or f"key:{text}")  # type: ignore[arg-type]


def scores(*logprobs: float, key: str = "key:scores") -> Scores:
    return Scores(logprobs, tuple("AB"[: len(logprobs)]), "model", "rendered", 3, key)


def play(steps: Steps[T], answer: Callable[[Ask, Request], Result]) -> tuple[T, list[Ask]]:
    """Run a procedure to its end, answering each request; returns its value and what it asked."""
    asked: list[Ask] = []
    results: tuple[Result, ...] | None = None
    try:
        while True:
            ask = next(steps) if results is None else steps.send(results)
            asked.append(ask)
            results = tuple(answer(ask, request) for request in ask.group)
    except StopIteration as end:
        return end.value, asked


def last(request: Request) -> str:
    """The text of the turn that a request answers."""
    return request.messages[-1].content


__all__ = [
    "Generate",
    "constitution",
    "example",
    "generation",
    "last",
    "play",
    "principle",
    "prompt",
]
