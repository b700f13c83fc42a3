"""An ASGI app under uvicorn in a thread of the tests, which may cut its connections off.

`cai.serving.LocalServer` ends politely and hides its sockets; servers that fail on purpose must
not.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

STOP_SECONDS = 5.0
TRANSPORT = "test.transport"
"""Where a request's scope has the `asyncio.Transport` of its connection."""


class LoopbackServer:
    """An app at a port of 127.0.0.1, which is taken at once; served while it is entered.

    port 0 takes a free one. Leaving aborts what is under way, and takes some milliseconds.
    """

    def __init__(self, app: ASGIApp, *, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = int(self._socket.getsockname()[1])
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_Protocol,
                interface="asgi3",
                loop="asyncio",
                ws="none",
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                date_header=False,
                access_log=False,
                log_config=None,
                log_level="error",
                timeout_keep_alive=60,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)

    @property
    def address(self) -> str:
        """Where the app is: `http://127.0.0.1:8000`."""
        return f"http://127.0.0.1:{self.port}"

    def die(self) -> None:
        """Close the port and abort all connections. From any thread; it stays so."""
        self._server.call(self._server.cut_off)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._server.ready.wait(10):
            raise RuntimeError("The server of the tests did not start.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.call(self._server.stopping.set)
        self._thread.join(2 * STOP_SECONDS)
        self._socket.close()
        if self._thread.is_alive():
            raise RuntimeError("The server of the tests did not stop.")

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


class _Server(uvicorn.Server):
    """uvicorn's, which stops at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def call(self, function: Any) -> None:
        """Call a function in the server's thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    async def main_loop(self) -> None:
        await self.on_tick(0)  # sets the headers of every response
        self._loop = asyncio.get_running_loop()
        self.ready.set()
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.cut_off()
        tasks = set(self.server_state.tasks)
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in pending:
                task.cancel()

    def cut_off(self) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class _Protocol(H11Protocol):
    """uvicorn's, which hands its transport to the app."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app: Any = self.app

        async def app_with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope[TRANSPORT] = transport
            await app(scope, receive, send)

        self.app = app_with_transport


def reset(transport: asyncio.Transport) -> None:
    """End a connection with RST, not FIN; one that the client has left is left alone."""
    if transport.is_closing():
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def left(receive: Receive, *, seconds: float) -> bool:
    """Whether the client leaves within `seconds`; waits no longer than that."""
    try:
        async with asyncio.timeout(seconds):
            message: Message = {}
            while message.get("type") != "http.disconnect":
                message = await receive()
    except TimeoutError:
        return False
    return True
