"""Draws: right frequencies, fixed by the seed, and honest about how close they were."""

from __future__ import annotations

import math

import pytest
import torch

from cai.models import sampling
from cai.models.sampling import MARGIN, Draw, choose, gumbel

CPU = torch.device("cpu")


def draws(n: int, **fields: float) -> list[Draw]:
    return [Draw(position=i, **fields) for i in range(n)]  # type: ignore[arg-type]


def counts(logits: list[float], n: int, **fields: float) -> list[int]:
    tokens, _ = choose(torch.tensor([logits]).expand(n, -1), draws(n, **fields))
    return torch.bincount(torch.tensor(tokens), minlength=len(logits)).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_the_softmax(temperature: float) -> None:
    """Chi-squared over 40,000 draws of 5 tokens: 4 degrees of freedom, 18.5 at p = 0.001."""
    logits, n = [0.0, 1.0, 2.0, -1.0, 0.5], 40_000
    counted = counts(logits, n, temperature=temperature, seed=11)
    expected = (torch.tensor(logits) / temperature).softmax(0) * n
    chi = sum((s - float(e)) ** 2 / float(e) for s, e in zip(counted, expected, strict=True))
    assert chi < 18.5


def test_gumbel_numbers() -> None:
    """Mean 0.5772 (Euler's constant), variance pi²/6 = 1.6449; neighbours are not correlated."""
    g = gumbel(draws(50, seed=3), 40_000, CPU)
    assert g.isfinite().all()
    assert float(g.mean()) == pytest.approx(0.5772, abs=0.004)
    assert float(g.var()) == pytest.approx(1.6449, abs=0.01)
    for a, b in ((g[:, 1:], g[:, :-1]), (g[1:], g[:-1])):
        assert abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) < 0.004


def test_gumbel_numbers_are_fixed_forever() -> None:
    """A release that changed them would change every stored run: these are the numbers of today."""
    g = gumbel([Draw(seed=1, position=0), Draw(seed=1, position=1)], 3, CPU)
    assert g.tolist() == [pytest.approx(row, abs=1e-5) for row in FIXED]


FIXED = [[-0.59081, 1.76623, 1.20744], [-1.21221, -0.19655, 1.48566]]


def test_a_draw_depends_on_its_row_alone() -> None:
    logits = torch.randn(8, 300, generator=torch.Generator().manual_seed(0))
    rows = [Draw(0.7, 0.9, 5, 0), Draw(0.0, 1.0, 5, 0), *(Draw(1.0, 1.0, s, 3) for s in range(6))]
    together, _ = choose(logits, rows)
    alone = [choose(logits[i : i + 1], [row])[0][0] for i, row in enumerate(rows)]
    assert together == alone
    backwards, _ = choose(logits.flip(0), rows[::-1])
    assert backwards[::-1] == alone


def test_seeds_and_positions_differ() -> None:
    logits = torch.zeros(200, 1000)
    tokens, _ = choose(logits, [Draw(seed=s, position=p) for s in range(20) for p in range(10)])
    assert len(set(tokens)) > 170  # 200 draws of 1000: 181 distinct are expected


def test_greedy_takes_the_first_of_the_best() -> None:
    tokens, close = choose(torch.tensor([[1.0, 3.0, 3.0], [0.0, 1.0, 5.0]]), [Draw(0.0)] * 2)
    assert tokens == [1, 2]
    assert close == [True, False]


def test_a_nucleus_by_hand() -> None:
    """p = 0.5, 0.3, 0.15, 0.05. top_p 0.7 keeps the first two, as 0.5 < 0.7 <= 0.8: 5/8 and 3/8."""
    logits, n = [math.log(p) for p in (0.5, 0.3, 0.15, 0.05)], 8000
    counted = counts(logits, n, top_p=0.7)
    assert counted[2:] == [0, 0]
    assert counted[0] / n == pytest.approx(0.625, abs=0.02)
    assert counts(logits, 50, top_p=1e-6)[0] == 50
    assert min(counts(logits, 2000, top_p=0.97)) > 0


def test_a_nucleus_larger_than_the_shortlist() -> None:
    """3000 equal tokens, top_p 0.8999: the first 2700 of them, by id."""
    tokens, _ = choose(torch.zeros(3000, 3000), draws(3000, top_p=0.8999), final=True)
    assert 2600 < max(tokens) < 2700


def test_close_draws_are_rare_and_found() -> None:
    """About MARGIN of the draws are close; adding rounding turns none of the others."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 400, generator=generator)
    rows = [Draw(1.0, 0.9 if i % 4 == 0 else 1.0, i, 0) for i in range(4000)]
    tokens, close = choose(logits, rows)
    noise = MARGIN / 4 * (2 * torch.rand(logits.shape, generator=generator) - 1)
    again, _ = choose(logits + noise, rows)
    turned = [i for i in range(4000) if tokens[i] != again[i]]
    assert all(close[i] for i in turned)
    assert 0 < sum(close) < 60


def test_a_cut_of_the_nucleus_within_rounding_is_close() -> None:
    """p = 0.5, 0.25, 0.25 and top_p 0.75: whether the third is in hangs on the last bit."""
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log().expand(400, -1)
    tokens, close = choose(logits, draws(400, top_p=0.75))
    assert all(c for t, c in zip(tokens, close, strict=True) if t > 0)
    assert not all(close)
    exact, close = choose(logits, draws(400, top_p=0.75), final=True)
    assert set(exact) == {0, 1}
    assert not any(close)


def test_what_is_no_number_is_no_token() -> None:
    logits = torch.tensor([[0.0, math.nan], [0.0, 1.0], [math.inf, 0.0]])
    assert choose(logits, [Draw(0.0)] * 3)[0] == [-1, 1, -1]
    assert choose(logits, [Draw(1.0)] * 3, final=True)[0][0] == -1


def test_margin_is_in_logits() -> None:
    """At temperature 0.1 a lead of 0.5 margins in logits is 5 margins in the race: still close."""
    logits = torch.tensor([[0.0, MARGIN / 2]])
    assert choose(logits, [Draw(0.0)])[1] == [True]
    assert choose(2 * logits + torch.tensor([0.0, MARGIN]), [Draw(0.0)])[1] == [False]
    assert sampling.MARGIN == 1e-3
