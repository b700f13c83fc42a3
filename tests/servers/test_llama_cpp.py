"""llama-cpp-python's server, without a client in between: what it computes and what it gets wrong.

A test of a fault fails when a newer version mends it: the client can then use what it avoids now.
"""

from __future__ import annotations

import json
import math
import random
import threading
from typing import Any

import pytest
import torch

from cai.backends.local import LocalBackend
from cai.models.load import load_model
from cai.models.logprobs import head_of, token_logprobs
from tests.servers.requests import (
    GREEDY,
    RENDERED,
    REQUESTS,
    call,
    chat,
    chunks,
    completion,
    forced,
    greedy_texts,
    in_parallel,
    option_scores,
    stream,
)
from tests.servers.running import ModelServer

pytestmark = pytest.mark.servers

OWN_DISTRIBUTION: dict[str, Any] = {
    "temperature": 1,
    "top_p": 1,
    "top_k": 0,
    "min_p": 0,
    "repeat_penalty": 1,
}
"""Otherwise the server filters tokens and penalizes repetition."""


def test_llama_cpp_says_its_models_and_version(llama: ModelServer) -> None:
    status, models = call(f"{llama.url}/models")
    assert (status, [m["id"] for m in models["data"]]) == (200, ["miniature"])
    _, description = call(f"{llama.root}/openapi.json")
    assert description["info"]["title"].endswith("llama.cpp Python API")
    assert description["info"]["version"].count(".") == 2


def test_llama_cpp_tokenizes_as_the_miniature_does(llama: ModelServer, local: LocalBackend) -> None:
    tokenizer = local.encoder.tokenizer
    rng = random.Random(0)
    pieces = [
        "(", ")", "(A)", "(B)", " (", ") ", "'s", "n't", " ", "  ", "\n", "\n\n", ".", "...", ",",
        "12", "bread", " the", "é", "日本", "🙂", "assistant", "-", "!?", "Question", "\t",
        "<|im_end|>",
    ]  # fmt: skip
    texts = REQUESTS + ["".join(rng.choices(pieces, k=12)) for _ in range(300)]
    for text in texts:
        _, answer = call(f"{llama.root}/extras/tokenize", {"input": text})
        assert answer["tokens"] == tokenizer.encode(text, add_special_tokens=False), repr(text)


def test_llama_cpp_writes_the_same_greedy_texts(llama: ModelServer, local: LocalBackend) -> None:
    choices = [chat(llama, text, **GREEDY, repeat_penalty=1) for text in REQUESTS]
    texts = [choice["message"]["content"] for choice in choices]
    assert texts == greedy_texts(local)


def test_llama_cpp_gives_letters_the_same_probabilities(
    llama: ModelServer, local: LocalBackend
) -> None:
    choice = chat(llama, **{**GREEDY, "max_tokens": 1}, logprobs=True, top_logprobs=2560)
    [token] = choice["logprobs"]["content"]
    theirs = {top["token"]: top["logprob"] for top in token["top_logprobs"]}
    options = ("A", "B", "I", "Sure", "No")
    ours = dict(zip(options, option_scores(local, options), strict=True))
    assert {o: theirs[o] for o in options} == pytest.approx(ours, abs=1e-3)
    assert sum(map(math.exp, theirs.values())) == pytest.approx(1, abs=1e-3)


def test_llama_cpp_scores_an_option_of_any_length(llama: ModelServer, local: LocalBackend) -> None:
    options = ("A", "(B)", "No problem found.", "I can't help with that.")
    theirs = [forced(llama, option) for option in options]
    assert theirs == pytest.approx(option_scores(local, options), abs=1e-3)


def test_the_log_probabilities_of_llama_cpp_are_those_before_sampling(llama: ModelServer) -> None:
    fields: dict[str, Any] = {"max_tokens": 1, "logprobs": True, "top_logprobs": 5}
    plain = chat(llama, **fields, **OWN_DISTRIBUTION | {"temperature": 0})
    other = chat(llama, **fields, temperature=0.5, top_k=1, repeat_penalty=1.5)
    [one], [two] = (choice["logprobs"]["content"] for choice in (plain, other))
    assert two["logprob"] == pytest.approx(one["logprob"], abs=1e-4)


