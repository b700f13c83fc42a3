"""Servers that other people wrote, each started once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import cai
from tests.servers.running import (
    FLOAT32_KV,
    MINIATURE,
    MINIATURE_GGUF,
    ModelServer,
    llama_cpp,
    transformers_serve,
)

if TYPE_CHECKING:
    from cai.backends.local import LocalBackend


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """llama.cpp with the miniature."""
    log = tmp_path_factory.mktemp("llama") / "log"
    with llama_cpp(MINIATURE_GGUF, log, "miniature", options=FLOAT32_KV) as server:
        yield server


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """`transformers serve` with the miniature."""
    log = tmp_path_factory.mktemp("serve") / "log"
    with transformers_serve(MINIATURE, log) as server:
        yield server


@pytest.fixture(scope="session")
def local() -> LocalBackend:
    """The miniature in this process."""
    return cai.load_model("miniature", device="cpu", dtype="float32")
