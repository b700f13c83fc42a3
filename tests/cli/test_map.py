"""`cai map`: what it prints, what it proposes, and what it says where it can't."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cai.constitution.load import load_constitution
from cai.pipeline.snapshot import snapshot
from cai.types import Constitution
from tests.audit.runs import rollouts, write
from tests.cli.project import cai
from tests.relations.planted import comparison, planted_run, planted_verdicts
from tests.store import samples

Output = pytest.CaptureFixture[str]

PRINCIPLE = """\
api: cai/v1
kind: Principle
id: {name}
version: 1.0.0
title: Be {name}
why: Because.
stages:
  critique: Say what is not {name}.
  revise: Make it {name}.
compare: Which one is more {name}?
"""
CONSTITUTION = """\
api: cai/v1
kind: Constitution
id: small
version: 1.0.0
title: A small one

principles:
  # manners first
  - {ref: ../principles/manners.yaml, weight: 2}
  - {ref: ../principles/twin.yaml, phases: [sl, rl]}   # says the same
  - ref: ../principles/rebel.yaml  # in a block
    weight: 1
  # and these
  - {ref: ../principles/idle.yaml, phases: [rl]}
  - ref: ../principles/own.yaml
    phases:
      - sl
      - rl
plan: {rounds: 1, draw: uniform}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Constitution:
    """A project whose run has judged pairs under the planted principles."""
    monkeypatch.chdir(tmp_path)
    Path("constitution").mkdir()
    Path("principles").mkdir()
    for name in ("manners", "twin", "rebel", "idle", "own"):
        Path(f"principles/{name}.yaml").write_text(PRINCIPLE.format(name=name))
    Path("constitution/small.yaml").write_text(CONSTITUTION)
    rules = load_constitution("small")
    verdicts = planted_verdicts(60)
    records = [comparison(rules, f"p{n}", row) for n, row in enumerate(verdicts)]
    write(tmp_path, "demo", records, "r-demo", recorded=snapshot(rules))
    return rules


def test_the_map_in_words(project: Constitution, capsys: Output) -> None:
    cai("map", "demo", "--rows", "1")
    told = capsys.readouterr().out
    assert told.startswith("small 1.0.0 in r-demo: 60 pairs and 120 responses that two principles")
    assert re.search(r"^manners +twin +the same +60 +100% +1.00 \(0.88 to 1.00\)", told, re.M)
    assert re.search(r"^manners +rebel +opposed +60 +0% +-1.00 \(-1.00 to -0.88\)", told, re.M)
    assert "4 other of 10 on too few" in told  # `idle` with each
    assert re.search(r"^manners +rebel +60 +60 +100% \(94% to 100%\)", told, re.M)
    assert "manners against rebel, the clearest first:" in told
    assert re.search(r"c-p\d+-0  Question p\d+\?\n    the first response is better: 0.02 and 0.98|"
                     r"c-p\d+-0  Question p\d+\?\n    the first response is better: 0.98 and 0.02",
                     told)  # fmt: skip
    assert re.search(r"^idle +idle +0 of 60", told, re.M)
    assert "twin says the same as manners." in told
    assert "cai map demo --most 5% --propose constitution/smaller.yaml" in told


def test_the_map_as_json(project: Constitution, capsys: Output) -> None:
    cai("map", "demo", "--json", "--most", "0.1")
    values = json.loads(capsys.readouterr().out)
    assert values["run"] == "r-demo" and values["constitution"] == "small 1.0.0"
    assert {p["id"]: p["standing"] for p in values["principles"]}["idle"] == "idle"
    assert values["smaller_set"]["most"] == 0.1 and values["smaller_set"]["file"] is None
    assert values["smaller_set"]["without"]
    assert len(values["on_pairs"]) == 10 and len(values["contradictions"][0]["items"]) == 60


def test_a_proposal_is_a_constitution_to_diff(project: Constitution, capsys: Output) -> None:
    """Everything but `manners`: those that critique keep that phase, `idle` goes. Comments stay."""
    cai("map", "demo", "--most", "100%", "--propose", "constitution/smaller.yaml")
    told = capsys.readouterr().out
    assert "Wrote constitution/smaller.yaml: without idle; " in told
    assert "cai diff constitution/small.yaml constitution/smaller.yaml --prompts FILE" in told
    found = load_constitution("smaller")
    phases = {m.principle.id: m.phases for m in found.members}
    assert phases == {
        "manners": ("sl", "rl"), "twin": ("sl",), "rebel": ("sl",), "own": ("sl",),
    }  # fmt: skip
    assert found.id == "smaller" and found.members[0].weight == 2
    text = Path("constitution/smaller.yaml").read_text()
    for comment in ("# manners first", "# says the same", "# in a block", "# and these"):
        assert comment in text
    assert Path("constitution/small.yaml").read_text() == CONSTITUTION  # never applied by itself
    cai("diff", "--content", "constitution/small.yaml", "constitution/smaller.yaml")
    assert "removed" in capsys.readouterr().out
    cai("map", "demo", "--most", "1", "--propose", "constitution/smaller.yaml", exit_code=2)
    assert "constitution/smaller.yaml exists" in capsys.readouterr().err


