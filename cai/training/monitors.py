"""Watches a run for collapse and reward hacking, without any ground truth.

A policy that has found a hole in its reward shows it elsewhere: it is far from the reference, its
responses grow, shrink, repeat themselves or become one, they no longer end, or a second opinion
falls while the score rises (Gao et al. 2022, arXiv 2210.10760). Everything is measured against the
run's own start. One odd update is noise; a sign has to stand in several updates running.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cai.errors import UsageError
from cai.stats import spread
from cai.training.rollout import Response

GRAM = 4


@dataclass(frozen=True, slots=True)
class Observation:
    """What one update's responses look like.

    kl: mean KL of a response to the reference, nats. length: mean tokens. repetition: mean share of
    a response's 4-grams that it has said before. unended: share of responses without a proper end
    (`cai.training.rollout.has_ended`). distinct: share of different texts among all. score: mean of
    what the policy is trained on. check: mean of the second opinion, None where there is none.
    check_spread: its standard deviation over the responses.
    """

    kl: float
    length: float
    repetition: float
    unended: float
    distinct: float
    score: float
    check: float | None = None
    check_spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a run is stopped.

    kl: nats a response. longer, shorter: mean length as a multiple of the start's. repetition,
    unended: rise of these shares over the start. distinct: as a multiple of the start's share.
    fall: of the second opinion from its best, in standard deviations at the start. window:
    updates over which score and second opinion are averaged. patience: in how many updates
    running a sign must stand.
    """

    kl: float = 30.0
    longer: float = 3.0
    shorter: float = 0.25
    repetition: float = 0.3
    unended: float = 0.4
    distinct: float = 0.25
    fall: float = 0.5
    window: int = 4
    patience: int = 2

    def __post_init__(self) -> None:
        if not (self.longer > 1 > self.shorter >= 0):
            raise UsageError(
                f"The bounds on length are {self.shorter} and {self.longer} of the start's;"
                " they must lie below and above 1."
            )
        for name in ("kl", "repetition", "unended", "fall", "window", "patience"):
            if not getattr(self, name) > 0:
                raise UsageError(
                    f"The monitors' {name} is {getattr(self, name)}; it must be above 0."
                )


def observe(
    responses: Sequence[Response],
    kl: float,
    scores: Sequence[float],
    check: Sequence[float] | None = None,
) -> Observation:
    """Sum up one update's responses; `kl`: mean over them."""
    count = len(responses)
    return Observation(
        kl=kl,
        length=sum(len(r.ids) for r in responses) / count,
        repetition=sum(repeated(r.ids) for r in responses) / count,
        unended=sum(not r.ended for r in responses) / count,
        distinct=len({r.text for r in responses}) / count,
        score=_mean(scores),
        check=None if check is None else _mean(check),
        check_spread=0.0 if check is None else spread(check),
    )


def repeated(ids: Sequence[int]) -> float:
    """Share of the 4-grams of ids that have occurred before; 0 where there is none."""
    grams = [tuple(ids[i : i + GRAM]) for i in range(len(ids) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


class Monitors:
    """Told of every update; says why a run should stop.

    The first observation is the start, with which the others are compared.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._seen: list[Observation] = []
        self._standing: dict[str, int] = {}

    def watch(self, observation: Observation) -> str | None:
        """The reason to stop, in words; None where nothing is wrong."""
        self._seen.append(observation)
        for sign in SIGNS:
            reason = sign(self._seen, self.bounds)
            name = sign.__name__
            self._standing[name] = self._standing.get(name, 0) + 1 if reason else 0
            if reason and self._standing[name] >= self.bounds.patience:
                return reason
        return None

    @property
    def calm(self) -> bool:
        """Whether the last update showed no sign."""
        return not any(self._standing.values())

    @property
    def blind(self) -> bool:
        """Whether a falling second opinion can't be seen: at the start it was the same for all."""
        start = self._seen[:1]
        return any(o.check is not None and o.check_spread == 0 for o in start)

    def state(self) -> dict[str, Any]:
        """All that was seen, for JSON."""
        return {"seen": [asdict(o) for o in self._seen], "standing": dict(self._standing)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._seen = [Observation(**o) for o in state["seen"]]
        self._standing = dict(state["standing"])


# -- the signs: the observations so far (the last is the newest) -> a reason, or None --------------


def far_away(seen: Sequence[Observation], bounds: Bounds) -> str | None:
    """KL over its bound."""
    now = seen[-1].kl
    if now <= bounds.kl:
        return None
    return (
        f"The policy has left its reference: KL {now:.1f} nats a response, the bound is"
        f" {bounds.kl:g}. What it writes now is far outside of what the reward was made for."
    )


def growing(seen: Sequence[Observation], bounds: Bounds) -> str | None:
    """Length exploding."""
    start, now = seen[0].length, seen[-1].length
    if now <= bounds.longer * start:
        return None
    return (
        f"Responses are growing: {now:.0f} tokens on average, {start:.0f} at the start."
        " The score may be paying for length."
    )


def shrinking(seen: Sequence[Observation], bounds: Bounds) -> str | None:
    """Length collapsing."""
    start, now = seen[0].length, seen[-1].length
    if now >= bounds.shorter * start:
        return None
    return (
        f"Responses are shrinking: {now:.1f} tokens on average, {start:.1f} at the start."
        " The score may be paying for saying nothing."
    )


def looping(seen: Sequence[Observation], bounds: Bounds) -> str | None:
    """Repetition exploding."""
    start, now = seen[0].repetition, seen[-1].repetition
    if now <= start + bounds.repetition:
        return None
    return (
        f"Responses repeat themselves: {now:.0%} of their {GRAM}-grams were said before,"
        f" {start:.0%} at the start."
    )


def endless(seen: Sequence[Observation], bounds: Bounds) -> str | None:
    """Responses that no longer end."""
    start, now = seen[0].unended, seen[-1].unended
    if now <= start + bounds.unended:
        return None
    return f"Responses no longer end: {now:.0%} have no end, {start:.0%} at the start."


def uniform(seen: Sequence[Observation], bounds: Bounds) -> str | None:
    """Distribution collapse: the same response to everything."""
    start, now = seen[0].distinct, seen[-1].distinct
    if now >= bounds.distinct * start:
        return None
    return (
        f"The policy says the same to every prompt: {now:.0%} of the responses differ,"
        f" {start:.0%} at the start."
    )


def hacking(seen: Sequence[Observation], bounds: Bounds) -> str | None:
    """The score rises while the second opinion falls from its best."""
    window, unit = bounds.window, seen[0].check_spread
    if len(seen) < 2 * window or seen[-1].check is None or unit == 0:
        return None
    checks = _windows([o.check or 0.0 for o in seen], window)
    scores = _windows([o.score for o in seen], window)
    earlier = range(len(checks) - window)  # windows that share no update with the last one
    best = max(earlier, key=lambda i: checks[i])
    if checks[-1] >= checks[best] - bounds.fall * unit or scores[-1] <= scores[best]:
        return None
    return (
        f"Reward hacking: since update {best + window} the score has risen from"
        f" {scores[best]:.2f} to {scores[-1]:.2f} while the second opinion fell from"
        f" {checks[best]:.2f} to {checks[-1]:.2f}."
    )


SIGNS: tuple[Callable[[Sequence[Observation], Bounds], str | None], ...] = (
    far_away,
    growing,
    shrinking,
    looping,
    endless,
    uniform,
    hacking,
)


def _windows(values: Sequence[float], size: int) -> list[float]:
    """Mean of every `size` neighbours."""
    return [_mean(values[i : i + size]) for i in range(len(values) - size + 1)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
