"""Servers start, and end with everything that they started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.servers.requests import call
from tests.servers.running import MINIATURE_GGUF, llama_cpp

pytestmark = pytest.mark.servers


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_ends_with_its_block(tmp_path: Path) -> None:
    with pytest.raises(KeyError), llama_cpp(MINIATURE_GGUF, tmp_path / "log") as server:
        assert call(f"{server.url}/models")[0] == 200 and alive(server.pid)
        raise KeyError
    assert not alive(server.pid)
    with pytest.raises(OSError):
        call(f"{server.url}/models")


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    no_model = tmp_path / "no.gguf"
    no_model.write_bytes(b"no model")
    with (
        pytest.raises(RuntimeError, match=r"(?s)ended:.*no\.gguf"),
        llama_cpp(no_model, tmp_path / "log"),
    ):
        pass


def test_a_server_wants_its_key(tmp_path: Path) -> None:
    with llama_cpp(MINIATURE_GGUF, tmp_path / "log", options=("--api_key", "k3y")) as server:
        assert call(f"{server.url}/models")[0] == 401