def test_the_proposal_is_the_set_that_was_shown(project: Constitution, capsys: Output) -> None:
    """`own` is sure of itself here, and labels depend on it: at 10 % it stays, at 100 % it goes.
    What is written are the ones that --json names."""
    rows = [r | {"own": 0.999 if n % 3 else 0.001} for n, r in enumerate(planted_verdicts(60))]
    records = [comparison(project, f"q{n}", row) for n, row in enumerate(rows)]
    write(Path(), "sure", records, "r-sure", recorded=snapshot(project))
    cai("map", "sure", "--json", "--most", "100%")
    assert len(json.loads(capsys.readouterr().out)["smaller_set"]["without"]) == 4
    cai("map", "sure", "--json", "--most", "10%", "--propose", "constitution/ten.yaml")
    values = json.loads(capsys.readouterr().out)["smaller_set"]
    assert 1 <= len(values["without"]) < 4 and values["file"] == "constitution/ten.yaml"
    judging = {m.principle.id for m in load_constitution("ten").phase("rl")}
    assert judging == {"manners", "twin", "rebel", "idle", "own"} - set(values["without"])


@pytest.mark.parametrize(
    ("out", "edit", "message"),
    [
        ("other.yaml", ("", ""), "is not beside"),
        ("constitution/No Name.yaml", ("", ""), "can't be the name of a constitution"),
        ("constitution/x.yaml", ("weight: 2", "weight: 3"), "it was edited since"),
    ],
)
def test_no_proposal(
    project: Constitution, out: str, edit: tuple[str, str], message: str, capsys: Output
) -> None:
    file = Path("constitution/small.yaml")
    file.write_text(CONSTITUTION.replace(*edit) if edit[0] else CONSTITUTION)
    cai("map", "demo", "--most", "100%", "-c", "small", "--propose", out, exit_code=2)
    assert message in capsys.readouterr().err
    assert not Path(out).exists()


def test_no_proposal_of_what_is_inherited_or_on_one_line(
    project: Constitution, tmp_path: Path, capsys: Output
) -> None:
    base = CONSTITUTION.replace("id: small", "id: base")
    Path("constitution/base.yaml").write_text(base)
    head = CONSTITUTION.partition("\nprinciples:")[0]
    Path("constitution/small.yaml").write_text(f"{head}\nextends: ./base.yaml\n")
    cai("map", "demo", "--most", "1", "--propose", "constitution/x.yaml", exit_code=2)
    assert "it extends a file that does" in capsys.readouterr().err
    names = ("manners", "twin", "rebel", "idle", "own")
    items = ", ".join(
        f"{{ref: ../principles/{n}.yaml, weight: {2 if n == 'manners' else 1}"
        f"{', phases: [rl]' if n == 'idle' else ''}}}" for n in names
    )  # fmt: skip
    Path("constitution/small.yaml").write_text(
        f"{head}\nprinciples: [{items}]\nplan: {{rounds: 1, draw: uniform}}\n"
    )
    cai("map", "demo", "--most", "1", "--propose", "constitution/x.yaml", exit_code=2)
    assert "listed on one line" in capsys.readouterr().err
    assert not Path("constitution/x.yaml").exists()


def test_a_run_without_common_verdicts(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "demo", [samples.comparison("p")], "r-1")
    cai("map", "demo", exit_code=4)
    assert "has no pair and no response that two principles judged" in capsys.readouterr().err
    rollouts(tmp_path / "ppo")
    cai("map", "ppo", exit_code=2)
    assert "ppo is no run of cai build-data" in capsys.readouterr().err
    cai("map", "nowhere", exit_code=4)
    assert "nowhere" in capsys.readouterr().err
    planted_run(tmp_path, 12)
    cai("map", "planted", "--propose", "x.yaml", exit_code=2)
    assert "so nothing is proposed" in capsys.readouterr().err
