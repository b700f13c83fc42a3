"""A guard at work, with a real store: what is recorded, and what happens where something fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cai.backends.base import Backend
from cai.errors import GuardError, ModelError, PromptError, StoreError
from cai.guard.answer import GuardedAnswer
from cai.guard.config import GuardConfig
from cai.guard.model import GuardedModel
from cai.guard.records import RunRecords
from cai.guard.request import AnswerRequest
from cai.guard.run import guard_run
from cai.guard.session import AnswerTimeoutError, GuardSession, SenderGoneError
from cai.guard.worker import GuardWorker, QueueFullError
from cai.pipeline.build import Models
from cai.store.store import Store
from cai.types import Message, SetAside
from tests.factories import constitution
from tests.guard.helpers import failing, gated, model, wait_for

RULES = constitution("rude", "vague")
HELLO = (Message("user", "Hello."),)


class Guarded:
    """A guarded model with a store of its own."""

    def __init__(self, folder: Path, backend: Backend | Models, **config: Any) -> None:
        models = backend if isinstance(backend, Models) else Models.all(backend)
        self.config = GuardConfig(**config)
        self.store = Store.open(folder / "store.sqlite")
        self.run = guard_run(RULES, models, self.config, "guard")
        self.store.put_run(self.run)
        records = RunRecords(self.store, self.run.id)
        self.session = GuardSession(RULES, models, self.config, records)

    def answer(self, request: AnswerRequest | None = None) -> GuardedAnswer:
        waiting = self.session.open(request or AnswerRequest(HELLO))
        self.session.run(iter([waiting]))
        return waiting.answer.result(0)

    @property
    def set_aside(self) -> list[SetAside]:
        return list(self.store.set_asides(self.run.id))


def test_an_answer_is_recorded_under_the_id_that_was_known_before(tmp_path: Path) -> None:
    guard = Guarded(tmp_path, model("Bad."))
    request = AnswerRequest(HELLO, user="ann")
    answer = guard.answer(request)
    assert answer.text == "Better." and answer.trace.id == request.trace_id
    (stored,) = guard.store.traces(guard.run.id)
    assert stored == answer.trace
    assert (stored.prompt.id, stored.prompt.meta) == (request.id, {"user": "ann"})
    assert stored.prompt.source.startswith("served 20")
    assert [i.principle_id for i in answer.interventions] == [stored.revisions[0].principle_id]
    assert guard.set_aside == []


def test_what_was_withheld_is_in_the_store(tmp_path: Path) -> None:
    guard = Guarded(tmp_path, model("Bad.", p=0.2), mode="filter")
    answer = guard.answer()
    (stored,) = guard.store.traces(guard.run.id)
    assert stored.withheld is not None and stored.withheld.text == answer.text
    assert stored.withheld.reason.endswith("0.2 is below 0.5") and stored.final == "Bad."


def test_a_threshold_has_the_check_that_it_needs(tmp_path: Path) -> None:
    """Of a constitution whose plan has none, in a mode that reports it alone."""
    unchecked = replace(RULES, plan=replace(RULES.plan, check=False))
    low = model(p=0.2)
    assert GuardedModel(unchecked, low).answer("Hello.").principles == {}
    guarded = GuardedModel(unchecked, low, GuardConfig(threshold=0.5)).answer("Hello.")
    assert guarded.finish_reason == "content_filter"


def test_equal_requests_with_a_seed_have_equal_answers_and_traces_of_their_own(
    tmp_path: Path,
) -> None:
    guard = Guarded(tmp_path, model([f"Answer {n}." for n in range(99)]))
    answers = [guard.answer(AnswerRequest(HELLO, seed=7)).text for _ in range(3)]
    assert len(set(answers)) == 1
    assert len({guard.answer().text for _ in range(8)}) > 1
    assert guard.store.counts(guard.run.id)["trace"] == 11


def test_the_n_answers_are_comparisons_of_one_prompt(tmp_path: Path) -> None:
    guard = Guarded(tmp_path, model([f"Answer {n}." for n in range(99)]), mode="best-of-n", n=3)
    for _ in range(2):
        answer = guard.answer(AnswerRequest(HELLO, seed=7))
    assert len(answer.comparisons) == 2
    comparisons = list(guard.store.comparisons(guard.run.id))
    assert len({c.id for c in comparisons}) == 4
    records = guard.store.find(answer.trace.prompt.id)
    assert {r.record.id for r in records} == {answer.trace.id, *(c.id for c in answer.comparisons)}


# -- failures --------------------------------------------------------------------------------------


def test_a_critic_that_fails_lets_nothing_through(tmp_path: Path) -> None:
    critic = model(critique=failing(ModelError("the critic is gone")))
    guard = Guarded(tmp_path, Models(model("Bad."), critic, critic))
    with pytest.raises(GuardError, match="can't be vouched for: the critic is gone"):
        guard.answer()
    assert [row.reason for row in guard.set_aside] == ["guard failed: the critic is gone"]
    assert guard.store.counts(guard.run.id)["trace"] == 0


def test_a_guard_that_fails_open_sends_the_answer_and_says_so(tmp_path: Path) -> None:
    critic = model(critique=failing(PromptError("too long: 2000 tokens")))
    guard = Guarded(tmp_path, Models(model("Bad."), critic, critic), on_failure="open")
    answer = guard.answer()
    assert (answer.text, answer.failure) == ("Bad.", "too long: 2000 tokens")
    assert [i.kind for i in answer.interventions] == ["unguarded"]
    assert [row.reason for row in guard.set_aside] == ["sent all the same: too long: 2000 tokens"]
    assert [t.final for t in guard.store.traces(guard.run.id)] == ["Bad."]


@pytest.mark.parametrize("on_failure", ["open", "closed"])
def test_a_model_that_fails_has_nothing_to_send(on_failure: Any, tmp_path: Path) -> None:
    backend = model(failing(PromptError("too long: 9 tokens")))
    guard = Guarded(tmp_path, backend, on_failure=on_failure)
    with pytest.raises(PromptError, match="too long"):
        guard.answer()
    assert [row.reason for row in guard.set_aside] == ["not answered: too long: 9 tokens"]


def test_one_that_fails_spoils_no_other(tmp_path: Path) -> None:
    backend = model(
        lambda r: "Fine." if "Hello" in r.messages[0].content else failing(ModelError("no more"))(r)
    )
    guard = GuardedModel(RULES, backend)
    good, bad = guard.answers(["Hello.", "Goodbye."])
    assert isinstance(good, GuardedAnswer) and good.text == "Fine."
    assert isinstance(bad, ModelError)


@pytest.mark.parametrize("on_failure", ["open", "closed"])
def test_an_answer_that_takes_too_long(on_failure: Any, tmp_path: Path) -> None:
    """The critic never answers; the time limit is looked at while everybody waits."""
    critic = gated()
    models = Models(model("Bad."), critic, critic)
    guard = Guarded(tmp_path, models, on_failure=on_failure, timeout=0.3)
    waiting = guard.session.open(AnswerRequest(HELLO))

    def open_the_gate() -> None:
        if waiting.answer.done():
            critic.gate.set()  # so that the run comes to its end

    guard.session.run(iter([waiting]), open_the_gate)
    if on_failure == "open":
        answer = waiting.answer.result(0)
        assert (answer.text, answer.failure) == ("Bad.", "No answer within 0.3 seconds")
    else:
        assert isinstance(waiting.answer.exception(0), AnswerTimeoutError)
    assert len(guard.set_aside) == 1


def test_nothing_more_is_asked_for_a_sender_that_went_away(tmp_path: Path) -> None:
    backend = gated()
    guard = Guarded(tmp_path, backend)
    waiting = guard.session.open(AnswerRequest(HELLO))
    ticks = iter(range(100))

    def hang_up() -> None:
        if next(ticks) == 1:
            waiting.answer.cancel()
            backend.gate.set()

    guard.session.run(iter([waiting]), hang_up)
    assert len(backend.requests) == 1  # the answer that was being written; no critique
    assert [row.reason for row in guard.set_aside] == [
        "not answered: The sender went away before the answer."
    ]
    assert SenderGoneError.exit_code == 1


def test_an_answer_that_can_t_be_recorded_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guarded(tmp_path, model())

    def full(*_: Any) -> None:
        raise StoreError("no space is left")

    monkeypatch.setattr(Store, "put_trace", full)
    waiting = guard.session.open(AnswerRequest(HELLO))
    with pytest.raises(StoreError):
        guard.session.run(iter([waiting]))
    assert isinstance(waiting.answer.exception(0), StoreError)


def test_an_answer_is_on_disk_before_it_is_handed_over(tmp_path: Path) -> None:
    """Another connection sees it at the moment at which the sender's wait ends."""
    guard, counts = Guarded(tmp_path, model()), []
    waiting = guard.session.open(AnswerRequest(HELLO))

    def look(_: object) -> None:
        with Store.open(guard.store.path, read_only=True) as other:
            counts.append(other.counts(guard.run.id)["trace"])

    waiting.answer.add_done_callback(look)
    guard.session.run(iter([waiting]))
    assert counts == [1]


