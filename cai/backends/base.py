"""The interface between a build and the models that generate and score text.

A build submits requests and polls for results; batching and hardware are up to the backend. A
result may depend on its request and its group alone: never on its batch, on the order of arrival,
or on earlier requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cai.errors import CaiError
from cai.types import Request, Result, Sampling


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model: its name in results, and a digest of everything that changes what it writes.

    sampling: its own settings, for what a request leaves open. base, adapter: of a base model with
    a LoRA adapter. template: arguments of its chat template other than the defaults. reasons:
    whether it reasons before it answers. server: of a served model, what serves it and where.
    """

    name: str
    fingerprint: str
    sampling: Sampling = field(default_factory=Sampling)
    base: ModelInfo | None = None
    adapter: ModelInfo | None = None
    template: Mapping[str, Any] = field(default_factory=dict)
    reasons: bool = False
    server: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An encoded request. `key` is a digest of everything that determines its result.

    `payload` belongs to the backend (token ids, say), which gets it back unchanged.
    """

    request: Request
    key: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class GroupResult:
    """The results of a submitted group in its order, or the error that it failed with."""

    ticket: int
    results: tuple[Result, ...] = ()
    error: CaiError | None = None


@dataclass(frozen=True, slots=True)
class Throughput:
    """Token counts since the backend was made: prompt, response, and reused from a cache.

    cost: of the tokens of a served model by its price table; 0 without one.
    """

    prompt_tokens: int = 0
    response_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0


class Backend(Protocol):
    """A model that answers requests."""

    @property
    def info(self) -> ModelInfo:
        """The model behind it."""
        ...

    @property
    def capacity(self) -> int:
        """The number of conversations that the backend can work on at once."""
        ...

    @property
    def throughput(self) -> Throughput:
        """Token counts so far."""
        ...

    def verify(self, requests: Sequence[Request]) -> None:
        """Raise `ModelError` if requests of these kinds can't be answered; for use before a run."""
        ...

    def prepare(self, request: Request) -> Prepared:
        """Encode a request and compute its key. Raises `PromptError` if it can't be processed."""
        ...

    def submit(self, ticket: int, group: Sequence[Prepared], conversation: str) -> None:
        """Queue a group. Several `Score`s in a group share the prefix of their prompts.

        conversation: the name of a conversation that later groups extend, whose KV cache is kept.
        """
        ...

    def poll(self, timeout: float | None = None) -> list[GroupResult]:
        """Work until at least one group is finished; empty when nothing is queued.

        timeout: in seconds, after which it returns with nothing finished. A backend that computes
        in this process first ends the step that it is at.
        """
        ...

    def release(self, conversation: str) -> None:
        """Free the KV cache of a conversation that is over."""
        ...
