"""The controllers of the KL coefficient."""

from __future__ import annotations

import pytest

from cai.training.kl_controller import AdaptiveKl, FixedKl


def test_a_fixed_coefficient_stays() -> None:
    kl = FixedKl(0.05)
    kl.update(1e6)
    assert kl.coef == 0.05


@pytest.mark.parametrize(
    ("seen", "factor"),
    [
        (6.6, 1.01),  # (6.6 - 6) / 6 = 0.1; 1 + 0.1 · 0.1
        (6.0, 1.0),
        (5.7, 0.995),  # -0.05; 1 - 0.1 · 0.05
        (60.0, 1.02),  # 9, clipped to 0.2
        (0.0, 0.98),  # -1, clipped to -0.2
        (-3.0, 0.98),
    ],
)
def test_an_adaptive_coefficient_moves_with_the_clipped_error(seen: float, factor: float) -> None:
    """Ziegler et al. 2019, section 2.2, target 6 and gain 0.1, from 0.2."""
    kl = AdaptiveKl(0.2, target=6.0)
    kl.update(seen)
    assert kl.coef == pytest.approx(0.2 * factor, rel=1e-12)


def test_the_gain_scales_the_step() -> None:
    """Error 0.2, gain 0.5: 1 + 0.1."""
    kl = AdaptiveKl(1.0, target=1.0, gain=0.5)
    kl.update(2.0)
    assert kl.coef == pytest.approx(1.1)


def test_a_simple_plant_comes_to_the_target() -> None:
    """A policy whose KL is 0.3 / coefficient settles where the coefficient is 0.3 / 6."""
    kl = AdaptiveKl(0.2, target=6.0)
    for _ in range(400):
        kl.update(0.3 / kl.coef)
    assert kl.coef == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize(("coef", "target"), [(0.0, 6.0), (0.1, 0.0), (-1.0, 6.0)])
def test_what_could_never_move_is_refused(coef: float, target: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        AdaptiveKl(coef, target)
