"""Run many procedures at once: results come from the store, or else from the models.

Every new result is written before the procedure that requested it continues. It is committed with
that, or with a group of others moments later: a kill takes what was not committed, and the next run
resumes each procedure where the store has it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from cai.backends.base import Backend, GroupResult, Prepared
from cai.errors import CaiError, PromptError
from cai.pipeline.steps import Ask, BuildStage, ModelRole, Steps
from cai.store.commit_group import CommitGroup
from cai.types import Prompt, Result

T = TypeVar("T")

_TURN = 0.005
"""Seconds to wait for one backend while others have work, too."""


class StepStore(Protocol):
    """Where results are kept: a `cai.store.store.Store`, or what stands in for one."""

    def transaction(self) -> AbstractContextManager[None]:
        """Commits all that is written inside it, or nothing."""
        ...

    def get_steps(self, keys: Sequence[str]) -> dict[str, Result]:
        """The results of these keys that it has."""
        ...

    def put_steps(self, items: Iterable[tuple[Prepared, Result]]) -> None:
        """Keep results."""
        ...


class Unstored:
    """Keeps nothing: for results that must not be used again, such as those of changing weights."""

    def transaction(self) -> AbstractContextManager[None]:
        """No transaction."""
        return nullcontext()

    def get_steps(self, keys: Sequence[str]) -> dict[str, Result]:
        """No results."""
        return {}

    def put_steps(self, items: Iterable[tuple[Prepared, Result]]) -> None:
        """Forget them."""


@dataclass(frozen=True, slots=True)
class PromptTask(Generic[T]):
    """A procedure to run for a prompt; `name` is unique within a run."""

    name: str
    prompt: Prompt
    steps: Steps[T]


@dataclass
class Tally:
    """Counts of a run so far, for progress and for the summary.

    `generated` and `reused` count steps by stage; `finished` and `set_aside` count tasks out of
    `total`; `rows_set_aside` counts invalid input rows, which never became a task.
    """

    total: int = 0
    finished: int = 0
    set_aside: int = 0
    rows_set_aside: int = 0
    generated: Counter[BuildStage] = field(default_factory=Counter)
    reused: Counter[BuildStage] = field(default_factory=Counter)

    def plain(self) -> dict[str, Any]:
        """The values for an event of a run."""
        return {
            "finished": self.finished,
            "set_aside": self.set_aside,
            "generated": dict(sorted(self.generated.items())),
            "reused": dict(sorted(self.reused.items())),
        }


@dataclass
class _Open(Generic[T]):
    """A task that waits for a model: its requests, and the results that the store already has."""

    task: PromptTask[T]
    ask: Ask
    prepared: tuple[Prepared, ...]
    results: dict[str, Result]

    @property
    def missing(self) -> tuple[Prepared, ...]:
        return tuple(p for p in self.prepared if p.key not in self.results)


def drive(
    tasks: Iterator[PromptTask[T] | None],
    by_role: Mapping[ModelRole, Backend],
    store: StepStore,
    tally: Tally,
    *,
    finish: Callable[[PromptTask[T], T], None],
    give_up: Callable[[PromptTask[T], CaiError], None],
    tick: Callable[[], None] = lambda: None,
    turn: float | None = None,
    task_errors: type[CaiError] = PromptError,
    commits: CommitGroup | None = None,
    may_send: Callable[[], bool] = lambda: True,
) -> None:
    """Run all tasks to the end, as many at a time as the backends have capacity for.

    tasks: None among them means that no other is ready now; it is asked for again after the next
    results, and the drive ends when none is open. So a live queue can feed it.
    finish: called with each task's outcome, inside the transaction that commits its last step.
    give_up: called, also inside a transaction, for a task that fails with one of `task_errors`: by
    default, one whose prompt a model can't process.
    tick: called after each batch of results, and after each turn.
    turn: the most seconds to wait for results, so that new tasks need not wait for them; None for
    no limit.
    commits: of a `store.grouped` around this call, so that results of a fast backend share a
    commit; None commits each by itself.
    may_send: asked before each request. Where it says no, the task is left where it is, and the
    drive ends when the requests in flight are answered.
    Any other error ends the run; the results before it are committed.
    """
    driver = _Driver(by_role, store, tally, finish, give_up, turn, task_errors, may_send)
    while driver.take(tasks):
        driver.answer(commits.seconds_left if commits else None)
        if commits:
            commits.commit_if_due()
        tick()
    tick()


class _Driver(Generic[T]):
    """The open tasks, and the requests that they wait for."""

    def __init__(
        self,
        by_role: Mapping[ModelRole, Backend],
        store: StepStore,
        tally: Tally,
        finish: Callable[[PromptTask[T], T], None],
        give_up: Callable[[PromptTask[T], CaiError], None],
        turn: float | None,
        task_errors: type[CaiError],
        may_send: Callable[[], bool],
    ) -> None:
        self._by_role, self._store, self._tally = by_role, store, tally
        self._finish, self._give_up = finish, give_up
        self._turn, self._task_errors, self._may_send = turn, task_errors, may_send
        self._backends = list({id(b): b for b in by_role.values()}.values())
        self._capacity = max(b.capacity for b in self._backends)
        self._tickets = itertools.count()
        self._waiting: dict[int, _Open[T]] = {}
        self._in_flight: Counter[int] = Counter()

    def take(self, tasks: Iterator[PromptTask[T] | None]) -> bool:
        """Open tasks up to the capacity; False when no task is open any more."""
        while len(self._waiting) < self._capacity:
            task = next(tasks, None)
            if task is None:
                break
            with self._store.transaction():
                self._advance(task, None)
        return bool(self._waiting)

    def answer(self, timeout: float | None) -> None:
        """Let each backend work, write its results, then continue the tasks that need them.

        timeout: seconds to wait at most, since something waits to be committed; None if nothing.
        """
        busy = [b for b in self._backends if self._in_flight[id(b)]]
        turn = self._turn if len(busy) == 1 else _TURN
        limits = [seconds for seconds in (turn, timeout) if seconds is not None]
        for backend in busy:
            groups = backend.poll(min(limits, default=None))
            if not groups:
                continue
            self._in_flight[id(backend)] -= len(groups)
            with self._store.transaction():
                failure = self._hand_on(groups)
            if failure is not None:
                raise failure

    def _hand_on(self, groups: list[GroupResult]) -> CaiError | None:
        answers: list[tuple[_Open[T], tuple[Result, ...]]] = []
        failure: CaiError | None = None
        for group in groups:
            open_task = self._waiting.pop(group.ticket)
            if isinstance(group.error, self._task_errors):
                self._quit(open_task.task, group.error)
            elif group.error is not None:
                failure = group.error
            else:
                answers.append((open_task, group.results))
        for open_task, results in answers:
            new = {
                p.key: replace(r, key=p.key)
                for p, r in zip(open_task.missing, results, strict=True)
            }
            self._store.put_steps((p, new[p.key]) for p in open_task.missing)
            self._tally.generated[open_task.ask.stage] += len(results)
            by_key = open_task.results | new
            if failure is None:
                self._advance(open_task.task, tuple(by_key[p.key] for p in open_task.prepared))
        return failure

    def _advance(self, task: PromptTask[T], results: tuple[Result, ...] | None) -> None:
        """Continue a task until it needs a model or is finished; stored results are reused."""
        try:
            while True:
                ask = next(task.steps) if results is None else task.steps.send(results)
                backend = self._by_role[ask.role]
                prepared = tuple(backend.prepare(request) for request in ask.group)
                by_key = self._store.get_steps([p.key for p in prepared])
                open_task = _Open(task, ask, prepared, by_key)
                missing = open_task.missing
                self._tally.reused[ask.stage] += len(prepared) - len(missing)
                if missing and not self._may_send():
                    self._close(task)
                    return
                if missing:
                    ticket = next(self._tickets)
                    backend.submit(ticket, missing, task.name)  # a closed one raises: none waits
                    self._waiting[ticket] = open_task
                    self._in_flight[id(backend)] += 1
                    return
                results = tuple(by_key[p.key] for p in prepared)
        except StopIteration as end:
            self._finish(task, end.value)
            self._tally.finished += 1
            self._close(task)
        except self._task_errors as error:
            self._quit(task, error)

    def _quit(self, task: PromptTask[T], error: CaiError) -> None:
        self._give_up(task, error)
        self._tally.set_aside += 1
        self._close(task)

    def _close(self, task: PromptTask[T]) -> None:
        task.steps.close()
        for backend in self._backends:
            backend.release(task.name)
