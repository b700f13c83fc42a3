"""What a worker of a Ray cluster does: it holds backends, answers orders, and says what it is.

A worker works in short shifts, one a call: it takes what was ordered, computes for a moment, and
returns what is finished. Ray itself is not imported here.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cai
from cai.backends.base import Backend, GroupResult, ModelInfo, Prepared, Throughput
from cai.errors import CaiError
from cai.types import Generate, Message, Request, Sampling

MakeBackends: TypeAlias = Callable[[], Mapping[str, Backend]]
"""Makes a worker's backends, by name. Several names may share one. It is sent to the workers."""

PROBE = Generate((Message("user", "Hello there."),), Sampling(max_new_tokens=1))
"""A request whose key shows that driver and worker encode alike."""

SHIFT_SECONDS = 0.05
"""Seconds for which a worker computes before it returns what is finished."""
_TURN = 0.005
"""Seconds for one backend while others have work, too."""


@dataclass(frozen=True, slots=True)
class Order:
    """A group of requests for one of a worker's backends."""

    backend: str
    ticket: int
    group: tuple[Prepared, ...]
    conversation: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """Finished groups with the names of their backends, and each backend's counts so far."""

    results: tuple[tuple[str, GroupResult], ...]
    throughputs: Mapping[str, Throughput]


@dataclass(frozen=True, slots=True)
class BackendFacts:
    """A worker's backend. probe: the key that it gives `PROBE`."""

    info: ModelInfo
    capacity: int
    probe: str


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker: its process, its version of cai, and its backends.

    names: the backend of each name that `MakeBackends` gave, a name among those of `backends`.
    """

    process: int
    host: str
    version: str
    backends: Mapping[str, BackendFacts]
    names: Mapping[str, str]


StartAnswer: TypeAlias = WorkerFacts | CaiError


class ModelWorker:
    """Backends in a process of their own. Errors for people are returned, not raised."""

    def __init__(self, make: MakeBackends) -> None:
        self._make = make
        self._backends: dict[str, Backend] = {}
        self._in_flight: Counter[str] = Counter()

    def start(self, verified: Mapping[str, Sequence[Request]] | None = None) -> StartAnswer:
        """Make the backends: load the models, or connect to their servers.

        verified: by backend, the requests that `verify` was called with before this worker began.
        """
        names: dict[str, str] = {}
        try:
            for name, backend in self._make().items():
                same = (n for n, other in self._backends.items() if other is backend)
                names[name] = next(same, name)
                self._backends.setdefault(names[name], backend)
            for name, requests in (verified or {}).items():
                self._backends[name].verify(requests)
            facts = {
                name: BackendFacts(backend.info, backend.capacity, backend.prepare(PROBE).key)
                for name, backend in self._backends.items()
            }
        except CaiError as error:
            return error
        return WorkerFacts(os.getpid(), socket.gethostname(), cai.__version__, facts, names)

    def verify(self, backend: str, requests: Sequence[Request]) -> CaiError | None:
        """Have a backend try requests: what it finds out of a server, it needs to answer them."""
        try:
            self._backends[backend].verify(requests)
        except CaiError as error:
            return error
        return None

    def work(self, orders: Sequence[Order], releases: Sequence[str]) -> Delivery | CaiError:
        """Work one shift. releases: the names of conversations that are over."""
        try:
            for conversation in releases:
                for backend in self._backends.values():
                    backend.release(conversation)
            for order in orders:
                backend = self._backends[order.backend]
                backend.submit(order.ticket, order.group, order.conversation)
                self._in_flight[order.backend] += 1
            results = tuple(self._shift())
        except CaiError as error:
            return error
        return Delivery(results, {name: b.throughput for name, b in self._backends.items()})

    def _shift(self) -> list[tuple[str, GroupResult]]:
        end, results = time.monotonic() + SHIFT_SECONDS, []
        while busy := [name for name, count in self._in_flight.items() if count]:
            for name in busy:
                seconds = _TURN if len(busy) > 1 else max(0.0, end - time.monotonic())
                groups = self._backends[name].poll(seconds)
                self._in_flight[name] -= len(groups)
                results += [(name, group) for group in groups]
            if time.monotonic() >= end:
                break
        return results
