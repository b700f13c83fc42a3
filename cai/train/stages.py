"""The stages that learn from rows: SFT, reward model and DPO. What differs between them is here.

Each takes its settings and its files, and returns what the loop needs: examples, an objective, the
parameters to train, and what is to be written when it is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from cai.data.training import read_pairs, read_sft, training_files
from cai.models.backbone import Backbone
from cai.models.fingerprint import cache_folder
from cai.models.heads import ScalarHead
from cai.train.batches import Learned, encode_tokens
from cai.train.config import DpoConfig, RewardConfig, RowsConfig, SftConfig
from cai.train.dpo import CollapseWatch, DpoObjective, Referenced, reference_logprobs
from cai.train.folder import Facts
from cai.train.loop import Objective
from cai.train.pairs import Pair, encode_pair
from cai.train.prepare import (
    encode_rows,
    file_facts,
    hold_out,
    load_policy,
    reference_of,
    require,
)
from cai.train.reward import RewardObjective
from cai.train.reward_report import write_reward_files
from cai.train.sft import SftExample, SftObjective
from cai.types import SetAside

Saver: TypeAlias = Callable[[Path], dict[str, Any]]
"""Writes a stage's own files into a folder; returns the results to be told."""
Tell: TypeAlias = Callable[[int, int], None]
"""Takes how much of a long work is done, and all of it."""
Files: TypeAlias = list[tuple[Path, str]]
"""Files and their digests."""


@dataclass
class Stage:
    """What a stage hands to the loop.

    begin: dear work that training needs and counting does not; called once, before the loop. warn:
    told of each step's figures; says what is worth a warning.
    """

    backbone: Backbone
    objective: Objective[Any]
    train: Sequence[Any]
    test: Sequence[Any]
    parameters: Mapping[str, nn.Parameter]
    facts: Facts
    set_aside: list[SetAside]
    save: Saver
    begin: Callable[[Tell], None] = field(default=lambda tell: None)
    warn: Callable[[Mapping[str, float]], str | None] = field(default=lambda figures: None)


def sft_stage(config: SftConfig, data: Sequence[Path]) -> Stage:
    """Responses to imitate."""
    files = training_files(data, "sft")
    facts = file_facts(files)
    backbone, parents = load_policy(config)
    set_aside: list[SetAside] = []

    learned: Learned = "last" if config.learned == "last" else "all"

    def encode(row: Any) -> tuple[Any, SftExample]:
        tokens = encode_tokens(backbone.encoder, row.messages, config.max_length, learned)
        return row, SftExample(row.id, tokens)

    rows = encode_rows(read_sft(files.train), encode, set_aside, config.limit)
    held = encode_rows(read_sft(files.test), encode, set_aside) if files.test else []
    if not files.test:
        rows, held = hold_out(rows, lambda r: r[0].messages[:-1], config.test_share, config.seed)
    require(rows, set_aside)
    train, test = [example for _, example in rows], [example for _, example in held]
    objective = SftObjective(backbone, _capacity(config, backbone))
    return _stage(config, backbone, objective, train, test, parents, facts, set_aside)


def reward_stage(config: RewardConfig, data: Sequence[Path]) -> Stage:
    """Preferences, as the difference of two scores."""
    backbone, train, test, parents, facts, set_aside = _pairs(config, data)
    head = ScalarHead(backbone.hidden_size, config.seed).to(backbone.device)
    objective = RewardObjective(
        backbone, head, config.labels == "soft", config.centring, config.margins
    )
    stage = _stage(config, backbone, objective, train, test, parents, facts, set_aside)
    stage.parameters = {
        **stage.parameters,
        **{f"head.{name}": parameter for name, parameter in head.named_parameters()},
    }
    save_adapter = stage.save

    def save(folder: Path) -> dict[str, Any]:
        return save_adapter(folder) | write_reward_files(
            folder, backbone, head, train, test, config.micro_tokens
        )

    stage.save = save
    return stage


def dpo_stage(config: DpoConfig, data: Sequence[Path]) -> Stage:
    """Preferences, as likelihood against the reference's, which `begin` reads."""
    backbone, pairs, held, parents, facts, set_aside = _pairs(config, data)
    if config.full:
        backbone.freeze_reference()
    reference = reference_of(backbone)
    identity = backbone.fingerprint + "".join(p["digest"] for p in parents)
    train, test = ([Referenced(p, math.nan, math.nan) for p in some] for some in (pairs, held))
    objective = DpoObjective(
        backbone,
        config.beta,
        config.labels == "soft",
        config.nll,
        _capacity(config, backbone),
    )
    stage = _stage(config, backbone, objective, train, test, parents, facts, set_aside)

    def begin(tell: Tell) -> None:
        stage.train, stage.test = (
            reference_logprobs(
                backbone, some, reference, identity, config.micro_tokens,
                cache_folder() / "reference", tell,
            )
            if some
            else []
            for some in (pairs, held)
        )  # fmt: skip

    stage.begin = begin
    watch = CollapseWatch(sum(p.chosen.counted for p in pairs) / len(pairs))
    stage.warn = lambda figures: watch(figures["chosen_logprob"])
    return stage


def build_stage(config: RowsConfig, data: Sequence[Path]) -> Stage:
    """The stage that a configuration is of."""
    if isinstance(config, SftConfig):
        return sft_stage(config, data)
    if isinstance(config, RewardConfig):
        return reward_stage(config, data)
    assert isinstance(config, DpoConfig)
    return dpo_stage(config, data)


def _capacity(config: SftConfig | DpoConfig, backbone: Backbone) -> int:
    """Tokens of a packed row; 0 where rows are not packed, or the model can't keep them apart."""
    return config.max_length if config.packing and backbone.packs else 0


def _pairs(
    config: RowsConfig, data: Sequence[Path]
) -> tuple[Backbone, list[Pair], list[Pair], list[dict[str, Any]], Files, list[SetAside]]:
    """The base, and pairs to train on and to evaluate."""
    files = training_files(data, "preferences")
    facts = file_facts(files)
    backbone, parents = load_policy(config)
    set_aside: list[SetAside] = []

    def encode(row: Any) -> Pair:
        return encode_pair(backbone.encoder, row, config.max_length)

    train = encode_rows(read_pairs(files.train), encode, set_aside, config.limit)
    test = encode_rows(read_pairs(files.test), encode, set_aside) if files.test else []
    if not files.test:
        train, test = hold_out(train, lambda p: p.row.prompt, config.test_share, config.seed)
    require(train, set_aside)
    return backbone, train, test, parents, facts, set_aside


def _stage(
    config: RowsConfig,
    backbone: Backbone,
    objective: Objective[Any],
    train: Sequence[Any],
    test: Sequence[Any],
    parents: list[dict[str, Any]],
    files: Files,
    set_aside: list[SetAside],
) -> Stage:
    backbone.train_only("policy")
    facts = Facts(
        base={"name": backbone.name, "fingerprint": backbone.fingerprint},
        parents=tuple(parents),
        data=tuple({"name": path.name, "sha256": sha} for path, sha in files),
        counts={"trained": len(train), "held out": len(test), "set aside": len(set_aside)},
    )

    def save(folder: Path) -> dict[str, Any]:
        backbone.save_adapter("policy", folder / ("model" if config.full else "adapter"))
        return {}

    return Stage(backbone, objective, train, test, backbone.trainable(), facts, set_aside, save)
