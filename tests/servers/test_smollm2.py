"""SmolLM2-135M-Instruct on llama.cpp, in float32 and in the 4 bits in which it is shipped."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

import cai
from cai.backends.local import LocalBackend
from tests.real.families import folder
from tests.servers.requests import GREEDY, chat, forced, greedy_texts, option_scores, spell
from tests.servers.running import FLOAT32_KV, SMOLLM2_GGUF, ModelServer, llama_cpp

pytestmark = pytest.mark.servers

QUESTIONS = (
    "How do I bake bread?", "Why is the sky blue?", "How can I kill a Python process?",
    "Is it safe to mix cleaners?",
)  # fmt: skip
OPTIONS = ("A", "B", "(A)", "(B)", "Yes", "No", "No problem found.")


@pytest.fixture(scope="module")
def own() -> LocalBackend:
    """The weights dequantized, in this process."""
    return cai.load_model(str(folder("smollm2")), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def float32(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """The same weights in llama.cpp."""
    log = tmp_path_factory.mktemp("float32") / "log"
    with llama_cpp(SMOLLM2_GGUF, log, "smollm2", 2048, FLOAT32_KV) as server:
        yield server


def test_equal_weights_write_the_same_greedy_texts(float32: ModelServer, own: LocalBackend) -> None:
    choices = [chat(float32, text, **GREEDY, repeat_penalty=1) for text in QUESTIONS]
    texts = [choice["message"]["content"].strip() for choice in choices]  # as cai strips them
    assert texts == greedy_texts(own, QUESTIONS)


def test_equal_weights_give_options_the_same_probabilities(
    float32: ModelServer, own: LocalBackend
) -> None:
    for text in QUESTIONS:
        theirs = [forced(float32, option, text) for option in OPTIONS]
        assert theirs == pytest.approx(option_scores(own, OPTIONS, text), abs=1e-3)


def test_a_grammar_alone_lets_a_model_spell_an_option_in_other_tokens(
    float32: ModelServer, own: LocalBackend
) -> None:
    """Such a spelling is far less likely, and no error says so."""
    option, text = "No problem found.", "Why is the sky blue?"
    tokens = spell(float32, option, text)
    assert len(tokens) > 4  # No, problem, found and the full stop
    [right] = option_scores(own, (option,), text)
    assert math.fsum(token["logprob"] for token in tokens) < right - 10


def test_four_bits_change_a_letters_probability_by_percents(
    own: LocalBackend, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """llama.cpp also quantizes what it multiplies with them, so it isn't the dequantized model."""
    [shipped] = folder("smollm2-gguf").glob("*.gguf")
    log = tmp_path_factory.mktemp("shipped") / "log"
    with llama_cpp(shipped, log, "smollm2", 2048) as server:
        theirs = [math.exp(forced(server, "B", text)) for text in QUESTIONS]
    ours = [math.exp(*option_scores(own, ("B",), text)) for text in QUESTIONS]
    assert theirs == pytest.approx(ours, abs=0.1)
    assert theirs != pytest.approx(ours, abs=1e-3)
