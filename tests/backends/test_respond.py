"""A response outside of a build: the text, the settings, and errors as errors."""

from __future__ import annotations

import pytest

import cai
from cai.backends.respond import respond_all
from cai.errors import PromptError
from cai.types import Generation


def test_a_text_is_a_user_s_turn() -> None:
    model = cai.ScriptedBackend(replies=[("bread", "With flour."), ("", "No idea.")])
    assert cai.respond(model, "How do I bake bread?").text == "With flour."
    talk = (
        cai.Message("user", "Hi."),
        cai.Message("assistant", "Hello."),
        cai.Message("user", "?"),
    )
    assert cai.respond(model, talk).text == "No idea."


def test_the_settings_reach_the_model() -> None:
    """Three tokens at most, and the same text for the same seed."""
    model = cai.load_model("miniature", device="cpu", dtype="float32")
    question = "How do I bake bread?"
    short = cai.respond(model, question, cai.Sampling(max_new_tokens=3))
    assert short.response_tokens == 3 and short.finish_reason == "length"
    warm = [
        cai.respond(model, question, cai.Sampling(temperature=1.5, max_new_tokens=12, seed=n)).text
        for n in (1, 1, 2)
    ]
    assert warm[0] == warm[1] != warm[2]


def test_what_does_not_fit_is_an_error() -> None:
    model = cai.load_model("miniature", device="cpu", dtype="float32")
    long = (cai.Message("user", "bread " * 5000),)
    with pytest.raises(PromptError):
        cai.respond(model, long)
    good = (cai.Message("user", "Hello."),)
    sampling = cai.Sampling(max_new_tokens=2)
    results = respond_all(model, [(long, sampling), (good, sampling)])
    assert isinstance(results[0], PromptError) and isinstance(results[1], Generation)
