"""The stages that learn from rows: SFT, reward model and DPO. What differs between them is here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from cai.data.training import read_pairs, read_sft, training_files
from cai.errors import DataError
from cai.models.backbone import Backbone
from cai.models.fingerprint import cache_folder
from cai.models.heads import ScalarHead
from cai.training.batches import Learned, LearnedReasoning, encode_turns
from cai.training.config import DpoConfig, RewardConfig, RowsConfig, SftConfig
from cai.training.dpo import CollapseWatch, DpoObjective
from cai.training.folder import Facts, start_noise
from cai.training.pairs import Pair, encode_pair, is_tie
from cai.training.prepare import (
    Policy,
    data_facts,
    encode_rows,
    load_policy,
    require,
    save_policy,
    split,
)
from cai.training.reference import make_reference
from cai.training.reward import RewardObjective
from cai.training.reward_report import write_reward_files
from cai.training.rows import Measure, Objective, Plan, RowsTrainer
from cai.training.sft import SftExample, SftObjective
from cai.training.stage import Stage, Tell, Work
from cai.training.updates import Schedule, Updates
from cai.types import Messages, SetAside

UNPLACED = "without their reasoning"
"""The count, in a run's facts, of rows whose reasoning is not read."""


@dataclass
class Examples:
    """Rows as tokens, to train on and to evaluate, and those that could not be used.

    ties: pairs to train on of which neither side is the better one. unplaced: rows to train on
    whose reasoning the chat template has no place for, or is told to leave out.
    """

    train: list[Any]
    test: list[Any]
    set_aside: list[SetAside]
    data: tuple[dict[str, Any], ...]
    ties: int = 0
    unplaced: int = 0


def sft_stage(config: SftConfig, data: Sequence[Path]) -> Stage:
    """Responses to imitate."""
    policy = load_policy(config)
    examples = _conversations(config, data, policy.backbone)
    objective = SftObjective(policy.backbone, _capacity(config, policy.backbone))
    return _stage(config, policy, objective, examples)


def reward_stage(config: RewardConfig, data: Sequence[Path]) -> Stage:
    """Preferences, as the difference of two scores."""
    policy = load_policy(config)
    backbone, examples = policy.backbone, _pairs(config, data, policy.backbone, "drop")
    head = ScalarHead(backbone.hidden_size, config.seed).to(backbone.device)
    objective = RewardObjective(
        backbone, head, config.labels == "soft", config.centring, config.margins
    )
    own = {f"head.{name}": parameter for name, parameter in head.named_parameters()}
    stage = _stage(config, policy, objective, examples, own)
    save_adapter = stage.save

    def save(folder: Path) -> dict[str, Any]:
        return save_adapter(folder) | write_reward_files(
            folder, backbone, head, examples.train, examples.test, config.micro_tokens
        )

    stage.save = save
    return stage


def dpo_stage(config: DpoConfig, data: Sequence[Path]) -> Stage:
    """Preferences, as likelihood against the reference's, which `begin` gets ready."""
    policy = load_policy(config, reference=True)
    backbone, examples = policy.backbone, _pairs(config, data, policy.backbone)
    identity = backbone.fingerprint + "".join(p["digest"] for p in policy.parents)
    reference = make_reference(
        backbone, policy.reference, identity, config.micro_tokens, cache_folder() / "reference"
    )
    objective = DpoObjective(
        backbone, reference, config.beta, config.labels == "soft", config.nll,
        _capacity(config, backbone),
    )  # fmt: skip
    stage = _stage(config, policy, objective, examples, noise=objective.noise)
    save_adapter = stage.save

    def begin(tell: Tell) -> None:
        for pairs in filter(None, (examples.train, examples.test)):
            reference.begin(pairs, tell)

    def save(folder: Path) -> dict[str, Any]:
        return save_adapter(folder) | start_noise(folder)

    stage.begin, stage.save = begin, save
    lengths = [pair.chosen.counted for pair in examples.train]
    watch = CollapseWatch(config.beta, sum(lengths) / len(lengths))
    stage.warn = lambda figures: watch(figures["chosen_reward"])
    return stage


def longest(config: RowsConfig, backbone: Backbone) -> int:
    """Most tokens of a conversation."""
    return min(config.max_length, backbone.context)


def _capacity(config: SftConfig | DpoConfig, backbone: Backbone) -> int:
    """Tokens of a packed row; 0 where rows are not packed, or the model can't keep them apart."""
    return longest(config, backbone) if config.packing and backbone.packs else 0


