"""Build a run: prompts in, traces and comparisons in the store.

A run's id is a digest of everything that determines its content, so the same command resumes the
same run, and an edited principle makes a new run that reuses every step the edit did not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from cai.backends.base import Backend, Throughput
from cai.data.invalid_rows import no_prompts_error, require_prompts
from cai.data.scratch import FirstLines
from cai.errors import BudgetError, CaiError, Interrupted, StoreError
from cai.pipeline.compare import compare
from cai.pipeline.config import BuildConfig, with_rounds
from cai.pipeline.contrast import contrast
from cai.pipeline.drive import PromptTask, Tally, drive
from cai.pipeline.examine import Examination, cases_digest, examine, is_examined
from cai.pipeline.revise import revise
from cai.pipeline.revise_and_judge import revise_and_judge
from cai.pipeline.run_record import new_run
from cai.pipeline.spending import Spending, spent_before
from cai.pipeline.steps import Draws, ModelRole, Steps
from cai.pipeline.verify_models import verify_models
from cai.store.records import RecordKind, Run
from cai.store.store import Store
from cai.types import Comparison, Constitution, Prompt, SetAside, Trace

Outcome: TypeAlias = Trace | Comparison

_COMMIT_SECONDS = 0.05
"""Seconds between two commits, at least. What a kill takes of the last ones is made again."""


@dataclass(frozen=True, slots=True)
class Models:
    """The model of each role; one model may fill several."""

    generator: Backend
    critic: Backend
    judge: Backend

    @classmethod
    def all(cls, backend: Backend) -> Models:
        """One model for everything, as in the paper."""
        return cls(backend, backend, backend)

    @property
    def by_role(self) -> Mapping[ModelRole, Backend]:
        """The backend of each role, under the names that `Ask` uses."""
        return {"generator": self.generator, "critic": self.critic, "judge": self.judge}

    @property
    def throughput(self) -> Throughput:
        """Token counts and cost of all models together."""
        each = [b.throughput for b in {id(b): b for b in self.by_role.values()}.values()]
        return Throughput(
            sum(t.prompt_tokens for t in each),
            sum(t.response_tokens for t in each),
            sum(t.cached_tokens for t in each),
            sum(t.cost for t in each),
        )

    @property
    def reasoners(self) -> frozenset[ModelRole]:
        """The roles whose model reasons before it answers."""
        return frozenset(role for role, backend in self.by_role.items() if backend.info.reasons)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running build has come, the tokens it has used, and what served models cost."""

    tally: Tally
    prompt_tokens: int
    response_tokens: int
    cached_tokens: int
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class BuildState:
    """How much of a build is done: its run's id, its tasks by kind, and those that are finished.

    examined: whether the store has the answers of the critic's and the judge's examination.
    """

    run_id: str
    tasks: Mapping[RecordKind, int]
    finished: int
    examined: bool


def build_state(
    constitution: Constitution,
    prompts: Iterable[Prompt | SetAside],
    store: Store | None,
    models: Models,
    config: BuildConfig,
    *,
    name: str,
    source: str = "",
) -> BuildState:
    """What `build` with the same arguments would find; nothing is written. store: None for new."""
    rows = _rows(prompts, config.limit)
    constitution = with_rounds(constitution, config)
    run, _ = new_run(constitution, rows, models.by_role, config, name, source)
    exists = store is not None and run.id in {other.id for other in store.runs()}
    counts = store.counts(run.id) if store and exists else {"trace": 0, "comparison": 0}
    finished = counts["trace"] + counts["comparison"]
    cases = cases_digest(constitution, judge=config.asks_judge(constitution))
    examined = store is not None and is_examined(store, run, cases)
    return BuildState(run.id, count_tasks(prompts, config), finished, examined)


def count_tasks(prompts: Iterable[Prompt | SetAside], config: BuildConfig) -> dict[RecordKind, int]:
    """How many traces and comparisons a build of these prompts makes."""
    kinds = Counter(
        kind for p in _valid_prompts(prompts, config.limit) for kind, _ in _task_keys(p, config)
    )
    return {"trace": kinds["trace"], "comparison": kinds["comparison"]}


