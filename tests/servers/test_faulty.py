"""The failing server fails as it says, records what it should, and ends without a trace."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers import refusals, toy_lm
from tests.servers.faults import BAD_ANSWERS, MIX, STATUSES, Fault, draw
from tests.servers.faulty import FaultyServer
from tests.servers.process import FaultyProcess
from tests.servers.refusals import ContextWords

MESSAGES = [{"role": "user", "content": "May I?"}]
CHAT = {"model": "toy-lm", "messages": MESSAGES}


def chat(server: FaultyServer, **fields: Any) -> httpx2.Response:
    return httpx2.post(f"{server.url}/chat/completions", json=CHAT | fields, timeout=10)


def complete(server: FaultyServer, prompt: Any, **fields: Any) -> dict[str, Any]:
    body = {"model": "toy-lm", "prompt": prompt, **fields}
    response = httpx2.post(f"{server.url}/completions", json=body, timeout=10)
    assert response.status_code == 200, response.text
    return dict(response.json())


@pytest.fixture(scope="module")
def sound() -> Iterator[FaultyServer]:
    """A server without faults."""
    with FaultyServer(share=0) as server:
        yield server


def test_chat(sound: FaultyServer) -> None:
    answer = chat(sound, n=2, logprobs=True, top_logprobs=4, max_tokens=8, seed=5).json()
    assert answer["object"] == "chat.completion" and answer["model"] == "toy-lm"
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["choices"][0]["message"] != answer["choices"][1]["message"]
    prompt = toy_lm.chat_text(MESSAGES)
    assert answer["usage"]["prompt_tokens"] == len(toy_lm.encode(prompt))
    for choice in answer["choices"]:
        content = choice["logprobs"]["content"]
        assert "".join(token["token"] for token in content) == choice["message"]["content"]
        for token in content:
            ranks = [rank["logprob"] for rank in token["top_logprobs"]]
            assert len(ranks) == 4 and ranks == sorted(ranks, reverse=True)
    assert chat(sound, seed=5).json()["choices"] == chat(sound, seed=5).json()["choices"]
    assert chat(sound, seed=5).json()["choices"] != chat(sound, seed=6).json()["choices"]
    assert chat(sound).json()["choices"][0]["logprobs"] is None


def test_chat_and_echoed_completions_agree(sound: FaultyServer) -> None:
    """The log-probabilities of an answer, generated and then echoed: the same numbers."""
    choice = chat(sound, logprobs=True, top_logprobs=0, max_tokens=9).json()["choices"][0]
    prompt = toy_lm.chat_text(MESSAGES)
    ids = toy_lm.encode(prompt + choice["message"]["content"])
    start = len(toy_lm.encode(prompt))
    for text in (prompt + choice["message"]["content"], ids):
        echoed = complete(sound, text, echo=True, logprobs=1, max_tokens=0)["choices"][0]
        assert echoed["text"] == prompt + choice["message"]["content"]
        assert echoed["logprobs"]["token_logprobs"][0] is None
        assert echoed["logprobs"]["token_logprobs"][start:] == [
            pytest.approx(token["logprob"]) for token in choice["logprobs"]["content"]
        ]
        for offset, token in zip(
            echoed["logprobs"]["text_offset"], echoed["logprobs"]["tokens"], strict=True
        ):
            assert echoed["text"][offset:].startswith(token)


def test_completions_of_several_prompts_and_stop_texts(sound: FaultyServer) -> None:
    several = complete(sound, ["one", "two"], n=2, seed=1, max_tokens=5)
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2, 3]
    assert several["usage"]["prompt_tokens"] == 6
    long = complete(sound, "one", seed=1, max_tokens=20)["choices"][0]["text"]
    word = long.split()[2]
    cut = complete(sound, "one", seed=1, max_tokens=20, stop=word)["choices"][0]
    assert cut["text"] == long.partition(word)[0] and cut["finish_reason"] == "stop"


def test_models(sound: FaultyServer) -> None:
    assert httpx2.get(f"{sound.url}/models").json()["data"][0]["id"] == "toy-lm"


@pytest.mark.parametrize("fault", [fault for fault in MIX if fault in STATUSES])
def test_statuses(fault: Fault) -> None:
    with FaultyServer(share=1, faults=[fault]) as server:
        response = chat(server)
    assert response.status_code == STATUSES[fault]
    header = response.headers.get("retry-after")
    if fault is Fault.RATE_DATE:
        ahead = parsedate_to_datetime(str(header)) - datetime.now(UTC)
        assert -0.1 < ahead.total_seconds() < 1.3
    else:
        assert header == {
            Fault.RATE_NOW: "0",
            Fault.RATE_SECOND: "1",
            Fault.OVERLOADED_SECOND: "1",
        }.get(fault)
    assert server.record.faults == {fault: 1} and server.record.answered == 0
    (call,) = server.record.calls
    assert call.fault is fault and call.status == response.status_code


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.NEVER, httpx2.ReadTimeout),
        (Fault.RESET_EARLY, httpx2.ReadError),
        (Fault.RESET_HEADERS, httpx2.ReadError),
        (Fault.RESET_BODY, httpx2.ReadError),
        (Fault.SHORT_BODY, httpx2.RemoteProtocolError),
    ],
)
def test_broken_connections(fault: Fault, error: type[Exception]) -> None:
    with FaultyServer(share=1, faults=[fault], at_most=1) as server, httpx2.Client() as client:
        url = f"{server.url}/chat/completions"
        with pytest.raises(error):
            client.post(url, json=CHAT, timeout=0.5)
        assert client.post(url, json=CHAT, timeout=10).status_code == 200
    assert [call.fault for call in server.record.calls] == [fault, None]


def test_a_reset_is_a_reset() -> None:
    """Not an end of file, which a client could take for the end of a response."""
    with FaultyServer(share=1, faults=[Fault.RESET_BODY]) as server:
        body = json.dumps(CHAT).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(head.encode() + body)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
            with pytest.raises(ConnectionResetError):
                connection.recv(65536)


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_bad_answers(path: str) -> None:
    answers = {}
    for fault in BAD_ANSWERS:
        with FaultyServer(share=1, faults=[fault]) as server:
            body = CHAT | {"prompt": "May I?"}
            answers[fault] = httpx2.post(f"{server.url}/{path}", json=body).json()
    assert answers[Fault.NO_CHOICES]["choices"] == []
    assert answers[Fault.NULL_CHOICES]["choices"] is None
    choice = answers[Fault.NULL_CONTENT]["choices"][0]
    assert (choice["message"]["content"] if "chat" in path else choice["text"]) is None
    assert isinstance(answers[Fault.NOT_AN_OBJECT], list)


def test_bodies_that_are_no_json() -> None:
    for fault, start in ((Fault.TRUNCATED, "{"), (Fault.HTML, "<html>")):
        with FaultyServer(share=1, faults=[fault]) as server:
            response = chat(server)
        assert response.status_code == 200 and response.text.startswith(start)
        with pytest.raises(json.JSONDecodeError):
            response.json()


def test_a_slow_drip_is_right_in_the_end() -> None:
    with FaultyServer(share=1, faults=[Fault.DRIP], drip_seconds=0.3) as server:
        start = time.monotonic()
        assert chat(server).json()["choices"][0]["message"]["content"]
    assert time.monotonic() - start > 0.25
    assert server.record.answered == 1 and server.record.calls[0].status == 200


def test_the_mix_is_drawn_by_seed_body_and_attempt() -> None:
    """2,000 draws: 600 faults are expected, 20.5 a standard error; 30 of each kind."""
    faults = [draw(1, f"{index}", 1, share=0.3, faults=MIX) for index in range(2000)]
    assert abs(sum(fault is not None for fault in faults) - 600) < 4 * 20.5
    counts = Counter(fault for fault in faults if fault is not None)
    assert set(counts) == set(MIX) and min(counts.values()) > 10
    again = [draw(1, f"{index}", 1, share=0.3, faults=MIX) for index in reversed(range(2000))]
    assert again[::-1] == faults
    assert [draw(2, f"{index}", 1, share=0.3, faults=MIX) for index in range(2000)] != faults
    assert [draw(1, f"{index}", 2, share=0.3, faults=MIX) for index in range(2000)] != faults


def test_two_servers_of_a_seed_fail_alike() -> None:
    """Whatever the order in which the same requests come."""

    def outcomes(order: list[int]) -> dict[int, Any]:
        quick = [fault for fault in MIX if fault not in (Fault.NEVER, Fault.DRIP)]
        results: dict[int, Any] = {}
        with FaultyServer(7, share=0.5, faults=quick) as server:
            for seed in order:
                results[seed] = "an error"
                with contextlib.suppress(httpx2.TransportError):
                    results[seed] = chat(server, seed=seed, max_tokens=3).status_code
            return results

    assert outcomes(list(range(30))) == outcomes(list(range(30))[::-1])


def test_an_early_retry_is_a_violation() -> None:
    with FaultyServer(share=1, faults=[Fault.RATE_SECOND], at_most=1) as server:
        assert chat(server).status_code == 429
        assert chat(server, seed=1).status_code == 429  # another body has a wait of its own
        assert chat(server).status_code == 200
        (violation,) = server.record.violations
        assert 0.5 < violation.seconds <= 1
        time.sleep(1.05)
        assert chat(server, seed=1).status_code == 200
    assert server.record.violations == [violation]


@pytest.mark.parametrize("fault", [Fault.RATE_NOW, Fault.RATE_DATE, Fault.RATE_BARE])
def test_a_retry_in_time_is_none(fault: Fault) -> None:
    with FaultyServer(share=1, faults=[fault], at_most=1) as server:
        header = chat(server).headers.get("retry-after")
        if fault is Fault.RATE_DATE:
            wait = parsedate_to_datetime(str(header)).timestamp() - time.time()
            time.sleep(max(0.0, math.ceil(wait * 1000) / 1000))
        assert chat(server).status_code == 200
    assert server.record.violations == []


def test_calls_in_flight_are_counted_and_limited() -> None:
    with (
        FaultyServer(share=0).slow(0.3).limit(3, retry_after=1) as server,
        ThreadPoolExecutor(5) as pool,
    ):
        responses = list(pool.map(lambda seed: chat(server, seed=seed), range(5)))
        assert chat(server).status_code == 200  # the others are done
    statuses = sorted(response.status_code for response in responses)
    assert statuses == [200, 200, 200, 429, 429]
    refused = [response for response in responses if response.status_code == 429]
    assert {response.headers["retry-after"] for response in refused} == {"1"}
    assert server.record.peak == 4 and server.record.in_flight == 0  # 3, and the one refused
    assert max(call.in_flight for call in server.record.calls) == 4


def test_who_leaves_is_counted() -> None:
    with FaultyServer(share=0).slow(20) as server:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{server.url}/chat/completions", json=CHAT, timeout=0.2)
        deadline = time.monotonic() + 5
        while not server.record.calls and time.monotonic() < deadline:
            time.sleep(0.01)
    assert server.record.abandoned == 1 and server.record.answered == 0


def test_a_server_that_dies_and_its_port() -> None:
    with FaultyServer(share=0).dead_after(2) as server:
        assert [chat(server, seed=seed).status_code for seed in range(2)] == [200, 200]
        with pytest.raises(httpx2.TransportError):
            chat(server)
        with pytest.raises(httpx2.ConnectError):
            chat(server)
    with FaultyServer(share=0, port=server.port) as successor:
        assert chat(successor).status_code == 200


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("openai", "your messages resulted in 24 tokens"),
        ("vllm", "you requested 44 tokens (24 in the messages, 20 in the completion)"),
        ("vllm input", "your prompt contains at least 24 input tokens"),
        ("llama.cpp", "exceeds the available context size"),
        ("llama-cpp-python", "you requested 44 tokens (24 in the messages, 20 in the completion)"),
    ],
)
def test_a_prompt_that_is_too_long(words: ContextWords, part: str) -> None:
    """The chat has 24 tokens: 5 of the prompt, 3 of control, 13 letters of roles, 3 line ends."""
    assert len(toy_lm.encode(toy_lm.chat_text(MESSAGES))) == 24
    with FaultyServer(share=0).context(43, words) as server:
        assert chat(server, max_tokens=19).status_code == 200
        response = chat(server, max_tokens=20)
    assert response.status_code == 400 and part in response.json()["error"]["message"]


def test_refusals() -> None:
    with FaultyServer(share=0).requires_key("sk-right") as server:
        headers = {"authorization": "Bearer sk-wrong"}
        url = f"{server.url}/chat/completions"
        wrong = httpx2.post(url, json=CHAT, headers=headers)
        assert wrong.status_code == 401 and "sk-wrong" in wrong.text
        assert httpx2.post(url, json=CHAT).status_code == 401
        headers = {"authorization": "Bearer sk-right"}
        assert httpx2.post(url, json=CHAT, headers=headers).status_code == 200
        assert server.record.authorizations == {"Bearer sk-wrong", "Bearer sk-right"}
    with FaultyServer(share=1, faults=[Fault.ERROR_500]) as server:  # no fault hides a refusal
        assert chat(server, model="another").status_code == 404
        assert chat(server, messages="May I?").status_code == 400
        url = f"{server.url}/chat/completions"
        assert httpx2.post(url, content=b"{").status_code == 400
        assert httpx2.post(url, content=b"[]").status_code == 400
        assert httpx2.get(f"{server.url}/files").status_code == 404
        server.refuse(refusals.NO_QUOTA)
        assert chat(server).json()["error"]["code"] == "insufficient_quota"
        server.refuse(None)
        assert chat(server).status_code == 500
    with FaultyServer(share=0) as server:
        assert chat(server, top_logprobs="many", logprobs=True).status_code == 400


def test_logprobs_that_are_not_there() -> None:
    asked = {"logprobs": True, "top_logprobs": 2}
    with FaultyServer(share=0).ignores_logprobs() as server:
        assert "logprobs" not in chat(server, **asked).json()["choices"][0]
        assert "logprobs" not in complete(server, "May I?", logprobs=2)["choices"][0]
        server.lies("null")
        assert chat(server, **asked).json()["choices"][0]["logprobs"] is None
        server.lies("empty")
        assert chat(server, **asked).json()["choices"][0]["logprobs"] == {"content": []}
        choice = complete(server, "May I?", logprobs=2)["choices"][0]
        assert choice["logprobs"]["token_logprobs"] == []
        shifted = complete(server.lies("shifted"), "May I?", echo=True, logprobs=1, max_tokens=1)
        ids = toy_lm.encode("May I?")
        assert shifted["choices"][0]["logprobs"]["token_logprobs"][1 : len(ids)] == pytest.approx(
            [toy_lm.Prefix(ids[: at + 1]).scores()[ids[at]] for at in range(1, len(ids))]
        )


def test_reasoning() -> None:
    with FaultyServer(share=0) as server:
        plain = chat(server).json()["choices"][0]["message"]["content"]
        for name in ("reasoning_content", "reasoning"):
            message = chat(server.reasons(name)).json()["choices"][0]["message"]
            assert message["content"] == plain and message[name].strip()
        inline = chat(server.reasons("inline")).json()["choices"][0]["message"]["content"]
        assert inline.startswith("<think>\n") and inline.endswith(f"\n</think>\n\n{plain}")
        unclosed = chat(server.reasons("unclosed")).json()["choices"][0]["message"]["content"]
        assert unclosed.startswith("<think>\n") and "</think>" not in unclosed
        off = chat(server, chat_template_kwargs={"enable_thinking": False})
        assert "<think>" not in off.json()["choices"][0]["message"]["content"]


def test_given_words() -> None:
    with FaultyServer(share=0).says(lambda body: body["messages"][-1]["content"]) as server:
        choice = chat(server, logprobs=True).json()["choices"][0]
    assert choice["message"]["content"] == "May I?" and len(choice["logprobs"]["content"]) == 5


def test_it_ends_at_once_and_leaves_nothing() -> None:
    threads = set(threading.enumerate())
    with FaultyServer(share=1, faults=[Fault.NEVER]) as server, ThreadPoolExecutor(4) as pool:
        hanging = [pool.submit(chat, server, seed=seed) for seed in range(4)]
        deadline = time.monotonic() + 5
        while server.record.in_flight < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        start = time.monotonic()
        server.__exit__(None, None, None)
        assert time.monotonic() - start < 1
        for future in hanging:
            assert isinstance(future.exception(10), httpx2.TransportError)
    assert set(threading.enumerate()) <= threads and server.record.in_flight == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_as_a_program() -> None:
    command = [sys.executable, "-m", "tests.servers.faulty", "--dead-after", "1"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as program:
        try:
            assert program.stdout is not None
            url = f"{program.stdout.readline().strip()}/chat/completions"
            assert httpx2.post(url, json=CHAT).status_code == 200
            with pytest.raises(httpx2.TransportError):
                httpx2.post(url, json=CHAT)
        finally:
            program.send_signal(signal.SIGTERM)


def test_the_record_of_a_server_in_another_process() -> None:
    """Six requests of four bodies: one answered twice, one once, one refused twice, one once."""
    with FaultyProcess("--key", "k", "--context", 300, "--says", "Yes.", "--slow", 0.3) as server:
        url = f"{server.url}/chat/completions"

        def post(seed: int, text: str = "May I?", key: str = "k") -> int:
            body = {**CHAT, "seed": seed, "messages": [{"role": "user", "content": text}]}
            headers = {"Authorization": f"Bearer {key}"}
            return httpx2.post(url, json=body, headers=headers, timeout=10).status_code

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(post, (1, 2))) == [200, 200]
        assert [post(1), post(3, "May I? " * 200), post(3, "May I? " * 200)] == [200, 400, 400]
        assert post(4, key="x") == 401
        record = server.record()
    assert server.port == int(httpx2.URL(url).port or 0)
    assert record["peak"] == 2
    assert record["statuses"] == {"200": 3, "400": 2, "401": 1}
    assert [record[name] for name in ("requests", "answered", "bodies", "repeats")] == [6, 3, 4, 2]
    assert (record["refused"], record["refused_again"]) == (2, 1)
    assert record["authorizations"] == ["Bearer k", "Bearer x"]
    assert record["early"] == [] and record["faults"] == {}
