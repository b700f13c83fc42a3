"""Serving an ASGI app: who may speak to it, one JSON body, and uvicorn at an address.

`HostNames` and `PathToken` decide who may speak to an app, `LocalServer` runs it. None of them
knows what the app does.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Self

import h11
import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from cai.errors import UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
BODY_BYTES = 8_000_000
BODY_SECONDS = 120
IDLE_SECONDS = 30
STOP_SECONDS = 3  # for responses that are being sent when the server stops
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class HostNames:
    """An app that only requests to known names of this machine reach.

    names: what a request may call this machine, so that no page elsewhere whose name points here
    gets in; None for any name, where the app asks for a secret that no page has. Every response
    forbids caching, sniffing, framing and referrers.
    """

    def __init__(self, app: ASGIApp, *, names: Sequence[str] | None = LOOPBACK) -> None:
        self._app, self._names = app, None if names is None else frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        name = Headers(scope=scope).get("host", "").rsplit(":", 1)[0].strip("[]")
        known = self._names is None or name in self._names
        app = self._app if known else refusal(HTTPStatus.FORBIDDEN)
        await app(scope, receive, send_guarded)


class PathToken:
    """An app behind a token, the first part of the path; the app sees what follows."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._admitted(scope)(scope, receive, send)

    def _admitted(self, scope: Scope) -> ASGIApp:
        """The app, the token moved out of its path; else a refusal."""
        token, slash, _ = str(scope["path"]).removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self._token.encode()):
            return refusal(HTTPStatus.NOT_FOUND)
        scope["root_path"] += f"/{token}"
        return self._app


def refusal(status: HTTPStatus) -> PlainTextResponse:
    """A response that says only its status, and ends the connection."""
    return PlainTextResponse(
        f"{status.value} {status.phrase}\n", status, headers={"Connection": "close"}
    )


async def refuse(_: Request, error: Exception) -> PlainTextResponse:
    """The refusal of an `HTTPException`: an exception handler for Starlette."""
    assert isinstance(error, HTTPException)
    return refusal(HTTPStatus(error.status_code))


async def json_body(request: Request) -> bytes:
    """The body of a JSON request of declared length, at most `BODY_BYTES` bytes.

    Raises `HTTPException` for any other, and where it takes longer than `BODY_SECONDS`.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    length = request.headers.get("content-length")
    if length is None:
        raise HTTPException(HTTPStatus.LENGTH_REQUIRED)
    if int(length) > BODY_BYTES:  # h11 lets only whole numbers through, and no more bytes than that
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.body()
    except TimeoutError:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from None
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from None


class LocalServer:
    """An app under uvicorn at an address of this machine, which is taken at once.

    port 0 takes a free one. Raises `UsageError` where the address can't be had.
    """

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            reason = str(error.strerror or error).partition(" (while")[0]  # the address again
            raise UsageError(
                f"Can't listen on {host}:{port}: {reason}",
                hint="Choose another --port; 0 takes a free one.",
            ) from None
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self._uvicorn = _Server(
            uvicorn.Config(
                app,
                http=_Protocol,
                loop="asyncio",
                ws="none",
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                access_log=False,  # addresses hold the token
                log_config=None,
                log_level="error",
                timeout_keep_alive=IDLE_SECONDS,
            )
        )

    @property
    def address(self) -> str:
        """Where the app is, without a path: `http://127.0.0.1:8000`."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}"

    def run(self) -> None:
        """Serve until `stop` is called or the process is interrupted."""
        self._uvicorn.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._uvicorn.should_exit = True

    def close(self) -> None:
        """Free the address."""
        self._socket.close()

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Serve in the background."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stop()
            thread.join()
            self.close()


class _Server(uvicorn.Server):
    """uvicorn's, which ends without waiting for clients that stopped sending or reading."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(0.1)  # so that connections accepted just now are known
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)  # None before a first request
            if cycle is not None and cycle.more_body:
                connection.transport.abort()
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._abort)
        await super().shutdown(sockets)

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class _Protocol(H11Protocol):
    """uvicorn's, which also closes a connection that never gets to the end of a request's head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.our_state is h11.IDLE:
            self._expect()

    def _expect(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )


def parse_json(body: bytes) -> Any:
    """The JSON value of a body. Raises `ValueError`, for JSON that is nested too deeply as well."""
    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError(str(error)) from None
