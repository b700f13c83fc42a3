"""`cai guard serve` as a process of its own: it is stopped, killed, and goes on."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cai.cli.guard import read_key
from cai.errors import UsageError
from cai.store.store import Store
from tests.cli.project import cai, make
from tests.e2e.helpers import listen_to_ctrl_c

SCRIPT = """\
replies:
  - {when: "(?i)critique|identify|problem", say: No problem found.}
  - {say: ["One.", "Two.", "Three."]}
scores:
  - {options: {"No problem found.": 0.9}}
"""


class Command:
    """`cai guard serve` in a folder, on a free port."""

    def __init__(self, folder: Path, *options: object, **environment: str) -> None:
        script = folder / "script.yaml"
        script.write_text(SCRIPT, encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cai", "guard", "serve", "--model", f"scripted:{script.name}",
             "--port", "0", *map(str, options)],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | environment, preexec_fn=listen_to_ctrl_c,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:(\d+)/v1", self.said)
        if address is None:
            raise AssertionError(self.process.communicate()[1])
        self.port = int(address[1])

    def chat(self, text: str = "Hello.", key: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        head = {"Content-Type": "application/json"}
        head |= {"Authorization": f"Bearer {key}"} if key else {}
        body = {"model": "script.yaml", "messages": [{"role": "user", "content": text}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), head)
        reply = connection.getresponse()
        values = json.loads(reply.read())
        connection.close()
        return reply.status, values

    def end(self, sign: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(sign)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


def traces(folder: Path) -> list[str]:
    with Store.open(folder / "runs" / "store.sqlite", read_only=True) as store:
        return [trace.id for run in store.runs() for trace in store.traces(run.id)]


def test_what_is_served_is_read_as_a_build_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Command(tmp_path)
    try:
        replies = [server.chat(f"Question {n}")[1] for n in range(3)]
        ids = {reply["guard"]["trace"] for reply in replies}
        assert set(traces(tmp_path)) == ids
        cai("runs", "--runs-dir", tmp_path / "runs", "--json")
        (row,) = json.loads(capsys.readouterr().out)["runs"]
        assert (row["name"], row["status"], row["answers"]) == ("guard", "running", 3)
    finally:
        code, errors = server.end(signal.SIGINT)
    assert (code, errors.splitlines()) == (130, ["cai: Stopped."])
    run = tmp_path / "runs" / "guard"
    cai("verify", run)
    cai("trace", replies[0]["guard"]["trace"], "--runs-dir", tmp_path / "runs")
    cai("audit", "report", run)
    out = capsys.readouterr().out
    assert "all digests match" in out and "Question 0" in out and "report.html" in out
    cai("runs", "--runs-dir", tmp_path / "runs")
    assert "finished  3 answers" in capsys.readouterr().out
    assert (run / "sft.jsonl").read_bytes() == b""  # what users write is not training data


def test_a_kill_loses_no_answer_that_was_sent_and_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Command(tmp_path)
    sent = [server.chat(f"Question {n}")[1]["guard"]["trace"] for n in range(5)]
    server.end(signal.SIGKILL)
    assert set(traces(tmp_path)) == set(sent)
    with Store.open(tmp_path / "runs" / "store.sqlite") as store:
        assert store._db.all("PRAGMA integrity_check") == [("ok",)]
        (run,) = store.runs()
        assert list(store.damaged_records(run.id)) == []
    cai("runs", "--runs-dir", tmp_path / "runs")
    assert "interrupted  5 answers" in capsys.readouterr().out
    again = Command(tmp_path)
    assert again.chat()[0] == 200
    assert again.end(signal.SIGTERM)[0] == 130
    assert len(traces(tmp_path)) == 6
    cai("verify", tmp_path / "runs" / "guard")


def test_one_server_a_folder_and_none_in_a_builds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Command(tmp_path)
    try:
        with pytest.raises(AssertionError, match="is in use: another process serves it"):
            Command(tmp_path)
        assert server.chat()[0] == 200
    finally:
        server.end(signal.SIGKILL)
    make(tmp_path / "builds")
    cai(
        "guard", "serve", "--model", f"scripted:{tmp_path / 'script.yaml'}", "--port", 0,
        "--out", tmp_path / "builds" / "demo", exit_code=2,
    )  # fmt: skip
    assert "holds a build or documents" in capsys.readouterr().err


def test_a_key_from_the_environment(tmp_path: Path) -> None:
    server = Command(tmp_path, "--api-key", "env:GUARD_KEY", GUARD_KEY="s3cret-key")
    try:
        assert server.chat()[0] == 401
        assert server.chat(key="s3cret-key")[0] == 200
    finally:
        errors = server.end(signal.SIGINT)[1]
    files = [file for file in (tmp_path / "runs").rglob("*") if file.is_file()]
    assert files and "s3cret" not in errors + server.said
    assert not any(b"s3cret" in file.read_bytes() for file in files)


def test_no_store_keeps_nothing(tmp_path: Path) -> None:
    server = Command(tmp_path, "--no-store")
    status, reply = server.chat("A secret.")
    assert (status, reply["guard"]["trace"], reply["guard"]["run"]) == (200, None, None)
    server.end(signal.SIGINT)
    assert [file.name for file in tmp_path.iterdir()] == ["script.yaml"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--host", "0.0.0.0"), "no key is asked for"),
        (("--api-key", "s3cret"), "says where the key is"),
        (("--api-key", "env:NOT_SET_ANYWHERE"), "holds no key"),
        (("--reward", "runs/reward"), "--reward is for --mode best-of-n"),
        (("--n", 3), "--n is for --mode best-of-n"),
        (("--mode", "filter", "--threshold", 2), "--threshold"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(
    options: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cai("guard", "serve", "--port", 0, *options, exit_code=2)
    assert message in capsys.readouterr().err


def test_keys_are_read_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("abc\n")
    monkeypatch.setenv("GUARD_KEY", "xyz")
    assert read_key(f"file:{tmp_path / 'key'}") == "abc"
    assert read_key("env:GUARD_KEY") == "xyz"
    for reference in (f"file:{tmp_path / 'none'}", "env:", "vault:x", "xyz"):
        with pytest.raises(UsageError):
            read_key(reference)
