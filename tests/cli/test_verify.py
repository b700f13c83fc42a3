"""`cai verify`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.project import cai, make


def test_an_untouched_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    cai("verify", tmp_path / "demo")
    assert "9 files, " in capsys.readouterr().out
    monkeypatch.chdir(tmp_path / "demo")
    cai("verify", ".")


def test_one_changed_byte_ends_with_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path)
    path = tmp_path / "demo" / "preferences.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"content": "A', b'"content": "\x1b', 1))
    cai("verify", tmp_path / "demo", exit_code=4)
    told = capsys.readouterr()
    assert "preferences.jsonl: its digest is not the manifest's" in told.out
    assert "preferences.jsonl:2: not a row of this format" in told.out  # 1 is a revision
    assert "2 differences in" in told.err
    assert "\x1b" not in told.out + told.err
    cai("verify", tmp_path / "demo", "--most", 1, exit_code=4)
    assert "… and 1 more" in capsys.readouterr().out


def test_folders_that_are_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai("verify", tmp_path, exit_code=4)
    assert "not the folder of a run" in capsys.readouterr().err
    make(tmp_path)
    for name in ("store.sqlite", "store.sqlite-wal", "store.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    cai("verify", tmp_path / "demo", exit_code=6)
    assert "there is no store" in capsys.readouterr().err


def test_a_training_run(sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(sft_run, tmp_path / "sft")
    cai("verify", run)
    assert "all digests match" in capsys.readouterr().out
    weights = run / "adapter" / "adapter_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    (run / "config.yaml").unlink()
    cai("verify", run, exit_code=4)
    told = capsys.readouterr()
    assert "adapter/adapter_model.safetensors: its digest is not the run's" in told.out
    assert "config.yaml: the file is missing" in told.out
    assert "2 differences in" in told.err


def test_a_training_run_that_claims_another_origin(
    sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(sft_run, tmp_path / "sft")
    record = json.loads((run / "run.json").read_text())
    record["data"][0]["sha256"] = "0" * 64
    (run / "run.json").write_text(json.dumps(record))
    cai("verify", run, exit_code=4)
    assert "its id is not that of the settings, base, parents and data" in capsys.readouterr().out
    record["status"] = "running"
    (run / "run.json").write_text(json.dumps(record))
    cai("verify", run, exit_code=4)
    assert "is not finished" in capsys.readouterr().err
