"""Before a build: whether its models can answer what it will ask."""

from __future__ import annotations

from collections.abc import Mapping

from cai.backends.base import Backend
from cai.constitution import messages
from cai.pipeline.config import BuildConfig
from cai.pipeline.steps import ModelRole
from cai.types import Constitution, Generate, Message, Prompt, Request, Score

_EXAMPLE = Prompt("", (Message("user", "Hello."),))


def verify_models(
    constitution: Constitution, by_role: Mapping[ModelRole, Backend], config: BuildConfig
) -> None:
    """Have each model try requests like those of a build. Raises `ModelError` for one that fails.

    A model in this process answers anything; a model server may lack sampling or probabilities.
    """
    by_backend: dict[int, list[Request]] = {}
    for role, backend in by_role.items():
        by_backend.setdefault(id(backend), []).extend(_requests(role, constitution, config))
    for backend in {id(b): b for b in by_role.values()}.values():
        backend.verify(by_backend[id(backend)])


def _requests(role: ModelRole, constitution: Constitution, config: BuildConfig) -> list[Request]:
    """An example of each kind of request that a role gets."""
    generate = Generate(_EXAMPLE.messages, config.draws.sampling(_EXAMPLE, "response"))
    no_problem = Score(_EXAMPLE.messages, constitution.no_problem)
    if role == "generator":
        return [generate]
    if role == "critic":
        return [generate, *([no_problem] if constitution.plan.check else [])]
    if not config.asks_judge(constitution):
        return []
    if constitution.feedback.judging == "pointwise":
        return [no_problem]
    letters = Score(_EXAMPLE.messages, messages.ANSWERS, messages.ANSWER_PREFILL)
    return [letters, *([generate] if constitution.feedback.chain_of_thought else [])]
