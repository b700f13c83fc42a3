"""The prompts of a run that learns from its own responses: to train on, held out, set aside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cai.data.training import read_training_prompts, training_files
from cai.training.config import OnPolicyConfig
from cai.training.examples import data_facts, split
from cai.types import Prompt, SetAside


class PromptSplit(NamedTuple):
    """Prompts to train on and held out, the invalid rows, and the files they are from."""

    train: list[Prompt]
    held_out: list[Prompt]
    set_aside: list[SetAside]
    data: tuple[dict[str, Any], ...]


def load_prompts(config: OnPolicyConfig, data: Sequence[Path]) -> PromptSplit:
    """The prompts of files; no family of prompts is on both sides."""
    files = training_files(data, "prompts")
    prompts, set_aside = _prompts(files.train, config.limit)
    test = None
    if files.test:
        test, unusable = _prompts(files.test, None)
        set_aside += unusable
    train, held_out = split(
        config, prompts, test, lambda p: p.messages, lambda p: p.source or p.id, set_aside
    )
    return PromptSplit(train, held_out, set_aside, data_facts(files))


def _prompts(paths: Sequence[Path], limit: int | None) -> tuple[list[Prompt], list[SetAside]]:
    prompts: list[Prompt] = []
    set_aside: list[SetAside] = []
    for row in read_training_prompts(paths):
        if isinstance(row, SetAside):
            set_aside.append(row)
        else:
            prompts.append(row)
        if limit is not None and len(prompts) >= limit:
            break
    return prompts, set_aside
