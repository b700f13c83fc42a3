"""What a policy does while it trains: suites of `cai eval`, asked again every so many steps.

A policy that learns to refuse everything, to flatter or to break a principle may look well by its
loss and by its reward. So some items of suites are asked of it before the first step and at every
so many, by the procedures of an evaluation, and a run ends where a main measure has become worse
than at the start: by more than a bound, and by more than chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cai.backends.local import LocalBackend
from cai.constitution.load import load_constitution
from cai.errors import UsageError
from cai.evaluation.answers import ItemAnswer
from cai.evaluation.evaluate import answer_items, by_suite
from cai.evaluation.measures import SuiteMeasure, measures_of
from cai.evaluation.paired import paired
from cai.evaluation.results import estimate, item_value
from cai.evaluation.suite import Suite, select_suites
from cai.evaluation.tasks import PROCEDURES
from cai.models.backbone import Backbone
from cai.pipeline.drive import Unstored
from cai.pipeline.steps import Draws
from cai.text.addresses import shown_model
from cai.training.config import TrainConfig
from cai.training.judges import BATCH, FrozenJudge, base_judge, load_judge
from cai.types import Constitution

P_VALUE = 0.01
"""A change is beyond chance where its p-value is below this."""


@dataclass(frozen=True, slots=True)
class MonitorBounds:
    """change: how much worse a measure must be than at the start for the run to end."""

    change: float
    p_value: float = P_VALUE


class BehaviourMonitor:
    """Asks a policy some items of suites, and says when it has become worse.

    suites: as they are asked. rules: a constitution that replies are judged by; None for no judge.
    judge: by default the base alone, adapters off.
    """

    def __init__(
        self,
        backbone: Backbone,
        suites: Sequence[Suite],
        bounds: MonitorBounds,
        draws: Draws,
        rules: Constitution | None = None,
        judge: FrozenJudge | None = None,
    ) -> None:
        self.judge = judge or base_judge(backbone)
        self.backbone = backbone
        self.suites = tuple(suites)
        self.bounds = bounds
        self.draws = draws
        self.rules = rules
        judged = rules is not None
        self.measures: Mapping[str, list[SuiteMeasure]] = {
            suite.id: _watched(measures_of(suite, judged=judged)) for suite in suites
        }
        self._start: dict[str, dict[str, dict[str, float]]] = {}
        """Values at the start: by suite, item and measure."""

    def begin(self) -> dict[str, float]:
        """Ask the policy as it is at the start; returns its measures."""
        answers = self._ask()
        self._start = {
            suite: {answer.item: dict(answer.values) for answer in some}
            for suite, some in answers.items()
        }
        return self._metrics(answers)

    @property
    def has_begun(self) -> bool:
        """Whether the start is known."""
        return bool(self._start)

    def watch(self) -> tuple[dict[str, float], str | None]:
        """Ask the policy as it is now; returns its measures, and the reason to end the run."""
        answers = self._ask()
        reasons = (
            self._worse(suite, measure, some)
            for suite, some in answers.items()
            for measure in self.measures[suite]
        )
        return self._metrics(answers), next((reason for reason in reasons if reason), None)

    def state(self) -> dict[str, Any]:
        """The values at the start, for JSON."""
        return {"start": self._start}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Resume from what `state` returned."""
        self._start = state["start"]

    def _ask(self) -> dict[str, list[ItemAnswer]]:
        """Answers by suite. New backends each time: what an older policy has read is of no use."""
        training = self.backbone.training
        self.backbone.train(False)
        try:
            policy = LocalBackend(self.backbone.as_model("policy"), BATCH)
            judge = self.judge.make() if self.rules else None
            asked = answer_items(
                "policy", policy, self.suites, Unstored(), self.draws, judge=judge,
                rules=self.rules,
            )  # fmt: skip
        finally:
            self.backbone.train(training)
        return dict(by_suite(asked.answers))

    def _metrics(self, answers: Mapping[str, Sequence[ItemAnswer]]) -> dict[str, float]:
        return {
            f"{suite}/{measure.name}": estimate(measure, some).value
            for suite, some in answers.items()
            for measure in self.measures[suite]
        }

    def _worse(
        self, suite: str, measure: SuiteMeasure, answers: Sequence[ItemAnswer]
    ) -> str | None:
        """The reason to end the run, if a measure is worse than at the start."""
        if suite not in self._start:  # a monitor that a resumed run was given
            return None
        if measure.better is None:  # it is shown, and neither direction is an alarm
            return None
        start = self._start[suite]
        before = {
            answer.item: item_value(measure, start[answer.item])
            for answer in answers
            if answer.item in start
        }
        change = paired(
            list(before.values()),
            [item_value(measure, a.values) for a in answers if a.item in before],
            [a.cluster for a in answers if a.item in before],
        )
        sign = -1 if measure.better == "higher" else 1
        worse = sign * change.change.value
        if change.p_value is None or not worse > self.bounds.change:
            return None
        if change.p_value >= self.bounds.p_value:
            return None
        return (
            f"{measure.title} on {suite}: {change.before:.3g} at the start, {change.after:.3g} now"
            f" (p {change.p_value:.2g})"
        )


def _watched(measures: Sequence[SuiteMeasure]) -> list[SuiteMeasure]:
    """The main measure, and the judge's violations; those without a better direction are shown."""
    return [m for m in measures if m is measures[0] or m.name == "violation"]


def monitor_suites(config: TrainConfig) -> tuple[list[Suite], Constitution | None]:
    """The suites that a configuration asks for, none if none, and the constitution of the judge.

    Raises `UsageError`, `ContentError` and `DataError` for what can't be used.
    """
    names = [name.strip() for name in (config.monitor or "").splitlines() if name.strip()]
    suites = select_suites(names, config.monitor_items, config.seed) if names else []
    for suite in suites:
        if suite.task not in PROCEDURES:
            raise UsageError(
                f"--monitor can't ask the suite {suite.id}: it measures a reward model,"
                " and no policy",
                hint="Run `cai eval --suite style --reward RUN` when the training has ended.",
            )
    name = config.monitor_constitution or ("default" if config.monitor_judge else None)
    return suites, load_constitution(name) if suites and name else None


def make_monitor(config: TrainConfig, backbone: Backbone) -> BehaviourMonitor | None:
    """The monitor that a configuration asks for; None for none.

    Raises what loading its judge raises.
    """
    suites, rules = monitor_suites(config)
    if not suites:
        return None
    draws = Draws(seed=config.seed, temperature=0.0, max_new_tokens=config.monitor_new_tokens)
    judge = load_judge(config.monitor_judge, config) if config.monitor_judge else None
    return BehaviourMonitor(
        backbone, suites, MonitorBounds(config.monitor_change), draws, rules, judge
    )


def monitor_facts(monitor: BehaviourMonitor, judge: str | None) -> dict[str, Any]:
    """What is asked, for the log of a run. judge: its name, as in the settings."""
    return {
        "suites": {suite.id: suite.digest for suite in monitor.suites},
        "items": {suite.id: len(suite.items) for suite in monitor.suites},
        "bounds": asdict(monitor.bounds),
        "constitution": monitor.rules.id if monitor.rules else None,
        "judge": (shown_model(judge) if judge else "the base alone") if monitor.rules else None,
    }
