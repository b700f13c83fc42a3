"""Which of two models' replies a judge prefers, item by item, under a constitution.

The judge compares them as in a build (`cai.pipeline.compare`): soft, and by letters in both orders.
Win rates are plain, and length-controlled after Dubois et al. 2024 (`cai.evaluation.win_rates`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cai.backends.base import Backend
from cai.errors import CaiError, Interrupted
from cai.evaluation.answers import ItemAnswer
from cai.evaluation.statistics import Estimate
from cai.evaluation.win_rates import length_controlled, win_rate
from cai.pipeline.build import Models
from cai.pipeline.drive import PromptTask, Tally, drive
from cai.pipeline.fixed_texts import compare_texts
from cai.pipeline.steps import Draws
from cai.store.store import Store
from cai.types import Comparison, Constitution, Prompt


@dataclass(frozen=True, slots=True)
class ReplyPreference:
    """The judge's preference for a model's reply over the baseline's, 0 to 1.

    lengths: words of the baseline's reply, and of the model's. p_ab, p_ba: by letters, the
    preference with the baseline's reply shown first, and shown second. principles: the preference
    under each principle.
    """

    model: str
    suite: str
    item: str
    cluster: str
    probability: float
    lengths: tuple[int, int]
    p_ab: float | None = None
    p_ba: float | None = None
    principles: Mapping[str, float] | None = None

    def row(self) -> dict[str, Any]:
        """The row of `preferences.jsonl`."""
        return {
            "model": self.model, "suite": self.suite, "item": self.item, "cluster": self.cluster,
            "probability": self.probability, "lengths": list(self.lengths), "p_ab": self.p_ab,
            "p_ba": self.p_ba, "principles": dict(self.principles or {}),
        }  # fmt: skip

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> ReplyPreference:
        """The preference of a row. Raises `KeyError` and `TypeError` for other rows."""
        before, after = row["lengths"]
        return cls(
            row["model"], row["suite"], row["item"], row["cluster"], float(row["probability"]),
            (int(before), int(after)), row["p_ab"], row["p_ba"], row["principles"],
        )  # fmt: skip


def compare_replies(
    model: str,
    before: Sequence[ItemAnswer],
    after: Sequence[ItemAnswer],
    judge: Backend,
    rules: Constitution,
    store: Store,
    draws: Draws,
) -> list[ReplyPreference]:
    """The judge's preference on each item that both models replied to, in order.

    before, after: the baseline's answers, and the model's. Equal replies are even without asking;
    what the judge can't be asked is left out. Raises `Interrupted` on Ctrl-C.
    """
    first = {(a.suite, a.item): a for a in before if "words" in a.values}
    second = {(a.suite, a.item): a for a in after if "words" in a.values}
    places = [place for place in first if place in second]
    found: dict[tuple[str, str], Comparison] = {}
    models = Models.all(judge)
    draws = replace(draws, reasoners=models.reasoners)
    tally = Tally(total=len(places))

    def tasks() -> Iterator[PromptTask[Comparison]]:
        for suite, item in places:
            answer = first[suite, item]
            # A conversation's earlier replies are each model's own: the baseline's are shown.
            prompt = Prompt(f"{suite}/{item}", answer.messages, f"{suite}: {item}")
            texts = answer.response, second[suite, item].response
            steps = compare_texts(prompt, rules, draws, *texts)
            yield PromptTask(f"{model}/{suite}/{item}", prompt, steps)

    def finish(task: PromptTask[Comparison], comparison: Comparison) -> None:
        suite, _, item = task.prompt.id.partition("/")
        found[suite, item] = comparison

    def give_up(task: PromptTask[Comparison], error: CaiError) -> None:
        pass  # the item is left out

    try:
        with store.lock():
            drive(tasks(), models.by_role, store, tally, finish=finish, give_up=give_up)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped: {tally.finished} of {tally.total} pairs of replies are judged.",
            hint="The verdicts so far are kept. Run the same command again to resume.",
        ) from None
    return [
        _preference(model, first[place], second[place], found[place])
        for place in places
        if place in found
    ]


def _preference(
    model: str, before: ItemAnswer, after: ItemAnswer, comparison: Comparison
) -> ReplyPreference:
    """The comparison's first response is the baseline's, so all is turned round."""
    lengths = int(before.values["words"]), int(after.values["words"])
    return ReplyPreference(
        model, after.suite, after.item, after.cluster, 1 - comparison.probability, lengths,
        None if comparison.p_ab is None else 1 - comparison.p_ab,
        None if comparison.p_ba is None else 1 - comparison.p_ba,
        {j.principle_id: 1 - j.p_first for j in comparison.judgements},
    )  # fmt: skip


def win_rate_rows(
    baseline: str, model: str, preferences: Sequence[ReplyPreference]
) -> list[dict[str, Any]]:
    """Win rates of a model against the baseline: over all suites, and on each."""
    suites = dict.fromkeys(p.suite for p in preferences)
    groups = {"all": list(preferences)} if len(suites) > 1 else {}
    groups |= {suite: [p for p in preferences if p.suite == suite] for suite in suites}
    return [_win_rates(baseline, model, name, some) for name, some in groups.items()]


def _win_rates(
    baseline: str, model: str, suite: str, preferences: Sequence[ReplyPreference]
) -> dict[str, Any]:
    values = [p.probability for p in preferences]
    clusters = [f"{p.suite}/{p.cluster}" for p in preferences]
    differences = [float(p.lengths[1] - p.lengths[0]) for p in preferences]
    controlled = length_controlled(values, differences, clusters)
    orders = [(p.p_ab, p.p_ba) for p in preferences if p.p_ab is not None and p.p_ba is not None]
    flipped = [(a - 0.5) * (b - 0.5) < 0 for a, b in orders]
    return {
        "baseline": baseline, "model": model, "suite": suite, "n": len(values),
        "win_rate": _interval(win_rate(values, clusters)),
        "length_controlled": None if controlled is None else _interval(controlled.controlled),
        "length_coefficient": None if controlled is None else controlled.coefficient,
        "longer_by": sum(differences) / len(differences),
        "undecided": values.count(0.5),
        "flipped": sum(flipped) / len(flipped) if flipped else None,
    }  # fmt: skip


def _interval(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
