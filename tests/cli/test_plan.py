"""`cai plan` counts what `cai build-data` then does."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cai.store.store import Store
from tests.constitution.projects import project
from tests.e2e.helpers import cai, write_rows

ALWAYS = 'replies:\n  - {say: "There is a fault."}\n'
NEVER = 'replies:\n  - {say: "No problem found."}\n'


def planned(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    cai("plan", *arguments, "--no-probe", "--output", "json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def built(folder: Path, *arguments: object) -> dict[str, int]:
    """Steps by stage that a build made, as its last event tells."""
    cai("build-data", *arguments, "--out", folder / "run", "-q", "--no-examine")
    with Store.open(folder / "store.sqlite", read_only=True) as store:
        (run,) = store.runs()
        (counts,) = [e.detail for e in store.events(run.id) if e.event == "finished"]
    made: dict[str, int] = counts["generated"]
    return made


@pytest.fixture
def common(tmp_path: Path) -> tuple[object, ...]:
    """A small constitution and twenty prompts."""
    rows = write_rows(
        tmp_path / "prompts.jsonl",
        [{"id": f"p{n}", "prompt": f"Question {n}?"} for n in range(20)],
    )
    return ("-c", project(tmp_path), "-p", rows)


@pytest.mark.parametrize(("side", "script"), [("most", ALWAYS), ("least", NEVER)])
@pytest.mark.parametrize(
    "more", [(), ("--pairs", 2, "--rounds", 2), ("--sft-share", 1.0, "--no-revision-pairs")]
)
def test_it_is_what_the_build_does(
    side: str, script: str, more: tuple[object, ...], common: tuple[object, ...], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A scripted critic that always, or never, finds something: the very same steps."""
    critic, writer = tmp_path / "critic.yaml", tmp_path / "writer.yaml"
    critic.write_text(script, "utf-8")
    texts = ", ".join(f"Text {n}." for n in range(2000))  # two to a prompt that differ
    writer.write_text(f"replies:\n  - {{say: [{texts}]}}\n", "utf-8")
    model = ("-m", f"scripted:{writer}", "--critic", f"scripted:{critic}")
    plan = planned(capsys, *common, *more, *model)
    made = built(tmp_path / "runs", *common, *more, *model)
    assert {s: n for s, n in plan[side]["steps"].items() if n} == made
    assert plan["prompts"] == plan["sampled"] == 20


def steps_of(store: Path) -> int:
    """How many steps a store holds."""
    with closing(sqlite3.connect(store)) as database:
        (count,) = database.execute("SELECT count(*) FROM steps").fetchone()
    return int(count)


