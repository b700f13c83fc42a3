"""A request to a guard: a conversation, and what its sender asks of the answer."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from cai.digest import digest
from cai.pipeline.steps import BuildStage, Draws
from cai.types import Messages, Prompt, Sampling

_ANSWERS: frozenset[BuildStage] = frozenset(("response", "revision"))
"""The stages whose text may be what is sent."""


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A conversation to answer. What is None, or empty, is left to the guard's own sampling.

    max_new_tokens: of the answer, and of each revision of it. seed: equal requests with a seed have
    equal answers; without one, each is drawn anew. user: whom the sender asks for, for the record.
    """

    messages: Messages
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    user: str = ""
    number: str = field(default_factory=lambda: secrets.token_hex(8))
    """Tells the request from equal ones."""

    @property
    def id(self) -> str:
        """The id of the request's prompt in the store."""
        return "q-" + digest([self.messages, self.number])[:16]

    @property
    def trace_id(self) -> str:
        """The id of the request's trace, known before there is an answer."""
        return "t-" + digest(["guard", self.id])[:16]

    def prompt(self) -> Prompt:
        """The prompt as the store keeps it, with the time of its arrival."""
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        meta = {"user": self.user} if self.user else {}
        return Prompt(self.id, self.messages, f"served {now}", meta)

    def seed_prompt(self) -> Prompt:
        """The prompt that every draw is seeded by: with a seed, equal requests have equal ones."""
        if self.seed is None:
            return Prompt(self.id, self.messages)
        return Prompt("s-" + digest([self.messages, self.seed])[:16], self.messages)


@dataclass(frozen=True, slots=True)
class RequestDraws(Draws):
    """The guard's draws, with what a request asks of the texts that may be its answer."""

    request: AnswerRequest = field(default_factory=lambda: AnswerRequest(()))

    def sampling(
        self, prompt: Prompt, stage: BuildStage, *place: object, stop: tuple[str, ...] = ()
    ) -> Sampling:
        """As of a build, but answers and revisions are sampled as the request asks."""
        sampling = Draws.sampling(self, prompt, stage, *place, stop=stop)
        if stage not in _ANSWERS:
            return sampling
        settings: dict[str, Any] = {
            "temperature": self.request.temperature,
            "top_p": self.request.top_p,
            "max_new_tokens": self.request.max_new_tokens,
            "stop": self.request.stop or None,
        }
        return replace(sampling, **{k: v for k, v in settings.items() if v is not None})