def build(
    constitution: Constitution,
    prompts: Iterable[Prompt | SetAside],
    store: Store,
    models: Models | Backend,
    config: BuildConfig | None = None,
    *,
    name: str = "build",
    source: str = "",
    progress: Callable[[Progress], None] = lambda _: None,
    wait: bool = False,
    on_examination: Callable[[Examination], None] | None = None,
    budget: float | None = None,
    expected_cost: float = 0.0,
) -> Run:
    """Critique, revise and compare; write everything to `store` and return the run.

    prompts: read several times (once for the run's id), so an iterator is held in memory.
    models: one backend for all roles, or one for each.
    source: where the prompts come from, for the manifest and the dataset card.
    progress: called often, from this thread.
    wait: while another build uses the store, wait for it instead of raising `StoreError`.
    on_examination: examine the critic and the judge first (see `cai.pipeline.examine`), and call
        this with the result before anything is labelled; an error that it raises ends the run.
        None: no examination.
    budget: the most that served models may cost, by their price tables, over all calls of this run.
        When it is spent no other request is sent, and those in flight are kept.
    expected_cost: of a task (a trace or a comparison), for the budget, until some have ended.
    Raises `ModelError` where a model can't answer what the build asks, `BudgetError` when the
    budget is spent, and `DataError` when no prompt can be used. Raises `Interrupted` on Ctrl-C;
    call again with the same arguments to resume.
    """
    config = config or BuildConfig()
    prompts = list(prompts) if isinstance(prompts, Iterator) else prompts
    models = models if isinstance(models, Models) else Models.all(models)
    constitution = with_rounds(constitution, config)
    require_prompts(_rows(prompts, config.limit), source)
    verify_models(constitution, models.by_role, config)
    rows = _rows(prompts, config.limit)
    run, usable = new_run(constitution, rows, models.by_role, config, name, source)
    tally = Tally()

    def report(on: Tally = tally) -> None:
        used = models.throughput
        progress(
            Progress(on, used.prompt_tokens, used.response_tokens, used.cached_tokens, used.cost)
        )

    def counts() -> dict[str, Any]:
        used = models.throughput
        if not any(backend.info.server for backend in models.by_role.values()):
            return tally.plain()
        tokens = {
            "read": used.prompt_tokens, "written": used.response_tokens,
            "cached": used.cached_tokens,
        }  # fmt: skip
        limit = {} if budget is None else {"budget": budget}
        return {**tally.plain(), "cost": used.cost, "tokens": tokens, **limit}

    with store.lock(wait=wait):
        store.put_run(run)
        store.add_event(run.id, "started", {"prompts": usable})
        with store.transaction():
            for row in _rows(prompts, config.limit):
                if isinstance(row, SetAside):
                    store.put_set_aside(run.id, "", row)
                    tally.rows_set_aside += 1
                else:
                    tally.total += len(_task_keys(row, config))
        before = spent_before(store.events(run.id))
        spending = Spending(budget, before, models, expected_cost)

        def finish(outcome: Outcome) -> None:
            spending.ended()
            _record(store, run, outcome)

        def give_up(prompt: Prompt, error: CaiError) -> None:
            spending.ended()
            store.put_set_aside(run.id, prompt.id, SetAside(prompt.source, error.message))

        try:
            if on_examination is not None:
                examination = _examination(
                    run, constitution, store, models, config, report, spending
                )
                spending.require_rest(tally)
                on_examination(examination)
            with store.grouped(_COMMIT_SECONDS) as commits:
                drive(
                    spending.within(
                        _tasks(prompts, constitution, config, models.reasoners, store, run, tally)
                    ),
                    models.by_role,
                    store,
                    tally,
                    finish=lambda _, outcome: finish(outcome),
                    give_up=lambda task, error: give_up(task.prompt, error),
                    tick=report,
                    commits=commits,
                    may_send=spending.may_send,
                )
            spending.require_rest(tally)
        except KeyboardInterrupt:
            store.add_event(run.id, "interrupted", counts())
            raise Interrupted(
                f"Stopped: {tally.finished} of {tally.total} tasks are finished and kept.",
                hint="Run the same command again to resume.",
            ) from None
        except BudgetError:
            store.add_event(run.id, "stopped", counts())
            raise
        except Exception as error:
            with suppress(StoreError):
                store.add_event(run.id, "failed", {"error": str(error), **counts()})
            raise
        store.add_event(run.id, "finished", counts())
        if not tally.finished:
            raise no_prompts_error(store.set_asides(run.id), source)
    return run


