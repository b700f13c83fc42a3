"""Settings of the stages that learn from rows: SFT, the reward model, DPO, KTO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cai.data.training import TrainingTable
from cai.options import option
from cai.training.config.base import TrainConfig, rate_option


@dataclass(frozen=True, kw_only=True)
class RowsConfig(TrainConfig):
    """Settings of the stages that learn from rows: SFT, the reward model, DPO, KTO."""

    epochs: float = option(1.0, "Passes over the data.", above=0)
    batch_size: int = option(16, "Rows per step.", least=1)
    max_length: int = option(
        1024, "Longest conversation in tokens; longer rows are invalid (set aside).", least=1
    )
    lora_dropout: float | None = option(
        None, "LoRA dropout.  [default: 0, or --adapter's]", least=0, below=1
    )

    def longest(self, context: int) -> int:
        """Most tokens of a conversation, for a model of this context length."""
        return min(self.max_length, context)


@dataclass(frozen=True, kw_only=True)
class SftConfig(RowsConfig):
    """Settings of supervised fine-tuning on responses (Bai et al. 2022, section 3).

    Fields are the options of `cai train sft` (`cai train sft --help` explains each). Raises
    `UsageError` for a value out of range, and for settings that exclude each other.
    """

    stage: ClassVar[str] = "sft"
    title: ClassVar[str] = "Supervised fine-tuning"
    summary: ClassVar[str] = (
        "Supervised fine-tuning on SFT data, or on conversations in any known format."
    )
    table: ClassVar[TrainingTable] = "sft"
    loss_on: str = option(
        "last",
        "Which assistant turns the loss is on: the last one of a conversation, or all (for chat"
        " data in which every answer is good).",
        ("last", "all"),
        alias="learned",
    )
    reasoning: str = option(
        "learn",
        "Where rows hold reasoning: learn it with the answer, learn the answer alone with the"
        " reasoning as its context, or drop the reasoning.",
        ("learn", "context", "drop"),
    )
    packing: bool = option(True, "Pack several conversations into a row; none attends to another.")


@dataclass(frozen=True, kw_only=True)
class PairsConfig(RowsConfig):
    """Settings of the stages that learn from preference pairs."""

    table: ClassVar[TrainingTable] = "preferences"
    labels: str = option(
        "soft",
        "Soft labels: learn each row's probability. Hard labels: learn which response won.",
        ("soft", "hard"),
    )


@dataclass(frozen=True, kw_only=True)
class RewardConfig(PairsConfig):
    """Settings of a reward model (Bradley and Terry 1952; Ouyang et al. 2022, equation 1).

    Fields are the options of `cai train reward` (`cai train reward --help` explains each). Raises
    `UsageError` for a value out of range, and for settings that exclude each other.
    """

    stage: ClassVar[str] = "reward"
    title: ClassVar[str] = "Reward model"
    summary: ClassVar[str] = "Train a reward model on preferences."
    writes_text: ClassVar[bool] = False
    rates: ClassVar[tuple[float, float]] = (1e-4, 1e-5)
    learning_rate: float | None = rate_option(*rates)
    centering: float = option(
        0.01,
        "Centering coefficient: weight of the squared sum of a pair's scores.",
        alias="centring",
        least=0,
    )
    margins: bool = option(
        True, "Subtract a row's `margin` from the score difference, where it has one."
    )


@dataclass(frozen=True, kw_only=True)
class DpoConfig(PairsConfig):
    """Settings of direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290).

    Fields are the options of `cai train dpo` (`cai train dpo --help` explains each). Raises
    `UsageError` for a value out of range, and for settings that exclude each other.
    """

    stage: ClassVar[str] = "dpo"
    title: ClassVar[str] = "Direct preference optimisation"
    summary: ClassVar[str] = "Direct preference optimisation against a reference model."
    rates: ClassVar[tuple[float, float]] = (5e-5, 5e-7)
    learning_rate: float | None = rate_option(*rates)
    loss: str = option(
        "sigmoid",
        "The loss: DPO's own (sigmoid), IPO's, which is drawn to a margin and no further, SimPO's,"
        " which is normalised by length and needs no reference model, or robust DPO's, for labels"
        " of which a known share is wrong.",
        ("sigmoid", "ipo", "simpo", "robust"),
    )
    beta: float | None = option(
        None,
        "DPO's beta: how strongly the policy is kept near the reference model. In SimPO the scale"
        " of its rewards.  [default: 0.1, with --loss simpo 2]",
        above=0,
    )
    margin: float | None = option(
        None,
        "SimPO's gamma: by how much the better response ought to lead.  [default: 1]",
        least=0,
    )
    label_smoothing: float | None = option(
        None,
        "Robust DPO's epsilon: the share of labels that are thought to be wrong.  [default: 0.1]",
        least=0,
        below=0.5,
    )
    nll: float = option(
        0.0, "Weight of an added negative log-likelihood loss on the chosen response.", least=0
    )
    packing: bool = option(False, "Pack several conversations into a row; none attends to another.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, loss, default in (
            ("margin", "simpo", 1.0),
            ("label_smoothing", "robust", 0.1),
        ):
            value = getattr(self, name)
            if self.loss != loss and value is not None:
                self._refuse(name, f"has no place beside --loss {self.loss}: only {loss} reads it")
            if self.loss == loss and value is None:
                object.__setattr__(self, name, default)
        if self.beta is None:
            object.__setattr__(self, "beta", 2.0 if self.loss == "simpo" else 0.1)


@dataclass(frozen=True, kw_only=True)
class KtoConfig(RowsConfig):
    """Settings of Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306).

    Fields are the options of `cai train kto` (`cai train kto --help` explains each). Raises
    `UsageError` for a value out of range, and for settings that exclude each other.
    """

    stage: ClassVar[str] = "kto"
    title: ClassVar[str] = "Kahneman-Tversky optimisation"
    summary: ClassVar[str] = "Learn from responses labelled one by one, desirable or not (KTO)."
    table: ClassVar[TrainingTable] = "labels"
    rates: ClassVar[tuple[float, float]] = (1e-4, 1e-6)
    learning_rate: float | None = rate_option(*rates)
    beta: float = option(
        0.1,
        "KTO's beta: how soon a response that has departed from the reference model stops"
        " mattering.",
        above=0,
    )
    desirable_weight: float | None = option(
        None,
        "Weight of desirable responses.  [default: balances the two kinds by their numbers]",
        above=0,
    )
    undesirable_weight: float | None = option(
        None,
        "Weight of undesirable responses.  [default: balances the two kinds by their numbers]",
        above=0,
    )
    verdict_weight: float = option(
        1.0, "Weight of a row whose label is an auditor's verdict.", above=0
    )
    packing: bool = option(False, "Pack several conversations into a row; none attends to another.")
