"""The records of a run, each with its like under constitutions without a principle."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import NamedTuple, TypeAlias

from cai.authoring.replay import Missing, RunProcedures, reasoners_of, replay
from cai.data.counts import in_order
from cai.digest import digest
from cai.errors import UsageError
from cai.pipeline.config import BuildConfig
from cai.pipeline.snapshot import constitution_of, snapshot
from cai.pipeline.steps import ModelRole
from cai.store.records import Run
from cai.store.store import Store
from cai.types import Comparison, Constitution, Trace

BuiltRecord: TypeAlias = Trace | Comparison

_NOT_COMPARED = ("prompts", "limit", "rounds")  # the rounds are in the constitution, too
_FIRST = 200  # records that show whether a model reasons


class Replayed(NamedTuple):
    """A record of a run, and what comes of it under other constitutions, by their names."""

    record: BuiltRecord
    likes: Mapping[str, BuiltRecord | Missing]


def config_of(run: Run) -> BuildConfig:
    """The settings of a run of `cai build-data`. Its rounds are in its constitution."""
    names = [f.name for f in fields(BuildConfig) if f.name != "rounds"]
    return BuildConfig(**{name: run.config[name] for name in names if name in run.config})


def replays(store: Store, run: Run, rests: Mapping[str, Constitution]) -> Iterator[Replayed]:
    """The records of a run in order, each with its like under some constitutions.

    No model is asked: the procedures of the run's own records are replayed. Where the store has a
    run that was built so, its records count. Raises `UsageError` for a run that can't be replayed,
    `DataError` where it was made by another version of cai.
    """
    constitution, config = constitution_of(run.constitution), config_of(run)
    others = {name: built_without(store, run, rest) for name, rest in rests.items()}
    streams = {name: _Stream(store, other) for name, other in others.items() if other}
    models: dict[ModelRole, str] = {r: m["fingerprint"] for r, m in run.config["models"].items()}
    procedures = RunProcedures(config, models, _reasoners(store, run, constitution))
    for records in _by_prompt(store, run.id):
        answers = procedures.answers(records, constitution)
        for record in records:
            likes: dict[str, BuiltRecord | Missing] = {}
            for name, rest in rests.items():
                like: BuiltRecord | Missing | None = None
                if name in streams:
                    like = streams[name].like(record)
                if like is None:
                    like = replay(procedures.steps_of(record, rest), answers, models)
                likes[name] = like
            yield Replayed(record, likes)


def built_without(store: Store, run: Run, rest: Constitution) -> Run | None:
    """The run in the store that was built as this one, but under another constitution; None if
    there is none. It may be unfinished."""
    wanted = digest(snapshot(rest))
    settings = {k: v for k, v in run.config.items() if k not in _NOT_COMPARED}
    for other in store.runs():
        same = {k: v for k, v in other.config.items() if k not in _NOT_COMPARED} == settings
        if same and digest(other.constitution) == wanted:
            return other
    return None


class _Stream:
    """The records of another run, beside those of this one: both come in the same order."""

    def __init__(self, store: Store, run: Run) -> None:
        self._records = in_order(store.traces(run.id), store.comparisons(run.id))
        self._rest = iter(self._records)
        self._next = next(self._rest, None)

    def like(self, record: BuiltRecord) -> BuiltRecord | None:
        """The record of the same prompt, kind and pair; None if there is none."""
        while self._next is not None and _place(self._next) < _place(record):
            self._next = next(self._rest, None)
        if self._next is None or _place(self._next) != _place(record):
            return None
        same = self._next.prompt.messages == record.prompt.messages
        return self._next if same else None


def _place(record: BuiltRecord) -> tuple[str, int]:
    return record.prompt.id, -1 if isinstance(record, Trace) else record.pair


def _by_prompt(store: Store, run_id: str) -> Iterator[list[BuiltRecord]]:
    records = in_order(store.traces(run_id), store.comparisons(run_id))
    for _, group in itertools.groupby(records, key=lambda record: record.prompt.id):
        yield list(group)


def _reasoners(store: Store, run: Run, constitution: Constitution) -> frozenset[ModelRole]:
    """The roles whose model reasons, by the run's first records."""
    first = itertools.islice(in_order(store.traces(run.id), store.comparisons(run.id)), _FIRST)
    roles = reasoners_of(first)
    if "critic" in roles and constitution.plan.check:
        raise UsageError(
            f"the critic of {run.id} reasons before its final check, and runs do not keep that",
            hint="Such a run can't be replayed; cai diff builds both sides instead.",
        )
    return roles