def _conversations(config: SftConfig, data: Sequence[Path], backbone: Backbone) -> Examples:
    files = training_files(data, "sft")
    set_aside: list[SetAside] = []
    learned = cast(Learned, config.learned)
    reasoning = cast(LearnedReasoning, config.reasoning)

    def encode(row: Any) -> tuple[Any, list[SftExample]]:
        limit = longest(config, backbone)
        turns = encode_turns(
            backbone.encoder, row.messages, limit, learned, reasoning, row.not_to_learn
        )
        return row, [SftExample(f"{row.source} {row.id}".strip(), tokens) for tokens in turns]

    rows = encode_rows(read_sft(files.train), encode, set_aside, config.limit)
    held = encode_rows(read_sft(files.test), encode, set_aside) if files.test else None

    def prompt(example: tuple[Any, list[SftExample]]) -> Messages:
        messages: Messages = example[0].messages[:-1]
        return messages

    train, test = split(config, rows, held, prompt, lambda r: f"{r[0].source} {r[0].id}", set_aside)
    require(train, set_aside)
    answers = [row.messages if learned == "all" else row.messages[-1:] for row, _ in train]
    return Examples(
        [e for _, turns in train for e in turns],
        [e for _, turns in test for e in turns],
        set_aside,
        data_facts(files),
        unplaced=_unplaced(backbone, answers, reasoning),
    )


def _pairs(
    config: RowsConfig,
    data: Sequence[Path],
    backbone: Backbone,
    reasoning: LearnedReasoning = "learn",
) -> Examples:
    files = training_files(data, "preferences")
    set_aside: list[SetAside] = []

    def encode(row: Any) -> Pair:
        return encode_pair(backbone.encoder, row, longest(config, backbone), reasoning)

    pairs = encode_rows(read_pairs(files.train), encode, set_aside, config.limit)
    held = encode_rows(read_pairs(files.test), encode, set_aside) if files.test else None

    def prompt(pair: Pair) -> Messages:
        return pair.row.prompt

    train, test = split(config, pairs, held, prompt, lambda p: p.id, set_aside)
    require(train, set_aside)
    if all(map(is_tie, train)):
        raise DataError(
            f"None of the {len(train)} pairs has a better side: each probability is 0.5",
            hint="Ties teach nothing. If a judge wrote them, it gave no signal: look at the card of"
            " the build, and try another --judge.",
        )
    answers = [(*pair.row.chosen[-1:], *pair.row.rejected[-1:]) for pair in train]
    return Examples(
        train,
        test,
        set_aside,
        data_facts(files),
        sum(map(is_tie, train)),
        _unplaced(backbone, answers, reasoning),
    )


def _unplaced(backbone: Backbone, answers: Iterable[Messages], reasoning: LearnedReasoning) -> int:
    """Rows with reasoning among their answers that is asked for, and is not read all the same."""
    encoder = backbone.encoder
    if reasoning == "drop" or encoder.template.reasons:
        return 0
    return sum(
        any(encoder.reply_of(m).reasoning for m in row if m.role == "assistant") for row in answers
    )


def _stage(
    config: RowsConfig,
    policy: Policy,
    objective: Objective[Any],
    examples: Examples,
    own: Mapping[str, nn.Parameter] | None = None,
    noise: Measure[Any] | None = None,
) -> Stage:
    """What the three share; own: parameters that are trained beside the policy's.

    noise: as in `RowsTrainer`.
    """
    backbone, count = policy.backbone, len(examples.train)
    backbone.train_only("policy")
    plan = Plan(
        config.batch_size,
        config.epochs,
        config.micro_tokens,
        config.seed,
        config.save_every,
        config.max_steps,
    )
    facts = Facts(
        base={"name": backbone.name, "fingerprint": backbone.fingerprint},
        parents=policy.parents,
        data=examples.data,
        counts={
            "trained": count,
            "held out": len(examples.test),
            "set aside": len(examples.set_aside),
            **({"ties": examples.ties} if examples.ties else {}),
            **({UNPLACED: examples.unplaced} if examples.unplaced else {}),
        },
    )
    lengths = [objective.tokens(example) for example in examples.train]
    work = Work(
        rows=count,
        held_out=len(examples.test),
        tokens=round(sum(lengths) / count * plan.rows(count)),
        steps=plan.steps(count),
        longest=max(lengths),
    )
    parameters = {**backbone.trainable(), **(own or {})}

    def make() -> RowsTrainer[Any]:
        schedule = Schedule(config.schedule, config.rate, work.steps, config.warmup)
        updates = Updates(parameters, schedule, config.weight_decay, config.max_grad_norm)
        return RowsTrainer(
            backbone.train, objective, updates, examples.train, examples.test, plan,
            backbone.device, name=lambda example: str(example.id), noise=noise,
        )  # fmt: skip

    def save(folder: Path) -> dict[str, Any]:
        save_policy(backbone, folder)
        return {}

    return Stage(backbone, parameters, facts, examples.set_aside, work, make, save)
