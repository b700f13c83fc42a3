"""The tests of principles, run: without a model as far as that goes, or on one.

On a model a test is asked by the procedures of a build, under the constitution left with the one
principle: its templates, its plan's settings, its way of comparing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from cai.authoring.attempt import Attempt, play
from cai.authoring.promises import (
    OF_MODEL,
    OF_RESPONSE,
    asked_of_model,
    broken,
    broken_offline,
    what_came,
)
from cai.errors import Interrupted, PromptError
from cai.pipeline.build import BuildConfig, Models
from cai.pipeline.drive import PromptTask, Tally
from cai.pipeline.fixed_texts import as_prompt, compare_texts, single_principle, with_texts
from cai.pipeline.revise import revise
from cai.pipeline.steps import Draws, Steps
from cai.store.store import Store
from cai.types import Constitution, Principle, PrincipleTest

CaseStatus: TypeAlias = Literal["passed", "failed", "skipped"]

NEEDS_MODEL = "needs a model"


@dataclass(frozen=True, slots=True)
class PrincipleCase:
    """One test of one principle."""

    principle: Principle
    test: PrincipleTest

    @property
    def name(self) -> str:
        """`respect.rudeness: flags an insult`."""
        return f"{self.principle.id}: {self.test.name}"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of a case.

    note: why it was skipped, or what was not asked. held: in how many of `runs` all expectations
    held. failures: expectations that did not hold, or faults of the test itself, in words.
    came: of the first run that failed, what the model said, as (label, text). seconds: wall time
    from the first question to the last answer, summed over runs, which overlap.
    """

    case: PrincipleCase
    status: CaseStatus
    note: str = ""
    held: int = 0
    runs: int = 0
    failures: tuple[str, ...] = ()
    came: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Trials:
    """How often each test is asked, how text is drawn, and how many must pass."""

    draws: tuple[Draws, ...]
    need: int

    @classmethod
    def greedy(cls, seed: int = 0) -> Trials:
        """Once, always taking the likeliest token."""
        return cls((replace(BuildConfig(seed=seed).draws, temperature=0.0),), 1)

    @classmethod
    def repeated(cls, times: int, need: int, seed: int = 0) -> Trials:
        """Under so many seeds, from `seed` on, sampled as a build samples."""
        return cls(tuple(BuildConfig(seed=seed + n).draws for n in range(times)), need)


def cases(principles: Iterable[Principle], pattern: str = "") -> tuple[PrincipleCase, ...]:
    """The tests of principles whose `principle: name` holds the pattern, whatever its case."""
    found = (PrincipleCase(p, t) for p in principles for t in p.tests)
    return tuple(case for case in found if pattern.casefold() in case.name.casefold())


def counts(results: Iterable[CaseResult]) -> Counter[CaseStatus]:
    """How many passed, failed and were skipped."""
    return Counter(result.status for result in results)


def run_offline(
    cases: Iterable[PrincipleCase], constitution: Constitution
) -> tuple[CaseResult, ...]:
    """All that can be said without a model; the rest is skipped and says so."""
    return tuple(_offline(case, constitution) for case in cases)


def run_on(
    models: Models,
    cases: Iterable[PrincipleCase],
    constitution: Constitution,
    trials: Trials,
    progress: Callable[[int, int], None] = lambda done, total: None,
    store: Store | None = None,
) -> tuple[tuple[CaseResult, ...], Tally]:
    """Run tests on models: the results in the order of the cases, whose names must differ, and how
    many steps were generated and reused.

    A test that fails without a model is not asked. progress: called with the attempts that are
    made and their total. store: as in `play`. Raises `Interrupted` on Ctrl-C.
    """
    draws = tuple(replace(draw, reasoners=models.reasoners) for draw in trials.draws)
    trials = replace(trials, draws=draws)
    first = run_offline(cases, constitution)
    waiting = [r.case for r in first if r.note == NEEDS_MODEL]
    trying = _Trying(constitution, trials, len(waiting), progress)
    try:
        tally = play(
            trying.tasks(waiting), models, finish=trying.finish, give_up=trying.give_up, store=store
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped: {trying.done} of {trying.total} attempts were made.",
            hint="What was answered is kept: run the same command again." if store else "",
        ) from None
    results = (trying.result(r.case) if r.note == NEEDS_MODEL else r for r in first)
    return tuple(results), tally


