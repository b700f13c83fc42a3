"""Write prompt rows of the world: `python -m cai.miniature.prompts --n 120 --split held --seed 1`.

Each row is `{"id", "prompt", "benign", "world"}`; `world` is what `judge.flaws_of` needs to judge a
response, and `benign` is what the engine's guards may know.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from cai.miniature.world import Kind, WorldSplit, draw_request

PROMPTS = Path(__file__).with_name("prompts.jsonl")
"""The bundled rows: `--n 120 --split held --seed 1`."""

SHARES: tuple[tuple[Kind, float], ...] = (("harmful", 0.6), ("benign", 0.25), ("lookalike", 0.15))


def prompt_rows(count: int, split: WorldSplit, seed: int) -> Iterator[dict[str, Any]]:
    """Different requests of a split, kinds mixed by SHARES; the `unseen` split is all harmful."""
    rng = random.Random(f"prompts/{split}/{seed}")
    kinds: list[Kind] = []
    for kind, share in SHARES:
        kinds += [kind] * round(count * share)
    kinds = (kinds + ["harmful"] * count)[:count]
    rng.shuffle(kinds)
    seen: set[str] = set()
    for number, kind in enumerate(kinds):
        while True:
            request = draw_request(rng, kind, split)
            if request.text not in seen:
                break
        seen.add(request.text)
        yield {
            "id": f"miniature-{split}-{seed}-{number:04d}",
            "prompt": request.text,
            "benign": kind != "harmful",
            "world": request.meta(),
        }


def main() -> None:
    """Write rows to standard output."""
    parser = argparse.ArgumentParser(prog="python -m cai.miniature.prompts", description=__doc__)
    parser.add_argument("--n", type=int, default=120)
    parser.add_argument("--split", choices=get_args(WorldSplit), default="held")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for row in prompt_rows(arguments.n, arguments.split, arguments.seed):
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