def test_echoed_log_probabilities_of_llama_cpp_are_one_token_late(llama: ModelServer) -> None:
    """token_logprobs[i] is of token i after token i; top_logprobs[i - 1] has the right one.

    abetlen/llama-cpp-python issues 1276 and 1983.
    """
    loaded = load_model("miniature", device="cpu", dtype="float32")
    ids = loaded.encoder.tokenizer.encode(RENDERED, add_special_tokens=False)
    inputs = torch.tensor([ids])
    with torch.no_grad():
        hidden = loaded.model.model(inputs).last_hidden_state[0]  # type: ignore[operator]
    head = head_of(loaded.model)
    right = token_logprobs(hidden[:-1], head, inputs[0, 1:]).tolist()
    late = token_logprobs(hidden, head, inputs[0]).tolist()

    choice = completion(llama, RENDERED, max_tokens=1, echo=True, logprobs=2560, temperature=0)
    echoed = choice["logprobs"]
    assert len(echoed["tokens"]) == len(ids) and echoed["token_logprobs"][0] is None
    assert echoed["token_logprobs"][1:] == pytest.approx(late[1:], abs=1e-3)
    assert max(abs(a - b) for a, b in zip(right, late[1:], strict=True)) > 5
    words = [i for i in range(2, len(ids)) if echoed["tokens"][i]]  # control tokens have no text
    shifted = [echoed["top_logprobs"][i - 1][echoed["tokens"][i]] for i in words]
    assert shifted == pytest.approx([right[i - 1] for i in words], abs=1e-3)


def test_llama_cpp_gives_log_probabilities_only_where_their_number_is_named(
    llama: ModelServer,
) -> None:
    assert chat(llama, **GREEDY, logprobs=True)["logprobs"] is None
    assert chat(llama, **GREEDY, top_logprobs=3)["logprobs"] is None


def test_llama_cpp_reads_no_other_name_for_the_token_limit(llama: ModelServer) -> None:
    choice = chat(llama, temperature=0, max_completion_tokens=1)
    assert choice["finish_reason"] == "stop" and len(choice["message"]["content"]) > 10


def test_a_seed_of_llama_cpp_gives_one_text_among_many_requests(llama: ModelServer) -> None:
    texts: dict[int, str] = {}

    def ask(number: int) -> None:
        choice = chat(llama, **OWN_DISTRIBUTION, seed=number % 2, max_tokens=32)
        texts[number] = choice["message"]["content"]

    in_parallel(ask, 8)
    assert len(texts) == 8
    assert {texts[0], texts[2], texts[4], texts[6]} == {texts[0]} != {texts[1]}
    assert {texts[1], texts[3], texts[5], texts[7]} == {texts[1]}


def test_llama_cpp_breaks_a_stream_off_for_another_request(llama: ModelServer) -> None:
    """Such a stream ends in `[DONE]` like a whole one; what it lacks is a finish_reason."""
    lines: list[str] = []
    begun = threading.Event()
    endless: dict[str, Any] = {"max_tokens": 900, "logit_bias": {"0": -100, "3": -100}}

    def read() -> None:
        for line in stream(llama, seed=5, **endless):
            lines.append(line)
            if len(lines) == 10:
                begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(30)
    chat(llama, **GREEDY)
    reader.join(60)
    assert lines[-1] == "data: [DONE]" and len(lines) < 900
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks(lines)} == {None}


def test_llama_cpp_says_that_a_prompt_is_too_long(llama: ModelServer) -> None:
    body = {"prompt": "bread " * 2000, "max_tokens": 8}
    status, answer = call(f"{llama.url}/completions", body)
    error = json.loads(answer)["error"]
    assert (status, error["code"]) == (400, "context_length_exceeded")