def _examination(
    run: Run,
    constitution: Constitution,
    store: Store,
    models: Models,
    config: BuildConfig,
    tick: Callable[[Tally], None],
    spending: Spending,
) -> Examination:
    """The run's examination: an earlier one of the same cases if there is one, else a new one.

    Where the budget ends it, what came of it counts for nothing, and only its answers are kept.
    """
    judge = config.asks_judge(constitution)
    cases = cases_digest(constitution, judge=judge)
    for event in store.events(run.id):
        if event.event == "examined" and event.detail["cases"] == cases:
            return Examination.of(event.detail)
    draws = replace(config.draws, reasoners=models.reasoners)
    examination = examine(
        constitution, models.by_role, store, draws, judge=judge, tick=tick,
        may_send=spending.may_send,
    )  # fmt: skip
    if spending.is_stopped:
        return examination
    store.add_event(run.id, "examined", {"cases": cases, **examination.plain()})
    return examination


def _rows(prompts: Iterable[Prompt | SetAside], limit: int | None) -> Iterator[Prompt | SetAside]:
    """The first `limit` prompts, each id once, with the invalid rows between them."""
    count = 0
    with FirstLines() as ids:
        for number, row in enumerate(prompts):
            if isinstance(row, SetAside):
                yield row
            elif ids.add(row.id, number) == number:
                yield row
                count += 1
                if count == limit:
                    return


def _valid_prompts(prompts: Iterable[Prompt | SetAside], limit: int | None) -> Iterator[Prompt]:
    return (row for row in _rows(prompts, limit) if isinstance(row, Prompt))


def _task_keys(prompt: Prompt, config: BuildConfig) -> list[tuple[RecordKind, int]]:
    """The tasks that one prompt makes: (kind, pair)."""
    if config.side(prompt) == "sft":
        return [("trace", 0)]
    pairs: list[tuple[RecordKind, int]] = [("comparison", i) for i in range(config.pairs)]
    return [("trace", 0), *pairs] if config.revision_pairs else pairs


def _tasks(
    prompts: Iterable[Prompt | SetAside],
    constitution: Constitution,
    config: BuildConfig,
    reasoners: frozenset[ModelRole],
    store: Store,
    run: Run,
    tally: Tally,
) -> Iterator[PromptTask[Outcome]]:
    """The tasks that are not yet recorded, made as they are needed."""
    draws = replace(config.draws, reasoners=reasoners)
    for prompt in _valid_prompts(prompts, config.limit):
        for kind, pair in _task_keys(prompt, config):
            if store.has_record(run.id, kind, prompt.id, pair):
                tally.finished += 1
                continue
            steps = procedure(kind, prompt, pair, constitution, config, draws)
            yield PromptTask(f"{kind}/{prompt.id}/{pair}", prompt, steps)


def procedure(
    kind: RecordKind,
    prompt: Prompt,
    pair: int,
    constitution: Constitution,
    config: BuildConfig,
    draws: Draws,
) -> Steps[Outcome]:
    """The procedure that makes a record of a build. pair: of a comparison. draws: the config's,
    with the roles whose model reasons."""
    steps: Steps[Outcome]
    if kind == "comparison" and constitution.feedback.mode == "contrast":
        steps = contrast(prompt, pair, constitution, draws)
    elif kind == "comparison":
        steps = compare(prompt, pair, constitution, draws)
    elif config.judge_revisions and config.side(prompt) == "preference":
        steps = revise_and_judge(prompt, constitution, draws)
    else:
        steps = revise(prompt, constitution, draws)
    return steps


def _record(store: Store, run: Run, outcome: Outcome) -> None:
    if isinstance(outcome, Trace):
        store.put_trace(run.id, outcome)
    else:
        store.put_comparison(run.id, outcome)
