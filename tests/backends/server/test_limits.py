"""Adaptive concurrency and the circuit breaker, by a clock of the test's own."""

from __future__ import annotations

import asyncio

from cai.backends.server.limits import AdaptiveLimit, CircuitBreaker
from tests.backends.server.loop import run_coroutine


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_limit_grows_by_one_a_success_until_the_first_cut_then_by_one_a_round() -> None:
    clock = Clock()
    limit = AdaptiveLimit(most=12, clock=clock)
    assert limit.value == 8
    for _ in range(10):
        limit.succeeded()
    assert limit.value == 12  # never above `most`
    limit.overloaded()
    assert limit.value == 6
    for _ in range(7):  # 6 + 1/6 + 1/6.17 + … passes 7 with the seventh success
        limit.succeeded()
    assert limit.value == 7


def test_requests_that_are_refused_together_cut_the_limit_once() -> None:
    clock = Clock()
    limit = AdaptiveLimit(most=8, clock=clock)
    for _ in range(8):
        limit.overloaded()
    assert limit.value == 4
    clock.now += 1.0
    limit.overloaded()
    assert limit.value == 2
    for _ in range(5):
        clock.now += 1.0
        limit.overloaded()
    assert limit.value == 1  # one request always goes


def test_no_more_are_in_flight_than_the_limit_says() -> None:
    async def run() -> int:
        limit, peak = AdaptiveLimit(most=3), 0

        async def request() -> None:
            nonlocal peak
            async with limit:
                peak = max(peak, limit.in_flight)
                await asyncio.sleep(0)

        await asyncio.gather(*(request() for _ in range(50)))
        assert limit.in_flight == 0
        return peak

    assert run_coroutine(run()) == 3


def test_waiting_requests_go_on_when_the_limit_grows() -> None:
    async def run() -> None:
        clock = Clock()
        limit = AdaptiveLimit(most=8, clock=clock)
        for _ in range(3):
            limit.overloaded()
            clock.now += 2
        assert limit.value == 1
        done = asyncio.Event()

        async def request() -> None:
            async with limit:
                limit.succeeded()
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(request()) for _ in range(20)]
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        done.set()

    run_coroutine(run())


def test_the_circuit_opens_after_five_failures_over_the_allowed_time() -> None:
    clock = Clock()
    breaker = CircuitBreaker(60.0, clock)
    for _ in range(20):
        breaker.failed("no connection")
    assert not breaker.is_open  # twenty at once are one outage of no length
    clock.now += 59
    breaker.failed("no connection")
    assert not breaker.is_open
    clock.now += 1
    breaker.failed("no connection")
    assert breaker.is_open and breaker.reason == "no connection"
    assert not breaker.lets_pass()
    clock.now += 30
    assert breaker.lets_pass()  # a trial
    assert not breaker.lets_pass()  # only one
    breaker.succeeded()
    assert breaker.lets_pass() and not breaker.is_open


def test_a_success_in_between_starts_the_count_anew() -> None:
    clock = Clock()
    breaker = CircuitBreaker(10.0, clock)
    for _ in range(10):
        breaker.failed("500")
        clock.now += 2
        breaker.succeeded()
    assert not breaker.is_open


def test_failures_of_a_server_that_answers_are_allowed_for_longer() -> None:
    clock = Clock()
    breaker = CircuitBreaker(10.0, clock)
    for _ in range(10):
        breaker.failed("429", seconds=600.0)
        clock.now += 20
    assert not breaker.is_open
