"""What a stage hands to the loop: a trainer, what it rests on, and how its result is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from cai.models.backbone import Backbone
from cai.training.folder import Facts
from cai.training.loop import Trainer
from cai.types import SetAside

Saver: TypeAlias = Callable[[Path], dict[str, Any]]
"""Writes a stage's own files into a folder; returns the results to be told."""
Tell: TypeAlias = Callable[[int, int], None]
"""Takes how much of a long work is done, and all of it."""


@dataclass(frozen=True, slots=True)
class Work:
    """How much there is to do: rows (prompts, for PPO) used and held out, tokens, steps.

    tokens: that are read in training; for PPO the most that may be written. longest: tokens of the
    longest example. beside: models that are held beside the backbone.
    """

    rows: int
    held_out: int
    tokens: int
    steps: int
    longest: int
    beside: Sequence[nn.Module] = ()


@dataclass
class Stage:
    """One run, ready to start.

    make: the trainer, once what it needs is begun. save: as `Saver`, of the weights as they are.
    begin: dear work that training needs and counting does not; called once, before the loop.
    attach: told the run's folder and the step from which it goes on, before the first step. warn:
    told of each step's figures; says what is worth a warning. shown: figures for the screen; all,
    where empty.
    """

    backbone: Backbone
    parameters: Mapping[str, nn.Parameter]
    facts: Facts
    set_aside: list[SetAside]
    work: Work
    make: Callable[[], Trainer]
    save: Saver
    begin: Callable[[Tell], None] = field(default=lambda tell: None)
    attach: Callable[[Path, int], None] = field(default=lambda out, step: None)
    warn: Callable[[Mapping[str, float]], str | None] = field(default=lambda figures: None)
    shown: tuple[str, ...] = ()
