"""Build a run: prompts in, traces and comparisons in the store.

A run's id is a digest of everything that determines its content, so the same command resumes the
same run, and an edited principle makes a new run that reuses every step the edit did not change.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any, Literal, TypeAlias

import cai
from cai.backends.base import Backend, ModelInfo
from cai.constitution.plans import empty_round
from cai.data.split import family, side_of
from cai.data.usable import need_prompts, no_prompts
from cai.decoding import SETTINGS, Decoding, origins
from cai.digest import digest
from cai.errors import Interrupted, StoreError, UsageError
from cai.options import option
from cai.pipeline.compare import compare
from cai.pipeline.drive import PromptTask, Tally, drive
from cai.pipeline.examine import Examination, cases_digest, examine
from cai.pipeline.revise import revise
from cai.pipeline.revise_and_judge import revise_and_judge
from cai.pipeline.snapshot import snapshot
from cai.pipeline.steps import Draws, ModelRole, Steps
from cai.store.records import RecordKind, Run
from cai.store.store import Store
from cai.types import Comparison, Constitution, Prompt, Sampling, SetAside, Trace

Outcome: TypeAlias = Trace | Comparison


_OWN = "[default: the model's own, else {}]"


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """Settings of a build. All of them are part of the run's id.

    A sampling setting that is None is left to each model's own `generation_config.json`. SFT data
    and preference data share no prompt; with `pairs` 0 all prompts are for SFT.
    """

    seed: int = option(0, "Fixes every random choice.")
    rounds: int | None = option(
        None, "Rounds of critique and revision.  [default: the constitution's]"
    )
    pairs: int = option(
        1, "Pairs of responses to compare for each preference prompt; 0 makes SFT data alone."
    )
    limit: int | None = option(None, "Use the first N usable prompts.", metavar="N")
    temperature: float | None = option(
        None, f"0 always takes the most likely token.  {_OWN.format('1')}", least=0
    )
    top_p: float | None = option(
        None,
        f"Sample from the most likely tokens that together have this probability."
        f"  {_OWN.format('1')}",
        above=0,
        most=1,
    )
    top_k: int | None = option(
        None, f"Sample from the K most likely tokens; 0 is off.  {_OWN.format('off')}", least=0
    )
    min_p: float | None = option(
        None,
        "Drop tokens that are less probable than this share of the most likely one."
        f"  {_OWN.format('off')}",
        least=0,
        most=1,
    )
    repetition_penalty: float | None = option(
        None, f"Above 1 makes repeated tokens less likely.  {_OWN.format('1')}", above=0
    )
    max_new_tokens: int = option(256, "The longest text, in tokens.", least=1)
    max_reasoning_tokens: int = option(
        1024, "The longest reasoning before an answer, for models that reason.", least=1
    )
    sft_share: float = option(
        0.5, "Share of the prompts for SFT data; the others are for preferences."
    )
    test_share: float = option(0.1, "Share of the prompts held out for evaluation.")
    revision_pairs: bool = option(
        True, "Also make preferences of the last revision over the first response."
    )
    sft_rows: Literal["last", "all"] = option(
        "last", "Export the last revision, or every revision as in the paper.", ("last", "all")
    )
    judge_revisions: bool = option(
        False,
        "Let the judge label each pair of a revision and its first response.  [default: certain]",
    )
    ties: bool = option(
        False, "Also export pairs whose label is within 0.05 of one half.  [default: left out]"
    )
    export_reasoning: bool = option(
        False, "Also export a model's reasoning before a response, as `reasoning_content`."
    )
    check_gate: float | None = option(
        None,
        "Export a final response only if the last check gives every principle at least P.",
        metavar="P",
    )

    def __post_init__(self) -> None:
        for name in ("sft_share", "test_share", "check_gate"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"{name} is {share}; it must lie between 0 and 1.")
        for name, least in (
            ("pairs", 0),
            ("max_new_tokens", 1),
            ("max_reasoning_tokens", 1),
            ("rounds", 0),
            ("limit", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} is {value}; it must be {least} or more.")
        if self.judge_revisions and not (self.pairs and self.revision_pairs):
            raise UsageError(
                "--judge-revisions asks about pairs of a revision and its first response, and none"
                f" are made: {'--pairs is 0' if not self.pairs else '--no-revision-pairs'}."
            )
        Decoding.of(self.sampling)

    @property
    def draws(self) -> Draws:
        """The run's seed and sampling, for the steps."""
        settings = {name: getattr(self, name) for name in SETTINGS}
        return Draws(
            seed=self.seed,
            max_new_tokens=self.max_new_tokens,
            max_reasoning_tokens=self.max_reasoning_tokens,
            **settings,
        )

    @property
    def sampling(self) -> Sampling:
        """The sampling settings for every model."""
        return Sampling(**{name: getattr(self, name) for name in SETTINGS})

    def side(self, prompt: Prompt) -> Literal["sft", "preference"]:
        """Whether a prompt becomes SFT rows or preferences."""
        if self.pairs == 0:
            return "sft"
        return side_of(family(prompt.messages), self.seed, self.sft_share)


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
    def reasoners(self) -> frozenset[ModelRole]:
        """The roles whose model reasons before it answers."""
        return frozenset(role for role, backend in self.by_role.items() if backend.info.reasons)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running build has come, and the tokens it has used."""

    tally: Tally
    prompt_tokens: int
    response_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class BuildState:
    """How much of a build is done: its run's id, its tasks by kind, and those that are finished."""

    run_id: str
    tasks: Mapping[RecordKind, int]
    finished: int


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
    run, _ = _name(with_rounds(constitution, config), prompts, models, config, name, source)
    known = store is not None and run.id in {other.id for other in store.runs()}
    record_keys = store.record_keys(run.id) if store and known else set()
    return BuildState(run.id, count_tasks(prompts, config), len(record_keys))


