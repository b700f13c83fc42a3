"""The port between the engine and whatever writes the text.

The engine hands over requests and collects results; how they are batched, and on what, is the
backend's own affair. A result may depend on its request and its group alone: never on the batch
it shared, on the order of arrival, or on what ran before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cai.errors import CaiError
from cai.types import Request, Result, Sampling


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model: `name` as people know it, `fingerprint` a digest of everything that matters.

    sampling: its own settings, which hold where a request leaves them open. base, adapter: what it
    is made of, where it is a base with an adapter on it. template: how its chat template is called,
    where that is not the default. reasons: whether it reasons before it answers.
    """

    name: str
    fingerprint: str
    sampling: Sampling = field(default_factory=Sampling)
    base: ModelInfo | None = None
    adapter: ModelInfo | None = None
    template: Mapping[str, Any] = field(default_factory=dict)
    reasons: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request made ready. `key` digests all that determines its result.

    `payload` is the backend's own (token ids, say) and is handed back to it untouched.
    """

    request: Request
    key: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class GroupResult:
    """One submitted group, finished: `results` in the group's order, or `error`."""

    ticket: int
    results: tuple[Result, ...] = ()
    error: CaiError | None = None


@dataclass(frozen=True, slots=True)
class Throughput:
    """Counters since the backend was made: tokens read, written, and spared by caching."""

    prompt_tokens: int = 0
    response_tokens: int = 0
    cached_tokens: int = 0


class Backend(Protocol):
    """Something that can answer requests."""

    @property
    def info(self) -> ModelInfo:
        """The model behind it."""
        ...

    @property
    def capacity(self) -> int:
        """How many conversations are worth keeping open at once."""
        ...

    @property
    def throughput(self) -> Throughput:
        """What has been computed so far."""
        ...

    def prepare(self, request: Request) -> Prepared:
        """Encode a request and compute its key. Raises `PromptError` where it can't be served."""
        ...

    def submit(self, ticket: int, group: Sequence[Prepared], conversation: str) -> None:
        """Queue a group. A group of several `Score`s shares the prefix of its prompts.

        `conversation` names what later groups will extend, so that its cache can be kept.
        """
        ...

    def poll(self) -> list[GroupResult]:
        """Work until at least one group is finished; empty only when nothing is queued."""
        ...

    def release(self, conversation: str) -> None:
        """Nothing more will come for this conversation: its cache may go."""
        ...
