"""The faults of a server, and how each is done to a connection."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Sequence
from email.utils import formatdate
from enum import StrEnum
from typing import Any

from starlette.types import Receive, Scope, Send

from tests.servers import openai_format
from tests.servers.loopback import TRANSPORT, left, reset

DRIP_PIECES = 20


class Fault(StrEnum):
    """What a response may be instead of right."""

    RATE_NOW = "429, Retry-After: 0"
    RATE_SECOND = "429, Retry-After: 1"
    RATE_DATE = "429, Retry-After: a date"
    RATE_BARE = "429 without Retry-After"
    ERROR_500 = "500"
    BAD_GATEWAY = "502 with HTML"
    OVERLOADED = "503"
    OVERLOADED_SECOND = "503, Retry-After: 1"
    NEVER = "no response"
    RESET_EARLY = "reset before the headers"
    RESET_HEADERS = "reset in the headers"
    RESET_BODY = "reset in the body"
    SHORT_BODY = "closed in the body"
    TRUNCATED = "truncated JSON"
    NO_CHOICES = "choices: []"
    NULL_CHOICES = "choices: null"
    NULL_CONTENT = "content: null"
    NOT_AN_OBJECT = "JSON that is not an object"
    HTML = "200 with HTML"
    DRIP = "slow drip"


MIX = tuple(Fault)
BAD_ANSWERS = (Fault.NO_CHOICES, Fault.NULL_CHOICES, Fault.NULL_CONTENT, Fault.NOT_AN_OBJECT)
STATUSES = {
    Fault.RATE_NOW: 429,
    Fault.RATE_SECOND: 429,
    Fault.RATE_DATE: 429,
    Fault.RATE_BARE: 429,
    Fault.ERROR_500: 500,
    Fault.BAD_GATEWAY: 502,
    Fault.OVERLOADED: 503,
    Fault.OVERLOADED_SECOND: 503,
}
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n"


def draw(
    seed: int, digest: str, attempt: int, *, share: float, faults: Sequence[Fault]
) -> Fault | None:
    """The fault of a request's attempt: by its body, not by the order in which requests arrive."""
    text = f"{seed}:{digest}:{attempt}".encode()
    chance, pick = (
        int.from_bytes(hashlib.blake2b(text, digest_size=8, person=person).digest()) / 2**64
        for person in (b"chance", b"pick")
    )
    return faults[int(pick * len(faults))] if faults and chance < share else None


def retry_after(fault: Fault) -> tuple[str, float] | None:
    """The header's value, and the seconds from now for which a client has to wait."""
    if fault is Fault.RATE_NOW:
        return "0", 0.0
    if fault in (Fault.RATE_SECOND, Fault.OVERLOADED_SECOND):
        return "1", 1.0
    if fault is Fault.RATE_DATE:
        now = time.time()
        date = math.ceil(now + 0.2)  # dates have whole seconds
        return formatdate(date, usegmt=True), date - now
    return None


def spoil(fault: Fault, answer: dict[str, Any]) -> Any:
    """A right answer made wrong: JSON that a client can parse but not use."""
    if fault is Fault.NOT_AN_OBJECT:
        return [answer]
    if fault is Fault.NULL_CHOICES:
        return {**answer, "choices": None}
    choices = [] if fault is Fault.NO_CHOICES else [_emptied(one) for one in answer["choices"]]
    return {**answer, "choices": choices}


def _emptied(choice: dict[str, Any]) -> dict[str, Any]:
    if "message" in choice:
        return {**choice, "message": {**choice["message"], "content": None}}
    return {**choice, "text": None}


class Failing:
    """A response that ends in a fault: an ASGI app for one request.

    answer: what would have been the right body. hang_seconds: how long no response lasts, at most;
    drip_seconds: how long a slow one takes.
    """

    def __init__(
        self,
        fault: Fault,
        answer: dict[str, Any],
        *,
        header: str | None,
        hang_seconds: float,
        drip_seconds: float,
    ) -> None:
        self._fault, self._answer, self._header = fault, answer, header
        self._hang, self._drip = hang_seconds, drip_seconds
        self.status = STATUSES.get(fault)
        """What the client got: 200 where the response was right after all."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault, body = self._fault, json.dumps(self._answer).encode()
        if fault in STATUSES:
            await self._refuse(send)
        elif fault is Fault.NEVER:
            await left(receive, seconds=self._hang)
            await _drop(scope, receive, b"")
        elif fault in (Fault.RESET_EARLY, Fault.RESET_HEADERS, Fault.RESET_BODY):
            await _drop(scope, receive, self._head(body))
        elif fault is Fault.SHORT_BODY:
            scope[TRANSPORT].write(_raw_head(body) + body[: len(body) // 2])
            scope[TRANSPORT].close()
            await left(receive, seconds=5)
        elif fault is Fault.DRIP:
            await self._drip_out(body, receive, send)
        else:
            await respond(send, 200, *self._bad_body(body))

    async def _refuse(self, send: Send) -> None:
        status = STATUSES[self._fault]
        headers = {} if self._header is None else {"retry-after": self._header}
        if self._fault is Fault.BAD_GATEWAY:
            await respond(send, status, _PAGE, "text/html", headers)
            return
        kind = "rate_limit_error" if status == 429 else "server_error"
        words = "Rate limit reached." if status == 429 else "The server had an error."
        body = json.dumps(openai_format.error(words, kind=kind, code=str(status))).encode()
        await respond(send, status, body, "application/json", headers)

    def _bad_body(self, body: bytes) -> tuple[bytes, str]:
        if self._fault is Fault.HTML:
            return _PAGE, "text/html"
        if self._fault is Fault.TRUNCATED:
            return body[: len(body) * 2 // 3], "application/json"
        return json.dumps(spoil(self._fault, self._answer)).encode(), "application/json"

    def _head(self, body: bytes) -> bytes:
        """What is sent before a reset."""
        if self._fault is Fault.RESET_EARLY:
            return b""
        head = _raw_head(body)
        return head[: len(head) // 2] if self._fault is Fault.RESET_HEADERS else head + body[:20]

    async def _drip_out(self, body: bytes, receive: Receive, send: Send) -> None:
        await send(_start(200, "application/json", {"content-length": str(len(body))}))
        size = math.ceil(len(body) / DRIP_PIECES)
        for at in range(0, len(body), size):
            if await left(receive, seconds=self._drip / DRIP_PIECES):
                return
            more = at + size < len(body)
            await send(
                {"type": "http.response.body", "body": body[at : at + size], "more_body": more}
            )
        self.status = 200


async def respond(
    send: Send,
    status: int,
    body: bytes,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> None:
    length = {"content-length": str(len(body))}
    await send(_start(status, content_type, {**length, **(headers or {})}))
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _start(status: int, content_type: str, headers: dict[str, str]) -> dict[str, Any]:
    pairs = {"content-type": content_type, **headers}.items()
    encoded = [(name.encode(), value.encode()) for name, value in pairs]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def _raw_head(body: bytes) -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()


async def _drop(scope: Scope, receive: Receive, head: bytes) -> None:
    """Send raw bytes, then RST; waits until uvicorn knows, so that it adds nothing."""
    transport: asyncio.Transport = scope[TRANSPORT]
    if head:
        transport.write(head)
        await asyncio.sleep(0.01)  # a reset may discard what the client hasn't read
    reset(transport)
    await left(receive, seconds=5)
