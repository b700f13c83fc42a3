"""Replays a build's procedures with the answers that a run has stored; no model is asked.

A request is a frozen value: what a model was to read, and how it was to be sampled. So the answers
of a run are found under the requests that its own procedures make, without a tokenizer and without
keys, and a procedure under another constitution is answered wherever it asks the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from cai.errors import DataError
from cai.pipeline.build import procedure
from cai.pipeline.config import BuildConfig
from cai.pipeline.steps import Ask, BuildStage, ModelRole, Steps
from cai.store.records import RecordKind
from cai.types import Comparison, Constitution, Generation, Judgement, Request, Result, Trace

T = TypeVar("T")
Answers: TypeAlias = dict[tuple[str, Request], Result]
"""(Fingerprint of the model, request) → its answer."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A procedure that came to a request without an answer: its stage, and how many it made."""

    stage: BuildStage
    requests: int


@dataclass(frozen=True, slots=True)
class RunProcedures:
    """The procedures of a run's records.

    models: role → fingerprint. reasoners: roles whose model reasons before it answers.
    """

    config: BuildConfig
    models: Mapping[ModelRole, str]
    reasoners: frozenset[ModelRole] = field(default_factory=frozenset)

    def steps_of(
        self, record: Trace | Comparison, constitution: Constitution
    ) -> Steps[Trace | Comparison]:
        """The procedure that makes this record's like under a constitution."""
        draws = replace(self.config.draws, reasoners=self.reasoners)
        kind: RecordKind = "trace" if isinstance(record, Trace) else "comparison"
        pair = record.pair if isinstance(record, Comparison) else 0
        return procedure(kind, record.prompt, pair, constitution, self.config, draws)

    def answers(self, records: Iterable[Trace | Comparison], constitution: Constitution) -> Answers:
        """The answers in some records, under the requests that were made for them.

        constitution: that of the run. Raises `DataError` where the record isn't what its procedure
        comes to with its own answers: another version of cai made it.
        """
        found: Answers = {}
        for record in records:
            recorded = _Recorded(record)
            steps = self.steps_of(record, constitution)
            results: tuple[Result, ...] | None = None
            try:
                while True:
                    ask = next(steps) if results is None else steps.send(results)
                    results = recorded.answer(ask)
                    model = self.models[ask.role]
                    found |= zip(((model, r) for r in ask.group), results, strict=True)
            except StopIteration as end:
                if end.value.id != record.id:
                    raise _other_version(record) from None
            except (IndexError, ValueError) as error:
                raise _other_version(record) from error
        return found


def replay(
    steps: Steps[T], answers: Mapping[tuple[str, Request], Result], models: Mapping[ModelRole, str]
) -> T | Missing:
    """Run a procedure to its end, or to the first request that has no answer."""
    results: tuple[Result, ...] | None = None
    try:
        while True:
            ask = next(steps) if results is None else steps.send(results)
            model = models[ask.role]
            known = [answers.get((model, request)) for request in ask.group]
            results = tuple(result for result in known if result is not None)
            if len(results) < len(known):
                steps.close()
                return Missing(ask.stage, len(known) - len(results))
    except StopIteration as end:
        outcome: T = end.value
        return outcome


def reasoners_of(records: Iterable[Trace | Comparison]) -> frozenset[ModelRole]:
    """The roles whose model reasoned, by what it left in these records.

    A judge that writes a chain of thought because its constitution asks for one is not among them.
    """
    roles: set[ModelRole] = set()
    for record in records:
        texts: list[tuple[ModelRole, Generation | None]] = []
        judgements: Sequence[Judgement] = ()
        if isinstance(record, Trace):
            texts.append(("generator", record.response))
            texts += [("critic", revision.critique) for revision in record.revisions]
            judgements = record.label.judgements if record.label else ()
        else:
            texts += [("generator", response) for response in record.responses]
            judgements = record.judgements
        texts += [("judge", thought) for j in judgements for thought in j.reasoning]
        roles |= {role for role, text in texts if text is not None and text.reasoning}
    return frozenset(roles)


class _Recorded:
    """A record's results, in the order in which its procedure asks for them."""

    def __init__(self, record: Trace | Comparison) -> None:
        judgements: Sequence[Judgement]
        if isinstance(record, Trace):
            self._texts = iter(_texts(record))
            self._checks = tuple(check.scores for check in record.checks)
            judgements = record.label.judgements if record.label else ()
        else:
            self._texts, self._checks = iter([record.responses]), ()
            judgements = record.judgements
        self._judgements = judgements
        self._scored, self._thought = itertools.count(), itertools.count()

    def answer(self, ask: Ask) -> tuple[Result, ...]:
        """The results of a request's group. Raises `IndexError` where there are none."""
        if ask.stage == "check":
            results: tuple[Result, ...] = self._checks
        elif ask.stage == "judgement":
            results = self._share([j.scores for j in self._judgements], self._scored, ask)
        elif ask.stage == "reasoning":
            results = self._share([j.reasoning for j in self._judgements], self._thought, ask)
        else:
            results = next(self._texts, ())
        if len(results) != len(ask.group):
            raise IndexError(f"{len(ask.group)} requests, and {len(results)} results")
        return results

    @staticmethod
    def _share(
        of_each: Sequence[Sequence[Result]], rounds: Iterator[int], ask: Ask
    ) -> tuple[Result, ...]:
        """The part of each judgement's results that one side, or one order, was asked for."""
        size = len(ask.group) // max(1, len(of_each))
        begin = next(rounds) * size
        return tuple(r for results in of_each for r in results[begin : begin + size])


def _texts(trace: Trace) -> Iterator[tuple[Generation, ...]]:
    yield (trace.response,)
    for revision in trace.revisions:
        yield from ((text,) for text in (revision.critique, revision.response) if text is not None)


def _other_version(record: Trace | Comparison) -> DataError:
    return DataError(
        f"{record.id} is not what this version of cai makes of its own answers",
        hint="The run was made by another version. Build it again: what is in the store is reused.",
    )