def test_without_a_store_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    guard = GuardedModel(RULES, model("Bad."))
    assert guard.answer("Hello.").text == "Better."
    assert list(tmp_path.iterdir()) == []


# -- the worker ------------------------------------------------------------------------------------


@contextmanager
def working(backend: Backend, most_open: int = 64, **config: Any) -> Iterator[GuardWorker]:
    models, settings = Models.all(backend), GuardConfig(**config)

    @contextmanager
    def session() -> Iterator[GuardSession]:
        from cai.guard.records import NoRecords

        yield GuardSession(RULES, models, settings, NoRecords())

    worker = GuardWorker(session, most_open)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def test_requests_of_many_threads_are_answered_and_a_full_queue_says_when_to_come_again() -> None:
    backend = gated()
    with working(backend, most_open=3) as worker:
        waiting = [worker.submit(AnswerRequest(HELLO)) for _ in range(3)]
        with pytest.raises(QueueFullError) as error:
            worker.submit(AnswerRequest(HELLO))
        assert error.value.seconds == 1
        backend.gate.set()
        assert {w.answer.result(10).text for w in waiting} == {"Fine."}
        assert worker.submit(AnswerRequest(HELLO)).answer.result(10).text == "Fine."


def test_a_request_that_comes_while_others_wait_is_taken_at_once() -> None:
    backend = gated()
    with working(backend) as worker:
        worker.submit(AnswerRequest(HELLO))
        wait_for(lambda: len(backend._queue) == 1)
        worker.submit(AnswerRequest(HELLO))
        wait_for(lambda: len(backend._queue) == 2)
        backend.gate.set()


