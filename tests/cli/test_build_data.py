"""`cai build-data`: what is in the way is told first, and a build of nothing is no success."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cai.data.signoff import read_signoff, write_signoff
from cai.errors import DataError
from cai.store.store import Store
from tests.cli.project import cai
from tests.e2e.helpers import rows

SCRIPT = """
replies:
  - {say: ["Sure."]}
scores:
  - {options: {"No problem found.": 0.4}}
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.yaml").write_text(SCRIPT)
    return "scripted:model.yaml"


# -- nothing to build ------------------------------------------------------------------------------

UNUSABLE = {
    "other keys": ('{"question": "Is the sky blue?"}\n{"question": "Do cats fly?"}\n',
                   "q.jsonl:1: no prompt: no key", "--column"),
    "not JSON": ('{"prompt": \n{"prompt"\n', "q.jsonl:1: invalid JSON", ""),
    "empty texts": ('{"prompt": " "}\n' * 5, "q.jsonl:1: empty", ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("quiet", [(), ("-q",)], ids=["shown", "quiet"])
def test_a_file_without_a_usable_prompt_is_refused_with_reasons(
    kind: str, quiet: tuple[str, ...], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, said, hint = UNUSABLE[kind]
    Path("q.jsonl").write_text(text)
    cai("build-data", "-p", "q.jsonl", "-m", model, *quiet, exit_code=4)
    told = capsys.readouterr()
    assert "no prompt of q.jsonl can be used" in told.err and said in told.err
    assert hint in told.err
    assert told.out == "" and not Path("runs").exists()


@pytest.mark.parametrize("command", ["plan", "compare"])
def test_other_commands_refuse_it_alike(
    command: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("q.jsonl").write_text(UNUSABLE["other keys"][0])
    cai(command, "-p", "q.jsonl", "-m", model, exit_code=4)
    assert "no prompt of q.jsonl can be used: 2 rows were set aside" in capsys.readouterr().err


def test_prompts_that_no_model_can_read_are_no_build(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The miniature reads 1,024 tokens at most: 3,000 words are set aside once they are read."""
    Path("long.jsonl").write_text(json.dumps({"prompt": "bread " * 3000}) + "\n")
    cai("build-data", "-p", "long.jsonl", "-q", "--no-examine", exit_code=4)
    told = capsys.readouterr().err
    assert "no prompt of long.jsonl can be used: 1 row was set aside" in told
    assert "long.jsonl:1: " in told and "1024 in all" in told


def test_long_prompts_are_one_kind_of_reason(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has a number of tokens of its own."""
    texts = ["Is bread good?", *("bread " * (3000 + n) for n in range(3))]
    Path("q.jsonl").write_text("".join(json.dumps({"prompt": t}) + "\n" for t in texts))
    cai("build-data", "-p", "q.jsonl", "--pairs", 0, "--no-examine", "-o", "runs/a")
    assert "Invalid rows, set aside (3 too long)" in capsys.readouterr().out
    manifest = json.loads(Path("runs/a/manifest.json").read_text())
    assert manifest["counts"]["set_aside"] == {"too long": 3}
    assert len({row["reason"] for row in rows(Path("runs/a/set_aside.jsonl"))}) == 3


@pytest.mark.parametrize("name", ["sft.jsonl", "preferences.test.parquet"])
def test_files_of_somebody_else_are_told_before_weights_are_loaded(
    name: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine").mkdir()
    Path("mine", name).write_text("mine")
    options = ("--parquet",) if name.endswith(".parquet") else ()
    cai("build-data", "-m", "./no-model", "-o", "mine", *options, exit_code=2)
    assert f"mine holds a {name} that is not of a run" in capsys.readouterr().err
    assert Path("mine", name).read_text() == "mine"


def test_some_that_can_be_used_are_enough(model: str) -> None:
    Path("q.jsonl").write_text('{"question": "?"}\n{"prompt": "Is it?"}\n')
    cai("build-data", "-p", "q.jsonl", "-m", model, "-q", "--pairs", 0, "-o", "runs/a")
    assert [row["source"] for row in rows(Path("runs/a/set_aside.jsonl"))] == ["q.jsonl:1"]


def test_signed_data_is_not_replaced_unasked(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command may run again: its data is the same."""
    lines = [json.dumps({"prompt": f"Is it {n}?"}) for n in range(3)]
    Path("q.jsonl").write_text("\n".join(lines))
    build = ("build-data", "-p", "q.jsonl", "-m", model, "-q", "--pairs", 0, "-o", "runs/a")
    cai(*build)
    out = Path("runs/a")
    write_signoff(out, {"reviewed": {"items": 1}, "signer": "Ann", "at": "2026-01-01T10:00:00Z"})
    before = {path.name: path.read_bytes() for path in out.glob("*.json*")}
    for change in (("--limit", 2), ("--parquet",)):
        cai(*build, *change, exit_code=2)
        text = capsys.readouterr().err
        assert "runs/a holds data that is signed off" in text and "--replace-signed" in text
    cai(*build)
    assert {path.name: path.read_bytes() for path in out.glob("*.json*")} == before
    read_signoff(out)
    cai(*build, "--limit", 2, "--replace-signed")
    with pytest.raises(DataError, match="stale"):
        read_signoff(out)


# -- before the weights ----------------------------------------------------------------------------

BEFORE = {
    "rounds": (("--rounds", "99"), 2, "99 rounds need"),
    "a share": (("--test-share", "2"), 2, "--test-share"),
    "temperature": (("--temperature", "nan"), 2, "temperature"),
    "batch size": (("--batch-size", "0"), 2, "--batch-size"),
    "constitution": (("-c", "defualt"), 3, "no such constitution"),
    "prompts": (("-p", "nowhere.jsonl"), 4, "nowhere.jsonl"),
    "no usable prompt": (("-p", "q.jsonl"), 4, "no prompt of q.jsonl"),
    "out": (("-o", "q.jsonl"), 2, "is a file"),
    "critic": (("--critic", "scripted:nowhere.yaml"), 2, "nowhere.yaml"),
    "store": (("-o", "other/x"), 6, "is not a store"),
}


@pytest.mark.parametrize("name", BEFORE)
def test_what_is_in_the_way_is_told_before_weights_are_loaded(name: str, model: str) -> None:
    """The model is none: had it been looked at, that would have been told."""
    Path("q.jsonl").write_text('{"question": "?"}\n')
    Path("other").mkdir()
    Path("other/store.sqlite").write_text("no database at all, whatever its name says\n" * 99)
    options, code, said = BEFORE[name]
    script = (
        "import sys; from cai.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "build-data", "-m", "./no-model", *options],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said in done.stderr
    assert done.stdout.split() == [str(code), "False"], done.stderr


def test_a_locked_store_is_told_before_weights_are_loaded(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs").mkdir()
    with Store.open("runs/store.sqlite") as store, store.lock():
        for command in (("build-data",), ("diff", "default", "direct")):
            cai(*command, "-m", "./no-model", exit_code=6)
            assert "another build is using this store" in capsys.readouterr().err


def test_a_second_model_is_looked_for_before_the_first_is_loaded(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cai.backends.local import LocalBackend

    def load(*names: object, **options: object) -> None:
        raise AssertionError(f"{names} is loaded")

    monkeypatch.setattr(LocalBackend, "load", load)
    for options in (("--judge", "./no-model"), ("--adapter", "./no-adapter")):
        cai("build-data", *options, exit_code=5)
        assert options[1].removeprefix("./") in capsys.readouterr().err
