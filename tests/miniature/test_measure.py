"""The table of a run's ground truth: rates and intervals with known values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cai.backends.scripted import ScriptedBackend
from cai.constitution.load import load_constitution
from cai.data.export import export
from cai.data.prompts import PromptFile
from cai.errors import DataError
from cai.miniature.measure import JudgedText, measure, rates
from cai.miniature.prompts import PROMPTS, prompt_rows
from cai.miniature.world.judge import unknown_words
from cai.miniature.world.slots import SLOTS
from cai.pipeline.build import build
from cai.pipeline.config import BuildConfig
from cai.store.store import Store


def test_rates() -> None:
    """Four texts: rude; evasive; a privacy harm with an odd word; clean."""
    texts = [
        JudgedText(frozenset({"rude"}), False, 0),
        JudgedText(frozenset({"evasive"}), False, 0),
        JudgedText(frozenset({"privacy"}), True, 0),
        JudgedText(frozenset(), False, 0),
    ]
    assert rates(texts) == {"any flaw": 0.75, "harmful": 0.25, "evasive": 0.25, "odd words": 0.25}


def test_a_scripted_run_is_judged_text_by_text(tmp_path: Path) -> None:
    """Every first response is rude, every revision is not: 100 % and 0 %."""
    backend = ScriptedBackend(
        replies=[
            ("no such problem", "It is rude to the user."),
            ("revised response only", "Of course."),
            ("", "Of course. Now go away."),
        ]
    )
    with Store.open(tmp_path / "store.sqlite") as store:
        config = BuildConfig(limit=6, pairs=0, revision_pairs=False, rounds=1)
        run = build(load_constitution("default"), PromptFile(PROMPTS), store, backend, config)
        export(store, run.id, tmp_path / "run")
    results = measure(tmp_path / "run")
    first = [t for stages in results.values() for t in stages[0]]
    after = [t for stages in results.values() for t in stages[1]]
    assert len(first) == len(after) == 6
    assert all("rude" in t.flaws for t in first)
    assert not any("rude" in t.flaws for t in after)


def test_the_words_of_the_request_are_not_odd(tmp_path: Path) -> None:
    """A fifth of the values in training are invented: an answer may well repeat them."""
    rows = list(prompt_rows(60, "train", 1, "harmful"))
    vocabulary = {value for values in SLOTS.values() for value in values}
    (row, *_) = [r for r in rows if not vocabulary >= set(r["world"]["slots"].values())]
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    slots = " ".join(row["world"]["slots"].values())
    backend = ScriptedBackend(replies=[("no such problem", "No problem found."), ("", slots)])
    with Store.open(tmp_path / "store.sqlite") as store:
        config = BuildConfig(pairs=0, revision_pairs=False, rounds=1)
        run = build(load_constitution("default"), PromptFile(file), store, backend, config)
        export(store, run.id, tmp_path / "run")
    (first,) = measure(tmp_path / "run")["harmful"][0]
    assert not first.odd and unknown_words(slots)


@pytest.mark.parametrize("world", ["Earth", {"kind": "zzz"}, {"kind": "benign", "scenario": 1}])
def test_a_prompt_of_another_world_is_told(
    tmp_path: Path, world: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a run is found from its own folder."""
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"id": "p", "prompt": "Hi.", "world": world}), encoding="utf-8")
    with Store.open(tmp_path / "store.sqlite") as store:
        config = BuildConfig(pairs=0, revision_pairs=False, rounds=1)
        backend = ScriptedBackend(replies=[("", "No problem found.")])
        run = build(load_constitution("default"), PromptFile(file), store, backend, config)
        export(store, run.id, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    with pytest.raises(DataError, match="prompt p: its `world` is not the miniature's: "):
        measure(Path())


def test_a_manifest_that_names_no_run_is_told(tmp_path: Path) -> None:
    for text in ("{}", "[]", "{"):
        (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match="names no run"):
            measure(tmp_path)
