"""Arithmetic of scoring: known values."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from cai.backends.server.methods import choose_method
from cai.backends.server.probe import Ability
from cai.backends.server.scoring import ScoringMethod, common_start, jeffreys, path_logprobs
from cai.backends.server.wire import ServerToken
from cai.errors import ServerError


def token(text: str, p: float, **others: float) -> ServerToken:
    top = {text: p, **others}
    return ServerToken(text, math.log(p), tuple((t, math.log(v)) for t, v in top.items()))


def test_a_letter_behind_the_bracket_is_the_product_along_the_path() -> None:
    """P("(") P("A" | "(") = 0.9 · 0.6 = 0.54, and "A" at once 0.05: 0.59; B: 0.9 · 0.3 = 0.27."""
    tokens = [token("(", 0.9, A=0.05, The=0.01), token("A", 0.6, B=0.3, C=0.02)]
    a, b = path_logprobs([*tokens, token(")", 1.0)], "(", ("A", "B"))
    assert math.exp(a) == pytest.approx(0.59)
    assert math.exp(b) == pytest.approx(0.27)


def test_a_letter_at_once_and_a_word_that_begins_with_it() -> None:
    """The letter B counts, with and without white space; Answer is no A."""
    tokens = [token("B", 0.5, **{" B": 0.2, "Answer": 0.25, "C": 0.01})]
    a, b = path_logprobs(tokens, "(", ("A", "B"))
    assert math.exp(b) == pytest.approx(0.7)
    assert math.exp(a) == pytest.approx(0.01)  # an upper bound: the least of the alternatives


def test_an_answer_that_is_no_choice_leaves_both_at_the_bound() -> None:
    tokens = [token("Well", 0.98, So=0.01), token(",", 0.9, I=0.05)]
    a, b = path_logprobs(tokens, "(", ("A", "B"))
    assert a == b == pytest.approx(math.log(0.01))


def test_the_mean_under_jeffreys_prior() -> None:
    """12 of 16 with two answers: (12 + 1/2) / (16 + 3/2) = 0.7142857."""
    a, b = jeffreys([12, 3], 16)
    assert math.exp(a) == pytest.approx(12.5 / 17.5)
    assert math.exp(b) == pytest.approx(3.5 / 17.5)
    (none,) = jeffreys([0], 16)
    assert math.exp(none) == pytest.approx(0.5 / 17)


def test_where_options_leave_the_prompt() -> None:
    assert common_start([1, 2, 3], [[1, 2, 3, 4], [1, 2, 3, 5, 6]]) == 3
    assert common_start([1, 2, 3], [[1, 2, 9, 4], [1, 2, 3, 5]]) == 2  # a merge across the border
    assert common_start([1, 2, 3], [[1, 2, 3, 4]]) == 3
    assert common_start([1, 2, 3], [[1, 2, 3]]) == 2  # an option has one token at least


ALL: dict[ScoringMethod, Ability] = {
    "prompt-logprobs": "works", "echo": "works", "constrained": "works", "top-logprobs": "works",
}  # fmt: skip


@pytest.mark.parametrize(
    ("abilities", "options", "expected"),
    [
        (ALL, ("A", "B"), "prompt-logprobs"),
        ({**ALL, "prompt-logprobs": "ignored"}, ("A", "B"), "echo"),
        ({"constrained": "works", "top-logprobs": "works"}, ("No.",), "constrained"),
        ({"echo": "wrong", "top-logprobs": "works"}, ("A", "B"), "top-logprobs"),
    ],
)
def test_the_better_method_is_taken(
    abilities: Mapping[ScoringMethod, Ability], options: tuple[str, ...], expected: str
) -> None:
    chosen = choose_method(
        options, abilities, "auto", continues=False, reasons=False, place="http://h"
    )
    assert chosen == expected


def test_no_method_serves_and_each_reason_is_told() -> None:
    abilities: dict[ScoringMethod, Ability] = {
        "prompt-logprobs": "refused", "constrained": "ignored", "top-logprobs": "works",
    }  # fmt: skip
    with pytest.raises(ServerError) as caught:
        choose_method(
            ("No problem found.",), abilities, "auto", continues=False, reasons=False, place="h"
        )
    text = str(caught.value)
    assert "prompt-logprobs: the server refuses" in text
    assert "constrained: the server ignores" in text
    assert "top-logprobs: the server does not continue a message" in text
    assert "scoring: sampling" in text  # never taken silently


def test_sampling_is_taken_only_if_it_is_asked_for() -> None:
    assert choose_method(
        ("A", "B"), {}, "sampling", continues=False, reasons=True, place="h"
    ) == "sampling"  # fmt: skip
    with pytest.raises(ServerError):
        choose_method(("A", "B"), {}, "auto", continues=False, reasons=False, place="h")
