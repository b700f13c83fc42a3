"""The prompts of a loop: held-out ones, and those of each round."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cai.data.files import write_whole
from cai.data.prompts import PromptFile
from cai.data.split import family
from cai.errors import DataError
from cai.rounds.config import LoopConfig
from cai.rounds.steps import HELD_OUT, prompts_file
from cai.text.seeds import derive
from cai.types import Prompt, SetAside, as_dicts

_SUITE = """\
api: cai/v1
kind: Suite
id: {id}
version: 1.0.0
title: Held-out prompts of the loop
about: Prompts on which no round trains.
task: response
judges: {{}}
items: {id}.jsonl
"""


@dataclass(frozen=True, slots=True)
class LoopPrompts:
    """Prompts by use. rounds: of each round; one entry alone where all rounds use the same."""

    held_out: tuple[Prompt, ...]
    rounds: tuple[tuple[Prompt, ...], ...]
    set_aside: tuple[SetAside, ...]


def divide(file: Path, config: LoopConfig) -> LoopPrompts:
    """Divide the prompts of a file, whole families at a time, by the seed.

    Raises `DataError` where too few are left for a round.
    """
    prompts: list[Prompt] = []
    set_aside: list[SetAside] = []
    for row in PromptFile(file):
        if isinstance(row, SetAside):
            set_aside.append(row)
        else:
            prompts.append(row)
    families = {p.id: family(p.messages) for p in prompts}
    prompts.sort(key=lambda p: (derive(config.seed, "loop", families[p.id]), p.id))
    last = families[prompts[config.held_out - 1].id] if len(prompts) >= config.held_out else ""
    cut = next(
        (n for n, p in enumerate(prompts[config.held_out :], config.held_out)
         if families[p.id] != last),
        len(prompts),
    )  # fmt: skip
    held_out, others = prompts[:cut], prompts[cut:]
    parts = 1 if config.reuse_prompts else config.rounds
    by_round: list[list[Prompt]] = [[] for _ in range(parts)]
    places: dict[str, int] = {}
    for prompt in others:
        place = places.setdefault(families[prompt.id], len(places) % parts)
        by_round[place].append(prompt)
    if not all(by_round):
        aside = f" ({set_aside[0].source}: {set_aside[0].reason})" if set_aside else ""
        raise DataError(
            f"{file} has {len(prompts)} prompts that can be used{aside}: too few for"
            f" {config.held_out} held-out ones and {parts} rounds",
            hint="Give more prompts, lower --rounds or --held-out, or use --reuse-prompts.",
        )
    return LoopPrompts(tuple(held_out), tuple(map(tuple, by_round)), tuple(set_aside))


def write_prompts(prompts: LoopPrompts, config: LoopConfig, out: Path) -> None:
    """Write the prompts of each round, and the suite of the held-out ones."""
    for number, some in enumerate(prompts.rounds, 1):
        write_whole(prompts_file(config, out, number), _lines(some))
    items = ({"id": p.id, "messages": as_dicts(p.messages)} for p in prompts.held_out)
    write_whole(out / f"{HELD_OUT}.jsonl", _json_lines(items))
    write_whole(out / f"{HELD_OUT}.yaml", _SUITE.format(id=HELD_OUT))


def _lines(prompts: Sequence[Prompt]) -> str:
    return _json_lines(
        {"id": p.id, "messages": as_dicts(p.messages), **_benign(p)} for p in prompts
    )


def _benign(prompt: Prompt) -> dict[str, object]:
    return {"benign": prompt.meta["benign"]} if "benign" in prompt.meta else {}


def _json_lines(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
