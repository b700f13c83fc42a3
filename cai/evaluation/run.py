"""An evaluation from models and suites to its results: `cai eval`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cai.backends.base import Backend, ModelInfo
from cai.errors import UsageError
from cai.evaluation.answers import ItemAnswer
from cai.evaluation.evaluate import EvaluationProgress, ModelAnswers, ask_model, by_suite
from cai.evaluation.labelled import rule_facts
from cai.evaluation.measures import MEASURED_REPLIES, ReplyMeasure, SuiteMeasure, measures_of
from cai.evaluation.preferences import ReplyPreference, compare_replies, win_rate_rows
from cai.evaluation.record import evaluation_id
from cai.evaluation.results import (
    ModelChange,
    SuiteResult,
    change_row,
    changes_of,
    result_row,
    results_of,
)
from cai.evaluation.rewards import RewardScorer, rewarded, style_answers
from cai.evaluation.statistics import agreement
from cai.evaluation.suite import Suite
from cai.pipeline.snapshot import snapshot
from cai.pipeline.steps import Draws
from cai.store.store import Store
from cai.types import Constitution

TRUTH = "truth_"
"""What measures by a ground truth begin with."""


@dataclass(frozen=True, slots=True)
class Judges:
    """Who judges replies beside the suites' own rules.

    model, rules: a model, and the constitution that it judges by. reward: a reward model, and
    reward_facts: what the record says of it. reply_measures: rules by name.
    """

    model: Backend | None = None
    rules: Constitution | None = None
    reward: RewardScorer | None = None
    reward_facts: Mapping[str, Any] = field(default_factory=dict)
    reply_measures: Mapping[str, ReplyMeasure] = field(default_factory=lambda: MEASURED_REPLIES)

    @property
    def facts(self) -> dict[str, Any]:
        """What they are, for the record."""
        facts: dict[str, Any] = {}
        if self.model is not None and self.rules is not None:
            facts["model"] = model_facts(self.model.info.name, self.model.info)
            facts["constitution"] = {
                "id": self.rules.id, "version": self.rules.version, "digest": self.rules.digest,
            }  # fmt: skip
        if self.reward is not None:
            facts["reward"] = dict(self.reward_facts)
        return facts

    def facts_for(self, suites: Sequence[Suite]) -> dict[str, Any]:
        """The same, and how often the rules are wrong that results of these suites rest on."""
        names = {
            name for suite in suites for name in suite.judges
            if self.reply_measures.get(name) is MEASURED_REPLIES.get(name)
        }  # fmt: skip
        rules = rule_facts(names) if names else {}
        return self.facts | ({"rules": rules} if rules else {})

    @property
    def principles(self) -> list[dict[str, Any]]:
        """The principles that the judge reads replies by, in their own words."""
        if self.model is None or self.rules is None:
            return []
        asked = {member.principle.id for member in self.rules.phase("rl")}
        return [p for p in snapshot(self.rules)["principles"] if p["id"] in asked]


@dataclass
class Evaluation:
    """What an evaluation came to.

    answers: by model, in the order of suites and items. The first model is the baseline.
    preferences: a judge's, between replies of the baseline and of each other model.
    """

    record: dict[str, Any]
    answers: dict[str, list[ItemAnswer]]
    preferences: list[ReplyPreference]
    results: list[SuiteResult]
    changes: list[ModelChange]


def evaluate(
    models: Mapping[str, Callable[[], Backend]],
    suites: Sequence[Suite],
    store: Store,
    draws: Draws,
    judges: Judges | None = None,
    *,
    progress: Callable[[EvaluationProgress], None] = lambda _: None,
) -> Evaluation:
    """Ask models the items of suites, and measure what they answer.

    models: by name, each made when its turn comes; the first is what the others are compared with.
    Raises `UsageError` where a suite names a measure that there is not, and what a model raises.
    """
    judges = judges or Judges()
    measures = {suite.id: _measures(suite, judges) for suite in suites}
    answers: dict[str, list[ItemAnswer]] = {}
    facts, warnings, set_aside = [], [], []
    for name, make in models.items():
        begin, model = time.monotonic(), make()
        before = model.throughput
        asked = ask_model(
            name, model, suites, store, draws, judge=judges.model, rules=judges.rules,
            reply_measures=judges.reply_measures, progress=progress,
        )  # fmt: skip
        answers[name] = _scored(asked, judges)
        spent = model.throughput
        facts.append(
            model_facts(name, model.info)
            | {
                "seconds": round(time.monotonic() - begin, 2),
                "prompt_tokens": spent.prompt_tokens - before.prompt_tokens,
                "response_tokens": spent.response_tokens - before.response_tokens,
                "cost": spent.cost - before.cost,
                "reused_steps": asked.reused,
            }
        )
        warnings += _warnings(name, model.info, judges)
        set_aside += [{"model": name, **asdict(row)} for row in asked.set_aside]
    set_aside += [
        {"model": None, **asdict(row)} for suite in suites for row in suite.set_aside
    ]  # fmt: skip
    preferences = _compared(answers, store, draws, judges)
    _add_reward_model(answers, suites, judges, set_aside)
    found = {name: by_suite(some) for name, some in answers.items()}
    results = [
        result
        for name, suites_of in found.items()
        for suite, some in suites_of.items()
        for result in results_of(name, suite, measures[suite], some)
    ]
    changes = changes_of({name: found[name] for name in models}, measures)
    record = {
        "id": planned_id([f["fingerprint"] for f in facts], suites, draws, judges),
        "models": facts, **_asked(suites, draws, judges),
        "principles": judges.principles, "warnings": warnings,
        "results": [result_row(r) for r in results],
        "changes": [change_row(c) for c in changes],
        "win_rates": _win_rates(list(models), preferences),
        "agreement": agreements(answers, suites), "set_aside": set_aside,
    }  # fmt: skip
    return Evaluation(record, answers, preferences, results, changes)


def planned_id(
    fingerprints: Sequence[str], suites: Sequence[Suite], draws: Draws, judges: Judges
) -> str:
    """The id of an evaluation of models with these fingerprints, which can be had before it."""
    asked = _asked(suites, draws, judges)
    models = [{"fingerprint": fingerprint} for fingerprint in fingerprints]
    return evaluation_id(models, asked["suites"], asked["settings"], asked["judges"])


def _asked(suites: Sequence[Suite], draws: Draws, judges: Judges) -> dict[str, Any]:
    """What the record says of all but the models."""
    return {
        "suites": [_suite_facts(suite) for suite in suites],
        "settings": {k: v for k, v in asdict(draws).items() if k != "reasoners"},
        "judges": judges.facts_for(suites),
    }


def model_facts(name: str, info: ModelInfo) -> dict[str, Any]:
    """What the record says of a model."""
    return {
        "name": name, "model": info.name, "fingerprint": info.fingerprint,
        "base": info.base.name if info.base else None,
        "adapter": info.adapter.name if info.adapter else None,
        "server": dict(info.server) or None,
    }  # fmt: skip


def _suite_facts(suite: Suite) -> dict[str, Any]:
    return {
        "id": suite.id, "version": suite.version, "title": suite.title, "about": suite.about,
        "task": suite.task, "scoring": suite.scoring, "items": len(suite.items),
        "digest": suite.digest, "path": suite.path, "axis": suite.axis,
    }  # fmt: skip


def _measures(suite: Suite, judges: Judges) -> list[SuiteMeasure]:
    return measures_of(
        suite, judged=judges.model is not None, rewarded=judges.reward is not None,
        known=judges.reply_measures,
    )  # fmt: skip


def _scored(asked: ModelAnswers, judges: Judges) -> list[ItemAnswer]:
    """A model's answers, with the reward model's scores of its replies."""
    if judges.reward is None:
        return asked.answers
    replies = [a for a in asked.answers if "words" in a.values]
    scored = {(a.suite, a.item): a for a in rewarded(replies, judges.reward)}
    return [scored.get((a.suite, a.item), a) for a in asked.answers]


def _compared(
    answers: Mapping[str, Sequence[ItemAnswer]], store: Store, draws: Draws, judges: Judges
) -> list[ReplyPreference]:
    """The judge's preferences between the baseline's replies and those of each other model."""
    if judges.model is None or judges.rules is None:
        return []
    baseline, *models = answers
    return [
        preference
        for model in models
        for preference in compare_replies(
            model, answers[baseline], answers[model], judges.model, judges.rules, store, draws
        )
    ]


def _win_rates(
    models: Sequence[str], preferences: Sequence[ReplyPreference]
) -> list[dict[str, Any]]:
    baseline, *others = models
    rows = []
    for model in others:
        rows += win_rate_rows(baseline, model, [p for p in preferences if p.model == model])
    return rows


def _add_reward_model(
    answers: dict[str, list[ItemAnswer]], suites: Sequence[Suite], judges: Judges,
    set_aside: list[dict[str, Any]],
) -> None:  # fmt: skip
    """The reward model's own answers, to suites that measure it."""
    style = [suite for suite in suites if suite.task == "style"]
    if not style or judges.reward is None:
        return
    name = f"reward model {judges.reward_facts.get('name', '')}".strip()
    answers[name] = []
    for suite in style:
        some, aside = style_answers(suite, judges.reward)
        answers[name] += some
        set_aside += [{"model": name, **asdict(row)} for row in aside]