def test_the_examination_is_counted(
    common: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A build with the examination has exactly that many steps more than one without."""
    writer = tmp_path / "writer.yaml"
    writer.write_text(ALWAYS, "utf-8")
    model = ("-m", f"scripted:{writer}")
    plan = planned(capsys, *common, *model)
    asked = plan["examination"]
    assert set(asked["steps"]) >= {"critique", "judgement"} and asked["read"] > 0
    for name, options in (("with", ()), ("without", ("--no-examine",))):
        cai("build-data", *common, *model, *options, "--out", tmp_path / name / "run", "-q")
    more = steps_of(tmp_path / "with/store.sqlite") - steps_of(tmp_path / "without/store.sqlite")
    assert sum(asked["steps"].values()) == more > 0
    assert planned(capsys, *common, *model, "--limit", 2)["examination"] == asked
    without = planned(capsys, *common, *model, "--no-examine")
    assert sum(without["examination"]["steps"].values()) == without["examination"]["read"] == 0
    assert without["most"] == plan["most"]


def test_the_examination_has_a_row_and_its_tokens_are_in_the_sum(
    common: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(capsys, *common)
    cai("plan", *common, "--no-probe")
    rows = {
        line[:18].strip(): [int(n.replace(",", "")) for n in line[18:].split()]
        for line in capsys.readouterr().out.splitlines()
        if re.fullmatch(r"[a-z ]{18}[ \d,]+", line)
    }
    assert rows["examination"] == [sum(plan["examination"]["steps"].values())] * 2
    for name in ("read", "written"):
        totals = [plan[side][name] + plan["examination"][name] for side in ("least", "most")]
        assert rows[f"tokens {name}"] == totals
    cai("plan", *common, "--no-probe", "--no-examine")
    assert "examination" not in capsys.readouterr().out


def test_many_prompts_are_scaled(common: tuple[object, ...], tmp_path: Path, capsys: Any) -> None:
    """1,000 prompts, of which 64 are gone through: a response for each, and two to a pair for every
    prompt that is drawn for preferences. Of 64 half are, give or take three times 4 (the root of
    64 x 1/2 x 1/2): 2 x 1000 x 20/64 = 625 to 2 x 1000 x 44/64 = 1375."""
    rows = [{"id": f"p{n}", "prompt": f"Question {n}?"} for n in range(1000)]
    many = write_rows(tmp_path / "many.jsonl", rows)
    plan = planned(capsys, *common[:2], "-p", many, "-m", "miniature")
    assert (plan["prompts"], plan["sampled"]) == (1000, 64)
    assert plan["most"]["steps"]["response"] == 1000
    assert 625 <= plan["most"]["steps"]["pair"] <= 1375
    assert plan["least"]["written"] < plan["most"]["written"]


def test_tokens_and_memory_of_the_miniature(common: tuple[object, ...], capsys: Any) -> None:
    """3.7M parameters of 4 bytes; a token of 4 layers, keys and values, 8 heads of 32, 4 bytes."""
    plan = planned(capsys, *common, "-m", "miniature", "--device", "cpu", "--dtype", "float32")
    model = plan["models"]["miniature"]
    assert model["weights_bytes"] == model["parameters"] * 4
    longest = min(1024, plan["longest"] + 256)
    assert model["cache_bytes"] == 16 * longest * (2 * 4 * 8 * 32 * 4)


def test_it_is_printed(common: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> None:
    cai("plan", *common, "--no-probe")
    out = capsys.readouterr().out
    assert "20 prompts" in out and "critiques" in out and "miniature: 3.7M parameters" in out


def test_prompts_without_room_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "a", "prompt": "word " * 3000}, {"id": "b", "prompt": "Hello?"}]
    file = write_rows(tmp_path / "p.jsonl", rows)
    cai("plan", "-p", file, "--no-probe")
    assert "1 of 2 examined prompts leave no room" in capsys.readouterr().out


def test_no_prompt_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_rows(tmp_path / "p.jsonl", [{"prompt": ""}])
    cai("plan", "-p", file, exit_code=4)
    assert "no prompt of p.jsonl can be used" in capsys.readouterr().err


@pytest.mark.slow
def test_the_time_is_measured_on_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for the one model that has all three roles."""
    from cai.authoring import probe

    measured: list[object] = []
    real = probe.measure

    def measure(backend: Any, groups: Any) -> probe.ModelSpeed:
        measured.append(backend)
        return real(backend, groups)

    monkeypatch.setattr(probe, "measure", measure)
    file = write_rows(tmp_path / "p.jsonl", [{"prompt": f"{n} loaves?"} for n in range(4)])
    cai("plan", "-p", file, "--json")
    time = json.loads(capsys.readouterr().out)["time"]
    assert 0 < time["least_seconds"] <= time["most_seconds"] and time["reason"] is None
    assert time["measured"]["miniature"]["tokens_per_second"] > 0
    assert len(measured) == 1
    cai("plan", "-p", file, "--no-probe")
    assert "time: not estimated (--no-probe)" in capsys.readouterr().out


def test_seconds_follow_from_the_steps_and_the_speeds() -> None:
    """100 texts of 50 tokens: 60 by the generator at 100 tokens/s, 40 by the critic at 50; 30
    checks at 10 a second, 20 judgements at 5: 30 + 40 + 3 + 4 = 77 s."""
    from collections import Counter

    from cai.authoring.planning import PlannedWork
    from cai.authoring.probe import ModelSpeed, seconds_of

    steps = Counter({"response": 50, "revision": 10, "critique": 40, "check": 30, "judgement": 20})
    work = PlannedWork(steps, 0, 5000)  # type: ignore[arg-type]
    speeds = {"generator": ModelSpeed(100, 0, 1), "critic": ModelSpeed(50, 10, 1),
              "judge": ModelSpeed(0, 5, 1)}  # fmt: skip
    assert seconds_of(work, speeds) == pytest.approx(77)  # type: ignore[arg-type]
    speeds["judge"] = ModelSpeed(0, 0, 1)
    assert seconds_of(work, speeds) is None  # type: ignore[arg-type]
