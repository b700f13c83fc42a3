"""The app behind `cai audit serve`: one run's page, its verdicts and its sign-off.

GET  /TOKEN/                  the page
GET  /TOKEN/verdicts?after=N  verdicts behind the first N
POST /TOKEN/verdicts          verdicts to keep: on disk before they are acknowledged
POST /TOKEN/sign              the sign-off
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cai.audit.page import render
from cai.audit.runs import open_run
from cai.audit.sign import Thresholds, sign, signature
from cai.content import shown
from cai.data.verdicts import Verdict, VerdictFile, verdict_line, verdict_of
from cai.errors import CaiError, DataError, UsageError
from cai.serving import LOOPBACK, HostNames, PathToken, json_body, parse_json, refuse

_TEXT_LENGTH = 10_000  # characters of a name or a statement
_SHARES = {"min_reviewed": Thresholds().reviewed, "min_accepted": Thresholds().accepted}
_SIGN_KEYS = {"signer", "statement", *_SHARES}


def audit_app(audit: LiveAudit, *, token: str, names: Sequence[str] = LOOPBACK) -> ASGIApp:
    """The ASGI app of an audit, behind a token; names: see `cai.serving.HostNames`."""

    def page(_: Request) -> Response:
        try:
            return HTMLResponse(audit.page())
        except CaiError as error:  # a damaged file of verdicts, say
            return PlainTextResponse(str(error), HTTPStatus.INTERNAL_SERVER_ERROR)

    def verdicts(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        count = int(after) if after.isdecimal() and len(after) < 12 else 0
        return _respond(lambda: audit.verdicts(count))

    async def add(request: Request) -> Response:
        body = await json_body(request)
        return await run_in_threadpool(_respond, lambda: audit.add(parse_json(body)))

    async def sign_off(request: Request) -> Response:
        body = await json_body(request)
        return await run_in_threadpool(_respond, lambda: audit.sign(parse_json(body)))

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/verdicts", verdicts, methods=["GET"]),
            Route("/verdicts", add, methods=["POST"]),
            Route("/sign", sign_off, methods=["POST"]),
        ],
        exception_handlers={HTTPException: refuse},
    )
    app.router.redirect_slashes = False
    return HostNames(PathToken(app, token=token), names=names)


def _respond(work: Callable[[], dict[str, Any]]) -> Response:
    """The values of `work` as JSON, or its error with the status that says whose fault it is."""
    try:
        return JSONResponse(work())
    except (DataError, UsageError) as error:  # the run can't be signed as it is, say
        return JSONResponse({"error": error.message, "hint": error.hint}, HTTPStatus.CONFLICT)
    except CaiError as error:  # the disk is full, say: the page keeps it and tries again
        return JSONResponse({"error": error.message}, HTTPStatus.INTERNAL_SERVER_ERROR)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, HTTPStatus.BAD_REQUEST)


class LiveAudit:
    """The page of one run and its verdicts, for any number of threads.

    data: what the page shows, see `cai.audit.page.payload`. run: the folder that verdicts are kept
    in; other processes may write to its file at the same time.
    """

    def __init__(self, data: dict[str, Any], run: Path) -> None:
        self.data = data
        self.file = VerdictFile(run)
        self._folder = run
        self._records = {item["key"]: item["id"] for item in data["items"]}
        self._lock = threading.Lock()
        self._page: tuple[tuple[int, Any], str] | None = None
        self._on_disk: dict[Verdict, None] = {}
        self._size = 0

    def page(self) -> str:
        """The page with all verdicts so far."""
        verdicts, sign_off, page = self._verdicts(), signature(self._folder), self._page
        state = len(verdicts), sign_off
        if page is None or page[0] != state:  # not under the lock: nobody waits for it
            data = {**self.data, "verdicts": [asdict(v) for v in verdicts], "signature": sign_off}
            page = self._page = state, render(data, connect=True, fast=True)
        return page[1]

    def verdicts(self, after: int) -> dict[str, Any]:
        """Verdicts behind the first `after`, and where to go on from."""
        rows = self._verdicts()
        return {"rows": [asdict(v) for v in rows[max(0, after) :]], "next": len(rows)}

    def add(self, rows: Any) -> dict[str, Any]:
        """Write verdicts to disk; those that are there already are not written twice.

        kept: how many are new. refused: [place in the list, reason] of each that is no verdict on
        an item of this run; it holds back none of the others. Raises `ValueError` for no list.
        """
        if not isinstance(rows, list):
            raise ValueError("not a list")
        verdicts: list[Verdict] = []
        refused: list[tuple[int, str]] = []
        for place, row in enumerate(rows):
            try:
                verdicts.append(self._of_this_run(verdict_of(row)))
            except ValueError as error:
                refused.append((place, str(error)))
        with self._lock:  # a page that heard no answer sends again
            self._catch_up()
            additions = [
                verdict for verdict in dict.fromkeys(verdicts) if verdict not in self._on_disk
            ]
            if additions:
                self.file.append(additions)
                size = self._size + sum(len(verdict_line(verdict)) for verdict in additions)
                if self.file.path.stat().st_size == size:  # nobody else wrote
                    self._on_disk |= dict.fromkeys(additions)
                    self._size = size
        return {"kept": len(additions), "refused": refused}

    def sign(self, values: Any) -> dict[str, Any]:
        """Sign the run off as `cai audit sign` does; returns `signer`, `at` and the file's `path`.

        values: an object with `signer`, and `statement`, `min_reviewed` and `min_accepted` where
        they differ from the command's defaults. Raises `ValueError` for anything else, and
        `DataError` or `UsageError` where the run can't be signed, with what is missing.
        """
        if not isinstance(values, dict) or not set(values) <= _SIGN_KEYS:
            raise ValueError(f"not an object with the keys {', '.join(sorted(_SIGN_KEYS))}")
        texts = [values.get(name, "") for name in ("signer", "statement")]
        shares = [values.get(name, default) for name, default in _SHARES.items()]
        if not all(isinstance(text, str) and len(text) <= _TEXT_LENGTH for text in texts):
            raise ValueError(
                f"signer or statement is not a text of up to {_TEXT_LENGTH} characters"
            )
        if not all(type(share) in (int, float) for share in shares):
            raise ValueError("min_reviewed or min_accepted is not a number")
        with self._lock, open_run(self._folder) as run:  # no verdict comes in between
            path = sign(run, texts[0], Thresholds(*shares), texts[1])
        return {**(signature(self._folder) or {}), "path": shown(path)}

    def _of_this_run(self, verdict: Verdict) -> Verdict:
        if self._records.get(verdict.item) != verdict.record:
            raise ValueError(f"{verdict.record} is no item of this run")
        return verdict

    def _verdicts(self) -> list[Verdict]:
        with self._lock:
            self._catch_up()
            return list(self._on_disk)

    def _catch_up(self) -> None:
        """Read the file again where it has grown: other processes may write to it."""
        size = self.file.path.stat().st_size if self.file.path.exists() else 0
        if size != self._size:
            self._on_disk = dict.fromkeys(self.file.read())
            self._size = size