def _offline(case: PrincipleCase, constitution: Constitution) -> CaseResult:
    faults = broken_offline(case.principle, case.test, constitution)
    if faults:
        return CaseResult(case, "failed", failures=faults, runs=1)
    if asked_of_model(case.test, constitution):
        return CaseResult(case, "skipped", NEEDS_MODEL)
    if case.test.expect.keys() & set(OF_MODEL):
        return CaseResult(case, "skipped", _without_critique(constitution))
    return CaseResult(case, "passed", held=1, runs=1)


def _without_critique(constitution: Constitution) -> str:
    return f"critique_flags: {constitution.id} revises without a critique"


@dataclass(frozen=True, slots=True)
class _Made:
    """One attempt at a test: what was broken, what came, and how long it took."""

    failures: tuple[str, ...]
    came: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


@dataclass
class _Trying:
    """The attempts at all tests, as they come back in any order."""

    constitution: Constitution
    trials: Trials
    cases: int
    progress: Callable[[int, int], None]
    made: dict[str, dict[int, _Made]] = field(default_factory=dict)
    done: int = 0

    def __post_init__(self) -> None:
        self._open: dict[str, tuple[PrincipleCase, int]] = {}

    @property
    def total(self) -> int:
        return self.cases * len(self.trials.draws)

    def tasks(self, cases: Sequence[PrincipleCase]) -> Iterator[PromptTask[tuple[Attempt, float]]]:
        """A task for each test under each seed."""
        self.progress(0, self.total)
        for case in cases:
            rules = single_principle(self.constitution, case.principle)
            prompt = as_prompt(case.test.prompt, case.principle.path)
            for number, draws in enumerate(self.trials.draws):
                name = f"{case.name}/{number}"
                self._open[name] = case, number
                yield PromptTask(name, prompt, _timed(case.test, rules, draws))

    def finish(
        self, task: PromptTask[tuple[Attempt, float]], outcome: tuple[Attempt, float]
    ) -> None:
        attempt, seconds = outcome
        test = self._open[task.name][0].test
        failures = broken(test, self.constitution, attempt)
        self._note(task, _Made(failures, what_came(attempt), seconds))

    def give_up(self, task: PromptTask[tuple[Attempt, float]], error: PromptError) -> None:
        self._note(task, _Made((f"can't be asked: {error.message}",)))

    def _note(self, task: PromptTask[tuple[Attempt, float]], made: _Made) -> None:
        case, number = self._open.pop(task.name)
        self.made.setdefault(case.name, {})[number] = made
        self.done += 1
        self.progress(self.done, self.total)

    def result(self, case: PrincipleCase) -> CaseResult:
        made = [made for _, made in sorted(self.made[case.name].items())]
        bad = [m for m in made if m.failures]
        held = len(made) - len(bad)
        passed = held >= self.trials.need
        left_out = "critique_flags" in case.test.expect and not self.constitution.plan.critique
        return CaseResult(
            case,
            "passed" if passed else "failed",
            _without_critique(self.constitution) if left_out else "",
            held,
            len(made),
            () if passed else tuple(dict.fromkeys(f for m in bad for f in m.failures)),
            () if passed else bad[0].came,
            sum(m.seconds for m in made),
        )


def _timed(test: PrincipleTest, rules: Constitution, draws: Draws) -> Steps[tuple[Attempt, float]]:
    begin = time.monotonic()
    attempt = yield from _asked_for(test, rules, draws)
    return attempt, time.monotonic() - begin


def _asked_for(test: PrincipleTest, rules: Constitution, draws: Draws) -> Steps[Attempt]:
    """The test's response critiqued and revised, its pair compared: what it expects of a model."""
    prompt = as_prompt(test.prompt)
    trace = comparison = None
    if test.response is not None and test.expect.keys() & set(OF_RESPONSE):
        trace = yield from with_texts(revise(prompt, rules, draws), test.response)
    if test.a is not None and test.b is not None and "prefers" in test.expect:
        comparison = yield from compare_texts(prompt, rules, draws, test.a, test.b)
    return Attempt(trace, comparison)
