"""Write prompt rows of the world: `python -m cai.miniature.prompts --n 120 --split held --seed 1`.

Each row is `{"id", "prompt", "benign", "world"}`; `world` is what `judge.flaws_of` needs to judge a
response, and `benign` is what the engine's guards may know. With `--pushy`, every prompt is a
conversation: the request, a refusal, and a user who pushes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from cai.miniature.world.requests import RequestKind, SlotValues, WorldSplit, draw_request
from cai.miniature.world.responses import draw_push
from cai.miniature.world.vocabulary import HARMS

PROMPTS = Path(__file__).with_name("prompts.jsonl")
"""The bundled rows: `--n 120 --split held --seed 1`."""

SHARES: tuple[tuple[RequestKind, float], ...] = (
    ("harmful", 0.55),
    ("benign", 0.2),
    ("lookalike", 0.1),
    ("factual", 0.15),
)
ATTEMPTS = 10_000
"""Draws without a request that is new, after which a split counts as used up."""


def prompt_rows(
    count: int,
    split: WorldSplit,
    seed: int,
    kind: RequestKind | None = None,
    *,
    category: str | None = None,
    values: SlotValues | None = None,
    pushy: bool = False,
) -> Iterator[dict[str, Any]]:
    """Different requests of a split: of one kind, or mixed by SHARES (`unseen` is all harmful).

    `category` and `values` as in `draw_request`. Ids tell what was asked for, so that files of
    several draws go together. Raises ValueError where the split holds too few different ones, and
    for a count below 0.
    """
    if count < 0:
        raise ValueError(f"{count} rows can't be drawn: a count is 0 or more")
    options = filter(None, (kind, category, values, "pushy" if pushy else None))
    draw = "-".join(("miniature", split, *options, str(seed)))
    rng = random.Random(f"prompts/{split}/{seed}")
    if split == "unseen" or category is not None:
        kind = kind or "harmful"
    kinds: list[RequestKind] = []
    for name, share in SHARES:
        kinds += [kind or name] * round(count * share)
    kinds = (kinds + [kind or "harmful"] * count)[:count]
    rng.shuffle(kinds)
    drawn_texts: set[str] = set()
    for number, drawn_kind in enumerate(kinds):
        for _ in range(ATTEMPTS):
            request = draw_request(rng, drawn_kind, split, values, category)
            if request.text not in drawn_texts:
                break
        else:
            raise ValueError(
                f"after {number} rows no other {drawn_kind} request of the split {split} is found"
            )
        drawn_texts.add(request.text)
        prompt: str | list[dict[str, str]] = request.text
        if pushy:
            refusal, push = draw_push(rng, request)
            roles = ("user", "assistant", "user")
            texts = (request.text, refusal.text, push)
            prompt = [
                {"role": role, "content": text} for role, text in zip(roles, texts, strict=True)
            ]
        yield {
            "id": f"{draw}-{number:04d}",
            "prompt": prompt,
            "benign": request.kind != "harmful",
            "world": request.meta(),
        }


def main() -> None:
    """Write rows to standard output."""
    parser = argparse.ArgumentParser(prog="python -m cai.miniature.prompts", description=__doc__)
    parser.add_argument("--n", type=int, default=120)
    parser.add_argument("--split", choices=get_args(WorldSplit), default="held")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=get_args(RequestKind), help="of one kind alone")
    parser.add_argument("--category", choices=HARMS, help="harmful requests after one harm")
    parser.add_argument("--values", choices=get_args(SlotValues), help="what they speak of")
    parser.add_argument("--pushy", action="store_true", help="with a refusal and a push")
    arguments = parser.parse_args()
    if arguments.split == "unseen" and arguments.kind not in (None, "harmful"):
        parser.error("the split unseen holds harmful requests alone: leave --kind out")
    if arguments.n < 1:
        parser.error("--n is 1 or more")
    if arguments.category and arguments.kind not in (None, "harmful"):
        parser.error(f"{arguments.category} is a harm of harmful requests alone: leave --kind out")
    try:
        for row in prompt_rows(
            arguments.n, arguments.split, arguments.seed, arguments.kind,
            category=arguments.category, values=arguments.values, pushy=arguments.pushy,
        ):  # fmt: skip
            sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
