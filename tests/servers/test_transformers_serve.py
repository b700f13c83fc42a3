"""`transformers serve`, without a client in between: what it ignores without a word.

A test of a fault fails when a newer version mends it: the client can then use what it avoids now.
"""

from __future__ import annotations

import json

import pytest

from cai.backends.local import LocalBackend
from tests.servers.requests import (
    GREEDY,
    RENDERED,
    REQUESTS,
    call,
    chat,
    chunks,
    completion,
    greedy_texts,
    stream,
)
from tests.servers.running import ModelServer

pytestmark = pytest.mark.servers


def test_transformers_serve_writes_the_same_greedy_texts(
    serve: ModelServer, local: LocalBackend
) -> None:
    texts = [chat(serve, text, **GREEDY)["message"]["content"] for text in REQUESTS]
    assert texts == greedy_texts(local)


def test_transformers_serve_ignores_log_probabilities(serve: ModelServer) -> None:
    choice = chat(serve, **GREEDY, logprobs=True, top_logprobs=5)
    assert choice["message"]["content"] and "logprobs" not in choice
    choice = completion(serve, RENDERED, **GREEDY, logprobs=5, echo=True)
    assert "logprobs" not in choice and not choice["text"].startswith("<|im_start|>")


def test_transformers_serve_does_not_list_the_model_that_it_serves(serve: ModelServer) -> None:
    assert call(f"{serve.url}/models") == (200, {"object": "list", "data": []})


def test_transformers_serve_refuses_what_openai_does_not_have(serve: ModelServer) -> None:
    body = {"model": serve.model, "prompt": RENDERED, "top_k": 1}
    status, answer = call(f"{serve.url}/completions", body)
    assert status == 422 and "top_k" in answer


def test_transformers_serve_samples_only_where_the_models_settings_say_so(
    serve: ModelServer,
) -> None:
    """`temperature` alone changes nothing: `do_sample` is the model's, false by default."""
    greedy = chat(serve, **GREEDY)["message"]["content"]
    warm = [chat(serve, temperature=1, max_tokens=32, seed=s)["message"]["content"] for s in (1, 2)]
    assert warm == [greedy, greedy]
    settings = json.dumps({"do_sample": True, "top_k": 0, "max_new_tokens": 32})
    sampled = [
        chat(serve, temperature=1, seed=seed, generation_config=settings)["message"]["content"]
        for seed in (1, 1, 2)
    ]
    assert sampled[0] == sampled[1] != sampled[2]


def test_a_stream_of_transformers_serve_has_no_mark_at_its_end(serve: ModelServer) -> None:
    last = chunks(list(stream(serve, **GREEDY)))[-1]  # a `[DONE]` would be no chunk
    assert last["choices"][0]["finish_reason"] == "stop" and last["usage"]["prompt_tokens"] == 14
