"""Rows in memory: small, without their texts, equal by value; and how they are divided."""

from __future__ import annotations

import gc
import json
import random
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch

from cai.digest import digest, stream_digest
from cai.models.backbone import Backbone
from cai.training.batches import Tokens, collate
from cai.training.config import DpoConfig, SftConfig
from cai.training.examples import ExampleRows, Examples, split
from cai.training.pairs import load_pairs
from cai.training.sft import load_conversations
from cai.types import SetAside

ROWS = 1000
WORDS = ["lantern", "meadow", "pebble", "thistle", "harbour", "whisper", "copper", "willow"]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone.load("miniature", device="cpu", dtype="float32")


def write_rows(file: Path, kind: str) -> Path:
    """Conversations of two turns of 30 words, or pairs; each with a prompt of its own."""
    rng = random.Random(0)

    def turn(role: str) -> dict[str, str]:
        return {"role": role, "content": " ".join(rng.choices(WORDS, k=30))}

    rows: list[dict[str, Any]] = []
    for n in range(ROWS):
        row: dict[str, Any] = {
            "id": f"row-{n}",
            "origin": "comparison",
            "principle_ids": ["privacy", "honesty"],
        }
        prompt, one, other = turn("user"), turn("assistant"), turn("assistant")
        if kind == "sft":
            row |= {"messages": [prompt, one]}
        else:
            row |= {"prompt": [prompt], "chosen": [one], "rejected": [other], "probability": 0.8}
        rows.append(row)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def load(kind: str, file: Path, backbone: Backbone) -> Examples[Any]:
    """Load rows as a trainer does."""
    if kind == "sft":
        return load_conversations(SftConfig(test_share=0.1), [file], backbone)
    return load_pairs(DpoConfig(test_share=0.1), [file], backbone)


def reachable(objects: list[Any]) -> list[Any]:
    """All that lists, tuples and slots hold, each once."""
    found: dict[int, Any] = {}
    while objects:
        thing = objects.pop()
        if id(thing) not in found and not isinstance(thing, type):
            found[id(thing)] = thing
            objects += gc.get_referents(thing)
    return list(found.values())


@pytest.mark.parametrize("kind", [pytest.param("sft", marks=pytest.mark.slow), "pairs"])
def test_an_encoded_row_keeps_its_ids_and_no_text(
    kind: str, tmp_path: Path, backbone: Backbone
) -> None:
    """Four bytes a token; under 100 for each conversation, and under 220 for all else of a row."""
    file = write_rows(tmp_path / "rows.jsonl", kind)
    load(kind, file, backbone)  # what is imported and made once
    tracemalloc.start()
    rows = load(kind, file, backbone)
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(rows.train) + len(rows.test) == ROWS
    things = reachable([rows.train, rows.test])
    texts = [t for t in things if isinstance(t, str)]
    assert not [t for t in texts if any(word in t for word in WORDS)]
    conversations = [t for t in things if isinstance(t, Tokens)]
    assert len(conversations) == ROWS * (1 if kind == "sft" else 2)
    tokens = sum(map(len, conversations))
    assert tokens / len(conversations) > 100
    for some in conversations:
        assert sys.getsizeof(some) + sys.getsizeof(some.packed) < 4 * len(some) + 100
    assert kept < 4 * tokens + 100 * len(conversations) + 220 * ROWS


def test_tokens_are_equal_by_value() -> None:
    """Of five tokens the second, third and last count."""
    ids, response = (7, 70_000, 3, 0, 9), (False, True, True, False, True)
    tokens = Tokens(ids, response)
    assert (tokens.ids, tokens.response) == (ids, response)
    assert len(tokens) == 5 and tokens.counted == 3
    assert list(tokens.spans()) == [(1, 3), (4, 5)]
    again = Tokens(list(ids), list(response))
    assert again == tokens and {tokens: "found"}[again] == "found"
    assert Tokens(ids, (True,) * 5) != tokens != Tokens((7, 70_000, 3, 0, 8), response)
    assert Tokens.counted_from(ids, 3) == Tokens(ids, (False, False, False, True, True))
    assert Tokens.counted_from(ids, 5) == Tokens(ids, (False,) * 5)


def test_rows_are_those_of_a_plain_loop() -> None:
    """Several turns that count, padded and packed: each token looked up by itself."""
    rng = random.Random(0)
    for trial in range(60):
        talks = [
            Tokens([rng.randrange(1, 90) for _ in range(n)], [rng.random() < 0.5 for _ in range(n)])
            for n in rng.choices(range(2, 20), k=rng.randint(1, 6))
        ]
        rows = collate(talks, (0, 24)[trial % 2])
        flat = rows.ids.flatten().tolist()
        counted: list[tuple[int, int, int]] = []
        width = rows.ids.shape[1]
        assert rows.mask.sum() == sum(map(len, talks))
        for i, talk in enumerate(talks):
            first = int(rows.last[i]) + 1 - len(talk)
            places = range(first, first + len(talk))
            assert tuple(flat[p] for p in places) == talk.ids
            assert first // width == int(rows.last[i]) // width, "in one row"
            assert rows.mask.flatten()[first : first + len(talk)].all()
            if rows.positions is not None:
                positions = rows.positions.flatten()[first : first + len(talk)]
                assert positions.tolist() == list(range(len(talk)))
            counted += [
                (i, p - 1, flat[p]) for p, yes in zip(places, talk.response, strict=True) if yes
            ]
        ours = torch.stack([rows.owner, rows.target_positions, rows.targets], 1).tolist()
        assert sorted(map(tuple, ours)) == sorted(counted)


def test_a_digest_of_a_stream_is_that_of_the_list() -> None:
    """So that a cache that is named by it is found again."""
    fields: dict[str, Any] = {"b": "é", "a": None}
    rows: list[Any] = [((1, 2), 3), ((), 0)]
    for some in (rows, rows[:1], []):
        assert stream_digest(fields, "rows", iter(some)) == digest({**fields, "rows": some})
    with pytest.raises(ValueError, match="'a2' does not come last"):
        stream_digest(fields, "a2", [])


def test_a_leaked_row_is_named_once() -> None:
    """Two examples of one held-out row, whose prompt is trained on, and one of another row."""
    train: ExampleRows[str] = ExampleRows()
    train.add("f:1", 0.25)
    test: ExampleRows[str] = ExampleRows()
    for name, draw in (("t:1", 0.25), ("t:1", 0.25), ("t:2", 0.25), ("t:3", 0.75)):
        test.add(name, draw)
    set_aside: list[SetAside] = []
    sides = split(SftConfig(), train, test, lambda name: name, set_aside)
    assert [side.examples for side in sides] == [["f:1"], ["t:3"]]
    assert [row.source for row in set_aside] == ["t:1", "t:2"]