def count_tasks(prompts: Iterable[Prompt | SetAside], config: BuildConfig) -> dict[RecordKind, int]:
    """How many traces and comparisons a build of these prompts makes."""
    kinds = [kind for p in _usable(prompts, config.limit) for kind, _ in _wanted(p, config)]
    return {"trace": kinds.count("trace"), "comparison": kinds.count("comparison")}


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
    Raises `Interrupted` on Ctrl-C; call again with the same arguments to resume. Raises `DataError`
    when no prompt can be used.
    """
    config = config or BuildConfig()
    prompts = list(prompts) if isinstance(prompts, Iterator) else prompts
    models = models if isinstance(models, Models) else Models.all(models)
    constitution = with_rounds(constitution, config)
    need_prompts(_rows(prompts, config.limit), source)
    run, usable = _name(constitution, prompts, models, config, name, source)
    tally = Tally()

    def report(on: Tally = tally) -> None:
        throughputs = [b.throughput for b in {id(b): b for b in models.by_role.values()}.values()]
        progress(
            Progress(
                on,
                sum(t.prompt_tokens for t in throughputs),
                sum(t.response_tokens for t in throughputs),
                sum(t.cached_tokens for t in throughputs),
            )
        )

    with store.lock(wait=wait):
        store.put_run(run)
        store.add_event(run.id, "started", {"prompts": usable})
        with store.transaction():
            for row in _rows(prompts, config.limit):
                if isinstance(row, SetAside):
                    store.put_set_aside(run.id, "", row)
                    tally.rows_set_aside += 1
        tally.total = sum(len(_wanted(p, config)) for p in _usable(prompts, config.limit))
        record_keys = store.record_keys(run.id)
        try:
            if on_examination is not None:
                on_examination(_examination(run, constitution, store, models, config, report))
            drive(
                _tasks(prompts, constitution, config, models.reasoners, record_keys, tally),
                models.by_role,
                store,
                tally,
                finish=lambda _, outcome: _record(store, run, outcome),
                give_up=lambda task, error: store.put_set_aside(
                    run.id, task.prompt.id, SetAside(task.prompt.source, error.message)
                ),
                tick=report,
            )
        except KeyboardInterrupt:
            store.add_event(run.id, "interrupted", _counts(tally))
            raise Interrupted(
                f"Stopped: {tally.finished} of {tally.total} tasks are finished and kept.",
                hint="Run the same command again to go on where it stopped.",
            ) from None
        except Exception as error:
            with suppress(StoreError):
                store.add_event(run.id, "failed", {"error": str(error), **_counts(tally)})
            raise
        store.add_event(run.id, "finished", _counts(tally))
        if not tally.finished:
            raise no_prompts(store.set_asides(run.id), source)
    return run


def _examination(
    run: Run,
    constitution: Constitution,
    store: Store,
    models: Models,
    config: BuildConfig,
    tick: Callable[[Tally], None],
) -> Examination:
    """The run's examination: an earlier one of the same cases if there is one, else a new one."""
    judge = config.pairs > 0
    cases = cases_digest(constitution, judge=judge)
    for event in store.events(run.id):
        if event.event == "examined" and event.detail["cases"] == cases:
            return Examination.of(event.detail)
    draws = replace(config.draws, reasoners=models.reasoners)
    examination = examine(constitution, models.by_role, store, draws, judge=judge, tick=tick)
    store.add_event(run.id, "examined", {"cases": cases, **examination.plain()})
    return examination


