"""`cai audit`: from a report to a sign-off, and what it says where it can't."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cai.audit.runs import open_run
from cai.data.verdicts import Verdict, VerdictFile
from tests.audit.runs import build, rollouts
from tests.cli.project import cai
from tests.evaluation.folders import evaluation

Output = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return build(tmp_path)


def judge(run: Path, verdict: str = "accept", author: str = "Ann") -> list[Verdict]:
    """A verdict on every item."""
    with open_run(run) as opened:
        items = [entry.item for entry in opened.entries()]
    return [
        Verdict(i.key, i.id, "r-audit", verdict, author, "2026-01-01T10:00:00Z")  # type: ignore[arg-type]
        for i in items
    ]


def test_a_report(run: Path, capsys: Output) -> None:
    cai("audit", "report", "demo")
    assert capsys.readouterr().out.startswith("demo/audit/report.html  (0.")
    first = (run / "audit" / "report.html").read_bytes()
    cai("audit", "report", "demo", "-o", "again.html")
    assert Path("again.html").read_bytes() == first  # equal runs, equal pages
    cai("verify", "demo")  # it is no part of what is verified


def test_a_report_of_rollouts_and_of_two_runs(run: Path, tmp_path: Path, capsys: Output) -> None:
    rollouts(tmp_path / "ppo")
    build(tmp_path, "after", edited=True)
    cai("audit", "report", "ppo")
    cai("audit", "diff", "demo", "after")
    assert "12 records in both, 1 differ: after/audit/diff-demo.html" in capsys.readouterr().out
    cai("audit", "diff", "demo", "ppo", exit_code=2)
    assert "can't be set side by side" in capsys.readouterr().err


def test_a_large_run_becomes_several_pages_that_say_so(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr("cai.audit.report.write_report.__kwdefaults__", {
        "keys": None, "covered": False, "most": 5})  # fmt: skip
    cai("audit", "report", "demo")
    files = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert files == [f"demo/audit/report-{n}.html" for n in (1, 2, 3)]


def test_from_a_sample_to_a_sign_off(run: Path, capsys: Output) -> None:
    cai("audit", "verify", "demo", exit_code=4)
    assert "demo is not signed off" in capsys.readouterr().err
    cai("audit", "sample", "demo", "--n", 6, "--auditors", "Ann,Ben", "--overlap", "50%")
    assert "6 of 12 items" in capsys.readouterr().out
    cai("audit", "sample", "demo", "--n", 6, exit_code=2)
    assert "drawn already" in capsys.readouterr().err
    cai("audit", "report", "demo", "--sampled")
    cai("audit", "sign", "demo", "--signer", "Ann", exit_code=4)
    assert "no verdicts in demo yet" in capsys.readouterr().err
    for author in ("Ann", "Ben"):
        lines = [json.dumps(asdict(v)) for v in judge(run, author=author)]
        Path(f"{author}.jsonl").write_text("\n".join(lines) + "\n")
    cai("audit", "import", "demo", "Ann.jsonl", "Ben.jsonl")
    assert "Ben.jsonl: 12 verdicts, 12 of them new" in capsys.readouterr().out
    cai("audit", "import", "demo", "Ann.jsonl")
    assert "12 verdicts, 0 of them new" in capsys.readouterr().out
    cai("audit", "agreement", "demo")
    assert "12 of 12 items are judged" in capsys.readouterr().out
    cai("audit", "agreement", "demo", "--format", "json")
    assert json.loads(capsys.readouterr().out)["judged"] == 12
    cai("audit", "sign", "demo", "--signer", "Ann \x1b[31m", "--statement", "Read.")
    assert "\x1b" not in capsys.readouterr().out
    cai("audit", "verify", "demo")
    out = capsys.readouterr().out
    assert "demo: unchanged since Ann" in out and "\x1b" not in out
    assert "6 of 6 items judged, 6 accepted, 0 rejected" in out


def test_only_verdicts_on_what_the_run_holds_are_taken(run: Path, capsys: Output) -> None:
    """Those of another run too, where the texts are the same; a wrong record never."""
    one, two, three = (asdict(v) for v in judge(run)[:3])
    strange = [one | {"item": "0" * 24}, two | {"record": "t-zzz"}]
    Path("v.jsonl").write_text("".join(json.dumps(v) + "\n" for v in strange))
    cai("audit", "import", "demo", "v.jsonl", exit_code=4)
    assert "none of the 2 verdicts in v.jsonl is on an item of demo" in capsys.readouterr().err
    assert VerdictFile(run).read() == []
    same = three | {"run": "r-later"}
    Path("v.jsonl").write_text("".join(json.dumps(v) + "\n" for v in [*strange, same]))
    cai("audit", "import", "demo", "v.jsonl")
    assert "3 verdicts, 1 of them new; 2 left out" in capsys.readouterr().out
    assert [v.run for v in VerdictFile(run).read()] == ["r-later"]


def test_each_result_is_one_json_object(run: Path, tmp_path: Path, capsys: Output) -> None:
    """One page, 12 items of which 4 are drawn, and Ann's verdicts on all of them."""

    def result(*arguments: object, exit_code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        cai("audit", *arguments, "--json", exit_code=exit_code)
        value: dict[str, Any] = json.loads(capsys.readouterr().out)
        return value

    build(tmp_path, "after", edited=True)
    (page,) = result("report", "demo")["files"]
    size = (run / "audit" / "report.html").stat().st_size
    assert page == {"path": "demo/audit/report.html", "bytes": size}
    assert result("diff", "demo", "after") == {
        "path": "after/audit/diff-demo.html", "records": 12, "differ": 1,
    }  # fmt: skip
    assert result("sample", "demo", "--n", 4, "--auditors", "Ann,Ben") == {
        "path": "demo/audit/sample.json", "items": 4, "of": 12, "auditors": {"Ann": 2, "Ben": 2},
    }  # fmt: skip
    unsigned = result("verify", "demo", exit_code=4)
    assert unsigned == {"run": "demo", "ok": False, "problem": "demo is not signed off"}
    lines = [asdict(v) for author in ("Ann", "Ben") for v in judge(run, author=author)]
    lines.append(lines[0] | {"item": "0" * 24})
    Path("v.jsonl").write_text("".join(json.dumps(v) + "\n" for v in lines))
    assert result("import", "demo", "v.jsonl") == {
        "files": [{"path": "v.jsonl", "verdicts": 25, "new": 24, "left_out": 1}]
    }
    assert result("export", "demo", "--format", "csv") == {
        "path": "demo/audit/items.csv", "format": "csv", "items": 12,
    }  # fmt: skip
    assert result("sign", "demo", "--signer", "Ann") == {
        "path": "demo/audit/signoff.yaml", "signer": "Ann",
    }  # fmt: skip
    signed = result("verify", "demo")
    assert (signed["ok"], signed["signer"], signed["data_files"]) == (True, "Ann", 6)
    assert signed["reviewed"]["accepted"] == 4 and signed["at"][:2] == "20"


def test_nothing_of_the_run_is_overwritten(run: Path, capsys: Output) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    cai("audit", "report", "demo", "-o", "demo/sft.jsonl", exit_code=2)
    assert "is not the name of an HTML file" in capsys.readouterr().err
    cai("audit", "export", "demo", "-o", "demo/manifest.json", exit_code=2)
    assert "belongs to the run" in capsys.readouterr().err
    Path("mine").mkdir()
    Path("mine/.thesis.partial").write_text("mine")
    cai("audit", "report", "demo", "-o", "mine/r.html")
    assert Path("mine/.thesis.partial").read_text() == "mine"
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize("form", ["jsonl", "csv", "argilla", "label-studio"])
def test_exports(form: str, run: Path, capsys: Output) -> None:
    cai("audit", "export", "demo", "--format", form)
    assert "12 items: " in capsys.readouterr().out


def test_training_asks_for_it_where_the_project_does(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Refused unsigned; taken signed, less what was rejected, which the card counts."""
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    Path("cai.yaml").write_text("audit: required\n")
    training = (
        "train",
        "sft",
        "-d",
        "demo",
        "-o",
        "sft",
        "--max-steps",
        1,
        "--device",
        "cpu",
        "-q",
    )
    cai(*training, exit_code=4)
    assert "demo is not signed off" in capsys.readouterr().err
    verdicts = judge(run)
    bad = next(v for v in verdicts if v.record == "t-p0")
    VerdictFile(run).append(
        [*verdicts, Verdict(bad.item, bad.record, bad.run, "reject", "Ben", bad.at)]
    )
    cai("audit", "sign", "demo", "--signer", "Ann")
    cai(*training)
    card = Path("sft/README.md").read_text()
    assert "- 1 set aside: rejected by an auditor" in card
    assert "signoff.yaml" in card and "verdicts.jsonl" in card
    rows = run / "sft.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b"Better", b"better", 1))  # one byte
    cai("train", "sft", "-d", "demo", "-o", "other", "--max-steps", 1, "-q", exit_code=4)
    assert "the sign-off of" in (err := capsys.readouterr().err) and "sft.jsonl changed" in err


@pytest.mark.parametrize(
    "command", ["report", "sample", "agreement", "export", "verify", "sign --signer Ann"]
)
def test_a_folder_that_is_no_run_is_named_as_it_was_written(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *options = command.split()
    cai("audit", name, "nope", *options, exit_code=4)
    assert "cai: nope is not the folder of a run" in capsys.readouterr().err


def test_what_is_no_run(tmp_path: Path, capsys: Output) -> None:
    cai("audit", "report", tmp_path, exit_code=4)
    assert "is not the folder of a run" in capsys.readouterr().err
    for name, record in (("loop/data-1", "manifest.json"), ("loop/dpo-1", "run.json")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / record).touch()
    cai("audit", "report", tmp_path / "loop", exit_code=4)
    loop = tmp_path / "loop"
    assert f"There are runs in it: {loop / 'data-1'}, {loop / 'dpo-1'}" in capsys.readouterr().err
    cai("audit", "serve", build(tmp_path), "--host", "0.0.0.0", exit_code=2)
    assert "ssh -L" in capsys.readouterr().err
    (tmp_path / "store.sqlite").rename(tmp_path / "away.sqlite")
    cai("audit", "report", tmp_path / "demo", exit_code=6)
    assert "there is no store" in capsys.readouterr().err


def test_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """Sixteen answers: read, drawn, judged, compared with what was measured, written for others."""
    monkeypatch.chdir(tmp_path)
    evaluation(tmp_path / "eval")
    cai("audit", "report", "eval")
    assert capsys.readouterr().out.startswith("eval/audit/report.html")
    cai("audit", "sample", "eval", "--n", 6, "--stratify", "suite,model")
    assert "6 of 16 items" in capsys.readouterr().out
    lines = [json.dumps(asdict(v)) for v in judge(tmp_path / "eval")]
    Path("Ann.jsonl").write_text("\n".join(lines) + "\n")
    cai("audit", "import", "eval", "Ann.jsonl")
    assert "16 verdicts, 16 of them new" in capsys.readouterr().out
    cai("audit", "agreement", "eval")
    row = next(line for line in capsys.readouterr().out.splitlines() if "Ann, answers" in line)
    assert row.split()[2:4] == ["14", "71%"]  # 10 of 14 are good
    for form in ("jsonl", "csv", "parquet", "argilla", "label-studio"):
        cai("audit", "export", "eval", "--format", form)
        assert "16 items" in capsys.readouterr().out
    cai("audit", "sign", "eval", "--signer", "Ann", exit_code=2)
    assert "eval is an evaluation; what is signed off is data" in capsys.readouterr().err
    cai("verify", "eval")  # what auditors wrote is no part of it
    cai("audit", "diff", "eval", "eval", exit_code=2)
    assert "Give two runs of cai build-data" in capsys.readouterr().err
