"""Splits by hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cai.data.prompts import read_prompts
from cai.data.rows import ExportedRow, ExportSettings
from cai.data.split import family, side_of, split_of
from cai.pipeline.config import BuildConfig
from cai.training.examples import family_draw, hold_out
from cai.types import Message, Messages, Prompt
from tests.store.samples import run, trace

IDS = [f"p-{n}" for n in range(4000)]


def test_shares_and_extremes() -> None:
    # 4000 draws at 0.25: 1000 expected, standard deviation sqrt(4000 · .25 · .75) = 27
    assert abs(sum(split_of(i, 1, 0.25) == "test" for i in IDS) - 1000) < 110
    assert abs(sum(side_of(i, 1, 0.25) == "sft" for i in IDS) - 1000) < 110
    assert {split_of(i, 1, 0.0) for i in IDS} == {"train"}
    assert {side_of(i, 1, 1.0) for i in IDS} == {"sft"}


def test_the_two_are_independent_and_a_larger_share_keeps_its_prompts() -> None:
    both = sum(split_of(i, 1, 0.5) == "test" and side_of(i, 1, 0.5) == "sft" for i in IDS)
    assert abs(both - 1000) < 110
    small = {i for i in IDS if split_of(i, 1, 0.1) == "test"}
    assert small < {i for i in IDS if split_of(i, 1, 0.2) == "test"}
    assert small != {i for i in IDS if split_of(i, 2, 0.1) == "test"}


def test_known_values() -> None:
    """Released splits never move. Draws of seed 7 for p-0 to p-3, three digits:

    split: 0.035 0.806 0.648 0.071; side: 0.243 0.826 0.277 0.944
    """
    assert [split_of(f"p-{n}", 7, 0.5) for n in range(4)] == ["test", "train", "train", "test"]
    assert [side_of(f"p-{n}", 7, 0.3) for n in range(4)] == [
        "sft",
        "preference",
        "sft",
        "preference",
    ]


FIRST = Message("user", "Is the sky blue?")
LATER = (Message("assistant", "Yes."), Message("user", "Why?"))
SYSTEM = Message("system", "Be brief.")
BRIEF = {"role": "system", "content": "Be brief."}


def test_a_family_is_the_first_user_turn() -> None:
    """System turns, later turns, ids, case and white space do not count; the words do."""
    one = family((FIRST,))
    alike: list[Messages] = [
        (FIRST, *LATER),
        (SYSTEM, FIRST),
        (Message("system", "Be kind."), FIRST, *LATER),
        (Message("user", "  is THE sky\n\tblue? "),),
        (Message("assistant", "Hello."), FIRST),
    ]
    assert {family(messages) for messages in alike} == {one}
    assert family((Message("user", "STRASSE"),)) == family((Message("user", "straße"),))
    apart = ["Is the sea blue?", "Is the skyblue?", "Why?", ""]
    assert len({one, *(family((Message("user", text),)) for text in apart)}) == 5


def test_no_family_is_on_two_sides_of_any_split(tmp_path: Path) -> None:
    """Every relation that two prompts of one question can have, with ids and without, through
    every place that splits: exported rows, the sides of a build, and training."""
    variants: dict[str, Callable[[str], dict[str, Any]]] = {
        "single": lambda q: {"prompt": q},
        "shouted": lambda q: {"prompt": f" {q.upper()} "},
        "system": lambda q: {"messages": [BRIEF, *_turns(q)]},
        "other system": lambda q: {"messages": [BRIEF | {"content": "Be kind."}, *_turns(q)]},
        "dialogue": lambda q: {"prompt": _turns(q, "ok", "And?")},
        "longer": lambda q: {"prompt": _turns(q, "ok", "And?", "so", "Then?")},
    }
    rows = [
        {**row(f"Question number {n}?"), **({"id": f"{name}-{n}"} if n % 2 else {})}
        for n in range(60)
        for name, row in variants.items()
    ]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = [p for p in read_prompts(path) if isinstance(p, Prompt)]
    assert len(prompts) == 60 * 6
    sides = ExportSettings.of(run(sft_share=0.5, test_share=0.5))
    config = BuildConfig(sft_share=0.5)
    held_out = hold_out([family_draw(p.messages, seed=1) for p in prompts], 0.3)
    places: list[list[Any]] = [
        [(_only(sides, p).table, _only(sides, p).values["split"]) for p in prompts],
        [config.side(p) for p in prompts],
        held_out,
    ]
    for place in places:
        families = [place[n : n + 6] for n in range(0, len(place), 6)]
        assert all(len(set(family)) == 1 for family in families)
        assert len({family[0] for family in families}) > 1  # and the families are divided


def _turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]


def _only(sides: ExportSettings, prompt: Prompt) -> ExportedRow:
    row, label = sides.rows(replace(trace("p"), prompt=prompt))
    assert isinstance(row, ExportedRow) and isinstance(label, ExportedRow)
    assert label.values["split"] == row.values["split"]
    return row
