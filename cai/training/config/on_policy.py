"""Settings of the stages that learn from the policy's own responses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from cai.data.training import TrainingTable
from cai.errors import UsageError
from cai.options import option
from cai.training.config.base import TrainConfig, rate_option, require_no_key

_STAND_IN = "cai.training.estimate:placeholder_reward"
"""The reward of a dry run without one."""


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(TrainConfig):
    """Settings of the stages that learn from the policy's own responses."""

    table: ClassVar[TrainingTable] = "prompts"
    schedule: str = option(
        "constant", "Learning rate schedule after the warm-up.", ("cosine", "linear", "constant")
    )
    warmup: float = option(
        0.0, "Warm-up: share of the updates in which the learning rate rises.", least=0, below=1
    )
    updates: int = option(50, "Number of updates: each learns from one rollout.", least=1)
    prompts_per_update: int = option(
        32, "Rollout batch size: prompts answered in an update.", least=1
    )
    max_new_tokens: int = option(64, "Longest response in tokens.", least=1)
    max_reasoning_tokens: int = option(
        1024, "Longest reasoning before an answer, in tokens, of a model that reasons.", least=0
    )
    temperature: float = option(
        1.0,
        "Sampling temperature of rollouts; log-probabilities are taken at the same one.",
        above=0,
    )
    rollout_slots: int = option(
        64,
        "Most responses that a process samples at once, each with its KV cache. Halved when memory"
        " runs out. In float32 it affects speed alone.",
        least=1,
    )
    max_kl: float = option(
        30.0, "Stop the run if the mean KL per response, in nats, stays above this.", above=0
    )
    rollout_server: str | None = option(
        None,
        "Sample responses from this vLLM server, http://HOST:PORT/v1#MODEL, which loads the adapter"
        " before each update; several addresses of one model are joined by commas.",
    )
    rollout_folder: str | None = option(
        None,
        "Where adapters are written for that server, which must see it under the same path."
        "  [default: a temporary folder]",
    )
    rollout_tolerance: float = option(
        0.05,
        "Largest mean difference between that server's log-probabilities and the policy's, in nats"
        " a token; beyond it the run ends.",
        above=0,
    )
    save_every: int = option(5, "Updates between checkpoints.", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rollout_server is not None:
            self._validate_server(self.rollout_server)

    def _validate_server(self, address: str) -> None:
        from cai.backends.server.address import parse_address  # slow to import

        if self.full:
            raise UsageError(
                "--full and --rollout-server exclude each other: the server is handed an adapter",
                hint="Leave one of them out.",
            )
        require_no_key(address, "--rollout-server")
        parse_address(address)

    @property
    def unmeasured(self) -> str:
        """As in `TrainConfig`."""
        return "evaluations and checkpoints; responses may become longer"

    @property
    def steps(self) -> int:
        """Updates in the run."""
        return self.updates if self.max_steps is None else min(self.updates, self.max_steps)

    @property
    def responses_per_update(self) -> int:
        """Responses of a rollout: one to each prompt."""
        return self.prompts_per_update


@dataclass(frozen=True, kw_only=True)
class RlConfig(OnPolicyConfig):
    """Settings of the stages that learn from a reward: its parts, its scale and the KL penalty."""

    reward: str | None = option(
        None,
        "The reward: a reward model's run, a constitution `constitution:NAME`, a Python function"
        " `module:function`, or a weighted sum: `runs/reward, 0.5*constitution:default`, each"
        " divided by its standard deviation at the start.",
    )
    judge: str | None = option(
        None,
        "The model that reads responses under a constitution: a hub id, a directory, a training"
        " run's folder, `miniature`, or the address of a model server.  [default: the base alone,"
        " without the adapter]",
    )
    normalise_principles: bool = option(
        False,
        "Normalise each principle's logits by their mean and standard deviation at the start, so"
        " that its weight says how much it counts.",
    )
    second_reward: str | None = option(
        None,
        "A second reward to detect reward hacking: nothing is trained on it, and the run stops if"
        " it falls while the score rises.",
        alias="check",
    )
    gate: bool = option(
        True, "Refuse a reward model that predicts no better than response length does."
    )
    kl_coef: float = option(
        0.05,
        "KL penalty coefficient: how much reward is subtracted for each nat of KL to the reference"
        " model.",
        least=0,
    )
    target_kl: float | None = option(
        None, "Adapt the KL penalty coefficient to this KL per response, in nats.", above=0
    )
    normalise_scores: bool = option(
        True,
        "Normalise scores by the mean and standard deviation of those at the start: of the first"
        " updates, until there are 256 or more.",
    )
    score_clip: float | None = option(
        None, "Clip normalised scores to this range on both sides.", above=0
    )
    missing_eos_penalty: float = option(
        1.0, "Penalty for a response without an EOS token, in normalised score.", least=0
    )
    epochs: int = option(4, "Passes over a rollout.", least=1)
    minibatches: int = option(2, "Minibatches of a rollout; each is an optimizer step.", least=1)
    clip: float = option(0.2, "Clip range of the policy's probability ratio.", above=0)

    def for_dry_run(self) -> Self:
        """As in `TrainConfig`: a reward of 0 if none is named."""
        return self if self.reward else dataclasses.replace(self, reward=_STAND_IN)

    @property
    def unmeasured(self) -> str:
        """As in `TrainConfig`."""
        if self.reward != _STAND_IN:
            return super().unmeasured
        return (
            "evaluations, checkpoints, and a reward that is not named yet; responses may become"
            " longer"
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target_kl is not None and not self.kl_coef:
            self._refuse("target_kl", "needs a --kl-coef above 0 to start from")
        if self.judge is not None:
            require_no_key(self.judge, "--judge")
        if self.minibatches > self.responses_per_update:
            most = self.responses_per_update
            self._refuse("minibatches", f"must be at most the responses of an update, {most}")


@dataclass(frozen=True, kw_only=True)
class PpoConfig(RlConfig):
    """Settings of proximal policy optimisation (Schulman et al. 2017; Ouyang et al. 2022).

    Fields are the options of `cai train ppo` (`cai train ppo --help` explains each). Raises
    `UsageError` for a value out of range, and for settings that exclude each other.
    """

    stage: ClassVar[str] = "ppo"
    title: ClassVar[str] = "Proximal policy optimisation"
    summary: ClassVar[str] = (
        "Proximal policy optimisation: learn from a reward on the model's own responses."
    )
    rates: ClassVar[tuple[float, float]] = (1e-4, 3e-6)
    learning_rate: float | None = rate_option(*rates)
    value_clip: float = option(0.2, "Clip range of the value function.", above=0)
    value_coef: float = option(0.1, "Value loss coefficient.", least=0)
    gamma: float = option(1.0, "Discount factor of rewards.", least=0, most=1)
    lam: float = option(0.95, "GAE's lambda.", least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class RlooConfig(RlConfig):
    """Settings of REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024), and of GRPO.

    Fields are the options of `cai train rloo` (`cai train rloo --help` explains each). Raises
    `UsageError` for a value out of range, and for settings that exclude each other.
    """

    stage: ClassVar[str] = "rloo"
    title: ClassVar[str] = "REINFORCE leave-one-out"
    summary: ClassVar[str] = (
        "REINFORCE leave-one-out (RLOO), GRPO: learn from a reward by comparing responses to the"
        " same prompt; no value function."
    )
    rates: ClassVar[tuple[float, float]] = (1e-4, 3e-6)
    learning_rate: float | None = rate_option(*rates)
    prompts_per_update: int = option(8, "Prompts answered in an update.", least=1)
    responses_per_prompt: int = option(
        4, "Responses to each prompt, which are compared with one another.", least=2
    )
    epochs: int = option(1, "Passes over a rollout.", least=1)
    minibatches: int = option(1, "Minibatches of a rollout; each is an optimizer step.", least=1)
    baseline: str = option(
        "leave-one-out",
        "What a response's reward is compared with: the mean of the prompt's other responses"
        " (RLOO), or of all of them (GRPO).",
        ("leave-one-out", "group-mean"),
    )
    scale_advantages: str = option(
        "none",
        "What advantages are divided by: nothing, the standard deviation of the prompt's rewards"
        " (GRPO) or of the batch's. parts: each part of the reward, such as each principle of a"
        " constitution, is normalised in its group by itself (GDPO).",
        ("none", "group", "batch", "parts"),
    )
    ratio: str = option(
        "sequence",
        "The probability ratio that is clipped: of a whole response (RLOO), or of each token"
        " (GRPO).",
        ("sequence", "token"),
    )
    loss_normalisation: str | None = option(
        None,
        "Of the loss with a token's ratio. token: all tokens of a minibatch count alike (DAPO)."
        " sequence: all responses do, whatever their length (GRPO). constant: the sum over tokens,"
        " divided by responses × --max-new-tokens (Dr. GRPO).  [default: token]",
        ("token", "sequence", "constant"),
    )
    clip_high: float | None = option(
        None, "Upper clip range, where it is not --clip's (DAPO: 0.28).", above=0
    )
    kl_in: str = option(
        "reward",
        "Where the KL penalty stands: subtracted from each response's reward (RLOO), or added to"
        " the loss of each token, as its k3 estimate (GRPO).",
        ("reward", "loss"),
    )

    @property
    def responses_per_update(self) -> int:
        """As in `OnPolicyConfig`: several to each prompt."""
        return self.prompts_per_update * self.responses_per_prompt

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ratio == "sequence" and self.loss_normalisation not in (None, "sequence"):
            self._refuse(
                "loss_normalisation", "needs --ratio token: with sequence each response is one term"
            )
        if self.scale_advantages in ("group", "parts") and self.kl_in == "reward" and self.kl_coef:
            self._refuse(
                "scale_advantages",
                "needs --kl-in loss: where a prompt's responses score alike, it would scale up the"
                " differences of their KL penalties",
            )


@dataclass(frozen=True, kw_only=True)
class DistillConfig(OnPolicyConfig):
    """Settings of on-policy self-distillation (Ye et al. 2026, arXiv 2602.12275).

    Fields are the options of `cai train distill` (`cai train distill --help` explains each). Raises
    `UsageError` for a value out of range, and for settings that exclude each other.
    """

    stage: ClassVar[str] = "distill"
    title: ClassVar[str] = "On-policy self-distillation"
    summary: ClassVar[str] = (
        "On-policy self-distillation: learn to answer as with the constitution in the prompt."
    )
    constitution: str | None = option(
        None,
        "A constitution: a file, or the name of one in the project or shipped with cai."
        "  [default: that of cai.yaml, else `default`]",
        short="-c",
    )
    teacher: str = option(
        "revision",
        "What the teacher reads besides the prompt. revision: the response, a critique of it under"
        " a drawn principle, and the request to revise it. constitution: all principles, as a"
        " system message. principle: a drawn one, as a system message.",
        ("revision", "constitution", "principle"),
    )
    kl: str = option(
        "reverse",
        "Direction of the KL divergence. reverse: of the policy from the teacher, which takes up"
        " what the teacher likes best. forward: of the teacher from the policy, which covers all"
        " that the teacher may say.",
        ("reverse", "forward"),
    )
    top_k: int | None = option(
        None,
        "Compare the K likeliest tokens, and all others as one.  [default: all tokens]",
        least=1,
    )
    critique_tokens: int = option(96, "Longest critique in tokens.", least=1)
