"""From labelled pairs to principles that explain them: propose, judge, choose, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cai.authoring.attempt import run_tasks
from cai.authoring.inverse.candidates import (
    PrincipleCandidate,
    candidates_of,
    judging_constitution,
)
from cai.authoring.inverse.config import REQUESTS, InverseConfig
from cai.authoring.inverse.parts import PairParts, divide, drawn
from cai.authoring.inverse.proposals import RuleReply, merged, propose
from cai.backends.base import Backend
from cai.data.split import family
from cai.data.training_rows import PairRow
from cai.errors import CaiError, DataError, Interrupted, UsageError
from cai.evaluation.judged_rows import JudgedRow, judge_rows
from cai.pipeline.build import Models
from cai.pipeline.drive import PromptTask
from cai.relations.explained import Explanation, LabelLogits, clearest, explain
from cai.relations.verdicts import judged_logit
from cai.store.store import Store
from cai.types import Constitution, Principle, Prompt, SetAside


@dataclass(frozen=True, slots=True)
class InverseModels:
    """The critic, which proposes rules, or None where nothing is proposed; and the judge."""

    critic: Backend | None
    judge: Backend


@dataclass(frozen=True, slots=True)
class PrinciplesFound:
    """What came of the pairs.

    parts: the pairs, of which some may be set aside. replies: requests to the critic that were
    answered. proposed: different rules among the answers. dropped: other lines of the answers, by
    reason. examples: principle → pairs of the choosing part that it explains, clearest first.
    """

    candidates: tuple[PrincipleCandidate, ...]
    explanation: Explanation
    parts: PairParts
    judging: Literal["letters", "pointwise"]
    replies: int
    proposed: int
    dropped: dict[str, int]
    examples: dict[str, tuple[PairRow, ...]]
    set_aside: tuple[SetAside, ...]

    @property
    def chosen(self) -> list[PrincipleCandidate]:
        """The candidates that were chosen, in order."""
        by_id = {one.principle.id: one for one in self.candidates}
        return [by_id[one.name] for one in self.explanation.chosen]


def find_principles_of(
    rows: Sequence[PairRow | SetAside],
    principles: Sequence[Principle],
    constitution: Constitution,
    models: InverseModels,
    store: Store,
    config: InverseConfig,
    *,
    template: str,
    name: str,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> PrinciplesFound:
    """Propose principles that explain the labels of pairs, and choose those that explain most.

    rows: pairs, in each of which `chosen` was preferred. principles: candidates that there are
    already. constitution: its templates and its feedback say how candidates judge. template: of the
    request to the critic. name: first part of new principles' ids. progress: called with what is
    being counted, how many, and the total. All answers are kept in the store: after an interruption
    the same call goes on. Raises `DataError` for pairs that are too few, or without any proposal
    that can be used; `Interrupted` on Ctrl-C, and what a model raises.
    """
    requests = config.requests
    if requests is None:
        requests = 0 if principles else REQUESTS
    if requests and models.critic is None:
        raise UsageError("proposals need a critic")
    usable, aside = _usable(rows, config)
    parts = divide(usable, config.seed, proposing=bool(requests))
    replies: list[RuleReply] = []
    if models.critic is not None and requests:
        shown = drawn(parts.propose, requests, config.seed)
        replies, more = _proposals(shown, models.critic, store, config, template, progress)
        aside += more
    proposals = merged(replies, config.candidates)
    dropped = sum((reply.dropped for reply in replies), Counter[str]())
    if not proposals and not principles:
        raise DataError(
            f"no rule came of {len(replies)} answers of the critic: {_reasons(dropped)}",
            hint="Take a stronger --critic, or reword the request with --template.",
        )
    writer = models.critic.info.name if models.critic is not None else ""
    candidates = candidates_of(proposals, principles, name, writer)
    judging = constitution.feedback.judging
    rules = judging_constitution(constitution, candidates, judging)
    judged, set_aside = judge_rows(
        [*parts.choose, *parts.report], [rules], models.judge, store, config.draws,
        lambda done, total: progress("pairs judged", done, total),
    )  # fmt: skip
    chosen_by = {id(row) for row in parts.choose}
    choosing = [one for one in judged if id(one.row) in chosen_by]
    reporting = [one for one in judged if id(one.row) not in chosen_by]
    if not choosing or not reporting:
        why = set_aside[0].reason if set_aside else "there are none"
        raise DataError(f"no pair of a part could be judged: {why}", hint="Give more --data.")
    names = [one.principle.id for one in candidates]
    logits = [_label_logits(part, names, judging) for part in (choosing, reporting)]
    explanation = explain(
        names, *logits, most=config.most, gain=config.gain, seed=config.seed
    )  # fmt: skip
    return PrinciplesFound(
        tuple(candidates), explanation, parts, judging, len(replies),
        len({rule for reply in replies for rule in reply.rules}), dict(+dropped),
        _examples(choosing, logits[0], names), (*aside, *set_aside),
    )  # fmt: skip


def _usable(
    rows: Sequence[PairRow | SetAside], config: InverseConfig
) -> tuple[list[PairRow], list[SetAside]]:
    """At most `limit` of the rows whose sides can be compared, and the others with a reason."""
    usable: list[PairRow] = []
    aside: list[SetAside] = []
    for row in rows:
        if isinstance(row, SetAside):
            aside.append(row)
        elif len(row.chosen) != 1 or len(row.rejected) != 1:
            aside.append(SetAside(row.source or row.id, "a response of several messages"))
        elif row.probability == 0.5:
            aside.append(
                SetAside(
                    row.source or row.id, "tie: by its probability, neither response is better"
                )
            )
        else:
            usable.append(row)
    return drawn(usable, config.limit, config.seed), aside


def _proposals(
    rows: Sequence[PairRow], critic: Backend, store: Store, config: InverseConfig, template: str,
    progress: Callable[[str, int, int], None],
) -> tuple[list[RuleReply], list[SetAside]]:  # fmt: skip
    """The critic's replies in the order of the rows, and rows that it could not be asked about."""
    models = Models.all(critic)
    draws = replace(config.draws, reasoners=models.reasoners)
    found: dict[str, RuleReply] = {}
    aside: list[SetAside] = []

    def tasks() -> Iterator[PromptTask[RuleReply]]:
        for number, row in enumerate(rows):
            prompt = Prompt(row.id, row.prompt, row.source)
            yield PromptTask(
                f"{row.id}/{number}", prompt, propose(row, template, config.rules, draws)
            )

    def finish(task: PromptTask[RuleReply], reply: RuleReply) -> None:
        found[task.name] = reply
        progress("pairs shown to the critic", len(found) + len(aside), len(rows))

    def give_up(task: PromptTask[RuleReply], error: CaiError) -> None:
        aside.append(SetAside(task.prompt.source or task.prompt.id, error.message))

    try:
        run_tasks(tasks(), models, finish=finish, give_up=give_up, store=store)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped: {len(found)} of {len(rows)} answers of the critic are there.",
            hint="They are kept. Run the same command again to resume.",
        ) from None
    names = [f"{row.id}/{number}" for number, row in enumerate(rows)]
    return [found[name] for name in names if name in found], aside


def _label_logits(judged: Sequence[JudgedRow], names: Sequence[str], judging: str) -> LabelLogits:
    """The candidates' logits that `chosen` is better, as they would enter a label."""
    logits: list[list[float]] = []
    for one in judged:
        by_name = {
            j.principle_id: judged_logit(j, capped=judging == "letters")
            for j in one.comparisons[0].judgements
        }
        logits.append([by_name.get(name, 0.0) for name in names])
    codes: dict[str, int] = {}
    clusters = [codes.setdefault(family(one.row.prompt), len(codes)) for one in judged]
    longer = [len(one.row.chosen[0].content) - len(one.row.rejected[0].content) for one in judged]
    return LabelLogits.of(logits, clusters, longer)


def _examples(
    judged: Sequence[JudgedRow], part: LabelLogits, names: Sequence[str]
) -> dict[str, tuple[PairRow, ...]]:
    """Principle → the pairs that it explains, the clearest first."""
    return {name: tuple(judged[i].row for i in clearest(part, n)) for n, name in enumerate(names)}


def _reasons(dropped: Counter[str]) -> str:
    return ", ".join(f"{count} × {reason}" for reason, count in dropped.most_common()) or "nothing"
