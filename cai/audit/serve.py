"""`cai audit serve`: the page over the store, every verdict on disk before it is acknowledged.

A small server for people on one machine. It listens on the loopback address, asks for a token in
the address, and answers only to its own name, so that no other page in the browser can use it.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cai.audit.page import render
from cai.audit.runs import open_run
from cai.audit.sign import Thresholds, sign, signature
from cai.content import shown
from cai.data.files import store_errors
from cai.data.verdicts import FOLDER, Verdict, VerdictFile, verdict_line, verdict_of
from cai.errors import CaiError, DataError, UsageError
from cai.store.lock import file_lock

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LARGEST = 8_000_000  # bytes of a request
_LONGEST = 10_000  # characters of a name or a statement
_SHARES = {"min_reviewed": Thresholds().reviewed, "min_accepted": Thresholds().accepted}
_SIGNING = {"signer", "statement", *_SHARES}


class AuditServer:
    """The page of one run, and its verdicts.

    data: what the page shows, see `cai.audit.page.payload`. run: the folder that verdicts are kept
    in. port 0 takes a free one. Raises `UsageError` where the address can't be had.
    """

    def __init__(
        self,
        data: dict[str, Any],
        run: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
    ) -> None:
        self.token = token or secrets.token_urlsafe(24)
        self._folder = run
        self._file = VerdictFile(run)
        self._items = {item["key"]: item["id"] for item in data["items"]}
        self._data = data
        self._lock = threading.Lock()
        self._page: tuple[tuple[int, Any], bytes] | None = None
        self._known: dict[Verdict, None] = {}
        self._size = 0
        self.missed: int | None = None
        """The port of the last time, where it could not be had."""
        try:
            self._http = _Http((host, port), self)
        except OSError as error:
            raise UsageError(
                f"Can't listen on {host}:{port}: {error.strerror or error}",
                hint="Choose another --port; 0 takes a free one.",
            ) from None
        self.host, self.port = host, int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Where the page is, the token in it."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}/{self.token}/"

    def run(self) -> None:
        """Serve until `stop` is called or the process is interrupted."""
        self._http.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._http.shutdown()

    def close(self) -> None:
        """Free the address."""
        self._http.server_close()

    @contextmanager
    def running(self) -> Iterator[AuditServer]:
        """Serve in the background."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stop()
            thread.join()
            self.close()

    # -- what the handler asks for ------------------------------------------------------------

    def page(self) -> bytes:
        """The page with all verdicts so far."""
        verdicts, signed, made = self._verdicts(), signature(self._folder), self._page
        state = len(verdicts), signed
        if made is None or made[0] != state:  # not under the lock: nobody waits for it
            data = {**self._data, "verdicts": [asdict(v) for v in verdicts], "signed": signed}
            made = self._page = state, render(data, connect=True, fast=True).encode()
        return made[1]

    def verdicts(self, after: int) -> dict[str, Any]:
        """Verdicts behind the first `after`, and where to go on from."""
        rows = self._verdicts()
        return {"rows": [asdict(v) for v in rows[max(0, after) :]], "next": len(rows)}

    def take(self, given: Any) -> dict[str, Any]:
        """Keep verdicts; those that are on disk already are not written twice.

        kept: how many are new. refused: [place in the list, reason] of each that is no verdict on
        an item of this run; it holds back none of the others. Raises `ValueError` for no list.
        """
        if not isinstance(given, list):
            raise ValueError("not a list")
        new: list[Verdict] = []
        refused: list[tuple[int, str]] = []
        for place, row in enumerate(given):
            try:
                new.append(self._of_this_run(verdict_of(row)))
            except ValueError as error:
                refused.append((place, str(error)))
        with self._lock:  # a page that heard no answer sends again
            self._catch_up()
            fresh = [verdict for verdict in dict.fromkeys(new) if verdict not in self._known]
            if fresh:
                self._file.append(fresh)
                written = sum(len(verdict_line(verdict)) for verdict in fresh)
                if self._file.path.stat().st_size == self._size + written:  # nobody else wrote
                    self._known |= dict.fromkeys(fresh)
                    self._size += written
        return {"kept": len(fresh), "refused": refused}

    def sign(self, given: Any) -> dict[str, Any]:
        """Sign the run off as `cai audit sign` does; returns `signer`, `at` and the file's `path`.

        given: an object with `signer`, and `statement`, `min_reviewed` and `min_accepted` where
        they differ from the command's defaults. Raises `ValueError` for anything else, and
        `DataError` or `UsageError` where the run can't be signed, with what is missing.
        """
        if not isinstance(given, dict) or not set(given) <= _SIGNING:
            raise ValueError(f"not an object with the keys {', '.join(sorted(_SIGNING))}")
        texts = [given.get(name, "") for name in ("signer", "statement")]
        shares = [given.get(name, default) for name, default in _SHARES.items()]
        if not all(isinstance(text, str) and len(text) <= _LONGEST for text in texts):
            raise ValueError(f"signer or statement is not a text of up to {_LONGEST} characters")
        if not all(type(share) in (int, float) for share in shares):
            raise ValueError("min_reviewed or min_accepted is not a number")
        with self._lock, open_run(self._folder) as run:  # no verdict comes in between
            path = sign(run, texts[0], Thresholds(*shares), texts[1])
        return {**(signature(self._folder) or {}), "path": shown(path)}

    def _of_this_run(self, verdict: Verdict) -> Verdict:
        if self._items.get(verdict.item) != verdict.record:
            raise ValueError(f"{verdict.record} is no item of this run")
        return verdict

    def _verdicts(self) -> list[Verdict]:
        with self._lock:
            self._catch_up()
            return list(self._known)

    def _catch_up(self) -> None:
        """Read the file again where it has grown: other processes may write to it."""
        size = self._file.path.stat().st_size if self._file.path.exists() else 0
        if size != self._size:
            self._known = dict.fromkeys(self._file.read())
            self._size = size


