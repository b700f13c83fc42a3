"""A server that fails: OpenAI's API on loopback, with faults drawn by seed and a record of calls.

    with FaultyServer(1, share=0.3) as server:
        ...  # a client at server.url, model server.model
    assert server.record.violations == []

Answers follow https://platform.openai.com/docs/api-reference; the words are the toy model's and
depend on the request's body alone. Faults hit the two completion endpoints, not /v1/models.

Run as a program, it serves in a process of its own until it is killed, prints its address, and
answers `GET /record` with a summary of its record:
`python -m tests.servers.faulty --share 0 --slow 0.01`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Self, get_args

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from tests.servers.answers import (
    Answers,
    Json,
    Logprobs,
    Reasoning,
    has_prompt,
    max_tokens_of,
    prompts_of,
)
from tests.servers.faults import MIX, Failing, Fault, draw, respond, retry_after
from tests.servers.loopback import LoopbackServer, left
from tests.servers.record import Call, Record
from tests.servers.refusals import (
    BAD_JSON,
    INVALID,
    ContextWords,
    Refusal,
    context_refusal,
    incomplete,
    no_model,
    not_found,
    unauthorized,
)

MODEL = "toy-lm"
COMPLETIONS = ("/v1/chat/completions", "/v1/completions")


class FaultyServer:
    """See the module. Each mode is a method, before entering or while it runs, and returns self.

    share: of attempts that fail; which of `faults`, is drawn by seed, body and attempt. at_most:
    failed attempts a body, so that a client with more retries gets everything. delay: seconds
    before each right answer. keep: how many calls the record keeps (None: all).
    """

    model = MODEL

    def __init__(
        self,
        seed: int = 0,
        *,
        share: float = 0.3,
        faults: Sequence[Fault] = MIX,
        at_most: int | None = None,
        delay: float = 0.0,
        hang_seconds: float = 30.0,
        drip_seconds: float = 0.4,
        keep: int | None = None,
        port: int = 0,
    ) -> None:
        self._seed, self._share, self._faults, self._at_most = seed, share, tuple(faults), at_most
        self._delay, self._hang, self._drip = delay, hang_seconds, drip_seconds
        self._jitter = 0.0
        self._dead_after: int | None = None
        self._limit: tuple[int, float | None] | None = None
        self._refusal: Refusal | None = None
        self._context: tuple[int, ContextWords] | None = None
        self._key: str | None = None
        self._answers = Answers(MODEL)
        self._began = time.monotonic()
        self.record = Record(keep)
        self._server = LoopbackServer(self._app, port=port)

    @property
    def url(self) -> str:
        """The base URL of clients: `http://127.0.0.1:8000/v1`."""
        return f"{self._server.address}/v1"

    @property
    def port(self) -> int:
        return self._server.port

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._server.__exit__(*error)

    def dead_after(self, requests: int) -> Self:
        """The request after that many kills the server: the port closes, connections abort."""
        self._dead_after = requests
        return self

    def slow(self, seconds: float, *, jitter: float = 0.0) -> Self:
        """Right answers take that long (back-pressure), and up to `jitter` more, at random."""
        self._delay, self._jitter = seconds, jitter
        return self

    def limit(self, requests: int, *, retry_after: float | None = None) -> Self:
        """429 for whatever comes while that many are under way. retry_after: whole seconds."""
        self._limit = (requests, retry_after)
        return self

    def refuse(self, refusal: Refusal | None) -> Self:
        """Every completion is refused; None ends it."""
        self._refusal = refusal
        return self

    def context(self, tokens: int, words: ContextWords = "openai") -> Self:
        """Prompts that leave no room are refused, as that server says it."""
        self._context = (tokens, words)
        return self

    def requires_key(self, key: str) -> Self:
        """401 without `Authorization: Bearer key`. The refusal repeats what was sent."""
        self._key = key
        return self

    def ignores_logprobs(self) -> Self:
        """`logprobs` is accepted, and missing from the answer, as with `transformers serve`."""
        self._answers.logprobs = "ignored"
        return self

    def lies(self, how: Logprobs) -> Self:
        """`logprobs` is there with nothing in it, or with the echo's numbers one token off."""
        self._answers.logprobs = how
        return self

    def reasons(self, where: Reasoning) -> Self:
        """Chat answers have a reasoning: in that field, or inline in `<think>`."""
        self._answers.reasoning = where
        return self

    def says(self, words: str | Callable[[Json], str]) -> Self:
        """All answers are `words`, or what they return for the request's body."""
        self._answers.words = words if callable(words) else lambda _: words
        return self

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        if scope["path"] == "/record":
            await respond(send, 200, json.dumps(self.record.summary()).encode())
            return
        digest = hashlib.blake2b(scope["path"].encode() + b"\0" + body, digest_size=8).hexdigest()
        authorization = request.headers.get("authorization")
        if self._dead_after is not None and self.record.requests >= self._dead_after:
            self._server.die()
            await left(receive, seconds=5)
            return
        attempt = self.record.arrive(digest, authorization)
        in_flight, since = self.record.in_flight, time.monotonic() - self._began
        fault, status = None, None
        try:
            answer = self._answer(request, body, digest)
            if isinstance(answer, Refusal):
                if answer.retry_after is not None:
                    self.record.wait(digest, answer.retry_after)
                await respond(send, answer.status, answer.content, headers=answer.headers)
                status = answer.status
                return
            fault = self._fault(scope["path"], digest, attempt)
            if fault is not None:
                self.record.faults[fault] += 1
                status = await self._fail(fault, answer, digest, scope, receive, send)
                self.record.answered += status == 200
            elif (delay := self._delay + random.uniform(0, self._jitter)) and await left(
                receive, seconds=delay
            ):
                self.record.abandoned += 1
            else:
                await respond(send, 200, json.dumps(answer).encode())
                status = 200
                self.record.answered += 1
        finally:
            self.record.in_flight -= 1
            self.record.calls.append(
                Call(since, scope["path"], digest, attempt, in_flight, fault, status, authorization)
            )

    def _answer(self, request: Request, body: bytes, digest: str) -> Json | Refusal:
        try:
            refusal = self._refused(request, body)
            return refusal or self._answers.body(request.scope["path"], body, digest)
        except (KeyError, TypeError, ValueError):  # a parameter of a wrong type
            return INVALID

    def _refused(self, request: Request, body: bytes) -> Refusal | None:
        path = request.scope["path"]
        if self._key is not None and request.headers.get("authorization") != f"Bearer {self._key}":
            return unauthorized(request.headers.get("authorization"))
        if path == "/v1/models" and request.method == "GET":
            return None
        if path not in COMPLETIONS or request.method != "POST":
            return not_found(request.method, path)
        if self._refusal is not None:
            return self._refusal
        try:
            asked = json.loads(body)
        except ValueError:
            return BAD_JSON
        if not isinstance(asked, dict):
            return BAD_JSON
        if asked.get("model") != MODEL:
            return no_model(str(asked.get("model")))
        if not has_prompt(path, asked):
            return incomplete(path)
        if self._limit is not None and self.record.in_flight > self._limit[0]:
            return Refusal.of(429, "Too many requests are under way.", "rate_limit_error").after(
                self._limit[1]
            )
        return self._too_long(path, asked)

    def _too_long(self, path: str, asked: Json) -> Refusal | None:
        if self._context is None:
            return None
        limit, words = self._context
        prompt, room = max(map(len, prompts_of(path, asked))), max_tokens_of(path, asked)
        return context_refusal(words, limit, prompt, room) if prompt + room > limit else None

    def _fault(self, path: str, digest: str, attempt: int) -> Fault | None:
        if path not in COMPLETIONS or (self._at_most is not None and attempt > self._at_most):
            return None
        return draw(self._seed, digest, attempt, share=self._share, faults=self._faults)

    async def _fail(
        self, fault: Fault, answer: Json, digest: str, scope: Scope, receive: Receive, send: Send
    ) -> int | None:
        after = retry_after(fault)
        if after is not None:
            self.record.wait(digest, after[1])
        failing = Failing(
            fault,
            answer,
            header=None if after is None else after[0],
            hang_seconds=self._hang,
            drip_seconds=self._drip,
        )
        await failing(scope, receive, send)
        return failing.status


