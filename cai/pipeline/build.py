"""The main job: prompts in, traces and comparisons in the store.

A run is named by all that determines it, so the same command takes up the same run, and an edited
principle makes a new run that shares every step the edit did not touch.
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
from cai.pipeline.judged import revise_and_judge
from cai.pipeline.revise import revise
from cai.pipeline.snapshot import snapshot
from cai.pipeline.steps import Draws, ModelRole, Steps
from cai.store.records import RecordKind, Run
from cai.store.store import Store
from cai.types import Comparison, Constitution, Prompt, Sampling, SetAside, Trace

Outcome: TypeAlias = Trace | Comparison


_OWN = "[default: the model's own, else {}]"


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """What to build. Everything here is part of the run's name.

    A setting of sampling that is None is left to each model's own `generation_config.json`. The
    sides of SFT and of preferences share no prompt; where `pairs` is 0 all prompts are for SFT.
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
        asked = {name: getattr(self, name) for name in SETTINGS}
        return Draws(
            seed=self.seed,
            max_new_tokens=self.max_new_tokens,
            max_reasoning_tokens=self.max_reasoning_tokens,
            **asked,
        )

    @property
    def sampling(self) -> Sampling:
        """What is asked of every model."""
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
    """A look at a running build."""

    tally: Tally
    prompt_tokens: int
    response_tokens: int
    cached_tokens: int


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
    examined: Callable[[Examination], None] | None = None,
) -> Run:
    """Critique, revise and compare; everything ends up in `store`. Returns the run.

    prompts: read several times (once to name the run); an iterator is held in memory for that.
    models: one backend for all roles, or one for each.
    source: where the prompts come from, for the manifest and the card.
    progress: called often, from this thread.
    wait: where another build holds the store, wait for it instead of raising `StoreError`.
    examined: examine the critic and the judge first (see `cai.pipeline.examine`), and call this
        with the result before anything is labelled; what it raises ends the run. None: don't.
    Raises `Interrupted` on Ctrl-C; call again with the same arguments to go on. Raises `DataError`
    where no prompt can be used, by its row or by the models.
    """
    config = config or BuildConfig()
    prompts = list(prompts) if isinstance(prompts, Iterator) else prompts
    models = models if isinstance(models, Models) else Models.all(models)
    constitution = planned(constitution, config)
    need_prompts(_rows(prompts, config.limit), source)
    run, usable = _name(constitution, prompts, models, config, name, source)
    tally = Tally()

    def report(on: Tally = tally) -> None:
        used = [b.throughput for b in {id(b): b for b in models.by_role.values()}.values()]
        progress(
            Progress(
                on,
                sum(t.prompt_tokens for t in used),
                sum(t.response_tokens for t in used),
                sum(t.cached_tokens for t in used),
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
        recorded = store.done(run.id)
        try:
            if examined is not None:
                examined(_examination(run, constitution, store, models, config, report))
            drive(
                _tasks(prompts, constitution, config, models.reasoners, recorded, tally),
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
    """The run's examination: the one that it had, if the same was asked, or a new one."""
    judge = config.pairs > 0
    cases = cases_digest(constitution, judge=judge)
    for event in store.events(run.id):
        if event.event == "examined" and event.detail["cases"] == cases:
            return Examination.of(event.detail)
    draws = replace(config.draws, reasoners=models.reasoners)
    made = examine(constitution, models.by_role, store, draws, judge=judge, tick=tick)
    store.add_event(run.id, "examined", {"cases": cases, **made.plain()})
    return made


def planned(constitution: Constitution, config: BuildConfig) -> Constitution:
    """The constitution with the run's own number of rounds.

    Raises `UsageError` where the constitution can't be drawn from so often, or has no last check
    that the settings ask for.
    """
    if config.check_gate is not None and not constitution.plan.check:
        raise UsageError(
            f"{constitution.id} asks no last check, which --check-gate reads.",
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
            f"Round {number} may find no principle left that serves in it.",
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
    """The run and the number of usable prompts. The order of the prompts does not matter."""
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
    constitution_seen = snapshot(constitution)
    run = Run(
        id="r-" + digest([settings, constitution_seen])[:12],
        name=name,
        config=settings,
        constitution=constitution_seen,
        seed=config.seed,
        versions=_versions(),
    )
    return run, len(names)


def _rows(prompts: Iterable[Prompt | SetAside], limit: int | None) -> Iterator[Prompt | SetAside]:
    """Up to the first `limit` prompts, each id once, and what was set aside on the way."""
    seen: set[str] = set()
    for row in prompts:
        if isinstance(row, SetAside):
            yield row
        elif row.id not in seen:
            seen.add(row.id)
            yield row
            if len(seen) == limit:
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
    recorded: set[tuple[str, str, int]],
    tally: Tally,
) -> Iterator[PromptTask[Outcome]]:
    """What is left to do, made as it is needed."""
    draws = replace(config.draws, reasoners=reasoners)
    for prompt in _usable(prompts, config.limit):
        for kind, pair in _wanted(prompt, config):
            if (kind, prompt.id, pair) in recorded:
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
    """What the record of a run says of a model: itself, and what it is made of."""
    made_of = {"base": info.base, "adapter": info.adapter}
    return {
        "name": info.name,
        "fingerprint": info.fingerprint,
        **{role: _model(own) for role, own in made_of.items() if own is not None},
        **({"template": dict(info.template)} if info.template else {}),
    }


def _sampling(asked: Sampling, info: ModelInfo) -> dict[str, Any]:
    """How a model's text is drawn, and where each setting comes from."""
    held = asdict(Decoding.of(asked, info.sampling))
    return {"sampling": held, "sampling_from": origins(asked, info.sampling)}


def _versions() -> dict[str, str]:
    """What ran: Python, cai and the libraries that a model's text depends on, where installed."""
    out = {"cai": cai.__version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "tokenizers", "peft"):
        with suppress(metadata.PackageNotFoundError):
            out[package] = metadata.version(package)
    return out
