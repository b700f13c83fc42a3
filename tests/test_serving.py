"""Apps on the loopback address, behind a token: any ASGI app, not the audit's alone."""

from __future__ import annotations

import http.client
import time
from http.client import HTTPResponse

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cai.serving import HostNames, LocalServer, PathToken


def where(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.scope['root_path']} {request.path_params['name']}")


def fault(_: Request) -> PlainTextResponse:
    raise RuntimeError("a fault of the app")


def large(_: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * 50_000_000)  # more than the sockets between two programs hold


ROUTES = [Route("/fault", fault), Route("/large", large), Route("/{name}", where)]
APP = HostNames(PathToken(Starlette(routes=ROUTES), token="t0ken"))


def get(server: LocalServer, path: str) -> tuple[HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def test_an_app_sees_what_follows_the_token() -> None:
    with LocalServer(APP).running() as server:
        assert server.address == f"http://127.0.0.1:{server.port}"
        assert get(server, "/t0ken/here")[1] == "/t0ken here"
        assert get(server, "/t0ken/a/b")[0].status == 404
        assert get(server, "/here")[0].status == 404


def test_a_fault_of_the_app_is_logged_and_the_server_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with LocalServer(APP).running() as server:
        response, text = get(server, "/t0ken/fault")
        assert response.status == 500 and "fault of the app" not in text
        assert response.headers["cache-control"] == "no-store"
        assert get(server, "/t0ken/here")[0].status == 200
    assert "a fault of the app" in caplog.text and "t0ken" not in caplog.text


def test_who_stops_reading_does_not_hold_up_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cai.serving.STOP_SECONDS", 0.2)
    with LocalServer(APP).running() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/t0ken/large")
        assert connection.getresponse().status == 200
        start = time.monotonic()
    assert time.monotonic() - start < 10 and caplog.text == ""
    connection.close()
