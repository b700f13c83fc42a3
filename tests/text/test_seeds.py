"""Draws depend on their parts alone, follow the weights, and survive edits of the other names."""

from __future__ import annotations

import pytest

from cai.text import seeds


def test_derive_is_stable_and_separates_its_parts() -> None:
    """SHA-256 of "str:a\\x1fint:1", first 8 bytes, halved: fixed for ever, or old runs change."""
    assert seeds.derive("a", 1) == seeds.derive("a", 1) == 2125957440892058690
    assert seeds.derive("a", "bc") != seeds.derive("ab", "c")
    assert seeds.derive(1) != seeds.derive("1")
    assert 0 <= seeds.derive("x") < 2**63


def test_uniform_has_the_moments_of_the_unit_interval() -> None:
    """Mean 1/2, variance 1/12; 20,000 draws put the mean within 4·sqrt(1/12/20000) = 0.0082."""
    draws = [seeds.uniform("u", i) for i in range(20_000)]
    mean = sum(draws) / len(draws)
    variance = sum((d - mean) ** 2 for d in draws) / len(draws)
    assert abs(mean - 0.5) < 0.0082
    assert abs(variance - 1 / 12) < 0.003
    assert min(draws) >= 0 and max(draws) < 1


def test_draw_follows_the_weights() -> None:
    """Weights 1, 2, 5 give shares 1/8, 2/8, 5/8; at n = 8,000 four standard errors are 0.0217."""
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    names = [seeds.draw(weights, "w", i) for i in range(8000)]
    for name, weight in weights.items():
        assert abs(names.count(name) / 8000 - weight / 8) < 0.0217


def test_a_removed_name_moves_only_its_own_draws() -> None:
    weights = dict.fromkeys("abcdef", 1.0)
    before = [seeds.draw(weights, i) for i in range(500)]
    after = [seeds.draw({n: w for n, w in weights.items() if n != "f"}, i) for i in range(500)]
    assert "f" in before
    assert all(x == y for x, y in zip(before, after, strict=True) if x != "f")


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": 1.0, "b": -1.0}])
def test_senseless_weights_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weights above zero"):
        seeds.draw(weights, 0)
