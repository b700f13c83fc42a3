"""What PPO's trainer is told, the run's folder and files apart."""

from __future__ import annotations

from dataclasses import dataclass

from cai.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoSettings:
    """How a run goes.

    updates: rollouts, each learnt from in `epochs` passes over `minibatches` parts. temperature: of
    drawing and of scoring alike. clip, value_clip: how far ratio and value may move in an update.
    value_coef: weight of the value loss. gamma, lam: of the advantages. kl_coef: price of a nat of
    KL to the reference; with target_kl (nats a response) it is the start of an adaptive one.
    normalise_scores: put scores to mean 0 and variance 1 by those of the first update. score_clip:
    bound on a score, in that unit. missing_eos_penalty: taken from the score of a response that did
    not end, in that unit. micro_tokens: most tokens in one forward pass; changes no result.
    """

    updates: int = 50
    prompts_per_update: int = 32
    max_new_tokens: int = 64
    temperature: float = 1.0
    epochs: int = 4
    minibatches: int = 2
    learning_rate: float = 3e-4
    clip: float = 0.2
    value_clip: float = 0.2
    value_coef: float = 0.1
    gamma: float = 1.0
    lam: float = 0.95
    kl_coef: float = 0.05
    target_kl: float | None = None
    normalise_scores: bool = True
    score_clip: float | None = None
    missing_eos_penalty: float | None = 1.0
    max_grad_norm: float = 1.0
    micro_tokens: int = 8192
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("updates", "prompts_per_update", "max_new_tokens", "epochs", "minibatches",
                     "micro_tokens"):  # fmt: skip
            self._must(name, getattr(self, name) >= 1, "must be 1 or more")
        for name in ("temperature", "learning_rate", "clip", "value_clip", "max_grad_norm"):
            self._must(name, getattr(self, name) > 0, "must be above 0")
        for name in ("target_kl", "score_clip"):
            value = getattr(self, name)
            self._must(name, value is None or value > 0, "must be above 0")
        for name in ("value_coef", "kl_coef", "missing_eos_penalty"):
            self._must(name, (getattr(self, name) or 0) >= 0, "must be 0 or more")
        for name in ("gamma", "lam"):
            self._must(name, 0 <= getattr(self, name) <= 1, "must be from 0 to 1")
        self._must(
            "minibatches",
            self.minibatches <= self.prompts_per_update,
            f"must be at most the prompts of an update, {self.prompts_per_update}",
        )
        self._must(
            "target_kl",
            self.target_kl is None or self.kl_coef > 0,
            "needs a kl_coef above 0 to start from",
        )

    def _must(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise UsageError(f"{name} is {getattr(self, name)!r}; it {rule}.")