@contextmanager
def serve_again(
    data: dict[str, Any], run: Path, host: str, port: int | None
) -> Iterator[AuditServer]:
    """A server at the address that the run had before, so that pages left open go on.

    Port and token are kept in the run's folder, for its owner alone to read. A port that another
    program has by now is replaced by a free one for this time (see `AuditServer.missed`), unless it
    was asked for. Raises `UsageError` where the run is served already.
    """
    place = run / FOLDER / ".serve.json"
    with store_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    token, old = _address(place)
    with file_lock(place.with_suffix(".lock"), wait=False, busy=lambda: _served(run, host, place)):
        token = token or secrets.token_urlsafe(24)
        missed = None
        try:
            wanted = old if port is None else port
            server = AuditServer(data, run, host=host, port=wanted, token=token)
        except UsageError:
            if port is not None or not old:
                raise
            server, missed = AuditServer(data, run, host=host, token=token), old
        server.missed = missed
        with store_errors(place):
            place.touch(mode=0o600)
            place.chmod(0o600)
            kept = {"token": token, "port": missed or server.port, "now": server.port}
            place.write_text(json.dumps(kept), encoding="utf-8")
        yield server


def _address(place: Path) -> tuple[str, int]:
    """The token and port of the last time; empty and 0 where there was none."""
    try:
        before = json.loads(place.read_bytes())
        return str(before["token"]), int(before["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0


def _served(run: Path, host: str, place: Path) -> UsageError:
    """Two servers of one run would have two addresses, and a page is kept by one."""
    try:
        now = json.loads(place.read_bytes())
        where = f" at http://{host}:{int(now['now'])}/{now['token']}/"
    except (OSError, ValueError, KeyError, TypeError):
        where = ""
    return UsageError(
        f"{run.name} is served already{where}",
        hint="Open that address: any number of people on this machine can judge there.",
    )


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], audit: AuditServer) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.audit = audit
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    """One request. Every answer forbids caching, sniffing, framing and referrers."""

    server: _Http
    server_version = "cai"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        path = self._allowed()
        if path is None:
            return
        if path == "":
            self._page()
        elif path == "verdicts":
            self._json(lambda: self.server.audit.verdicts(self._after()))
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        path = self._allowed()
        if path is None:
            return
        work = {"verdicts": self.server.audit.take, "sign": self.server.audit.sign}.get(path)
        if work is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
            return
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
            return
        if not 0 <= length <= _LARGEST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(length)
        self._json(lambda: work(json.loads(body)))

    def _allowed(self) -> str | None:
        """The path behind the token; None, and refused, for whoever has not got it."""
        audit = self.server.audit
        name = (self.headers.get("Host") or "").rsplit(":", 1)[0].strip("[]")
        if name not in (*LOOPBACK, audit.host):  # a page elsewhere that points its name here
            self._refuse(HTTPStatus.FORBIDDEN)
            return None
        _, token, *rest = (*urlsplit(self.path).path.split("/", 2), "")
        if len(rest) < 2 or not hmac.compare_digest(token.encode(), audit.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        return rest[0]

    def _after(self) -> int:
        given = parse_qs(urlsplit(self.path).query).get("after", ["0"])[0]
        return int(given) if given.isdecimal() and len(given) < 12 else 0

    def _page(self) -> None:
        try:
            status, body, kind = HTTPStatus.OK, self.server.audit.page(), "text/html"
        except CaiError as error:  # a damaged file of verdicts, say
            status, body, kind = HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode(), "text/plain"
        self._answer(status, body, f"{kind}; charset=utf-8")

    def _json(self, work: Any) -> None:
        try:
            status, values = HTTPStatus.OK, work()
        except (DataError, UsageError) as error:  # the run can't be signed as it is, say
            status, values = HTTPStatus.CONFLICT, {"error": error.message, "hint": error.hint}
        except CaiError as error:  # the disk is full, say: the page keeps it and tries again
            status, values = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": error.message}
        except (ValueError, RecursionError) as error:
            status, values = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        self._answer(status, json.dumps(values).encode(), "application/json")

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self._answer(status, f"{status.value} {status.phrase}\n".encode(), "text/plain")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: addresses hold the token."""