def _warnings(name: str, info: ModelInfo, judges: Judges) -> list[str]:
    if judges.model is not None and judges.model.info.fingerprint == info.fingerprint:
        return [f"{name} judges itself: the judge is the same model"]
    return []


def agreements(
    answers: Mapping[str, Sequence[ItemAnswer]], suites: Sequence[Suite]
) -> list[dict[str, Any]]:
    """How far the judges of replies agree on what is a good one: share and Cohen's κ.

    By suite, over the replies of all models. Rules say good by the suite's better direction, a
    judge where it finds no violation.
    """
    out = []
    everything = [answer for some in answers.values() for answer in some]
    for suite in suites:
        asked = [answer for answer in everything if answer.suite == suite.id]
        verdicts = [_verdicts(suite, answer) for answer in asked]
        clusters = [answer.cluster for answer in asked]  # the replies of all models to an item, too
        names = dict.fromkeys(itertools.chain.from_iterable(verdicts))
        for first, second in itertools.combinations(names, 2):
            match = agreement(
                [v.get(first) for v in verdicts], [v.get(second) for v in verdicts], clusters
            )
            low, high = match.interval
            out.append({
                "suite": suite.id, "judges": [first, second], "agreed": match.agree.share,
                "n": match.agree.n, "kappa": match.kappa, "low": low, "high": high,
            })  # fmt: skip
    return out


def _verdicts(suite: Suite, answer: ItemAnswer) -> dict[str, float]:
    """Which judges find a reply good. A suite's rules are one judge, good where all are."""
    rules = {
        name: (answer.values[name] > 0.5) is (better == "higher")
        for name, better in suite.judges.items()
        if name in answer.values
    }
    out: dict[str, float] = {}
    truth = [rules.pop(name) for name in list(rules) if name.startswith(TRUTH)]
    if truth:
        out["truth"] = float(all(truth))
    if rules:
        out[next(iter(rules)) if len(rules) == 1 else "rules"] = float(all(rules.values()))
    if "violation" in answer.values:
        out["judge"] = 1.0 - answer.values["violation"]
    return out


def name_models(names: Iterable[str]) -> list[str]:
    """Names that differ, numbered where they would not. Raises `UsageError` for none."""
    out: list[str] = []
    for name in names:
        unique, number = name, 2
        while unique in out:
            unique, number = f"{name}-{number}", number + 1
        out.append(unique)
    if not out:
        raise UsageError("No model is named", hint="cai eval MODEL…: the base first.")
    return out
