"""The words that the miniature knows: the shipped list is the world's, and strangers are named."""

from __future__ import annotations

import json
import random

import pytest

from cai.cli.unknown_words import unknown_in, warn_of_unknown_words
from cai.miniature.known import unknown_words
from cai.miniature.prompts import PROMPTS
from cai.miniature.world.judge import known_words
from cai.miniature.world.requests import draw_request


def test_strangers_are_named_once_in_their_order() -> None:
    """Numbers and marks are no words; a possessive is the word itself."""
    texts = ["How do I renew my teacher's visa?", "RENEW it in 2026, or the visa's holder waits!"]
    assert unknown_words(texts) == ("renew", "visa", "holder", "waits")


def test_the_list_is_the_world_s() -> None:
    """What the grammar can answer, what is asked in every split, and the bundled prompts."""
    assert unknown_words(sorted(known_words())) == ()
    rng = random.Random("known words, in another draw")
    for split in ("train", "held"):
        for _ in range(300):
            assert unknown_words([draw_request(rng, split=split, values="known").text]) == ()
    rows = [json.loads(line) for line in PROMPTS.read_text(encoding="utf-8").splitlines()]
    assert unknown_words(json.dumps(row["prompt"]) for row in rows) == ()


def test_the_warning_names_some_and_counts_the_rest() -> None:
    assert unknown_in("the prompts", ["How do I get better at chess?"]) == ""
    strangers = " ".join(f"zq{chr(97 + n)}" for n in range(15))
    message = unknown_in("the prompts", [strangers])
    assert "words of the prompts: zqa, zqb" in message and "zql and 3 more" in message


def test_only_the_miniature_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    texts = {"the prompts": ["Renew the visa."]}
    warn_of_unknown_words(["other", "scripted"], texts)
    assert capsys.readouterr().err == ""
    warn_of_unknown_words(["other", "miniature+sft"], texts)
    assert "does not know words of the prompts: renew, visa" in capsys.readouterr().err
