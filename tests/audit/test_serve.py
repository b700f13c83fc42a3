"""`cai audit serve`: a real server, real pages, verdicts on disk before they are acknowledged."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from cai.audit.report import run_payload
from cai.audit.runs import open_run
from cai.audit.serve import AuditServer
from cai.data.signoff import read_signoff
from cai.data.verdicts import Verdict, VerdictFile
from cai.errors import StoreError, UsageError
from tests.audit.browser import Watched
from tests.audit.payloads import PAYLOADS
from tests.audit.runs import build, hostile
from tests.e2e.helpers import listen_to_ctrl_c


def made(run: Path, **options: Any) -> AuditServer:
    with open_run(run) as opened:
        data = run_payload(opened, list(opened.entries()), mode="serve")
    return AuditServer(data, run, **options)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build(tmp_path)


@pytest.fixture
def server(run: Path) -> Iterator[AuditServer]:
    with made(run).running() as running:
        yield running


def ask(
    server: AuditServer, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Message, Any]:
    """Status, headers and body (JSON where it is)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    given = {"Content-Type": "application/json"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    text = body if isinstance(body, str | None) else json.dumps(body)
    connection.request(method, path, text, given)
    answer = connection.getresponse()
    raw = answer.read()
    connection.close()
    is_json = answer.headers.get("Content-Type") == "application/json"
    return answer.status, answer.headers, json.loads(raw) if is_json else raw


def say(server: AuditServer, text: str) -> str:
    """What the server answers to bytes on the wire, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
        raw.sendall(text.encode())
        return b"".join(iter(lambda: raw.recv(4096), b"")).decode()


def word(server: AuditServer, n: int = 0, **changes: Any) -> dict[str, Any]:
    key = server.audit.data["items"][n]["key"]
    verdict = Verdict(
        key,
        server.audit.data["items"][n]["id"],
        "r-audit",
        "accept",
        "Ann",
        f"2026-01-01T10:00:{n:02}Z",
    )
    return asdict(verdict) | changes


# -- who may speak ---------------------------------------------------------------------------------


def test_only_who_has_the_token_gets_anything(server: AuditServer) -> None:
    own = f"/{server.token}/"
    assert ask(server, "GET", own)[0] == 200
    for path in (
        "/",
        "/verdicts",
        f"/{server.token[:-1]}/",
        f"/{server.token}x/verdicts",
        "//",
        "/%00/",
    ):
        assert ask(server, "GET", path)[0] == 404
        assert ask(server, "POST", path, [word(server)])[0] == 404
    assert ask(server, "GET", own + "../secret")[0] == 404
    assert VerdictFile(server.audit.file.path.parent.parent).read() == []


def test_another_name_of_the_host_is_refused(server: AuditServer) -> None:
    """A page elsewhere whose name is pointed at this machine still says its own name."""
    for name in ("evil.example", "127.0.0.1.evil.example", ""):
        assert ask(server, "GET", f"/{server.token}/", Host=name)[0] == 403
    assert ask(server, "GET", f"/{server.token}/", Host=f"localhost:{server.port}")[0] == 200


def test_what_the_answers_forbid(server: AuditServer) -> None:
    _, headers, page = ask(server, "GET", f"/{server.token}/")
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not any(name.lower().startswith("access-control") for name in headers)
    policy = re.search(rb'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and b"connect-src 'self'" in policy[1] and b"unsafe" not in policy[1]


def test_it_listens_on_this_machine_alone(run: Path) -> None:
    server = made(run)
    try:
        assert server._socket.getsockname()[0] == "127.0.0.1"
        assert server.token not in ("", made(run).token)
        with pytest.raises(
            UsageError, match=f"Can't listen on 127.0.0.1:{server.port}: Address already in use\n"
        ):
            made(run, port=server.port)
    finally:
        server.close()


# -- verdicts --------------------------------------------------------------------------------------


def test_a_verdict_is_on_disk_when_it_is_acknowledged(server: AuditServer, run: Path) -> None:
    path = f"/{server.token}/verdicts"
    kept = ask(server, "POST", path, [word(server), word(server, 1)])[2]
    assert kept == {"kept": 2, "refused": []}
    ids = [item["id"] for item in server.audit.data["items"]]
    assert [v.record for v in VerdictFile(run).read()] == ids[:2]
    assert ask(server, "POST", path, [word(server), word(server, 2)])[2]["kept"] == 1  # again
    assert len(VerdictFile(run).read()) == 3
    found = ask(server, "GET", path + "?after=1")[2]
    assert [r["record"] for r in found["rows"]] == ids[1:3] and found["next"] == 3
    assert ask(server, "GET", path + "?after=-5")[2]["next"] == 3


@pytest.mark.parametrize(
    "body",
    [
        "not json", "3", "{}", "[" * 50_000,
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused(body: Any, server: AuditServer, run: Path) -> None:
    status, _, answer = ask(server, "POST", f"/{server.token}/verdicts", body)
    assert status == 400 and answer["error"]
    assert VerdictFile(run).read() == []


def test_a_row_that_is_refused_holds_back_no_other(server: AuditServer, run: Path) -> None:
    path = f"/{server.token}/verdicts"
    bad = [
        ({"item": "0" * 24}, "is no item of this run"),
        ({"record": "t-other"}, "is no item of this run"),  # not the item's
        ({"at": "2026-01-01T00:00:00"}, "no time zone"),
        ({"verdict": "maybe"}, "verdict is none of"),
    ]
    rows = [word(server, 1, **changes) for changes, _ in bad]
    status, _, answer = ask(server, "POST", path, [word(server), *rows, None, {"item": 1}])
    assert status == 200 and answer["kept"] == 1
    assert [place for place, _ in answer["refused"]] == [1, 2, 3, 4, 5, 6]
    for (_, told), (_, why) in zip(bad, answer["refused"], strict=False):
        assert told in why
    assert len(VerdictFile(run).read()) == 1


def test_a_damaged_file_of_verdicts_is_told(server: AuditServer, run: Path) -> None:
    ask(server, "POST", f"/{server.token}/verdicts", [word(server)])
    with VerdictFile(run).path.open("a") as file:
        file.write('{"bad": 1}\n')
    answer = say(server, f"GET /{server.token}/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert " 500 " in answer and "verdicts.jsonl:2" in answer


def test_requests_that_are_none(server: AuditServer) -> None:
    path = f"/{server.token}/verdicts"
    assert ask(server, "POST", path, "[]", Content_Type="text/plain")[0] == 415
    assert ask(server, "POST", path, "", Content_Length="99999999")[0] == 413
    assert ask(server, "POST", path, "", Content_Length="-1")[0] == 400
    assert ask(server, "PUT", path, "[]")[0] == 405
    assert "400" in say(server, "\x16\x03\x01 no http at all\r\n\r\n")
    assert ask(server, "GET", path)[0] == 200  # it goes on


def test_a_body_of_no_declared_length_is_refused(server: AuditServer) -> None:
    head = f"POST /{server.token}/verdicts HTTP/1.1\r\nHost: localhost\r\n"
    answer = say(
        server, head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert answer.startswith("HTTP/1.1 411 ")


def test_who_never_ends_a_request_is_cut_off(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing at all, half a head, half a body: `say` returns only once the server hangs up."""
    monkeypatch.setattr("cai.serving.IDLE_SECONDS", 1)
    monkeypatch.setattr("cai.serving.BODY_SECONDS", 0.5)
    with made(run).running() as server:
        assert say(server, "") == ""
        assert say(server, f"GET /{server.token}/ HTTP/1.1\r\nHost: local") == ""
        head = f"POST /{server.token}/sign HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        answer = say(server, head + "Content-Type: application/json\r\n\r\n{")
        assert answer.startswith("HTTP/1.1 408 ") and "cache-control: no-store" in answer


def test_a_full_disk_is_no_acknowledgement(
    server: AuditServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StoreError("no space is left")

    monkeypatch.setattr(VerdictFile, "append", full)
    status, _, answer = ask(server, "POST", f"/{server.token}/verdicts", [word(server)])
    assert status == 500 and answer == {"error": "no space is left"}


# -- signing ---------------------------------------------------------------------------------------


def test_it_signs_as_the_command_does(server: AuditServer, run: Path) -> None:
    path = f"/{server.token}/"
    status, _, answer = ask(server, "POST", path + "sign", {"signer": "Ann"})
    assert status == 409 and answer["error"] == f"no verdicts in {run} yet"
    rows = [word(server, n) for n in range(12)]
    ask(server, "POST", path + "verdicts", rows[:6])
    status, _, answer = ask(server, "POST", path + "sign", {"signer": "Ann", "min_reviewed": 0.5})
    assert status == 409 and "need a reason" in answer["error"]
    assert not (run / "audit" / "signoff.yaml").exists()
    ask(server, "POST", path + "verdicts", rows)
    status, _, answer = ask(
        server, "POST", path + "sign", {"signer": " Ann ", "statement": "Read."}
    )
    assert status == 200 and answer["signer"] == "Ann"
    values = read_signoff(run)
    assert (values["signer"], values["statement"], values["at"]) == ("Ann", "Read.", answer["at"])
    assert values["reviewed"]["accepted"] == 12
    assert ask(server, "POST", f"/{server.token}x/sign", {"signer": "Eve"})[0] == 404


@pytest.mark.parametrize(
    "body", ["x", "[]", '{"signer": 3}', '{"signer": "A", "more": 1}',
             '{"signer": "A", "min_accepted": "0"}', '{"signer": "A", "min_accepted": true}'],
)  # fmt: skip
def test_what_is_no_signature(body: str, server: AuditServer, run: Path) -> None:
    assert ask(server, "POST", f"/{server.token}/sign", body)[0] == 400
    assert not (run / "audit" / "signoff.yaml").exists()


def test_an_auditor_signs_where_they_have_read(watched: Watched, run: Path) -> None:
    """One rejection of twelve leaves 92 % accepted; a second one makes the signature stale."""
    with made(run).running() as server:
        watched.open(server.url, hash="#view=read&sort=order")
        watched.press("x")
        watched.name("Ann")
        watched.press(*"aaaaaaaaaaa")
        watched.page.click("[data-act=onward]")
        assert watched.page.input_value("#signer") == "Ann"
        saved(run, 12)
        all_saved = "#progress:not(:has-text('not saved'))"
        watched.page.wait_for_selector(all_saved)
        watched.page.click("[data-act=sign]")
        watched.page.wait_for_selector("#notice:has-text('Signed off by Ann')")
        assert read_signoff(run)["reviewed"]["rejected"] == 1
        watched.page.reload()
        watched.page.wait_for_selector("html[data-ready]")
        watched.press("o")
        assert watched.texts(".signed")[0].startswith("Signed off by Ann")
        watched.press("o", "x", "o")
        assert watched.page.locator(".signed").count() == 0
        watched.page.wait_for_selector(all_saved)
        watched.page.click("[data-act=sign-off]")
        watched.page.click("[data-act=sign]")
        watched.page.wait_for_selector("text=Not signed: 83.3% of the judged items are accepted")
    assert all("409" in error for error in watched.errors)


# -- the command, and a real browser ---------------------------------------------------------------


class Command:
    """`cai audit serve` as a process of its own."""

    def __init__(self, run: Path, port: int | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cai", "audit", "serve", str(run), "--no-open",
             *(() if port is None else ("--port", str(port)))],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"}, preexec_fn=listen_to_ctrl_c,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\S+/", line)
        assert found, line + (self.process.stderr.read() if self.process.stderr else "")
        self.url, self.port = found[0], int(found[1])

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        self.process.communicate(timeout=20)
        return self.process.returncode


def saved(run: Path, count: int) -> list[Verdict]:
    """Wait until so many verdicts are on disk."""
    for _ in range(100):
        if len(found := VerdictFile(run).read()) >= count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{len(VerdictFile(run).read())} verdicts, not {count}")


def test_the_server_is_killed_and_nothing_is_lost(watched: Watched, run: Path) -> None:
    """kill -9 between two verdicts: the first is on disk, the second is sent when it is back."""
    server = Command(run)
    try:
        watched.open(server.url, hash="#view=read&sort=order")
        watched.press("a")
        # On disk is not enough: the page must have heard that the first one is saved.
        with watched.page.expect_response(lambda answer: answer.request.method == "POST"):
            watched.name("Ann")
        saved(run, 1)
        server.end(signal.SIGKILL)
        watched.press("x")
        watched.page.wait_for_selector("text=Not saved yet: 1 verdict.")
        assert len(VerdictFile(run).read()) == 1
        back = Command(run)  # by the same command: it comes back where it was
        try:
            assert back.url == server.url
            assert (run / "audit" / ".serve.json").stat().st_mode & 0o077 == 0
            assert [v.verdict for v in saved(run, 2)] == ["accept", "reject"]
            watched.page.wait_for_selector("#notice", state="hidden")
            assert watched.texts("#progress") == ["2 of 12 judged"]
        finally:
            back.end(signal.SIGKILL)
    finally:
        server.process.kill()


def test_one_server_a_run(run: Path) -> None:
    """A second one would take another address, and strand what a page of the first still holds."""
    first = Command(run)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cai", "audit", "serve", str(run), "--no-open"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2 and f"is served already at {first.url}" in done.stderr
    finally:
        first.end(signal.SIGKILL)
    again = Command(run)  # a kill frees it, and the address is the same
    try:
        assert again.url == first.url
    finally:
        again.end(signal.SIGKILL)


def test_a_port_that_another_has_is_told_and_remembered(run: Path) -> None:
    first = Command(run)
    first.end(signal.SIGKILL)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first.port))
        other.listen()
        second = Command(run)
        assert second.port != first.port
        assert second.process.stdout is not None
        assert f"Port {first.port}" in second.process.stdout.readline()
        second.end(signal.SIGKILL)
    third = Command(run)
    try:
        assert third.url == first.url
    finally:
        third.end(signal.SIGKILL)


