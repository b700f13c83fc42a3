"""Settings that all stages of training share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

from cai.data.training import TrainingTable
from cai.errors import UsageError
from cai.options import broken_rule, flag, option
from cai.text.addresses import without_key
from cai.text.template import TemplateOptions, Thinking, parse_arguments, validate_date

LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_targets")
"""The settings of an adapter's shape: None until `policy.resolve` fills them in."""
DTYPES = ("float32", "bfloat16", "float16")
"""Dtypes of a base."""
_SEEDS = 2**63


class SettingError(UsageError):
    """A setting has a value that it can't have; Python calls it by the name of its field.

    name, value: the setting's. rule: what it must be: "must be above 0".
    """

    def __init__(self, name: str, value: Any, rule: str) -> None:
        super().__init__(f"{name} is {value!r}; it {rule}.")
        self.name = name
        self.value = value
        self.rule = rule


def rate_option(adapter: float, full: float) -> Any:
    """The learning rate, whose default depends on what is trained: see `TrainConfig.rates`."""
    return option(
        None, f"Peak learning rate.  [default: {adapter:g}, with --full {full:g}]", above=0
    )


def require_no_key(address: str, name: str) -> None:
    """Raise `UsageError` for an address with a key in it; name: of the option."""
    place = address.partition("#")[0]
    if without_key(place) != place:
        raise UsageError(
            f"The address of {name} holds a key, which the run's record would show",
            hint="Give the key in the environment variable CAI_API_KEY.",
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of all stages."""

    stage: ClassVar[str]
    """The name of the stage: `cai train STAGE`."""
    title: ClassVar[str]
    """What the model card calls it."""
    summary: ClassVar[str]
    """Its line of help."""
    table: ClassVar[TrainingTable]
    """The rows it learns from."""
    writes_text: ClassVar[bool] = True
    """Whether what it trains writes responses; a reward model scores them."""
    rates: ClassVar[tuple[float, float]] = (2e-4, 2e-5)
    """Peak learning rates of an adapter, and of all weights, which need a far lower one."""

    model: str | None = option(
        None,
        "The base model: a hub id, a directory, or `miniature`.  [default: --adapter's, or"
        " miniature]",
        short="-m",
    )
    adapter: str | None = option(
        None, "Start from this adapter: a training run's folder, or one in PEFT's layout."
    )
    full: bool = option(False, "Train all weights instead of a LoRA adapter.")
    quantize: str | None = option(
        None, "Load the frozen base in 4 or 8 bit (bitsandbytes, on a GPU).", ("4bit", "8bit")
    )
    lora_r: int | None = option(None, "LoRA rank.  [default: 16, or --adapter's]", least=1)
    lora_alpha: float | None = option(
        None,
        "LoRA alpha: the adapter is scaled by alpha / r.  [default: 32, or --adapter's]",
        above=0,
    )
    lora_targets: str | None = option(
        None,
        "Layers with an adapter: all-linear; all, which adds the experts of a mixture of experts;"
        " or names: q_proj,v_proj."
        "  [default: all-linear, or --adapter's]",
    )
    learning_rate: float | None = rate_option(*rates)
    max_grad_norm: float = option(1.0, "Gradient clipping: the largest global norm.", above=0)
    micro_tokens: int = option(
        8192,
        "Micro-batch size: most tokens in one forward pass. Halved when memory runs out. Without"
        " dropout it changes no result.",
        least=1,
    )
    max_steps: int | None = option(None, "Stop after this many steps.", least=1)
    limit: int | None = option(None, "Use the first N valid rows.", least=1)
    schedule: str = option(
        "cosine", "Learning rate schedule after the warm-up.", ("cosine", "linear", "constant")
    )
    warmup: float = option(
        0.1, "Warm-up: share of the steps in which the learning rate rises.", least=0, below=1
    )
    weight_decay: float = option(0.0, "AdamW's weight decay.", least=0)
    test_share: float = option(
        0.1,
        "Share of the prompts in the held-out set, if the data has no test split.",
        least=0,
        below=1,
    )
    eval_every: int | None = option(
        None, "Steps between evaluations.  [default: a fifth of all]", least=1
    )
    save_every: int = option(50, "Steps between checkpoints.", least=1)
    seed: int = option(0, "Random seed: the same seed gives the same run.", least=0)
    device: str = option("auto", "Device: auto, cpu, cuda or mps.")
    dtype: str = option(
        "auto",
        "Dtype of the frozen base. auto: bfloat16 where it is faster, else float32.",
        ("auto", *DTYPES),
    )
    parallel: str = option(
        "ddp",
        "With several processes (torchrun, accelerate launch): ddp keeps the weights whole in each,"
        " fsdp shards the layers' over them.",
        ("ddp", "fsdp"),
    )
    process_timeout: float = option(
        25.0,
        "With several processes: end if one does not start, or gives no sign of life, for so many"
        " seconds.",
        least=5,
    )
    gradient_checkpointing: bool = option(
        False, "Recompute activations in the backward pass: less memory, more time."
    )
    thinking: str = option(
        "auto",
        "Reasoning before answers: the chat template's own default (auto), or its switch turned off"
        " or on. Where a template has no switch, off starts replies after an empty reasoning"
        " block.",
        ("auto", "off", "on"),
    )
    template_arg: str | None = option(
        None,
        "A variable of the chat template, KEY=VALUE; may be given several times.",
        multiple=True,
    )
    date: str | None = option(
        None,
        "The day, YYYY-MM-DD, for a chat template that writes today's date.  [default: the day on"
        " which the run began]",
    )
    monitor: str | None = option(
        None,
        "A suite of `cai eval`, or a file, that the policy is asked while it trains; may be given"
        " several times. The run stops where its main measure is worse than at the start by more"
        " than --monitor-change, and beyond chance.",
        multiple=True,
    )
    monitor_every: int | None = option(
        None, "Steps between those.  [default: a tenth of all]", least=1
    )
    monitor_items: int = option(32, "Items of each suite that are asked.", least=8)
    monitor_new_tokens: int = option(96, "Longest reply to them, in tokens.", least=1)
    monitor_change: float = option(
        0.25, "How much worse a measure must be for the run to stop.", above=0
    )
    monitor_constitution: str | None = option(
        None,
        "Have a judge read those replies under this constitution, and stop where it finds more"
        " violations.  [default: default, with --monitor-judge]",
    )
    monitor_judge: str | None = option(
        None,
        "That judge: a hub id, a directory, a training run's folder, `miniature`, or the address of"
        " a model server.  [default: the base alone, without the adapter]",
    )
    tracker: str | None = option(
        None, "Also log metrics to this tracker.", ("tensorboard", "wandb", "trackio")
    )

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            if rule := broken_rule(item, getattr(self, item.name)):
                self._refuse(item.name, f"must be {rule}")
        if self.seed >= _SEEDS:
            self._refuse("seed", f"must be below {_SEEDS}")
        if self.lora_targets is not None and not self.lora_targets.strip(" ,"):
            self._refuse("lora_targets", "must name layers, or be all-linear")
        if self.date is not None:
            validate_date(self.date)
        self.template  # noqa: B018 (refuses malformed arguments here, before anything is loaded)
        self._validate_monitor()
        if self.full and self.quantize:
            raise UsageError(
                "--full and --quantize exclude each other: quantised weights can't be trained",
                hint="Leave one of them out.",
            )
        if self.parallel == "fsdp" and self.quantize:
            raise UsageError(
                "--parallel fsdp and --quantize exclude each other: quantised weights are not"
                " sharded",
                hint="Leave one of them out.",
            )
        for name in LORA:
            if self.full and getattr(self, name, None) is not None:
                self._refuse(name, "has no place beside --full, which trains all weights")

    def _validate_monitor(self) -> None:
        if self.monitor and not self.writes_text:
            raise UsageError(
                "--monitor asks what is trained for replies, and a reward model writes none",
                hint="cai eval --reward measures a reward model.",
            )
        for name in ("monitor_constitution", "monitor_judge"):
            if getattr(self, name) is not None and not self.monitor:
                raise UsageError(
                    f"{flag(name)} is about replies to --monitor's suites, and none is named",
                    hint="Name one, such as --monitor over-refusal. cai eval --list shows them.",
                )
        if self.full and self.monitor_constitution and not self.monitor_judge:
            raise UsageError(
                "--full trains all of the base, which then can't judge what it writes itself",
                hint="Name another judge with --monitor-judge.",
            )
        if self.monitor_judge is not None:
            require_no_key(self.monitor_judge, "--monitor-judge")

    @property
    def template(self) -> TemplateOptions:
        """Options of the model's chat template."""
        thinking = cast(Thinking, self.thinking)
        return TemplateOptions(
            self.date, thinking, parse_arguments((self.template_arg or "").splitlines())
        )

    def for_dry_run(self) -> Self:
        """The settings of a dry run, with a stand-in for what may be missing until training."""
        return self

    @property
    def unmeasured(self) -> str:
        """What a probe of the first steps does not show."""
        return "evaluations and checkpoints; longer rows take longer"

    @property
    def rate(self) -> float:
        """The peak learning rate: the one that is set, or the default of what is trained."""
        return self.rates[self.full] if self.learning_rate is None else self.learning_rate

    def _refuse(self, name: str, rule: str) -> None:
        raise SettingError(name, getattr(self, name), rule)