def main() -> None:
    """Serve in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.faulty")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.0)
    parser.add_argument("--hang", type=float, default=30.0, help="seconds of no response")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--jitter", type=float, default=0.0)
    parser.add_argument("--dead-after", type=int)
    parser.add_argument("--key")
    parser.add_argument("--context", type=int, help="tokens of prompt and answer")
    parser.add_argument("--logprobs", choices=get_args(Logprobs), default="served")
    parser.add_argument("--keep", type=int, default=1000, help="calls that the record keeps")
    parser.add_argument("--says", help="the text of all answers")
    parser.add_argument("--words", help="MODULE:FUNCTION, from a request's body to an answer")
    options = parser.parse_args()
    server = FaultyServer(
        options.seed,
        share=options.share,
        hang_seconds=options.hang,
        port=options.port,
        keep=options.keep,
    )
    if options.dead_after is not None:
        server.dead_after(options.dead_after)
    if options.key is not None:
        server.requires_key(options.key)
    if options.context is not None:
        server.context(options.context)
    if options.says is not None:
        server.says(options.says)
    if options.words is not None:
        module, _, function = options.words.partition(":")
        server.says(getattr(import_module(module), function))
    with server.lies(options.logprobs).slow(options.slow, jitter=options.jitter):
        print(server.url, flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
