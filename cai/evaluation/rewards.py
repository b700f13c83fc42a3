"""A reward model as a judge: scores of replies, and whether a change of style alone moves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from cai.errors import PromptError
from cai.evaluation.answers import ItemAnswer
from cai.evaluation.items import StyleItem
from cai.evaluation.suite import Suite
from cai.stats import spread
from cai.types import Message, Messages, SetAside


class RewardScorer(Protocol):
    """Scores responses; `cai.training.reward_model.RewardModel` is one."""

    def score_rows(self, rows: Sequence[tuple[Messages, str]]) -> list[float]:
        """A score for the response to each conversation: higher is better."""
        ...


def reward_facts(name: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """What an evaluation's record says of a reward model: its run, and how often it is right.

    run: the record of its training. Accuracy is on pairs, of `rows` (held out, or those it was
    trained on), with its interval, and what preferring the longer or the shorter alone gives.
    """
    results = run.get("results") or {}
    names = ("accuracy", "interval", "rows", "length_baseline")
    measured = {key: results[key] for key in names if results.get(key) is not None}
    return {"name": name, "id": str(run["id"]), **measured}


def rewarded(answers: Sequence[ItemAnswer], reward: RewardScorer) -> list[ItemAnswer]:
    """The answers with the value `reward`, where they are replies that fit into its context."""
    scores = _scores([(a.messages, a.response) for a in answers], reward)
    return [
        a if score is None else replace(a, values={**a.values, "reward": score})
        for a, score in zip(answers, scores, strict=True)
    ]


def style_answers(suite: Suite, reward: RewardScorer) -> tuple[list[ItemAnswer], list[SetAside]]:
    """What a reward model makes of responses whose style alone was changed.

    prefers_edit: whether the edited one scores higher; an even coin's half is right. score_change:
    by how much, in standard deviations of all scores of the suite.
    """
    items = [item for item in suite.items if isinstance(item, StyleItem)]
    conversations = [(Message("user", item.prompt),) for item in items]
    rows = [(c, i.response) for c, i in zip(conversations, items, strict=True)]
    rows += [(c, i.edited) for c, i in zip(conversations, items, strict=True)]
    scores = _scores(rows, reward)
    size = spread([s for s in scores if s is not None]) or 1.0
    answers, set_aside = [], []
    for place, item in enumerate(items):
        before, after = scores[place], scores[place + len(items)]
        if before is None or after is None:
            set_aside.append(SetAside(f"{suite.id}: {item.id}", "too long for the reward model"))
            continue
        values = {
            "prefers_edit": float(after > before), "score_change": (after - before) / size,
            "score": before, "edited_score": after,
        }  # fmt: skip
        answer = ItemAnswer.of(suite.id, item, conversations[place], item.edited, values)
        answers.append(replace(answer, type=item.edit))
    return answers, set_aside


def _scores(rows: Sequence[tuple[Messages, str]], reward: RewardScorer) -> list[float | None]:
    """Scores of rows; None for one that is too long."""
    try:
        return list(reward.score_rows(rows)) if rows else []
    except PromptError:
        return [_score(row, reward) for row in rows]


def _score(row: tuple[Messages, str], reward: RewardScorer) -> float | None:
    try:
        return reward.score_rows([row])[0]
    except PromptError:
        return None
