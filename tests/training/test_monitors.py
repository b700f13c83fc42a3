"""The monitors: each sign of collapse is seen and told, and a sound run is left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cai.errors import UsageError
from cai.training.monitors import AlarmBounds, Monitors, Observation, observe, repeated
from cai.training.rollout import EncodedPrompt, Response

START = Observation(
    kl=0.0, length=20.0, repetition=0.1, missing_eos=0.1, distinct=0.8, score=1.0, second_score=5.0,
    second_spread=2.0,
)  # fmt: skip


def response(ids: tuple[int, ...], text: str, ended: bool = True) -> Response:
    return Response(EncodedPrompt("p", (), (1, 2)), ids, text, ended)


@pytest.mark.parametrize(
    ("ids", "share"),
    [
        ((1, 2, 3), 0.0),  # no 4-gram at all
        ((1, 2, 3, 4, 5), 0.0),  # 1234, 2345
        ((7, 7, 7, 7, 7), 0.5),  # 7777 twice: 1 of 2
        ((1, 2, 3, 4, 1, 2, 3, 4), 0.2),  # 1234 2341 3412 4123 1234: 1 of 5
    ],
)
def test_repetition_is_the_share_of_4_grams_said_before(ids: tuple[int, ...], share: float) -> None:
    assert repeated(ids) == pytest.approx(share)


def test_an_observation_sums_up_a_batch() -> None:
    """Lengths 5, 2, 2 and 3: 3. Repetition 0.5 / 4. One missing_eos. Texts a, b, a, c: 3 of 4.

    Checks 1, 2, 3, 6: mean 3, squares of deviations 4 + 1 + 0 + 9 = 14, 14 / 3 = 2.16².
    """
    observation = observe(
        [
            response((7, 7, 7, 7, 7), "a"),
            response((1, 9), "b", ended=False),
            response((1, 9), "a"),
            response((1, 2, 9), "c"),
        ],
        kl=1.5,
        scores=[1.0, 2.0, 3.0, 4.0],
        second_scores=[1.0, 2.0, 3.0, 6.0],
    )
    assert observation.second_spread == pytest.approx((14 / 3) ** 0.5)
    assert replace(observation, second_spread=0.0) == Observation(
        kl=1.5,
        length=3.0,
        repetition=0.125,
        missing_eos=0.25,
        distinct=0.75,
        score=2.5,
        second_score=3.0,
    )


@pytest.mark.parametrize(
    ("change", "quiet", "words"),
    [
        ({"kl": 30.1}, {"kl": 30.0}, "KL 30.1 nats"),
        ({"length": 61.0}, {"length": 60.0}, "growing: 61 tokens on average, 20 at the start"),
        ({"length": 4.9}, {"length": 5.0}, "shrinking: 4.9 tokens"),
        ({"repetition": 0.42}, {"repetition": 0.4}, "42% of their 4-grams"),
        (
            {"missing_eos": 0.52},
            {"missing_eos": 0.5},
            "52% have no end (EOS token), 10% at the start",
        ),
        ({"distinct": 0.19}, {"distinct": 0.2}, "19% of the responses differ, 80% at the start"),
    ],
)
def test_a_sign_that_stands_twice_stops_the_run(
    change: dict[str, Any], quiet: dict[str, Any], words: str
) -> None:
    """By default: KL 30; length × 3 and × 0.25; repetition + 0.3; missing EOS + 0.4; × 0.25."""
    monitors = Monitors(AlarmBounds())
    odd = replace(START, **change)
    assert [monitors.watch(o) for o in (START, odd, START, replace(START, **quiet), odd)] == (
        [None] * 5
    )
    reason = monitors.watch(odd)
    assert reason is not None
    assert words in reason


def test_a_few_prompts_are_no_sign() -> None:
    """Two an update: eight updates are the start, and eight are compared with it.

    Without an end: 4 of the first 16 (25%), then all. Of the last 16 these are 5, 6, 8, 10 (62%),
    11 (69%: a rise of more than 40 points) and 12 (75%: it stands).
    """
    monitors = Monitors(AlarmBounds(), prompts=2)
    half, none = replace(START, missing_eos=0.5), replace(START, missing_eos=0.0)
    all_of_them = replace(START, missing_eos=1.0)
    assert [monitors.watch(o) for o in [half, half, none, none, half, half, none, none]] == [
        None
    ] * 8
    assert [monitors.watch(all_of_them) for _ in range(5)] == [None] * 5
    reason = monitors.watch(all_of_them)
    assert reason is not None
    assert "75% have no end (EOS token), 25% at the start" in reason


def reasons(monitors: Monitors, values: list[tuple[float, float]]) -> list[str | None]:
    return [monitors.watch(replace(START, score=s, second_score=c)) for s, c in values]


def test_a_score_that_rises_while_the_second_reward_falls_is_hacking() -> None:
    """Window 4, fall 0.5 · 2 = 1. Both rise to (4, 8), then the score goes on and the second falls.

    Windows of the second reward: 6.5 at best (5, 6, 7, 8); after 7, 6, 5, 4 it is 5.5, no fall of
    more than 1 yet; after one more 4 it is 4.75, and 4.25 at the next: patience 2.
    """
    monitors = Monitors(AlarmBounds())
    rising = [(1.0, 5.0), (2.0, 6.0), (3.0, 7.0), (4.0, 8.0)]
    assert reasons(monitors, rising) == [None] * 4
    assert reasons(monitors, [(5.0, 7.0), (6.0, 6.0), (7.0, 5.0), (8.0, 4.0)]) == [None] * 4
    first, second = reasons(monitors, [(9.0, 4.0), (9.0, 4.0)])
    assert first is None
    assert second is not None
    assert second.startswith("Reward hacking: since update ")


def test_the_second_reward_s_unit_is_that_of_a_window() -> None:
    """Spreads of 0, 0, 0 and 4 in the first four updates: √(16 / 4) = 2. Half of that is 1.

    A fall from 9 to 8.1 is none, one to 7.9 is; by the first update's alone nothing could be told.
    """
    spreads = [0.0, 0.0, 0.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    for fallen, found in ((8.1, False), (7.9, True)):
        monitors = Monitors(AlarmBounds())
        seconds = [9.0] * 4 + [fallen] * 5
        told = [
            monitors.watch(
                replace(START, score=float(i), second_score=second, second_spread=spreads[i])
            )
            for i, second in enumerate(seconds)
        ]
        assert (told[-1] is not None) is found and not any(told[:-1])
        assert not monitors.second_reward_is_constant


def test_a_second_reward_without_spread_is_known_after_a_window() -> None:
    monitors = Monitors(AlarmBounds())
    flat = replace(START, second_score=2.0, second_spread=0.0)
    found = []
    for _ in range(5):
        monitors.watch(flat)
        found.append(monitors.second_reward_is_constant)
    assert found == [False, False, False, True, True]


def test_a_score_that_falls_too_is_no_hacking() -> None:
    monitors = Monitors(AlarmBounds())
    assert reasons(monitors, [(5.0 - i, 9.0 - i) for i in range(9)]) == [None] * 9


def test_without_a_second_reward_nobody_cries_hacking() -> None:
    monitors = Monitors(AlarmBounds())
    plain = [
        replace(START, score=float(i), second_score=None, second_spread=0.0) for i in range(12)
    ]
    assert [monitors.watch(o) for o in plain] == [None] * 12


def test_monitors_go_on_where_they_stopped() -> None:
    """Through JSON, in the middle of a sign that has stood once."""
    monitors, resumed = Monitors(AlarmBounds()), Monitors(AlarmBounds())
    odd = replace(START, kl=99.0)
    monitors.watch(START)
    assert monitors.watch(odd) is None
    resumed.load_state(json.loads(json.dumps(monitors.state())))
    assert resumed.watch(odd) == monitors.watch(odd) is not None


@pytest.mark.parametrize("change", [{"longer": 0.9}, {"shorter": 1.5}, {"kl": 0}, {"patience": 0}])
def test_bounds_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        AlarmBounds(**change)
