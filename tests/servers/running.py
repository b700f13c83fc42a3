"""Model servers that other people wrote, started on the loopback address for a test.

`make test-servers` installs them (`tools/servers.py`). A test that needs one is skipped where it is
not installed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("CAI_SERVERS", ROOT / ".venv" / "servers")).absolute()
"""The environment that `tools/servers.py` makes."""
PYTHON = FOLDER / "bin" / "python"
MINIATURE_GGUF = FOLDER / "gguf" / "miniature.gguf"
SMOLLM2_GGUF = FOLDER / "gguf" / "smollm2.gguf"
MINIATURE = ROOT / "cai" / "miniature" / "weights"

FLOAT32_KV = ("--type_k", "0", "--type_v", "0")
"""Keys and values in float32, as in `cai`; llama.cpp's default is float16."""
START_SECONDS = 90
"""`transformers serve` imports torch, which takes a while on a busy machine."""
STOP_SECONDS = 5


@dataclass(frozen=True)
class ModelServer:
    """A running server. url: with `/v1`. model: its name in requests. pid: of its process group."""

    url: str
    model: str
    pid: int
    log: Path

    @property
    def root(self) -> str:
        """The address without `/v1`."""
        return self.url.removesuffix("/v1")


@contextlib.contextmanager
def llama_cpp(
    gguf: Path, log: Path, model: str = "llama", context: int = 1024, options: Sequence[str] = ()
) -> Iterator[ModelServer]:
    """llama-cpp-python's server on a GGUF file. options: more of its own, such as `--api_key`."""
    require(gguf)
    port = free_port()
    command = [
        str(PYTHON), "-m", "llama_cpp.server", "--model", str(gguf), "--model_alias", model,
        "--host", "127.0.0.1", "--port", str(port), "--n_ctx", str(context), "--n_threads", "1",
        "--n_threads_batch", "1", "--logits_all", "true", *options,
    ]  # fmt: skip
    with running(command, f"http://127.0.0.1:{port}", "/openapi.json", model, log) as server:
        yield server


@contextlib.contextmanager
def transformers_serve(
    folder: Path, log: Path, options: Sequence[str] = ()
) -> Iterator[ModelServer]:
    """`transformers serve` on a model folder. It knows the model by the folder's path alone."""
    require(folder)
    port = free_port()
    command = [
        str(PYTHON), "-m", "transformers.cli.transformers", "serve", str(folder),
        "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32",
        *options,
    ]  # fmt: skip
    with running(command, f"http://127.0.0.1:{port}", "/health", str(folder), log) as server:
        yield server


def require(path: Path) -> None:
    """Skip the test unless the servers are installed and the model is there."""
    for needed in (PYTHON, path):
        if not needed.exists():
            pytest.skip(f"no {needed}: `make test-servers` installs it")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: list[str], root: str, ready: str, model: str, log: Path
) -> Iterator[ModelServer]:
    """A server's process while the block runs; its whole process group is ended after it.

    ready: a path that answers 200 once the server takes requests. log: receives its output.
    """
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(log.parent),  # `transformers serve` lists the models of this cache
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("PYTHONPATH", None)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        wait_until_ready(process, root + ready, log)
        yield ModelServer(f"{root}/v1", model, process.pid, log)
    finally:
        end_group(process)


def wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.1)
    state = "does not answer" if process.poll() is None else "ended"
    tail = log.read_text("utf-8", "replace")[-2000:]
    raise RuntimeError(f"{' '.join(process.args)} {state}:\n{tail}")  # type: ignore[arg-type]


def end_group(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