def test_payloads_that_are_served_do_nothing(watched: Watched, tmp_path: Path) -> None:
    """What another auditor says while the page is open comes as data, too."""
    run = hostile(tmp_path, PAYLOADS)
    with made(run).running() as server:
        watched.open(server.url, hash="#view=read&sort=order")
        rows = [
            word(server, author=f"{n} {text}"[:100], reason=text, at=f"2026-01-01T10:00:{n:02}Z")
            for n, text in enumerate(PAYLOADS)
        ]
        status, _, answer = ask(server, "POST", f"/{server.token}/verdicts", rows)
        assert status == 200 and answer["refused"] == []
        watched.page.wait_for_selector(".said >> nth=59")
        watched.press("o", "o", "j", "k")
        watched.page.wait_for_timeout(300)
    assert watched.dialogs == [] and watched.errors == []
    assert all(url.startswith((server.url, "about:")) for url in watched.requests)


def test_two_tabs_that_are_closed_lose_nothing(chromium: Any, run: Path) -> None:
    """Both judge while the server is dead, and are closed; a later visit sends what they left."""
    server = Command(run)
    context = chromium.new_context()
    tabs = [Watched(context.new_page()) for _ in range(2)]
    for number, tab in enumerate(tabs):
        tab.open(server.url, hash=f"#view=read&sort={('order', 'long')[number]}")
    tabs[0].press("a")
    tabs[0].name("Ann")
    saved(run, 1)
    server.end(signal.SIGKILL)
    for tab, keys in zip(tabs, ("xx", "u"), strict=True):
        tab.press(*keys)
        tab.page.wait_for_selector("text=Not saved yet")
    for tab in tabs:
        tab.page.close()
    back = Command(run)
    try:
        Watched(context.new_page()).open(back.url)
        assert sorted(v.verdict for v in saved(run, 4)) == ["accept", "reject", "reject", "unsure"]
    finally:
        back.end(signal.SIGKILL)


