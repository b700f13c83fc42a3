"""The KL penalty coefficient over a run: fixed, or adapted to a target KL.

The penalty itself, −coef · (log π − log π_ref) a token, is `cai.losses.advantages.token_rewards`.
"""

from __future__ import annotations

from typing import Protocol

ERROR_BOUND = 0.2
"""Largest relative error that moves the coefficient in one update."""


class KlController(Protocol):
    """Holds the coefficient, and adjusts it after each update."""

    coef: float

    def update(self, kl: float) -> None:
        """Adjust the coefficient. kl: mean KL of a whole response, in nats."""
        ...


class FixedKl:
    """The same coefficient throughout."""

    def __init__(self, coef: float) -> None:
        self.coef = coef

    def update(self, kl: float) -> None:
        """No-op."""


class AdaptiveKl:
    """Adapts the coefficient so that the KL of a response approaches a target.

    Ziegler et al. 2019 (arXiv 1909.08593), section 2.2: e = clip((KL - target) / target, -0.2, 0.2)
    and coef <- coef * (1 + gain * e), with gain 0.1. The coefficient is the only state.
    """

    def __init__(self, coef: float, target: float, gain: float = 0.1) -> None:
        if not (coef > 0 and target > 0):
            raise ValueError("an adaptive KL needs a coefficient and a target above zero")
        self.coef = coef
        self.target = target
        self.gain = gain

    def update(self, kl: float) -> None:
        """Raise the coefficient if the KL was over the target, lower it if under."""
        error = (kl - self.target) / self.target
        self.coef *= 1 + self.gain * min(max(error, -ERROR_BOUND), ERROR_BOUND)
