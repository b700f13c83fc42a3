"""`cai audit serve`: the audit's app at the address that the run had before."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cai.audit.app import LiveAudit, audit_app
from cai.data.files import store_errors
from cai.data.verdicts import FOLDER
from cai.errors import UsageError
from cai.serving import LOOPBACK, LocalServer
from cai.store.lock import file_lock


class AuditServer(LocalServer):
    """The page of one run at an address with a token in it.

    data and run: see `LiveAudit`. port 0 takes a free one. Raises `UsageError` where the address
    can't be had.
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
        self.audit = LiveAudit(data, run)
        self.token = token or secrets.token_urlsafe(24)
        app = audit_app(self.audit, token=self.token, names=(*LOOPBACK, host))
        super().__init__(app, host=host, port=port)
        self.busy_port: int | None = None
        """The port of the last time, where another program has it now."""

    @property
    def url(self) -> str:
        """Where the page is, the token in it."""
        return f"{self.address}/{self.token}/"


@contextmanager
def serve_again(
    data: dict[str, Any], run: Path, host: str, port: int | None
) -> Iterator[AuditServer]:
    """A server at the address that the run had before, so that pages left open go on.

    Port and token are kept in the run's folder, for its owner alone to read. A port that another
    program has by now is replaced by a free one for this time (see `AuditServer.busy_port`), unless
    it was asked for. Raises `UsageError` where the run is served already.
    """
    place = run / FOLDER / ".serve.json"
    with store_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    token, last_port = _address(place)
    with file_lock(place.with_suffix(".lock"), wait=False, busy=lambda: _in_use(run, host, place)):
        token = token or secrets.token_urlsafe(24)
        busy_port = None
        try:
            first_choice = last_port if port is None else port
            server = AuditServer(data, run, host=host, port=first_choice, token=token)
        except UsageError:
            if port is not None or not last_port:
                raise
            server, busy_port = AuditServer(data, run, host=host, token=token), last_port
        server.busy_port = busy_port
        with store_errors(place):
            place.touch(mode=0o600)
            place.chmod(0o600)
            address = {"token": token, "port": busy_port or server.port, "now": server.port}
            place.write_text(json.dumps(address), encoding="utf-8")
        yield server


def _address(place: Path) -> tuple[str, int]:
    """The token and port of the last time; empty and 0 where there was none."""
    try:
        values = json.loads(place.read_bytes())
        return str(values["token"]), int(values["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0


def _in_use(run: Path, host: str, place: Path) -> UsageError:
    """Two servers of one run would have two addresses, and a page is kept by one."""
    try:
        values = json.loads(place.read_bytes())
        where = f" at http://{host}:{int(values['now'])}/{values['token']}/"
    except (OSError, ValueError, KeyError, TypeError):
        where = ""
    return UsageError(
        f"{run.name} is served already{where}",
        hint="Open that address: any number of people on this machine can judge there.",
    )
