"""Runs the tests of principles, without a model as far as possible, or on one.

On a model, a test runs the procedures of a build under the constitution reduced to the one
principle: with its templates, its plan and its feedback settings.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from cai.authoring.attempt import Attempt, run_tasks
from cai.authoring.expectations import (
    OF_MODEL,
    OF_RESPONSE,
    attempt_outputs,
    failed_expectations,
    model_expectations,
    offline_failures,
)
from cai.errors import CaiError, Interrupted
from cai.pipeline.build import Models
from cai.pipeline.config import BuildConfig
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
    """The result of a case.

    note: why it was skipped, or what was not tested. passes: in how many of `runs` all expectations
    held. failures: expectations that did not hold, or faults of the test itself, as text. output:
    what the models wrote in the first run that failed, as (label, text). seconds: wall time from
    the first request to the last result, summed over runs, which overlap.
    """

    case: PrincipleCase
    status: CaseStatus
    note: str = ""
    passes: int = 0
    runs: int = 0
    failures: tuple[str, ...] = ()
    output: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Trials:
    """How often each test runs, how text is sampled, and how many runs must pass."""

    draws: tuple[Draws, ...]
    need: int

    @classmethod
    def greedy(cls, seed: int = 0) -> Trials:
        """One run with greedy decoding."""
        return cls((replace(BuildConfig(seed=seed).draws, temperature=0.0),), 1)

    @classmethod
    def repeated(cls, times: int, need: int, seed: int = 0) -> Trials:
        """Runs under `times` seeds, from `seed` on, sampled as in a build."""
        return cls(tuple(BuildConfig(seed=seed + n).draws for n in range(times)), need)


def cases(principles: Iterable[Principle], pattern: str = "") -> tuple[PrincipleCase, ...]:
    """The tests of principles whose `principle: name` contains the pattern, ignoring case."""
    every = (PrincipleCase(p, t) for p in principles for t in p.tests)
    return tuple(case for case in every if pattern.casefold() in case.name.casefold())


def counts(results: Iterable[CaseResult]) -> Counter[CaseStatus]:
    """Counts of results by status."""
    return Counter(result.status for result in results)


def run_offline(
    cases: Iterable[PrincipleCase], constitution: Constitution
) -> tuple[CaseResult, ...]:
    """Run tests without a model; those that need one are skipped, with a note."""
    return tuple(_offline(case, constitution) for case in cases)


def run_on(
    models: Models,
    cases: Iterable[PrincipleCase],
    constitution: Constitution,
    trials: Trials,
    progress: Callable[[int, int], None] = lambda done, total: None,
    store: Store | None = None,
) -> tuple[tuple[CaseResult, ...], Tally]:
    """Run tests on models. Returns the results in the order of the cases, and the counts of steps.

    The cases' names must differ. A test that fails without a model does not run on one. progress:
    called with the number of attempts finished and their total. store: as in `run_tasks`. Raises
    `Interrupted` on Ctrl-C.
    """
    draws = tuple(replace(draw, reasoners=models.reasoners) for draw in trials.draws)
    trials = replace(trials, draws=draws)
    first = run_offline(cases, constitution)
    waiting = [r.case for r in first if r.note == NEEDS_MODEL]
    attempts = _Attempts(constitution, trials, len(waiting), progress)
    try:
        tally = run_tasks(
            attempts.tasks(waiting),
            models,
            finish=attempts.finish,
            give_up=attempts.give_up,
            store=store,
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped: {attempts.done} of {attempts.total} attempts are finished.",
            hint="The results so far are kept. Run the same command again to resume."
            if store
            else "",
        ) from None
    results = (attempts.result(r.case) if r.note == NEEDS_MODEL else r for r in first)
    return tuple(results), tally


def _offline(case: PrincipleCase, constitution: Constitution) -> CaseResult:
    faults = offline_failures(case.principle, case.test, constitution)
    if faults:
        return CaseResult(case, "failed", failures=faults, runs=1)
    if model_expectations(case.test, constitution):
        return CaseResult(case, "skipped", NEEDS_MODEL)
    if case.test.expect.keys() & set(OF_MODEL):
        return CaseResult(case, "skipped", _without_critique(constitution))
    return CaseResult(case, "passed", passes=1, runs=1)


def _without_critique(constitution: Constitution) -> str:
    return f"critique_flags: {constitution.id} revises without a critique"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One attempt at a test: its failures, what the models wrote, and how long it took."""

    failures: tuple[str, ...]
    output: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


@dataclass
class _Attempts:
    """The attempts at all tests, which finish in any order."""

    constitution: Constitution
    trials: Trials
    cases: int
    progress: Callable[[int, int], None]
    outcomes: dict[str, dict[int, _Outcome]] = field(default_factory=dict)
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
        self, task: PromptTask[tuple[Attempt, float]], result: tuple[Attempt, float]
    ) -> None:
        attempt, seconds = result
        test = self._open[task.name][0].test
        failures = failed_expectations(test, self.constitution, attempt)
        self._add(task, _Outcome(failures, attempt_outputs(attempt), seconds))

    def give_up(self, task: PromptTask[tuple[Attempt, float]], error: CaiError) -> None:
        self._add(task, _Outcome((f"can't be run: {error.message}",)))

    def _add(self, task: PromptTask[tuple[Attempt, float]], outcome: _Outcome) -> None:
        case, number = self._open.pop(task.name)
        self.outcomes.setdefault(case.name, {})[number] = outcome
        self.done += 1
        self.progress(self.done, self.total)

    def result(self, case: PrincipleCase) -> CaseResult:
        outcomes = [outcome for _, outcome in sorted(self.outcomes[case.name].items())]
        failed = [outcome for outcome in outcomes if outcome.failures]
        passes = len(outcomes) - len(failed)
        enough = passes >= self.trials.need
        untested = "critique_flags" in case.test.expect and not self.constitution.plan.critique
        return CaseResult(
            case,
            "passed" if enough else "failed",
            _without_critique(self.constitution) if untested else "",
            passes,
            len(outcomes),
            () if enough else tuple(dict.fromkeys(f for o in failed for f in o.failures)),
            () if enough else failed[0].output,
            sum(outcome.seconds for outcome in outcomes),
        )


def _timed(test: PrincipleTest, rules: Constitution, draws: Draws) -> Steps[tuple[Attempt, float]]:
    begin = time.monotonic()
    attempt = yield from _procedure(test, rules, draws)
    return attempt, time.monotonic() - begin


def _procedure(test: PrincipleTest, rules: Constitution, draws: Draws) -> Steps[Attempt]:
    """Critique and revise the test's response, and compare its pair, as far as expected."""
    prompt = as_prompt(test.prompt)
    trace = comparison = None
    if test.response is not None and test.expect.keys() & set(OF_RESPONSE):
        trace = yield from with_texts(revise(prompt, rules, draws), test.response)
    if test.a is not None and test.b is not None and "prefers" in test.expect:
        comparison = yield from compare_texts(prompt, rules, draws, test.a, test.b)
    return Attempt(trace, comparison)
