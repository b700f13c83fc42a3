"""The settings of a training run: one dataclass a stage, read from options and YAML.

Every field has a default that trains something sensible, and its own line of help, from which the
command line is made. Contradictions are refused here, before anything is loaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

from cai.data.training import TrainingTable
from cai.errors import UsageError
from cai.options import broken_rule, broken_type, flag, option, unknown_settings
from cai.text.addresses import without_key
from cai.text.template import TemplateOptions, Thinking, parse_arguments, validate_date

LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_targets")
"""The settings of an adapter's shape: None until `policy.resolve` fills them in."""
DTYPES = ("float32", "bfloat16", "float16")
"""Dtypes of a base."""
_SEEDS = 2**63
_STAND_IN = "cai.training.estimate:placeholder_reward"
"""The reward of a dry run without one."""


class SettingError(UsageError):
    """A setting has a value that it can't have; Python calls it by the name of its field.

    name, value: the setting's. rule: what it must be: "must be above 0".
    """

    def __init__(self, name: str, value: Any, rule: str) -> None:
        super().__init__(f"{name} is {value!r}; it {rule}.")
        self.name = name
        self.value = value
        self.rule = rule


def _rate(adapter: float, full: float) -> Any:
    """The learning rate, whose default depends on what is trained: see `TrainConfig.rates`."""
    return option(
        None, f"Peak learning rate.  [default: {adapter:g}, with --full {full:g}]", above=0
    )


def _require_no_key(address: str, name: str) -> None:
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
        "Layers with an adapter: all-linear, or names: q_proj,v_proj."
        "  [default: all-linear, or --adapter's]",
    )
    learning_rate: float | None = _rate(*rates)
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
            _require_no_key(self.monitor_judge, "--monitor-judge")

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


@dataclass(frozen=True, kw_only=True)
class RowsConfig(TrainConfig):
    """Settings of the stages that learn from rows: SFT, the reward model, DPO."""

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
    learning_rate: float | None = _rate(*rates)
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
    learning_rate: float | None = _rate(*rates)
    beta: float = option(
        0.1, "DPO's beta: how strongly the policy is kept near the reference model.", above=0
    )
    nll: float = option(
        0.0, "Weight of an added negative log-likelihood loss on the chosen response.", least=0
    )
    packing: bool = option(False, "Pack several conversations into a row; none attends to another.")


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
    updates: int = option(
        50, "Number of updates: each trains for several epochs on one rollout.", least=1
    )
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
        _require_no_key(address, "--rollout-server")
        parse_address(address)

    @property
    def unmeasured(self) -> str:
        """As in `TrainConfig`."""
        return "evaluations and checkpoints; responses may become longer"

    @property
    def steps(self) -> int:
        """Updates in the run."""
        return self.updates if self.max_steps is None else min(self.updates, self.max_steps)


@dataclass(frozen=True, kw_only=True)
class RlConfig(OnPolicyConfig):
    """Settings of the stages that learn from a reward: its parts, its scale and the KL penalty."""

    reward: str | None = option(
        None,
        "The reward: a reward model's run, a Python function `module:function`, or a weighted sum:"
        " `runs/reward, 0.5*rewards:polite`, each divided by its standard deviation at the start.",
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
        True, "Normalise scores by the mean and standard deviation of the first rollout's."
    )
    score_clip: float | None = option(
        None, "Clip normalised scores to this range on both sides.", above=0
    )
    missing_eos_penalty: float = option(
        1.0, "Penalty for a response without an EOS token, in normalised score.", least=0
    )

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
    learning_rate: float | None = _rate(*rates)
    epochs: int = option(4, "PPO epochs: passes over a rollout.", least=1)
    minibatches: int = option(2, "Minibatches of a rollout; each is an optimizer step.", least=1)
    clip: float = option(0.2, "Clip range of the policy's probability ratio.", above=0)
    value_clip: float = option(0.2, "Clip range of the value function.", above=0)
    value_coef: float = option(0.1, "Value loss coefficient.", least=0)
    gamma: float = option(1.0, "Discount factor of rewards.", least=0, most=1)
    lam: float = option(0.95, "GAE's lambda.", least=0, most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minibatches > self.prompts_per_update:
            most = self.prompts_per_update
            self._refuse("minibatches", f"must be at most the prompts of an update, {most}")


CONFIGS: dict[str, type[TrainConfig]] = {
    config.stage: config for config in (SftConfig, RewardConfig, DpoConfig, PpoConfig)
}
"""The stages of `cai train`; their trainers are in `cai.training.train.TRAINERS`."""


def build_config(
    kind: type[TrainConfig], values: Mapping[str, Any], where: str | Callable[[str], str]
) -> TrainConfig:
    """A configuration from values by name.

    where: the source of the values, or of the value with a given name, for messages.

    Raises `UsageError` for unknown names (all of them, with similar known ones), wrong types, and
    a setting that one source gives under its old and its new name.
    """
    fields = {item.name: item for item in dataclasses.fields(kind)}
    aliases = {item.metadata["alias"]: item.name for item in fields.values()}
    places = {name: where if isinstance(where, str) else where(name) for name in values}
    unknown = {n: place for n, place in places.items() if aliases.get(n, n) not in fields}
    if unknown:
        message, hint = unknown_settings(f"cai train {kind.stage}", unknown, fields)
        raise UsageError(message, hint=hint)
    settings: dict[str, Any] = {}
    for name, value in values.items():
        field = fields[aliases.get(name, name)]
        both = name != field.name and field.name in values
        if both and _source(places[name]) == _source(places[field.name]):
            raise UsageError(
                f"{places[name]}: {name} is the old name of {field.name}, which is set, too",
                hint=f"Give {field.name} alone.",
            )
        settings[field.name] = _typed(field, value, places[name])
    try:
        return kind(**settings)
    except SettingError as error:
        raise UsageError(f"{flag(error.name)} is {error.value!r}; it {error.rule}.") from None


def _source(place: str) -> str:
    """The file of a place such as `file:line:col`, or the command line."""
    return place.partition(":")[0]


def _typed(item: dataclasses.Field[Any], value: Any, source: str) -> Any:
    annotation = str(item.type)
    if item.metadata["multiple"] and isinstance(value, list | tuple):
        value = "\n".join(map(str, value)) or None
    if words := broken_type(annotation, value):
        raise UsageError(f"{source}: {item.name} is {value!r}; it must be {words}.")
    is_float = annotation.startswith("float") and value is not None
    return float(value) if is_float else value
