"""The backend of a Ray cluster: workers compute, and the process of the build drives them.

A result depends on its request and its group alone, so it does not matter which worker computes
it, nor how often: a build on any number of workers writes the bytes of a local one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cai.backends.base import GroupResult, ModelInfo, Prepared, Throughput
from cai.backends.ray_pool import WorkerPool
from cai.backends.ray_worker import PROBE, Order
from cai.errors import ModelError
from cai.types import Request


class Front(Protocol):
    """The part of a backend that the driver does itself; it needs no weights."""

    def prepare(self, request: Request) -> Prepared:
        """Encode a request and compute its key."""
        ...

    def verify(self, requests: Sequence[Request]) -> None:
        """Raise `ModelError` if requests of these kinds can't be answered."""
        ...


class RayBackend:
    """One of the backends that the workers of a pool hold.

    name: the workers' name for it. front: prepares the requests. Raises `ModelError` if the workers
    encode in another way.
    """

    def __init__(self, pool: WorkerPool, name: str, front: Front) -> None:
        self._pool, self._name, self._front = pool, name, front
        self._facts = pool.facts.backends[name]
        if front.prepare(PROBE).key != self._facts.probe:
            raise ModelError(
                f"the workers encode requests for {self._facts.info.name} in another way than this"
                " machine",
                hint="Use the same tokenizer files and versions of the libraries on every machine.",
            )

    @property
    def info(self) -> ModelInfo:
        """The model behind it, as the workers have it."""
        return self._facts.info

    @property
    def capacity(self) -> int:
        """The number of conversations that all workers together can work on at once."""
        return self._facts.capacity * len(self._pool)

    @property
    def throughput(self) -> Throughput:
        """Token counts of all workers so far."""
        return self._pool.throughput(self._name)

    @property
    def has_price(self) -> bool:
        """Whether the model is served, and its price is known."""
        return bool(getattr(self._front, "has_price", False))

    def verify(self, requests: Sequence[Request]) -> None:
        """Raise `ModelError` if requests of these kinds can't be answered."""
        self._front.verify(requests)
        self._pool.verify(self._name, requests)

    def prepare(self, request: Request) -> Prepared:
        """Encode a request and compute its key, in this process."""
        return self._front.prepare(request)

    def submit(self, ticket: int, group: Sequence[Prepared], conversation: str) -> None:
        """Queue a group for the worker that holds its conversation."""
        self._pool.submit(Order(self._name, ticket, tuple(group), conversation))

    def poll(self, timeout: float | None = None) -> list[GroupResult]:
        """Wait until at least one group is finished, `timeout` seconds at most.

        Raises `ModelError` where workers die again and again.
        """
        return self._pool.results(self._name, timeout)

    def release(self, conversation: str) -> None:
        """Free the KV cache of a conversation that is over."""
        self._pool.release(conversation)