def test_a_request_that_waits_for_a_busy_model_is_not_forgotten() -> None:
    """Its time runs, too, while the model has room for one conversation alone."""
    backend = gated(capacity=1)
    with working(backend, timeout=0.3) as worker:
        waiting = [worker.submit(AnswerRequest(HELLO)) for _ in range(3)]
        errors = [w.answer.exception(5) for w in waiting]
        assert all(isinstance(error, AnswerTimeoutError) for error in errors)
        backend.gate.set()
        assert worker.submit(AnswerRequest(HELLO)).answer.result(10).text == "Fine."


def test_who_waits_when_it_stops_is_told() -> None:
    with working(gated()) as worker:
        waiting = [worker.submit(AnswerRequest(HELLO)) for _ in range(20)]  # more than its capacity
    assert all(isinstance(w.answer.exception(1), GuardError) for w in waiting)
    assert worker.failure is None and not worker.is_alive
    with pytest.raises(GuardError, match="stopping"):
        worker.submit(AnswerRequest(HELLO))


def test_a_failure_of_the_session_ends_the_worker_and_is_told() -> None:
    backend = model(lambda _: 1 // 0)  # no error that is meant for people
    with working(backend) as worker:
        waiting = worker.submit(AnswerRequest(HELLO))
        assert isinstance(waiting.answer.exception(10), GuardError)
        wait_for(lambda: worker.failure is not None)
        assert isinstance(worker.failure, ZeroDivisionError) and not worker.is_alive


def test_what_a_session_can_t_open_is_raised_at_the_start() -> None:
    @contextmanager
    def session() -> Iterator[GuardSession]:
        raise StoreError("the store is damaged")
        yield

    with pytest.raises(StoreError, match="damaged"):
        GuardWorker(session).start()