def test_two_auditors_at_once(chromium: Any, run: Path) -> None:
    """Each sees the other's verdicts without a reload; both are on disk."""
    with made(run).running() as server:
        pages = []
        for author, key in (("Ann", "a"), ("Ben", "x")):
            context = chromium.new_context()
            page = Watched(context.new_page())
            page.open(server.url, hash="#view=read&sort=order")
            page.press(key)
            page.name(author)
            pages.append(page)
        assert {v.author for v in saved(run, 2)} == {"Ann", "Ben"}
        pages[0].press("k")
        pages[0].page.wait_for_selector(".bar-verdict :text('Ben')", timeout=10_000)
        assert "rejects" in pages[0].page.inner_text(".bar-verdict")
        pages[1].press("k")
        pages[1].page.wait_for_selector(".bar-verdict :text('Ann')", timeout=10_000)
        fresh = Watched(chromium.new_context().new_page())
        fresh.open(server.url)  # a third one sees both at once
        assert "By Ann 1, Ben 1" in fresh.texts(".done p")[0]
        for page in (*pages, fresh):
            assert page.errors == [] and page.dialogs == []
            assert all(u.startswith((server.url, "data:", "about:")) for u in page.requests)
            page.page.context.close()


def test_ctrl_c_ends_it_with_a_word(run: Path) -> None:
    """Even with a page that is open and a request that never ends."""
    server = Command(run)
    idle = http.client.HTTPConnection("127.0.0.1", server.port)
    path = "/" + server.url.split("/", 3)[3]
    idle.request("GET", path)
    assert idle.getresponse().status == 200
    stuck = socket.create_connection(("127.0.0.1", server.port))
    stuck.sendall(
        f"POST {path}sign HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        "Content-Type: application/json\r\n\r\n{".encode()
    )
    server.process.send_signal(signal.SIGINT)
    _, errors = server.process.communicate(timeout=20)
    idle.close()
    stuck.close()
    assert server.process.returncode == 130
    assert (
        "Every verdict that the server received is on disk." in errors and "Traceback" not in errors
    )
    assert len(errors.splitlines()) == 1, errors
    again = Command(run, server.port)  # the address is free again
    assert again.end(signal.SIGTERM) != 0
