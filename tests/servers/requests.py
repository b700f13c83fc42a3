"""Requests to a model server, and the same ones to the model in this process."""

from __future__ import annotations

import json
import math
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cai.backends.base import Backend
from cai.backends.local import LocalBackend
from cai.backends.respond import respond_all
from cai.miniature.prompts import PROMPTS
from cai.types import Message, Sampling, Score, Scores
from tests.servers.running import ModelServer

REQUESTS = [json.loads(line)["prompt"] for line in PROMPTS.read_text("utf-8").splitlines()[:20]]
"""What users of the miniature's world ask."""
QUESTION = "How do I bake bread?"
RENDERED = f"<|im_start|>user\n{QUESTION}<|im_end|><|im_start|>assistant\n"
"""The question as the miniature's template renders it."""
LIMIT = 32
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": LIMIT}


def call(address: str, body: Any = None) -> tuple[int, Any]:
    """The status of an answer, and its JSON or the text of an error.

    body: sent as JSON by POST; GET without one.
    """
    try:
        with urllib.request.urlopen(_request(address, body), timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def chat(server: ModelServer, text: str = QUESTION, **fields: Any) -> Any:
    """The first choice of a chat completion."""
    messages = [{"role": "user", "content": text}]
    body = {"model": server.model, "messages": messages, **fields}
    return _first_choice(f"{server.url}/chat/completions", body)


def completion(server: ModelServer, prompt: str, **fields: Any) -> Any:
    """The first choice of a completion."""
    return _first_choice(
        f"{server.url}/completions", {"model": server.model, "prompt": prompt, **fields}
    )


def _first_choice(address: str, body: Any) -> Any:
    status, answer = call(address, body)
    assert status == 200, answer
    return answer["choices"][0]


def forced(server: ModelServer, option: str, text: str = QUESTION) -> float:
    """The log-probability of an option as the response, from llama.cpp, which is made to write it.

    The grammar leaves the option alone, and the bias its own tokens: without that the model may
    spell it in others. Neither changes the log-probabilities that the server reports.
    """
    _, answer = call(f"{server.root}/extras/tokenize", {"input": option})
    bias = dict.fromkeys(map(str, answer["tokens"]), 100)
    written = spell(server, option, text, logit_bias=bias)
    assert len(written) == len(answer["tokens"])
    return math.fsum(token["logprob"] for token in written)


def spell(server: ModelServer, option: str, text: str = QUESTION, **fields: Any) -> list[Any]:
    """The tokens in which llama.cpp writes an option, with their log-probabilities."""
    grammar = f"root ::= {json.dumps(option)}"
    choice = chat(server, text, **GREEDY, grammar=grammar, logprobs=True, top_logprobs=1, **fields)
    assert choice["message"]["content"] == option
    tokens: list[Any] = choice["logprobs"]["content"]
    return tokens


def stream(server: ModelServer, **fields: Any) -> Iterator[str]:
    """The lines of a streamed chat completion that aren't empty, as they come."""
    messages = [{"role": "user", "content": QUESTION}]
    body = {"model": server.model, "messages": messages, "stream": True, **fields}
    request = _request(f"{server.url}/chat/completions", body)
    with urllib.request.urlopen(request, timeout=60) as answer:
        for line in answer:
            if line.strip():
                yield line.decode().strip()


def chunks(lines: list[str]) -> list[Any]:
    """The JSON of a stream's lines."""
    return [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]"]


def _request(address: str, body: Any) -> urllib.request.Request:
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.Request(address, data, {"Content-Type": "application/json"})


def in_parallel(work: Callable[[int], object], count: int) -> None:
    """Call `work` with each number below `count`, all at once."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


# -- the model in this process ----------------------------------------------------------------


def greedy_texts(backend: Backend, texts: Sequence[str] = REQUESTS) -> list[str]:
    """The response to each text."""
    sampling = Sampling(temperature=0, max_new_tokens=LIMIT, top_p=1, top_k=0, repetition_penalty=1)
    conversations = [((Message("user", text),), sampling) for text in texts]
    return [
        getattr(response, "text", str(response)) for response in respond_all(backend, conversations)
    ]


def option_scores(
    backend: LocalBackend, options: tuple[str, ...], text: str = QUESTION
) -> list[float]:
    """Natural-log probability of each option as the response to a text."""
    request = backend.prepare(Score((Message("user", text),), options))
    backend.submit(0, [request], text)
    [group] = backend.poll()
    [scores] = group.results
    assert isinstance(scores, Scores)
    return list(scores.logprobs)