def with_rounds(constitution: Constitution, config: BuildConfig) -> Constitution:
    """The constitution with the run's number of rounds in its plan.

    Raises `UsageError` when the constitution has too few principles for the rounds, or no last
    check while `check_gate` needs one.
    """
    if config.check_gate is not None and not constitution.plan.check:
        raise UsageError(
            f"{constitution.id} has no last check, and --check-gate needs one.",
            hint="Set plan.check: true, or leave --check-gate out.",
        )
    if config.rounds is None:
        return constitution
    if constitution.plan.draw == "all":
        raise UsageError(
            f"{constitution.id} draws all its principles, one a round: --rounds has no effect.",
            hint="Leave --rounds out, or set plan.draw: weighted, uniform or fixed.",
        )
    plan = replace(constitution.plan, rounds=config.rounds)
    members = len(constitution.phase("sl"))
    if config.rounds > members and not plan.with_replacement:
        raise UsageError(
            f"{config.rounds} rounds need as many principles, and {constitution.id} has {members}.",
            hint="Ask for fewer rounds, or set plan.with_replacement: true.",
        )
    number = empty_round(constitution.members, plan)
    if plan.draw != "fixed" and number is not None:
        raise UsageError(
            f"Round {number} may have no principle left to draw.",
            hint="Ask for fewer rounds, or change the principles' `rounds` in the constitution.",
        )
    return replace(constitution, plan=plan)


def _name(
    constitution: Constitution,
    prompts: Iterable[Prompt | SetAside],
    models: Models,
    config: BuildConfig,
    name: str,
    source: str,
) -> tuple[Run, int]:
    """The run and the number of its usable prompts. The order of the prompts does not matter."""
    names, aside, plan = [], [], constitution.plan
    for row in _rows(prompts, config.limit):
        if isinstance(row, SetAside):
            aside.append(digest(row))
        else:
            names.append(digest([row.id, row.messages, row.meta]))
    names.sort()
    settings = {
        **asdict(config),
        "rounds": len(constitution.phase("sl")) if plan.draw == "all" else plan.rounds,
        "prompts": {
            "source": source,
            "count": len(names),
            "digest": digest(names),
            "set_aside": digest(sorted(aside)),
        },
        "models": {
            role: _model(b.info) | _sampling(config.sampling, b.info)
            for role, b in sorted(models.by_role.items())
        },
    }
    constitution_snapshot = snapshot(constitution)
    run = Run(
        id="r-" + digest([settings, constitution_snapshot])[:12],
        name=name,
        config=settings,
        constitution=constitution_snapshot,
        seed=config.seed,
        versions=_versions(),
    )
    return run, len(names)


def _rows(prompts: Iterable[Prompt | SetAside], limit: int | None) -> Iterator[Prompt | SetAside]:
    """The first `limit` prompts, each id once, with the invalid rows between them."""
    ids: set[str] = set()
    for row in prompts:
        if isinstance(row, SetAside):
            yield row
        elif row.id not in ids:
            ids.add(row.id)
            yield row
            if len(ids) == limit:
                return


def _usable(prompts: Iterable[Prompt | SetAside], limit: int | None) -> Iterator[Prompt]:
    return (row for row in _rows(prompts, limit) if isinstance(row, Prompt))


def _wanted(prompt: Prompt, config: BuildConfig) -> list[tuple[RecordKind, int]]:
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
    record_keys: set[tuple[str, str, int]],
    tally: Tally,
) -> Iterator[PromptTask[Outcome]]:
    """The tasks that are not yet recorded, made as they are needed."""
    draws = replace(config.draws, reasoners=reasoners)
    for prompt in _usable(prompts, config.limit):
        for kind, pair in _wanted(prompt, config):
            if (kind, prompt.id, pair) in record_keys:
                tally.finished += 1
                continue
            steps: Steps[Outcome]
            if kind == "comparison":
                steps = compare(prompt, pair, constitution, draws)
            elif config.judge_revisions and config.side(prompt) == "preference":
                steps = revise_and_judge(prompt, constitution, draws)
            else:
                steps = revise(prompt, constitution, draws)
            yield PromptTask(f"{kind}/{prompt.id}/{pair}", prompt, steps)


def _record(store: Store, run: Run, outcome: Outcome) -> None:
    if isinstance(outcome, Trace):
        store.put_trace(run.id, outcome)
    else:
        store.put_comparison(run.id, outcome)


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "finished": tally.finished,
        "set_aside": tally.set_aside,
        "generated": dict(sorted(tally.generated.items())),
        "reused": dict(sorted(tally.reused.items())),
    }


def _model(info: ModelInfo) -> dict[str, Any]:
    """A model as a run's configuration records it, with its base and adapter."""
    components = {"base": info.base, "adapter": info.adapter}
    return {
        "name": info.name,
        "fingerprint": info.fingerprint,
        **{
            part: _model(component)
            for part, component in components.items()
            if component is not None
        },
        **({"template": dict(info.template)} if info.template else {}),
    }


def _sampling(sampling: Sampling, info: ModelInfo) -> dict[str, Any]:
    """A model's sampling settings, and where each of them comes from."""
    decoding = asdict(Decoding.of(sampling, info.sampling))
    return {"sampling": decoding, "sampling_from": origins(sampling, info.sampling)}


def _versions() -> dict[str, str]:
    """Versions of Python, cai and the installed libraries that a model's text depends on."""
    out = {"cai": cai.__version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "tokenizers", "peft"):
        with suppress(metadata.PackageNotFoundError):
            out[package] = metadata.version(package)
    return out
