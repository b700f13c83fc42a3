"""Whose decoding setting holds, what is out of range, and what a step's key says of it."""

from __future__ import annotations

from typing import Any

import pytest

from cai.decoding import Decoding, in_words, key_facts, of_generation_config, origins
from cai.errors import UsageError
from cai.types import Sampling


def test_what_is_asked_holds_then_the_models_own_then_nothing() -> None:
    own = of_generation_config({"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20})
    asked = Sampling(temperature=0.2, min_p=0.1)
    assert Decoding.of(asked, own) == Decoding(0.2, 0.9, 20, 0.1, 1.0)
    assert Decoding.of(Sampling(), own) == Decoding(0.6, 0.9, 20)
    assert Decoding.of(Sampling(top_p=1.0, top_k=0), own) == Decoding(0.6), "off is a value too"
    assert Decoding.of(Sampling()) == Decoding(1.0, 1.0, 0, 0.0, 1.0)
    assert origins(asked, own) == {
        "temperature": "option", "top_p": "generation_config.json",
        "top_k": "generation_config.json", "min_p": "option", "repetition_penalty": "default",
    }  # fmt: skip


def test_greedy_where_the_config_says_so() -> None:
    """`do_sample: false` must be stated: most configs of base models leave it out."""
    assert of_generation_config({"do_sample": False, "top_k": 5}).temperature == 0
    assert of_generation_config({"eos_token_id": 3}) == Sampling()
    assert of_generation_config({"temperature": None, "top_k": None}) == Sampling()
    greedy = of_generation_config({"do_sample": False, "temperature": 0.7})
    assert Decoding.of(Sampling(), greedy).temperature == 0
    assert Decoding.of(Sampling(temperature=0.7), greedy).temperature == 0.7


@pytest.mark.parametrize(
    "values",
    [{"temperature": -1}, {"temperature": "hot"}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": 0.5},
     {"top_k": -1}, {"min_p": 2}, {"repetition_penalty": 0}, {"temperature": float("nan")},
     {"top_k": True}],
)  # fmt: skip
def test_what_is_out_of_range_is_named(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(ValueError, match=f"{name} is .*; it must be"):
        of_generation_config(values)
    with pytest.raises(UsageError, match=f"{name} is .*; it must be"):
        Decoding.of(Sampling(**values))


def test_a_key_says_nothing_of_what_is_off() -> None:
    """So that steps which were kept before these settings existed are found again."""
    before = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 256, "stop": (), "seed": 4}
    assert key_facts(Sampling(seed=4)) == before
    assert key_facts(Sampling(top_k=0, min_p=0.0, repetition_penalty=1.0, seed=4)) == before
    assert key_facts(Sampling(seed=4, top_k=7)) == before | {"top_k": 7}
    own = Sampling(temperature=0.5, repetition_penalty=1.1)
    assert key_facts(Sampling(seed=4), own) == before | {
        "temperature": 0.5, "repetition_penalty": 1.1,
    }  # fmt: skip


def test_in_words() -> None:
    def said(asked: Sampling, own: Sampling) -> str:
        from dataclasses import asdict

        return in_words(asdict(Decoding.of(asked, own)), origins(asked, own))

    assert said(Sampling(), Sampling()) == "temperature 1, the default"
    own = Sampling(temperature=0.6, top_p=0.9)
    assert said(Sampling(top_k=20), own) == (
        "temperature 0.6, top_p 0.9, from the model's generation_config.json;"
        " top_k 20, from the options"
    )
    assert said(Sampling(temperature=0.0, repetition_penalty=1.1), own) == (
        "temperature 0 (greedy), repetition_penalty 1.1, from the options"
    )
