"""Monitors that stop a run on collapse or reward hacking, without any ground truth.

A policy that has found a hole in its reward shows it elsewhere: it is far from the reference, its
responses grow, shrink, repeat themselves or become one, they no longer end, or a second
reward falls while the first rises (Gao et al. 2022, arXiv 2210.10760). Everything is measured
against the run's own start. One odd update is noise: an alarm must hold for several in a row. A few
prompts are noise, too: small updates are averaged over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cai.errors import UsageError
from cai.stats import spread
from cai.training.config import OnPolicyConfig
from cai.training.rollout import Response
from cai.training.score_parts import is_rounding

NGRAM_SIZE = 4
FEWEST = 16
"""Prompts that a comparison needs on each side: a share among as many responses has a standard
error of 13 points at most. Further responses to a prompt are alike, and tell little more."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Statistics of one update's responses.

    kl: mean KL of a response to the reference, nats. length: mean tokens. repetition: mean share of
    a response's 4-grams that it has said before. missing_eos: share of responses without a proper
    end (`cai.training.rollout.has_ended`). distinct: share of different texts among all. score:
    mean of what the policy is trained on. second_score: mean of the second reward, None without
    one. second_spread: its standard deviation over the responses.
    """

    kl: float
    length: float
    repetition: float
    missing_eos: float
    distinct: float
    score: float
    second_score: float | None = None
    second_spread: float = 0.0


@dataclass(frozen=True, slots=True)
class AlarmBounds:
    """The bounds beyond which an alarm stops a run.

    kl: nats a response. longer, shorter: mean length as a multiple of the start's. repetition,
    missing_eos: rise of these shares over the start. distinct: as a multiple of the start's share.
    max_drop: of the second reward from its best, in standard deviations over the first window.
    window: updates over which both rewards are averaged, or more where updates are small. patience:
    updates in a row in which an alarm must hold.
    """

    kl: float = 30.0
    longer: float = 3.0
    shorter: float = 0.25
    repetition: float = 0.3
    missing_eos: float = 0.4
    distinct: float = 0.25
    max_drop: float = 0.5
    window: int = 4
    patience: int = 2

    def __post_init__(self) -> None:
        if not (self.longer > 1 > self.shorter >= 0):
            raise UsageError(
                f"The bounds on length are {self.shorter} and {self.longer} of the start's;"
                " they must lie below and above 1."
            )
        for name in ("kl", "repetition", "missing_eos", "max_drop", "window", "patience"):
            if not getattr(self, name) > 0:
                raise UsageError(
                    f"The monitors' {name} is {getattr(self, name)}; it must be above 0."
                )


def observe(
    responses: Sequence[Response],
    kl: float,
    scores: Sequence[float],
    second_scores: Sequence[float] | None = None,
) -> Observation:
    """Statistics of one update's responses. kl: mean over them, nats."""
    count = len(responses)
    return Observation(
        kl=kl,
        length=sum(len(r.ids) for r in responses) / count,
        repetition=sum(repeated(r.ids) for r in responses) / count,
        missing_eos=sum(not r.ended for r in responses) / count,
        distinct=len({r.text for r in responses}) / count,
        score=_mean(scores),
        second_score=None if second_scores is None else _mean(second_scores),
        second_spread=0.0 if second_scores is None else spread(second_scores),
    )


