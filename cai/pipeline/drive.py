"""Run many procedures at once: ask the store first, then the models, and keep what comes back.

Every result is committed before the procedure that asked for it goes on, so a killed run has
lost only what no procedure had seen, and the next run takes up each of them where it stood.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from cai.backends.base import Backend, Done, Prepared
from cai.errors import CaiError, PromptError
from cai.pipeline.steps import Ask, BuildStage, ModelRole, Steps
from cai.store.store import Store
from cai.types import Prompt, Result

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PromptTask(Generic[T]):
    """A procedure to run for a prompt; `name` is unique among the tasks of a run."""

    name: str
    prompt: Prompt
    steps: Steps[T]


@dataclass
class Tally:
    """What has been done so far, for progress and for the summary.

    `generated` and `reused` count steps by stage; `finished` and `set_aside` count tasks out of
    `total`; `rows_set_aside` are input rows that never became a task.
    """

    total: int = 0
    finished: int = 0
    set_aside: int = 0
    rows_set_aside: int = 0
    generated: Counter[BuildStage] = field(default_factory=Counter)
    reused: Counter[BuildStage] = field(default_factory=Counter)


@dataclass
class _Open(Generic[T]):
    """A task that waits for an answer: what it asked, and which results are still missing."""

    task: PromptTask[T]
    ask: Ask
    prepared: tuple[Prepared, ...]
    known: dict[str, Result]

    @property
    def missing(self) -> tuple[Prepared, ...]:
        return tuple(p for p in self.prepared if p.key not in self.known)


def drive(
    tasks: Iterator[PromptTask[T]],
    by_role: Mapping[ModelRole, Backend],
    store: Store,
    tally: Tally,
    *,
    finish: Callable[[PromptTask[T], T], None],
    give_up: Callable[[PromptTask[T], PromptError], None],
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Run all tasks to their end, as many at a time as the backends have room for.

    finish: called with each task's outcome, inside the transaction that commits its last step.
    give_up: called, likewise inside a transaction, for a task whose prompt can't be served.
    tick: called after each round of work.
    Any other error of a backend ends the run; what came back before it is committed.
    """
    driver = _Driver(by_role, store, tally, finish, give_up)
    while driver.take(tasks):
        driver.answer()
        tick()
    tick()


class _Driver(Generic[T]):
    """The open tasks, and what they wait for."""

    def __init__(
        self,
        by_role: Mapping[ModelRole, Backend],
        store: Store,
        tally: Tally,
        finish: Callable[[PromptTask[T], T], None],
        give_up: Callable[[PromptTask[T], PromptError], None],
    ) -> None:
        self._by_role, self._store, self._tally = by_role, store, tally
        self._finish, self._give_up = finish, give_up
        self._backends = list({id(b): b for b in by_role.values()}.values())
        self._capacity = max(b.capacity for b in self._backends)
        self._tickets = itertools.count()
        self._waiting: dict[int, _Open[T]] = {}
        self._in_flight: Counter[int] = Counter()

    def take(self, tasks: Iterator[PromptTask[T]]) -> bool:
        """Open tasks until all slots wait for a model; False once nothing is left to wait for."""
        with self._store.transaction():
            while len(self._waiting) < self._capacity:
                task = next(tasks, None)
                if task is None:
                    break
                self._advance(task, None)
        return bool(self._waiting)

    def answer(self) -> None:
        """Let each backend work, commit what came back, then hand it to those who asked."""
        for backend in self._backends:
            if not self._in_flight[id(backend)]:
                continue
            done = backend.poll()
            self._in_flight[id(backend)] -= len(done)
            with self._store.transaction():
                failure = self._hand_on(done)
            if failure is not None:
                raise failure

    def _hand_on(self, done: list[Done]) -> CaiError | None:
        answered: list[tuple[_Open[T], tuple[Result, ...]]] = []
        failure: CaiError | None = None
        for d in done:
            opened = self._waiting.pop(d.ticket)
            if isinstance(d.error, PromptError):
                self._quit(opened.task, d.error)
            elif d.error is not None:
                failure = d.error
            else:
                answered.append((opened, d.results))
        for opened, results in answered:
            new = {
                p.key: replace(r, key=p.key) for p, r in zip(opened.missing, results, strict=True)
            }
            self._store.put_steps((p, new[p.key]) for p in opened.missing)
            self._tally.generated[opened.ask.stage] += len(results)
            known = opened.known | new
            if failure is None:
                self._advance(opened.task, tuple(known[p.key] for p in opened.prepared))
        return failure

    def _advance(self, task: PromptTask[T], results: tuple[Result, ...] | None) -> None:
        """Go on with a task until it needs a model or is finished."""
        try:
            while True:
                ask = next(task.steps) if results is None else task.steps.send(results)
                backend = self._by_role[ask.role]
                prepared = tuple(backend.prepare(request) for request in ask.group)
                known = self._store.get_steps([p.key for p in prepared])
                opened = _Open(task, ask, prepared, known)
                missing = opened.missing
                self._tally.reused[ask.stage] += len(prepared) - len(missing)
                if missing:
                    ticket = next(self._tickets)
                    self._waiting[ticket] = opened
                    self._in_flight[id(backend)] += 1
                    backend.submit(ticket, missing, task.name)
                    return
                results = tuple(known[p.key] for p in prepared)
        except StopIteration as end:
            self._finish(task, end.value)
            self._tally.finished += 1
            self._close(task)
        except PromptError as error:
            self._quit(task, error)

    def _quit(self, task: PromptTask[T], error: PromptError) -> None:
        self._give_up(task, error)
        self._tally.set_aside += 1
        self._close(task)

    def _close(self, task: PromptTask[T]) -> None:
        task.steps.close()
        for backend in self._backends:
            backend.release(task.name)
