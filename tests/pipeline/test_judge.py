"""A judge asked about one pair: the probability, who is asked, and what the store keeps."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

import cai
from cai.types import Feedback

QUESTION, GOOD, BAD = "May I take it?", "Please ask first.", "Just take it."


def pointwise() -> cai.Constitution:
    """The default constitution, whose judge is asked about each response under every principle."""
    rules = cai.load_constitution("default")
    feedback: Feedback = replace(rules.feedback, mode="pointwise", principles_per_pair="all")
    return replace(rules, feedback=feedback)


def scripted() -> cai.ScriptedBackend:
    """Finds no problem with probability 0.9 in the good response, and 0.2 in the other."""
    return cai.ScriptedBackend(
        scores=[
            (lambda m: any(GOOD in x.content for x in m), {"No problem found.": 0.9}),
            ("", {"No problem found.": 0.2}),
        ]
    )


def test_the_first_is_better_with_the_probability_of_the_capped_logits(tmp_path: Path) -> None:
    """Every principle says the same, so the mean is one principle's: with ln(0.9/0.1) = 2.197 and
    ln(0.2/0.8) = −1.386, capped by 5 tanh(x / 5), σ(2.062 + 1.352) = 0.968."""
    with cai.Store.open(tmp_path / "store.sqlite") as store:
        comparison = cai.judge(pointwise(), QUESTION, GOOD, BAD, store, scripted())
        other = cai.judge(pointwise(), QUESTION, BAD, GOOD, store, scripted())
    good, bad = (5 * math.tanh(math.log(p / (1 - p)) / 5) for p in (0.9, 0.2))
    assert comparison.probability == pytest.approx(1 / (1 + math.exp(bad - good)), abs=1e-6)
    assert comparison.probability == pytest.approx(0.968, abs=1e-3)
    assert other.probability == pytest.approx(1 - comparison.probability, abs=1e-6)
    assert [r.text for r in comparison.responses] == [GOOD, BAD]


def test_what_the_store_knows_is_not_asked_again(tmp_path: Path) -> None:
    with cai.Store.open(tmp_path / "store.sqlite") as store:
        first = scripted()
        cai.judge(pointwise(), QUESTION, GOOD, BAD, store, first)
        again = scripted()
        comparison = cai.judge(pointwise(), QUESTION, GOOD, BAD, store, again)
    assert first.requests and not again.requests
    assert comparison.probability > 0.9


def test_the_judge_is_asked_and_nobody_else(tmp_path: Path) -> None:
    judge, others = scripted(), cai.ScriptedBackend()
    models = cai.Models(generator=others, critic=others, judge=judge)
    with cai.Store.open(tmp_path / "store.sqlite") as store:
        cai.judge(pointwise(), QUESTION, GOOD, BAD, store, models)
    assert judge.requests and not others.requests