def repeated(ids: Sequence[int]) -> float:
    """Share of a response's 4-grams that are repeats; 0 for fewer than four ids."""
    ngrams = [tuple(ids[i : i + NGRAM_SIZE]) for i in range(len(ids) - NGRAM_SIZE + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


class Monitors:
    """Takes every update's observation, and decides when a run should stop.

    The start, with which the others are compared, is the first observation; of updates with fewer
    than `FEWEST` prompts, the mean of the first few. The same number of the latest are compared
    with it. prompts: of an update.
    """

    def __init__(self, bounds: AlarmBounds, prompts: int = FEWEST) -> None:
        self._updates = math.ceil(FEWEST / prompts)
        """Whose means are compared."""
        self.bounds = replace(bounds, window=max(bounds.window, self._updates))
        self._history: list[Observation] = []
        self._streaks: dict[str, int] = {}

    def watch(self, observation: Observation) -> str | None:
        """Add an observation. Returns the reason to stop, in words, or None."""
        self._history.append(observation)
        for name, reason in self._alarms():
            self._streaks[name] = self._streaks.get(name, 0) + 1 if reason else 0
            if reason and self._streaks[name] >= self.bounds.patience:
                return reason
        return None

    def _alarms(self) -> Iterator[tuple[str, str | None]]:
        """The name of each alarm, with its reason now, or None."""
        if len(self._history) >= self._updates:
            start = _average(self._history[: self._updates])
            now = _average(self._history[-self._updates :])
            for alarm in ALARMS:
                yield alarm.__name__, alarm(start, now, self.bounds)
        yield reward_hacking.__name__, reward_hacking(self._history, self.bounds)

    @property
    def no_alarm(self) -> bool:
        """Whether the last update raised no alarm."""
        return not any(self._streaks.values())

    @property
    def second_reward_is_constant(self) -> bool:
        """Whether the second reward had no spread at the start: a drop can't be measured."""
        start = self._history[: self.bounds.window]
        return (
            len(start) == self.bounds.window
            and start[0].second_score is not None
            and _second_std(start) == 0
        )

    def state(self) -> dict[str, Any]:
        """All observations, for JSON."""
        return {
            "history": [asdict(o) for o in self._history],
            "streaks": dict(self._streaks),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from what `state` returned."""
        self._history = [
            Observation(**{_EARLIER_NAMES.get(n, n): v for n, v in o.items()})
            for o in state["history"]
        ]
        self._streaks = dict(state["streaks"])


# -- the alarms: the start, and now -> a reason, or None -------------------------------------------


def kl_too_high(start: Observation, now: Observation, bounds: AlarmBounds) -> str | None:
    """KL over its bound."""
    if now.kl <= bounds.kl:
        return None
    return (
        f"The policy has left its reference: KL {now.kl:.1f} nats a response, the bound is"
        f" {bounds.kl:g}. What it writes now is far from what it wrote at the start."
    )


def length_growing(start: Observation, now: Observation, bounds: AlarmBounds) -> str | None:
    """Length exploding."""
    if now.length <= bounds.longer * start.length:
        return None
    return (
        f"Responses are growing: {now.length:.0f} tokens on average, {start.length:.0f} at the"
        " start. The score may be paying for length."
    )


def length_shrinking(start: Observation, now: Observation, bounds: AlarmBounds) -> str | None:
    """Length collapsing."""
    if now.length >= bounds.shorter * start.length:
        return None
    return (
        f"Responses are shrinking: {now.length:.1f} tokens on average, {start.length:.1f} at the"
        " start. The score may be paying for saying nothing."
    )


def repetition_growing(start: Observation, now: Observation, bounds: AlarmBounds) -> str | None:
    """Repetition exploding."""
    if now.repetition <= start.repetition + bounds.repetition:
        return None
    return (
        f"Responses repeat themselves: {now.repetition:.0%} of their {NGRAM_SIZE}-grams are"
        f" repeats, {start.repetition:.0%} at the start."
    )


def ends_missing(start: Observation, now: Observation, bounds: AlarmBounds) -> str | None:
    """Responses that no longer end."""
    if now.missing_eos <= start.missing_eos + bounds.missing_eos:
        return None
    return (
        f"Responses no longer end: {now.missing_eos:.0%} have no end (EOS token),"
        f" {start.missing_eos:.0%} at the start."
    )


def responses_identical(start: Observation, now: Observation, bounds: AlarmBounds) -> str | None:
    """Distribution collapse: the same response to everything."""
    if now.distinct >= bounds.distinct * start.distinct:
        return None
    return (
        f"The policy says the same to every prompt: {now.distinct:.0%} of the responses differ,"
        f" {start.distinct:.0%} at the start."
    )


ALARMS: tuple[Callable[[Observation, Observation, AlarmBounds], str | None], ...] = (
    kl_too_high,
    length_growing,
    length_shrinking,
    repetition_growing,
    ends_missing,
    responses_identical,
)


def reward_hacking(history: Sequence[Observation], bounds: AlarmBounds) -> str | None:
    """Over-optimization: the score rises while the second reward falls from its best.

    history: all observations, the last being the newest.
    """
    window, unit = bounds.window, _second_std(history[: bounds.window])
    if len(history) < 2 * window or history[-1].second_score is None or unit == 0:
        return None
    second = _windows([o.second_score or 0.0 for o in history], window)
    scores = _windows([o.score for o in history], window)
    earlier = range(len(second) - window)  # windows that share no update with the last one
    best = max(earlier, key=lambda i: second[i])
    if second[-1] >= second[best] - bounds.max_drop * unit or scores[-1] <= scores[best]:
        return None
    return (
        f"Reward hacking: since update {best + window} the score has risen from"
        f" {scores[best]:.2f} to {scores[-1]:.2f} while the second reward fell from"
        f" {second[best]:.2f} to {second[-1]:.2f}."
    )


_EARLIER_NAMES = {"unended": "missing_eos"}
"""Names in the checkpoints of earlier versions."""
_MANY_MISSING_EOS = 0.5  # of an update's responses
_WIDER = 4.0  # an update's spread of scores, as a multiple of the one that they are divided by


def rollout_warnings(
    config: OnPolicyConfig,
    metrics: Mapping[str, float],
    second_reward_is_constant: bool,
    unit: float | None = None,
) -> Iterator[tuple[str, str]]:
    """Warnings about an update's metrics, each with a name.

    second_reward_is_constant: as of `Monitors`. unit: what scores are divided by, None for nothing.
    """
    several = config.responses_per_update > 1
    if metrics.get("taught") == 0:
        yield (
            "untaught",
            "Nothing is taught about any response of an update (`taught` 0): the critic found no"
            " problem in them.",
        )
    elif several and is_rounding(metrics["score_spread"], abs(metrics["score"])):
        score = f"{metrics['score']:g}"
        yield (
            "flat",
            f"All responses of an update have the same score, {score}, but for rounding: nothing to"
            " learn.",
        )
    if several and metrics["distinct"] * config.responses_per_update < 1.5:
        yield (
            "same",
            "All responses of an update are the same text: look at rollouts.jsonl, and at the"
            " temperature.",
        )
    if unit and metrics["score_spread"] > _WIDER * unit:
        yield (
            "unit",
            f"Scores vary {metrics['score_spread'] / unit:.0f} times as much as at the start, by"
            " whose spread they are normalised: rewards are that much larger beside the KL penalty."
            " Raise --kl-coef, or give --no-normalise-scores.",
        )
    if metrics["missing_eos"] > _MANY_MISSING_EOS:
        yield (
            "cut",
            f"{metrics['missing_eos']:.0%} of the responses did not end within --max-new-tokens"
            f" {config.max_new_tokens} and were scored as cut off: raise it.",
        )
    if second_reward_is_constant and several:
        yield (
            "blind",
            "--second-reward gives all responses of an update the same value, in the last"
            f" {metrics['second_reward']:g}: it has no spread to measure a fall in, so it can't"
            " stop the run.",
        )


def _windows(values: Sequence[float], size: int) -> list[float]:
    """Moving average over `size` values."""
    return [_mean(values[i : i + size]) for i in range(len(values) - size + 1)]


def _second_std(observations: Sequence[Observation]) -> float:
    """Standard deviation of the second reward within an update, pooled over updates."""
    return math.sqrt(_mean([o.second_spread**2 for o in observations]))


def _average(observations: Sequence[Observation]) -> Observation:
    """Means of what the alarms compare."""
    return replace(
        observations[-1],
        **{
            name: _mean([getattr(o, name) for o in observations])
            for name in ("kl", "length", "repetition", "missing_eos", "distinct")
        },
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
