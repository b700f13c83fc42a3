"""A Ray cluster: one on this machine for the time of a block, or one that runs already."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cai.errors import ModelError, UsageError, install_hint

CONNECT_SECONDS = 5.0
"""How long the address of a cluster may take to answer."""
_OBJECT_STORE_BYTES = 128 * 2**20
"""Shared memory of a cluster on this machine: results are small, and passed on at once."""
_JOIN_HINT = (
    "Start one with `ray start --head`, or leave --address out to have one started on this"
    " machine. A cluster that requires a token needs RAY_AUTH_MODE=token here, too."
)


def import_ray() -> Any:
    """The module `ray`. Raises `UsageError` where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--engine ray needs Ray, which is not installed", hint=install_hint("ray")
        ) from None
    return ray


@contextmanager
def ray_cluster(address: str | None, workers: int) -> Iterator[Any]:
    """The module `ray`, connected to a cluster inside the block.

    address: `auto`, `HOST:PORT` or `ray://HOST:PORT` of a cluster to join, which goes on after the
    block. None: a cluster of this machine, with so many processors, that ends with the block. All
    its processes listen on 127.0.0.1 alone and ask for a token.
    Raises `UsageError` for an address that does not answer, or without Ray.
    """
    if address is None:
        _confine()
    elif address != "auto":
        _require_answer(address)
    ray = import_ray()
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except ImportError as error:  # of Ray's client
        raise UsageError(
            f"{address} needs more of Ray: {error}", hint="Install it: pip install 'ray[client]'"
        ) from None
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        if address is None:
            raise ModelError(f"Ray can't be started: {reason}") from error
        raise UsageError(f"no Ray cluster at {address}: {reason}", hint=_JOIN_HINT) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _confine() -> None:
    """Keep a cluster of this machine to itself.

    Ray reads these variables when it is imported: who imported it before has chosen otherwise.
    """
    if "ray" in sys.modules:
        return
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # else it listens on all interfaces
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _require_answer(address: str) -> None:
    """Raise `UsageError` unless something listens at an address; Ray would try for a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit() or not host:
        raise UsageError(
            f"--address {address!r} is no address of a Ray cluster",
            hint="Write auto, HOST:PORT or ray://HOST:PORT.",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"no Ray cluster at {address}: {error}", hint=_JOIN_HINT) from None
