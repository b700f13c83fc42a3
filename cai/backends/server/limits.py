"""How much is asked of a server at once, and when it is given up: limits of one endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

_FIRST = 8
"""Requests at once before anything is known of a server."""
_CUT_SECONDS = 1.0
"""Between two cuts: requests that were sent together are refused together."""
_FAILURES = 5
"""Consecutive failures, at least, before a server is given up."""
_TRIAL_SECONDS = 30.0
"""Between two trials of an endpoint that was given up while others answer."""


class AdaptiveLimit:
    """A limit of requests in flight that follows what the server bears, from 1 to `most`.

    It grows by one with each success until the server is overloaded for the first time, after that
    by one with each round of successes; overload halves it (additive increase, multiplicative
    decrease: Chiu and Jain 1989). Use it as an async context around each request.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._limit = float(min(_FIRST, most))
        self._was_cut = False
        self._last_cut = -float("inf")
        self._changed = asyncio.Condition()
        self.in_flight = 0

    @property
    def value(self) -> int:
        """The requests that may be in flight now."""
        return int(self._limit)

    async def __aenter__(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.in_flight < self.value)
            self.in_flight += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async with self._changed:
            self.in_flight -= 1
            self._changed.notify(max(1, self.value - self.in_flight))

    def succeeded(self) -> None:
        """Note a success."""
        self._limit = min(self._most, self._limit + (1 / self._limit if self._was_cut else 1))

    def overloaded(self) -> None:
        """Note that the server asked for less, or did not answer in time."""
        self._was_cut = True
        if self._clock() - self._last_cut >= _CUT_SECONDS:
            self._last_cut = self._clock()
            self._limit = max(1.0, self._limit / 2)


class CircuitBreaker:
    """Opens when a server has failed for long: five times in a row, with no success for `seconds`.

    While it is open, one request may pass as a trial every half minute; its success closes it.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._failures = 0
        self._failing_since: float | None = None
        self._next_trial: float | None = None
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """Whether the server is given up."""
        return self._next_trial is not None

    def lets_pass(self) -> bool:
        """Whether a request may be sent; of an open one, whether it is time for a trial."""
        if self._next_trial is None:
            return True
        if self._clock() < self._next_trial:
            return False
        self._next_trial = self._clock() + _TRIAL_SECONDS
        return True

    def succeeded(self) -> None:
        """Note an answer: the circuit is closed."""
        self._failures, self._failing_since, self._next_trial = 0, None, None

    def failed(self, reason: str, seconds: float | None = None) -> None:
        """Note a failure. seconds: instead of the breaker's own, for what takes longer to end."""
        now = self._clock()
        self._failures += 1
        self._failing_since = now if self._failing_since is None else self._failing_since
        allowed = self._seconds if seconds is None else seconds
        if self._failures >= _FAILURES and now - self._failing_since >= allowed:
            self.reason = reason
            self._next_trial = now + _TRIAL_SECONDS
