"""A client of yaml-language-server, as an editor is one: JSON-RPC over its standard streams."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

NODE = Path(os.environ.get("CAI_NODE", Path(__file__).parents[2] / ".venv" / "node"))
PROGRAM = NODE / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
SETTINGS = {
    "validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False},
}  # fmt: skip


class Editor:
    """An open file. Lines and characters count from 0, as the protocol has it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._answers: dict[int, Queue[Any]] = {}
        self.told: Queue[tuple[str, list[dict[str, Any]]]] = Queue()
        self._number = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, method: str, params: Any) -> Any:
        self._number += 1
        answer = self._answers.setdefault(self._number, Queue())
        self._send({"id": self._number, "method": method, "params": params})
        return answer.get(timeout=60)

    def tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def _listen(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while line := stream.readline():
            if not line.lower().startswith(b"content-length:"):
                continue
            length = int(line.split(b":")[1])
            while stream.readline().strip():
                pass
            self._take(json.loads(stream.read(length)))

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "workspace/configuration":
            asked = [item.get("section") for item in message["params"]["items"]]
            result = [SETTINGS if section == "yaml" else {} for section in asked]
            self._send({"id": message["id"], "result": result})
        elif message.get("method") == "textDocument/publishDiagnostics":
            self.told.put((message["params"]["uri"], message["params"]["diagnostics"]))
        elif "method" in message and "id" in message:
            self._send({"id": message["id"], "result": None})
        elif "id" in message:
            self._answers[message["id"]].put(message.get("result"))

    # -- what an editor does ----------------------------------------------------------------------

    def open(self, file: Path) -> None:
        text = file.read_text("utf-8")
        self.uri = file.as_uri()
        document = {"uri": self.uri, "languageId": "yaml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})

    def _at(self, line: int, character: int) -> dict[str, Any]:
        place = {"line": line, "character": character}
        return {"textDocument": {"uri": self.uri}, "position": place}

    def completions(self, line: int, character: int) -> list[str]:
        found = self.ask("textDocument/completion", self._at(line, character))
        return sorted({item["label"] for item in found["items"]})

    def hover(self, line: int, character: int) -> str:
        found = self.ask("textDocument/hover", self._at(line, character))
        return str(found["contents"]["value"]) if found else ""

    def diagnostics(self) -> list[tuple[int, str]]:
        """(Line, message) of the first that are told of the file; they may take a while."""
        while True:
            try:
                uri, found = self.told.get(timeout=60)
            except Empty:
                raise AssertionError("the server has told nothing") from None
            if uri == self.uri:
                return [(d["range"]["start"]["line"], d["message"]) for d in found]


@contextmanager
def editor(folder: Path) -> Iterator[Editor]:
    """An editor with the folder open. Skips where the server is not installed."""
    node = shutil.which("node")
    if node is None or not PROGRAM.is_file():
        pytest.skip(f"no {PROGRAM}: `make test` installs it where there is npm")
    process = subprocess.Popen(
        [node, str(PROGRAM), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client = Editor(process)
        uri = folder.as_uri()
        client.ask("initialize", {
            "processId": os.getpid(), "rootUri": uri,
            "workspaceFolders": [{"uri": uri, "name": "project"}],
            "capabilities": {
                "workspace": {"configuration": True},
                "textDocument": {"completion": {}, "hover": {"contentFormat": ["markdown"]}},
            },
        })  # fmt: skip
        client.tell("initialized", {})
        client.tell("workspace/didChangeConfiguration", {"settings": {"yaml": SETTINGS}})
        yield client
    finally:
        process.kill()
        process.wait()
