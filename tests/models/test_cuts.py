"""Penalty, temperature, top_k, top_p and min_p: as transformers' own processors compute them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from cai.models.sampling import MARGIN, Draw, choose, filter_tokens, penalized

VOCABULARY = 400


def theirs(logits: torch.Tensor, draw: Draw) -> torch.Tensor:
    """The logits that transformers draws from; -inf for what is left out."""
    steps = LogitsProcessorList()
    if draw.repetition_penalty != 1:
        steps.append(RepetitionPenaltyLogitsProcessor(draw.repetition_penalty))
    steps.append(TemperatureLogitsWarper(draw.temperature))
    if draw.top_k:
        steps.append(TopKLogitsWarper(draw.top_k))
    if draw.top_p < 1:
        steps.append(TopPLogitsWarper(draw.top_p))
    if draw.min_p:
        steps.append(MinPLogitsWarper(draw.min_p))
    out: torch.Tensor = steps(torch.tensor([list(draw.context)]), logits[None].clone())[0]
    return out


SETTINGS = [
    {"temperature": t, "top_p": p, "top_k": k, "min_p": m, "repetition_penalty": r}
    for t, p, k, m, r in itertools.product(
        (0.6, 1.0, 1.5), (1.0, 0.8), (0, 1, 20), (0.0, 0.05), (1.0, 1.3, 0.8)
    )
]


def test_the_distribution_is_that_of_transformers() -> None:
    """108 settings on 5 random rows each: the same tokens kept, probabilities to 1e-6."""
    generator = torch.Generator().manual_seed(0)
    cuts = 0
    for settings, _ in itertools.product(SETTINGS, range(5)):
        logits = 3 * torch.randn(VOCABULARY, generator=generator)
        context = torch.randint(VOCABULARY, (30,), generator=generator).tolist()
        draw = Draw(context=context, **settings)  # type: ignore[arg-type]
        expected = theirs(logits, draw)
        ours = penalized(logits[None], [draw])[0] / draw.temperature
        if draw.filters:
            masks = filter_tokens(ours, draw)
            assert torch.equal(masks.exact, expected.isfinite()), settings
            assert not bool((masks.exact & ~masks.possible).any())
            assert not bool((masks.sure & ~masks.exact).any())
            ours = ours.masked_fill(~masks.exact, -torch.inf)
            cuts += 1
        torch.testing.assert_close(ours.softmax(0), expected.softmax(0), rtol=0, atol=1e-6)
    assert cuts == 5 * (len(SETTINGS) - 3 * 3)  # all but those with nothing but a penalty


def test_a_penalty_by_hand() -> None:
    """Seen tokens 0 and 1, penalty 2: logits 3 and -1 become 3 / 2 and -1 * 2; 2 stays."""
    logits = torch.tensor([[3.0, -1.0, 2.0]])
    draw = Draw(temperature=0.0, repetition_penalty=2.0, context=(0, 1, 0))
    assert penalized(logits, [draw])[0].tolist() == [1.5, -2.0, 2.0]
    assert logits.tolist() == [[3.0, -1.0, 2.0]], "the caller's own logits are left alone"
    assert choose(logits, [draw]) == ([2], [False])
    assert choose(logits, [Draw(temperature=0.0)]) == ([0], [False])


def test_top_k_keeps_what_equals_the_kth() -> None:
    """2, 1, 1, 0 and k 2: the third equals the second, and stays, as in transformers."""
    scaled = torch.tensor([2.0, 1.0, 1.0, 0.0])
    assert filter_tokens(scaled, Draw(top_k=2)).exact.tolist() == [True, True, True, False]
    assert filter_tokens(scaled, Draw(top_k=9)).sure.tolist() == [True] * 4


def test_min_p_by_hand() -> None:
    """p = 0.5, 0.3, 0.15, 0.05; min_p 0.3 keeps those above 0.3 x 0.5 - rounding = 0.15."""
    scaled = torch.tensor([0.5, 0.3, 0.151, 0.05]).log()
    assert filter_tokens(scaled, Draw(min_p=0.3)).exact.tolist() == [True, True, True, False]
    assert filter_tokens(scaled, Draw(min_p=0.31)).exact.tolist() == [True, True, False, False]


def test_top_k_comes_before_top_p() -> None:
    """p = 0.4, 0.3, 0.2, 0.1. Of the first two alone, 4/7 = 0.571 and 3/7: top_p 0.55 keeps the
    first; without top_k it would keep two, as 0.4 < 0.55."""
    scaled = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert filter_tokens(scaled, Draw(top_k=2, top_p=0.55)).exact.tolist() == [
        True,
        False,
        False,
        False,
    ]
    assert filter_tokens(scaled, Draw(top_p=0.55)).exact.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 20}, {"min_p": 0.05}, {"top_k": 20, "top_p": 0.9}, {"top_k": 1},
        {"repetition_penalty": 1.5}, {"top_k": 40, "top_p": 0.95, "min_p": 0.02},
        {"temperature": 0.0, "repetition_penalty": 1.3},
    ],
)  # fmt: skip
def test_rounding_turns_no_draw_that_is_not_close(settings: dict[str, float]) -> None:
    """As for the plain draw: noise far below MARGIN turns close draws alone, and they are rare."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2000, VOCABULARY, generator=generator)
    contexts = torch.randint(VOCABULARY, (2000, 30), generator=generator).tolist()
    rows = [Draw(seed=i, context=s, **settings) for i, s in enumerate(contexts)]  # type: ignore[arg-type]
    tokens, close = choose(logits, rows)
    noise = MARGIN / 4 * (2 * torch.rand(logits.shape, generator=generator) - 1)
    again, _ = choose(logits + noise, rows)
    turned = [i for i in range(2000) if tokens[i] != again[i]]
    assert all(close[i] for i in turned)
    assert sum(close) < 60
    final, _ = choose(logits, rows, final=True)
    assert all(close[i] for i in range(2000) if tokens[i] != final[i])


def test_the_last_token_of_a_nucleus_is_not_close_for_being_the_last() -> None:
    """p = 0.7, 0.2, 0.1 and top_p 0.8 keeps two, and no rounding makes it keep another number: the
    second is drawn in 2 of 9 cases, and a whole forward is spent only where the race was close."""
    logits = torch.tensor([[0.7, 0.2, 0.1]]).log().expand(900, -1)
    tokens, close = choose(logits, [Draw(top_p=0.8, position=i) for i in range(900)])
    assert 150 < tokens.count(1) < 250 and tokens.count(2) == 0
    assert sum(close) < 9


def test_a_kth_place_within_rounding_is_close() -> None:
    """k 2 and logits 3, 1, 1 - 1e-4: whether the third is in hangs on rounding."""
    logits = torch.tensor([[1.2, 1.0, 1.0 - 1e-4, -math.inf]]).expand(300, -1)
    tokens, close = choose(logits, [Draw(top_k=2, position=i) for i in range(300)])
    assert {t for t, c in zip(tokens, close, strict=True) if not c} == {0}
    exact, close = choose(logits, [Draw(top_k=2, position=i) for i in range(300)], final=True)
    assert set(exact) == {0, 1} and not any(close)
