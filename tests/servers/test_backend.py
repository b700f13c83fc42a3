"""The backend against real servers: llama.cpp and `transformers serve`, with the miniature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

import cai
from cai.backends.local import LocalBackend
from cai.backends.respond import respond
from cai.backends.server import ServerBackend
from cai.constitution.load import load_constitution
from cai.constitution.model_registry import ModelEntry
from cai.errors import ServerError
from cai.pipeline.examine import neutral_pairs
from cai.store.store import Store
from cai.types import Constitution, Generate, Message, Sampling, Score
from tests.servers.requests import REQUESTS
from tests.servers.running import MINIATURE, ModelServer

pytestmark = pytest.mark.servers

GREEDY = Sampling(temperature=0.0, max_new_tokens=40)
HELLO = (Message("user", "How do I bake bread?"),)
LETTERS = Score(HELLO, ("A", "B"), "(")
SENTENCE = Score(HELLO, ("No problem found.",))
PAIRS = [pairs[0] for pairs in neutral_pairs().values()][:4]


def entry(server: ModelServer, **settings: Any) -> ModelEntry:
    return ModelEntry(url=[server.url], model=server.model, **settings)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_llama_cpp_writes_the_same_texts(
    llama: ModelServer, local: LocalBackend, api: Literal["chat", "completions"]
) -> None:
    tokenizer = str(MINIATURE) if api == "completions" else None
    with ServerBackend.connect(entry(llama, api=api, tokenizer=tokenizer)) as served:
        assert served.info.server["software"] == "llama-cpp-python"
        for text in REQUESTS:
            mine, theirs = respond(local, text, GREEDY), respond(served, text, GREEDY)
            assert theirs.text == mine.text
            assert theirs.prompt_tokens == mine.prompt_tokens


@pytest.mark.parametrize("mode", ["letters", "pointwise"])
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_llama_cpp_judges_alike(
    llama: ModelServer,
    local: LocalBackend,
    tmp_path: Path,
    mode: Literal["letters", "pointwise"],
    api: Literal["chat", "completions"],
) -> None:
    """Each principle's verdict on pairs of known responses, within 1e-3."""
    rules = constitution(mode)
    tokenizer = str(MINIATURE) if api == "completions" else None
    with (
        ServerBackend.connect(entry(llama, api=api, tokenizer=tokenizer)) as served,
        Store.open(tmp_path / "store.sqlite") as store,
    ):
        for pair in PAIRS:
            texts = (pair.prompt, pair.better, pair.worse)
            mine = cai.judge(rules, *texts, store, local)
            theirs = cai.judge(rules, *texts, store, served)
            assert theirs.method == "constrained"
            for ours, other in zip(mine.judgements, theirs.judgements, strict=True):
                assert other.p_first == pytest.approx(ours.p_first, abs=1e-3)
                assert other.mass == pytest.approx(ours.mass, abs=1e-3)
            assert theirs.probability == pytest.approx(mine.probability, abs=1e-3)


def constitution(mode: Literal["letters", "pointwise"]) -> Constitution:
    rules = load_constitution("default")
    return replace(rules, feedback=replace(rules.feedback, mode=mode))


def test_the_echo_of_llama_cpp_is_noticed_to_be_wrong(llama: ModelServer) -> None:
    settings = entry(llama, api="completions", tokenizer=str(MINIATURE), scoring="echo")
    with (
        ServerBackend.connect(settings) as served,
        pytest.raises(ServerError, match="numbers are wrong"),
    ):
        served.verify([LETTERS])


def test_llama_cpp_samples_and_keeps_seeds(llama: ModelServer) -> None:
    with ServerBackend.connect(entry(llama)) as served:
        served.verify([Generate(HELLO, Sampling(temperature=1.0))])
        texts = {
            seed: [
                respond(served, "How do I bake bread?", Sampling(temperature=1.5, seed=seed)).text
                for _ in range(2)
            ]
            for seed in range(3)
        }
    assert all(first == second for first, second in texts.values())
    assert len({first for first, _ in texts.values()}) > 1


def test_transformers_serve_writes_the_same_texts(serve: ModelServer, local: LocalBackend) -> None:
    with ServerBackend.connect(entry(serve)) as served:
        assert served.info.server["software"] == "transformers"
        for text in REQUESTS[:4]:
            assert respond(served, text, GREEDY).text == respond(local, text, GREEDY).text


def test_transformers_serve_ignores_logprobs_and_is_refused(serve: ModelServer) -> None:
    with ServerBackend.connect(entry(serve)) as served:
        for request in (LETTERS, SENTENCE):
            with pytest.raises(ServerError, match="ignores the fields without a word"):
                served.verify([request])


def test_transformers_serve_does_not_sample_unless_its_configuration_says_so(
    serve: ModelServer,
) -> None:
    sampled = [Generate(HELLO, Sampling(temperature=1.0))]
    with (
        ServerBackend.connect(entry(serve)) as served,
        pytest.raises(ServerError, match="ignores `temperature`") as caught,
    ):
        served.verify(sampled)
    assert "do_sample" in caught.value.hint
    body = {"generation_config": '{"do_sample": true}'}
    with ServerBackend.connect(entry(serve, body=body)) as served:
        served.verify(sampled)
