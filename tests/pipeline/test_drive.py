"""The driver with the real store and scripted replies: nothing asked twice, faults kept apart."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cai.backends.scripted import ScriptedBackend
from cai.errors import CaiError, ModelError, PromptError
from cai.pipeline.build import build
from cai.pipeline.config import BuildConfig
from cai.pipeline.drive import PromptTask, Tally, drive
from cai.pipeline.steps import Ask, Draws, Steps, generations
from cai.store.store import Store
from cai.types import Generate, Prompt
from tests.factories import constitution, prompt

DRAWS = Draws(seed=1)


def twice(p: Prompt) -> Steps[str]:
    """Two questions, the second of which quotes the first answer."""
    out = []
    for stage in ("response", "critique"):
        sampling = DRAWS.sampling(p, stage)
        (answer,) = generations((yield Ask("generator", stage, (Generate(p.messages, sampling),))))
        out.append(answer.text)
    return "+".join(out)


class Runs:
    """Drives `twice` over some prompts and keeps what happened."""

    def __init__(self, store: Store, backend: Any) -> None:
        self.store, self.backend = store, backend
        self.finished: dict[str, str] = {}
        self.given_up: dict[str, str] = {}
        self.tally = Tally()

    def go(self, names: list[str]) -> Runs:
        tasks: Iterator[PromptTask[str]] = (
            PromptTask(n, p, twice(p)) for n in names for p in [prompt(f"Question {n}?", n)]
        )
        with self.store.grouped(0.05) as commits:
            drive(
                tasks,
                {"generator": self.backend, "critic": self.backend, "judge": self.backend},
                self.store,
                self.tally,
                finish=lambda task, text: self.finished.__setitem__(task.name, text),
                give_up=lambda task, error: self.given_up.__setitem__(task.name, str(error)),
                commits=commits,
            )
        return self


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as opened:
        yield opened


def scripted(**replies: str) -> ScriptedBackend:
    return ScriptedBackend(replies=[*replies.items(), ("", "fine")])


def test_every_task_runs_to_its_end(store: Store) -> None:
    names = [f"t{n}" for n in range(40)]
    runs = Runs(store, scripted()).go(names)
    assert runs.finished == dict.fromkeys(names, "fine+fine")
    assert runs.tally.finished == 40
    assert runs.tally.generated == Counter(response=40, critique=40)


def test_a_second_run_asks_no_model(store: Store) -> None:
    Runs(store, scripted()).go(["a", "b"])
    again = Runs(store, scripted()).go(["a", "b", "c"])
    assert again.tally.reused == Counter(response=2, critique=2)
    assert again.tally.generated == Counter(response=1, critique=1)
    assert again.finished == dict.fromkeys("abc", "fine+fine")


def test_results_of_a_fast_backend_share_commits(store: Store) -> None:
    statements: list[str] = []
    store._db._connection.set_trace_callback(statements.append)
    Runs(store, scripted()).go([f"t{n}" for n in range(200)])
    inserts = sum(text.startswith("INSERT OR IGNORE INTO steps") for text in statements)
    assert inserts == 400
    assert statements.count("COMMIT") < inserts / 4


class Slow(ScriptedBackend):
    """Takes its time, and says what another process can read meanwhile."""

    path: Path
    readable: list[int]

    def poll(self, timeout: float | None = None) -> Any:
        time.sleep(0.06)
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as opened:
            self.readable.append(opened.execute("SELECT count(*) FROM steps").fetchone()[0])
        return super().poll(timeout)


def test_results_of_a_slow_backend_are_committed_before_it_works_on(store: Store) -> None:
    backend = Slow(replies=[("", "fine")])
    backend.path, backend.readable = store.path, []
    Runs(store, backend).go(["a", "b"])
    assert backend.readable == [0, 1, 2, 3]


class Waiting(ScriptedBackend):
    """A server's client whose second answer takes long."""

    timeouts: list[float | None]

    def poll(self, timeout: float | None = None) -> Any:
        self.timeouts.append(timeout)
        if timeout is not None:
            time.sleep(timeout)
            return []
        return super().poll(timeout)


def test_a_backend_does_not_wait_for_long_while_a_result_is_uncommitted(store: Store) -> None:
    backend = Waiting(replies=[("", "fine")])
    backend.timeouts = []
    Runs(store, backend).go(["a"])
    waits = [t for t in backend.timeouts if t is not None]
    assert waits
    assert max(waits) <= 0.05
    assert len(backend.timeouts) - len(waits) == 2, "then it may take its time"


class Faulty(ScriptedBackend):
    """Refuses one prompt, as a model does whose context is too short for it."""

    error: Exception = PromptError("too long")

    def prepare(self, request: Any) -> Any:
        if "poison" in request.messages[0].content:
            raise self.error
        return super().prepare(request)


def test_a_poison_row_is_set_aside_and_the_others_go_on(store: Store) -> None:
    runs = Runs(store, Faulty(replies=[("", "fine")])).go(["a", "poison", "b"])
    assert sorted(runs.finished) == ["a", "b"]
    assert runs.given_up == {"poison": "too long"}
    assert runs.tally.set_aside == 1


def test_any_other_error_ends_the_run_and_keeps_what_was_done(store: Store) -> None:
    backend = Faulty(replies=[("", "fine")])
    Runs(store, backend).go(["a", "b"])
    backend.error = ModelError("the device is gone")
    with pytest.raises(ModelError, match="device"):
        Runs(store, backend).go(["a", "poison"])
    assert Runs(store, backend).go(["a", "b"]).tally.generated == Counter()


def test_a_build_takes_an_iterator_of_prompts(store: Store) -> None:
    prompts = [prompt("One?", "a"), prompt("Two?", "b")]
    config = BuildConfig(pairs=0)
    from_list = build(constitution(), prompts, store, scripted(), config)
    from_iterator = build(constitution(), iter(prompts), store, scripted(), config)
    assert from_iterator == from_list
    assert {t.prompt.id for t in store.traces(from_list.id)} == {"a", "b"}


def test_a_task_that_arrives_while_others_are_at_work_is_taken(store: Store) -> None:
    """None says that no task is ready now: the drive asks again until it is done with those open.

    Six results, a group a turn: c arrives after two of them, and d when none is open any more.
    """
    finished: list[str] = []
    arrivals = iter(["a", "b", None, None, "c", None, None, None, None, "d"])

    def live() -> Iterator[PromptTask[str] | None]:
        for name in arrivals:
            p = prompt(f"Question {name}?", name or "none")
            yield PromptTask(name, p, twice(p)) if name else None

    backend = ScriptedBackend(replies=[("", "fine")], capacity=3)
    drive(
        live(),
        {"generator": backend, "critic": backend, "judge": backend},
        store,
        Tally(),
        finish=lambda task, _: finished.append(task.name),
        give_up=lambda *_: None,
    )
    assert finished == ["a", "b", "c"]
    assert list(arrivals) == ["d"]


def test_an_error_of_a_task_alone_may_be_any(store: Store) -> None:
    backend = Faulty(replies=[("", "fine")])
    backend.error = ModelError("the device is gone")
    failures: dict[str, str] = {}
    tasks = [PromptTask(n, p, twice(p)) for n in ("a", "poison") for p in [prompt(f"{n}?", n)]]
    drive(
        iter(tasks),
        {"generator": backend, "critic": backend, "judge": backend},
        store,
        tally := Tally(),
        finish=lambda *_: None,
        give_up=lambda task, error: failures.update({task.name: str(error)}),
        task_errors=CaiError,
    )
    assert (failures, tally.finished) == ({"poison": "the device is gone"}, 1)
