"""`cai guard serve`'s app: a real server on loopback, real sockets, the bundled model."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from cai.backends.base import Backend
from cai.backends.local import LocalBackend
from cai.constitution.load import load_constitution
from cai.errors import ModelError
from cai.guard.app import guard_app
from cai.guard.chat_api import ReplyFacts
from cai.guard.config import GuardConfig
from cai.guard.run import recorded_run
from cai.guard.session import GuardSession
from cai.guard.worker import GuardWorker
from cai.pipeline.build import Models
from cai.serving import LOOPBACK, LocalServer
from cai.store.store import Store
from cai.types import Constitution, Sampling
from tests.factories import constitution
from tests.guard.helpers import failing, gated, model, wait_for

RULES = constitution("rude", "vague")


class Client:
    """Speaks to a guard's app on loopback."""

    def __init__(self, port: int, worker: GuardWorker, out: Path, name: str) -> None:
        self.port, self.worker, self.out, self.name = port, worker, out, name

    def send(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Message, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {"Content-Type": "application/json"} | {
            k.replace("_", "-"): v for k, v in headers.items()
        }
        text = body if isinstance(body, str | bytes | None) else json.dumps(body)
        connection.request(method, path, text, given)
        reply = connection.getresponse()
        raw = reply.read()
        connection.close()
        return reply.status, reply.headers, raw

    def chat(
        self, text: str = "Hello.", headers: dict[str, str] | None = None, **fields: Any
    ) -> tuple[int, Message, Any]:
        body = {"model": self.name, "messages": [{"role": "user", "content": text}], **fields}
        status, received, raw = self.send("POST", "/v1/chat/completions", body, **(headers or {}))
        is_json = received.get("Content-Type") == "application/json"
        return status, received, json.loads(raw) if is_json else raw.decode()

    def traces(self) -> list[Any]:
        with Store.open(self.out.parent / "store.sqlite", read_only=True) as store:
            return [trace for run in store.runs() for trace in store.traces(run.id)]

    def set_aside(self) -> list[str]:
        with Store.open(self.out.parent / "store.sqlite", read_only=True) as store:
            return [row.reason for run in store.runs() for row in store.set_asides(run.id)]


@contextmanager
def serving(
    folder: Path,
    backend: Backend | Models,
    rules: Constitution = RULES,
    *,
    most_open: int = 64,
    key: str | None = None,
    **config: Any,
) -> Iterator[Client]:
    models = backend if isinstance(backend, Models) else Models.all(backend)
    settings, out = GuardConfig(**config), folder / "runs" / "guard"

    @contextmanager
    def session() -> Iterator[GuardSession]:
        with recorded_run(out, rules, models, settings) as records:
            yield GuardSession(rules, models, settings, records)

    worker = GuardWorker(session, most_open)
    name = models.generator.info.name
    worker.start()
    app = guard_app(worker, ReplyFacts(name, "r-1"), key=key, names=None if key else LOOPBACK)
    try:
        with LocalServer(app).running() as server:
            yield Client(server.port, worker, out, name)
    finally:
        worker.stop()


def events(text: str) -> list[Any]:
    """The data of a stream's events; comments are left out."""
    lines = [block.strip() for block in text.split("\n\n") if block.strip()]
    data = [line.removeprefix("data: ") for line in lines if not line.startswith(":")]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


# -- replies ---------------------------------------------------------------------------------------


def test_an_answer_and_what_was_done_to_it(tmp_path: Path) -> None:
    with serving(tmp_path, model("Bad.")) as client:
        status, headers, reply = client.chat()
        assert status == 200 and reply["object"] == "chat.completion"
        (choice,) = reply["choices"]
        message = {"role": "assistant", "content": "Better.", "refusal": None}
        assert (choice["message"], choice["finish_reason"]) == (message, "stop")
        (trace,) = client.traces()
        assert trace.id == headers["X-Cai-Trace"] == reply["guard"]["trace"]
        (intervention,) = reply["guard"]["interventions"]
        assert intervention["kind"] == "revised"
        assert intervention["principle"] == trace.revisions[0].principle_id
        assert reply["guard"]["principles"] == {"rude": 0.9, "vague": 0.9}
        assert "Bad." not in json.dumps(reply)  # what was not sent is for auditors
        usage = reply["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["completion_tokens"] > reply["guard"]["answer_tokens"]["response"] > 0


def test_a_stream_is_the_same_answer_in_openais_chunks(tmp_path: Path) -> None:
    with serving(tmp_path, model("A  few words\nhere. ")) as client:
        whole = client.chat(seed=1)[2]["choices"][0]["message"]["content"]
        options = {"include_usage": True}
        status, headers, text = client.chat(seed=1, stream=True, stream_options=options)
        assert status == 200 and headers["Content-Type"].startswith("text/event-stream")
        *chunks, end = events(text)
        assert end == "[DONE]"
        *parts, usage = chunks
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert len({chunk["id"] for chunk in chunks}) == 1
        deltas = [part["choices"][0]["delta"] for part in parts]
        assert deltas[0] == {"role": "assistant", "content": ""}
        assert "".join(delta.get("content", "") for delta in deltas) == whole
        assert len(deltas) > 3
        assert [p["choices"][0]["finish_reason"] for p in parts][-2:] == [None, "stop"]
        assert parts[-1]["guard"]["trace"] == headers["X-Cai-Trace"]
        assert usage["choices"] == [] and usage["usage"]["total_tokens"] > 0


def test_a_stream_has_no_word_before_the_guard_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments keep the line open meanwhile."""
    monkeypatch.setattr("cai.guard.app.KEEP_ALIVE", 0.1)
    backend = gated("Fine.")
    with serving(tmp_path, backend) as client:
        body = json.dumps(
            {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "Hi."}]}
        )
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
        head = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, head)
        reply = connection.getresponse()
        assert [reply.readline() for _ in range(4)] == [b": working\n", b"\n"] * 2
        backend.gate.set()
        assert events(reply.read().decode())[-1] == "[DONE]"
        connection.close()


def test_an_error_in_a_stream_that_has_begun_is_its_last_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cai.guard.app.KEEP_ALIVE", 0.05)
    with serving(tmp_path, gated(), timeout=0.3) as client:
        status, _, text = client.chat(stream=True)
        assert status == 200
        (error,) = events(text)
        assert error["error"]["type"] == "timeout"


def test_an_error_before_it_has_a_status_of_its_own(tmp_path: Path) -> None:
    critic = model(critique=failing(ModelError("the critic is gone")))
    with serving(tmp_path, Models(model(), critic, critic)) as client:
        for stream in (False, True):
            status, _, reply = client.chat(stream=stream)
            assert (status, reply["error"]["type"]) == (503, "guard_error")


def test_models_and_health(tmp_path: Path) -> None:
    with serving(tmp_path, model()) as client:
        status, _, body = client.send("GET", f"/v1/models/{client.name}")
        assert status == 200 and json.loads(body)["id"] == client.name
        status, _, body = client.send("GET", "/v1/models/org/other")
        assert status == 404 and json.loads(body)["error"]["code"] == "model_not_found"
        listed = json.loads(client.send("GET", "/v1/models")[2])
        assert [entry["id"] for entry in listed["data"]] == ["scripted"]
        assert client.send("GET", "/health")[0] == 200
        client.worker.stop()
        assert client.send("GET", "/health")[0] == 503
        assert client.chat()[0] == 503


def test_whatever_is_refused_is_refused_in_openais_words(tmp_path: Path) -> None:
    with serving(tmp_path, model()) as client:
        path = "/v1/chat/completions"
        for status, method, where, body, headers in (
            (404, "GET", "/v1/nothing", None, {}),
            (405, "GET", path, None, {}),
            (415, "POST", path, "{}", {"Content_Type": "text/plain"}),
            (400, "POST", path, "{", {}),
            (413, "POST", path, "", {"Content_Length": "99999999"}),
        ):
            got, _, raw = client.send(method, where, body, **headers)
            assert got == status and json.loads(raw)["error"]["message"]


# -- who may speak ---------------------------------------------------------------------------------


def test_a_key_is_asked_for_and_never_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path, model(), key="s3cret-key") as client:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret-key"}):
            status, headers, reply = client.chat(headers=given)
            assert status == 401 and reply["error"]["code"] == "invalid_api_key"
            assert headers["WWW-Authenticate"] == "Bearer"
        assert client.send("GET", "/v1/models")[0] == 401
        assert client.send("GET", "/health")[0] == 200
        admitted = {"Authorization": "Bearer s3cret-key"}
        assert client.chat(headers=admitted)[0] == 200
        assert client.chat(headers=admitted | {"Host": "guard.example"})[0] == 200
    assert "s3cret" not in caplog.text
    for file in (tmp_path / "runs").rglob("*"):
        assert file.is_dir() or b"s3cret" not in file.read_bytes()


def test_without_a_key_another_name_of_the_host_is_refused(tmp_path: Path) -> None:
    """A page elsewhere whose name is pointed at this machine still says its own name."""
    with serving(tmp_path, model()) as client:
        assert client.chat(headers={"Host": "evil.example"})[0] == 403
        status, headers, _ = client.chat(headers={"Host": f"localhost:{client.port}"})
        assert status == 200
        assert not any(name.lower().startswith("access-control") for name in headers)


# -- many at once ----------------------------------------------------------------------------------


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    backend = gated()
    with serving(tmp_path, backend, most_open=2) as client, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.chat) for _ in range(2)]
        wait_for(lambda: len(backend._queue) == 2)
        status, headers, reply = client.chat()
        assert (status, reply["error"]["type"]) == (429, "rate_limit_exceeded")
        assert int(headers["Retry-After"]) >= 1
        backend.gate.set()
        assert [job.result()[0] for job in waiting] == [200, 200]
        assert client.chat()[0] == 200


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_is_not_worked_for(
    stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cai.guard.app.KEEP_ALIVE", 0.05)
    backend = gated()
    with serving(tmp_path, backend) as client:
        body = json.dumps(
            {
                "model": "scripted",
                "stream": stream,
                "messages": [{"role": "user", "content": "Hello."}],
            }
        ).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", client.port), timeout=5) as raw:
            raw.sendall(head.encode() + body)
            wait_for(lambda: len(backend._queue) == 1)
            time.sleep(0.2)  # a stream has begun by now
        wait_for(lambda: client.worker._count == 0)
        backend.gate.set()
        wait_for(lambda: len(client.set_aside()) == 1)
        assert len(backend.requests) == 1
        assert client.set_aside()[0].startswith("not answered: The sender went away")
        assert client.chat()[0] == 200


QUESTIONS = [
    "It is clear to me that the colour of milk is red. Is it so?",
    "How do I bake bread?",
    "How do I drive to the ceremony when I am half asleep?",
    "Help me plan a weekend of yoga with my babysitter.",
]


@pytest.mark.slow
def test_eight_at_once_get_the_answers_that_each_gets_alone(tmp_path: Path) -> None:
    """The bundled model, in batches: with a seed, the texts and probabilities are the same."""
    rules = load_constitution("default")
    sampling = Sampling(max_new_tokens=48)
    asked = [(text, seed) for seed in (1, 2) for text in QUESTIONS]

    def ask(client: Client, pair: tuple[str, int]) -> tuple[str, dict[str, float]]:
        status, _, reply = client.chat(pair[0], seed=pair[1])
        assert status == 200
        return reply["choices"][0]["message"]["content"], reply["guard"]["principles"]

    alone = LocalBackend.load("miniature", batch_size=1)
    with serving(tmp_path / "alone", alone, rules, sampling=sampling) as client:
        expected = [ask(client, pair) for pair in asked]
    together = LocalBackend.load("miniature", batch_size=8)
    with serving(tmp_path / "together", together, rules, sampling=sampling) as client:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda pair: ask(client, pair), asked))
        assert len(client.traces()) == 8
    assert answers == expected
    assert len({text for text, _ in answers}) > 4


def test_a_prompt_that_is_too_long_is_the_senders_mistake(tmp_path: Path) -> None:
    with serving(tmp_path, LocalBackend.load("miniature"), load_constitution("default")) as client:
        status, _, reply = client.chat("bread " * 1100)
        assert (status, reply["error"]["code"]) == (400, "context_length_exceeded")
        assert client.set_aside()[0].startswith("not answered: too long")


@pytest.mark.peers
def test_openais_own_client_reads_it(tmp_path: Path) -> None:
    """Whole, as a stream, and refused."""
    openai = pytest.importorskip("openai", reason="OpenAI's client is not installed")
    with serving(tmp_path, model("Bad.")) as client:
        peer = openai.OpenAI(base_url=f"http://127.0.0.1:{client.port}/v1", api_key="none")
        assert [entry.id for entry in peer.models.list()] == ["scripted"]
        asked = {"model": "scripted", "messages": [{"role": "user", "content": "Hello."}]}
        reply = peer.chat.completions.create(**asked)
        assert reply.choices[0].message.content == "Better."
        assert reply.guard["interventions"][0]["kind"] == "revised"
        chunks = list(peer.chat.completions.create(**asked, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert (text, chunks[-1].choices[0].finish_reason) == ("Better.", "stop")
        with pytest.raises(openai.BadRequestError, match="n is not supported"):
            peer.chat.completions.create(**asked, n=2)
