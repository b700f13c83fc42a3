"""What a worker does, in this process: shifts, shared backends, errors that are returned."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

import cai
from cai.backends.base import GroupResult, Prepared
from cai.backends.ray_worker import Delivery, ModelWorker, Order, WorkerFacts
from cai.backends.scripted import ScriptedBackend
from cai.errors import CaiError, ModelError, PromptError, ServerError
from cai.types import Generate, Message, Request, Sampling, Score

USER = (Message("user", "?"),)


def order(backend: ScriptedBackend, ticket: int, text: str, name: str = "generator") -> Order:
    request = Generate((Message("user", text),), Sampling())
    return Order(name, ticket, (backend.prepare(request),), text)


def started(*backends: tuple[str, ScriptedBackend]) -> tuple[ModelWorker, WorkerFacts]:
    worker = ModelWorker(lambda: dict(backends))
    facts = worker.start()
    assert isinstance(facts, WorkerFacts)
    return worker, facts


def delivered(answer: Delivery | CaiError) -> dict[tuple[str, int], str]:
    assert isinstance(answer, Delivery)
    return {(name, g.ticket): g.results[0].text for name, g in answer.results}  # type: ignore[union-attr]


def test_names_that_share_a_backend_are_one() -> None:
    one, other = ScriptedBackend(name="one"), ScriptedBackend(name="other", capacity=3)
    _, facts = started(("generator", one), ("critic", one), ("judge", other))
    assert facts.names == {"generator": "generator", "critic": "generator", "judge": "judge"}
    assert facts.backends["judge"].capacity == 3
    assert facts.backends["generator"].info == one.info
    assert facts.process == os.getpid()
    assert facts.version == cai.__version__


def test_a_shift_answers_the_orders_of_all_backends() -> None:
    one, other = ScriptedBackend(default="one"), ScriptedBackend(default="other")
    worker, _ = started(("generator", one), ("judge", other))
    answer = worker.work([order(one, 1, "a"), order(other, 1, "b", "judge")], [])
    assert delivered(answer) == {("generator", 1): "one", ("judge", 1): "other"}
    assert isinstance(answer, Delivery)
    assert answer.throughputs["generator"].response_tokens == 1
    assert delivered(worker.work([], ["a"])) == {}


class Endless(ScriptedBackend):
    """Never finishes what is at hand in one shift."""

    released: list[str]

    def poll(self, timeout: float | None = None) -> list[GroupResult]:
        assert timeout is not None
        assert timeout <= 0.05
        return []

    def release(self, conversation: str) -> None:
        self.released.append(conversation)


def test_a_shift_ends_and_the_next_one_goes_on() -> None:
    backend = Endless()
    backend.released = []
    worker, _ = started(("generator", backend))
    assert delivered(worker.work([order(backend, 1, "a")], [])) == {}
    assert delivered(worker.work([], ["b"])) == {}
    assert backend.released == ["b"]


class Broken(ScriptedBackend):
    def submit(self, ticket: int, group: Sequence[Prepared], conversation: str) -> None:
        raise ModelError("the device is gone", hint="Look at it.")


def test_errors_for_people_are_returned() -> None:
    def fail() -> dict[str, Any]:
        raise ModelError("no weights", hint="Get some.")

    assert str(ModelWorker(fail).start()) == "no weights\n  Get some."
    backend = Broken()
    worker, _ = started(("generator", backend))
    assert isinstance(worker.work([order(backend, 1, "a")], []), ModelError)


@pytest.mark.parametrize("kind", [ModelError, PromptError, ServerError])
def test_errors_travel_whole(kind: type[CaiError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", hint="how")))
    assert type(error) is kind
    assert str(error) == "what\n  how"


class Probing(ScriptedBackend):
    """Answers only what it has tried."""

    tried: list[Request]

    def verify(self, requests: Sequence[Request]) -> None:
        if any(isinstance(r, Score) for r in requests):
            raise ServerError("no log-probabilities")
        self.tried.extend(requests)


def test_a_worker_tries_requests_and_a_later_one_does_so_at_its_start() -> None:
    backend = Probing()
    backend.tried = []
    request, score = Generate(USER, Sampling()), Score(USER, ("A", "B"))
    worker = ModelWorker(lambda: {"generator": backend})
    assert isinstance(worker.start({"generator": (request,)}), WorkerFacts)
    assert backend.tried == [request]
    assert worker.verify("generator", [request]) is None
    assert backend.tried == [request, request]
    assert isinstance(worker.verify("generator", [score]), ServerError)
    assert isinstance(
        ModelWorker(lambda: {"generator": backend}).start({"generator": (score,)}), ServerError
    )
