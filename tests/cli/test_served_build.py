"""`cai build-data` with models of servers: one command against servers that work, fail and die."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cai.audit.runs import open_run
from cai.backends.server import waiting
from cai.cli.main import main
from cai.store.store import Store
from tests.cli.project import cai
from tests.e2e.helpers import rows
from tests.servers.faulty import FaultyServer
from tests.text.test_addresses import FORMS, KEYS

CANARY = "sk-canary-0123456789abcdef"
CONSTITUTION = """
api: cai/v1
kind: Constitution
id: house
version: 1.0.0
title: House rules
principles:
  - ref: kind.yaml
plan: {rounds: 1, check: false}
feedback: {mode: letters, principles_per_pair: 1}
"""
PRINCIPLE = """
api: cai/v1
kind: Principle
id: kind
version: 1.0.0
title: Kindness
why: Rude answers help nobody.
stages:
  critique: Say whether the response is rude.
  revise: Rewrite the response so that it is kind.
compare: Which response is kinder?
"""
PROMPTS = 12
DATA = ("sft.jsonl", "sft.test.jsonl", "preferences.jsonl", "preferences.test.jsonl")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAI_API_KEY", raising=False)
    monkeypatch.setattr(waiting, "BACKOFF_MOST", 0.3)
    (tmp_path / "house.yaml").write_text(CONSTITUTION)
    (tmp_path / "kind.yaml").write_text(PRINCIPLE)
    lines = (json.dumps({"prompt": f"Tell me of {n} things."}) for n in range(PROMPTS))
    (tmp_path / "prompts.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def words(asked: dict[str, Any]) -> str:
    """A response of its own to each request; each critique names a problem, each letter is A."""
    last = str(asked["messages"][-1]["content"])
    if "Which response is kinder?" in last:
        return "(A)"
    if "Say whether the response is rude" in last and "Rewrite" not in last:
        return "It is rude."
    body = json.dumps([asked["messages"], asked.get("seed")]).encode()
    return f"Words {hashlib.blake2b(body, digest_size=4).hexdigest()}."


def toy(seed: int = 7, *, share: float = 0.0, **settings: Any) -> FaultyServer:
    return FaultyServer(seed, share=share, **settings).says(words)


def registry(server: FaultyServer, **settings: object) -> None:
    """cai.yaml with one model, `toy`, whose identity does not depend on its port."""
    model = {"url": server.url, "model": server.model, "identity": "toy", **settings}
    Path("cai.yaml").write_text(json.dumps({"models": {"toy": model}}))


def build(*options: object, model: str = "toy", out: str = "runs/a", exit_code: int = 0) -> None:
    cai(
        "build-data", "-c", "house.yaml", "-p", "prompts.jsonl", "-m", model, "-o", out,
        "--max-new-tokens", 8, "--no-examine", "-q", *options, exit_code=exit_code,
    )  # fmt: skip


def exported(out: str) -> dict[str, bytes]:
    return {name: (Path(out) / name).read_bytes() for name in DATA}


def test_faults_change_no_byte_of_the_data() -> None:
    with toy() as server:
        registry(server)
        build(out="right/runs")
        expected = exported("right/runs")
        assert sum(len(data) for data in expected.values()) > 2000
    with toy(share=0.3, hang_seconds=2) as server:
        registry(server, timeout=0.7, concurrency=8)
        build(out="wrong/runs")
        assert exported("wrong/runs") == expected
        assert server.record.violations == []
        assert sum(server.record.faults.values()) > 10


def test_a_dead_server_ends_the_build_and_a_rerun_finishes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with toy() as server:
        registry(server)
        build(out="right/runs")
    with toy().dead_after(40) as server:
        registry(server, give_up_after=0.5)
        build(exit_code=8)
        error = capsys.readouterr().err
        assert "given up" in error and "no connection" in error
        assert "Run the same command again" in error
    with Store.open(Path("runs/store.sqlite"), read_only=True) as store:
        (run,) = store.runs()
        assert store.status(run.id) == "failed"
    with toy() as server:
        registry(server)
        build()
        assert exported("runs/a") == exported("right/runs")
        again = server.record.answered
    with toy() as server:
        registry(server)
        build(out="third/runs")
        assert again < server.record.answered  # what was answered before was not asked again


def test_the_record_says_who_served_and_how_labels_were_scored() -> None:
    with toy() as server:
        build(model=f"{server.url}#{server.model}")
    manifest = json.loads(Path("runs/a/manifest.json").read_text())
    served = manifest["models"]["judge"]
    assert served["name"] == server.model
    assert served["server"]["address"] == [server.url]
    assert served["server"]["software"] == "tests"
    preferences = rows(Path("runs/a/preferences.jsonl"))
    assert {row["judge_method"] for row in preferences if row["origin"] == "comparison"} == {
        "top-logprobs"
    }
    assert "by `top-logprobs`" in Path("runs/a/README.md").read_text()


def test_the_summary_and_a_dry_run_say_that_the_server_samples(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = (
        "build-data", "-c", "house.yaml", "-p", "prompts.jsonl", "-m", "toy", "-o", "runs/a",
        "--max-new-tokens", 8, "--no-examine",
    )  # fmt: skip
    with toy() as server:
        registry(server)
        cai(*arguments, "--dry-run")
        cai(*arguments)
    assert "Sampling: left to the model server." in capsys.readouterr().out


def test_a_server_without_logprobs_is_refused_before_anything_is_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with toy().ignores_logprobs() as server:
        registry(server)
        build(exit_code=8)
        assert "the server ignores the fields without a word" in capsys.readouterr().err
        assert server.record.answered < 20  # probes alone
        registry(server, scoring="sampling", samples=4)
        build("--ties", out="runs/b")  # every letter is A, in both orders
    judged = [r for r in rows(Path("runs/b/preferences.jsonl")) if r["origin"] == "comparison"]
    assert {row["judge_method"] for row in judged} == {"sampling"}
    assert "an estimate from sampled answers" in Path("runs/b/README.md").read_text()


def test_a_budget_ends_the_build_and_a_larger_one_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with toy() as server:
        registry(server)
        build(out="right/runs")
        build("--budget", 1, exit_code=2)
        assert "needs the price" in capsys.readouterr().err
        registry(server, price={"prompt": 1.0, "response": 1.0}, concurrency=1)
        build("--budget", 0.004, exit_code=9)
        cai("runs", "--json")
        assert json.loads(capsys_out(capsys))["runs"][0]["status"] == "stopped"
        build("--budget", 0.004, exit_code=9)
        error = capsys.readouterr().err
        assert "The budget of 0.004 is spent" in error and "larger --budget" in error
        build("--budget", 0.004, exit_code=9)  # what was spent before counts
        build("--budget", 1)
        assert exported("runs/a") == exported("right/runs")


def capsys_out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_small_budget_is_passed_by_little_and_the_summary_has_the_cost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A token costs 1: the whole costs thousands, and each request some hundreds. The first task
    runs by itself, since the plan expects two to cost more than what is there."""
    arguments = (
        "build-data", "-c", "house.yaml", "-p", "prompts.jsonl", "-m", "toy", "-o", "runs/a",
        "--max-new-tokens", 8, "--no-examine", "--json",
    )  # fmt: skip
    with toy(delay=0.02) as server:
        registry(server, price={"prompt": 1e6, "response": 1e6})
        cai(*arguments, "--budget", 900, exit_code=9)
        shown = capsys.readouterr()
        assert "is estimated to cost" in shown.err and "the budget is 900" in shown.err
        spent = float(re.search(r"\(([\d.e+]+) in all\)", shown.err)[1])  # type: ignore[index]
        cai(*arguments, "--budget", 1e9)
        values = json.loads(capsys.readouterr().out)["spent"]
        assert values["budget"] == 1e9
        assert values["cost"] == values["tokens"]["read"] + values["tokens"]["written"]
        assert values["total_cost"] == pytest.approx(values["cost"] + spent, rel=0.01)
        assert 900 <= spent < 2000 < values["total_cost"] / 2
        cai(*arguments[:-1])
    assert re.search(r"Model servers: [\d,]+ tokens read", capsys_out(capsys))


def test_a_budget_ends_an_examination(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with toy(delay=0.02) as server:
        registry(server, price={"prompt": 1e6, "response": 1e6})
        Path("house.yaml").write_text(CONSTITUTION.replace("kind.yaml", "tested.yaml"))
        tests = "".join(
            f"  - {{name: 't{n}', prompt: 'Is it {n}?', response: 'No.',"
            " expect: {critique_flags: problem}}\n"
            for n in range(60)
        )
        Path("tested.yaml").write_text(f"{PRINCIPLE}tests:\n{tests}")
        before = server.record.answered
        cai(
            "build-data", "-c", "house.yaml", "-p", "prompts.jsonl", "-m", "toy", "-o", "runs/a",
            "--max-new-tokens", 8, "--budget", 600, exit_code=9,
        )  # fmt: skip
        assert server.record.answered - before < 50
    error = capsys.readouterr().err
    assert "the examination of critic and judge alone" in error
    assert "0 of " in error


def test_a_plan_multiplies_what_is_sampled_and_names_what_has_no_price(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read(**settings: Any) -> dict[str, Any]:
        model = {"url": "http://127.0.0.1:9/v1", "model": "m"}
        judge = {**model, "price": {"prompt": 1, "response": 1}, **settings}
        Path("cai.yaml").write_text(json.dumps({"models": {"toy": model, "judge": judge}}))
        build("--dry-run", "--json", "--judge", "judge")
        out = json.loads(capsys_out(capsys))
        build("--dry-run", "--judge", "judge")
        text = capsys_out(capsys)
        assert "without that of the generator and the critic, which has no `price`" in text
        assert "counted by words" in text and "were not asked" in text
        return dict(out["estimate"])

    one, many = read(), read(scoring="sampling", samples=8)
    judged = one["least"]["steps"]["judgement"]
    assert judged == many["least"]["steps"]["judgement"] > 0
    # a letter is a word, so each judgement writes 8 tokens, and reads its prompt 8 times
    assert many["least"]["written"] - one["least"]["written"] == 8 * judged
    assert many["least_cost"] * 1e6 == pytest.approx(8e6 * one["least_cost"] + 8 * judged, rel=1e-6)


@pytest.mark.parametrize("place", ["environment", "address", "registry", "file"])
def test_a_key_is_sent_and_written_nowhere(
    place: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with toy().requires_key(CANARY) as server:
        model = f"{server.url}#{server.model}"
        if place == "environment":
            monkeypatch.setenv("CAI_API_KEY", CANARY)
        elif place == "address":
            model = model.replace("http://", f"http://{CANARY}@")
        else:
            model = "toy"
            monkeypatch.setenv("TOY", CANARY)
            (project.parent / f"{project.name}.key").write_text(CANARY)
            setting = {"registry": {"api_key_env": "TOY"},
                       "file": {"api_key_file": f"../{project.name}.key"}}  # fmt: skip
            registry(server, **setting[place])
        build(model=model)
        assert server.record.authorizations == {f"Bearer {CANARY}"}
    with toy().requires_key("another") as server:
        if place == "address":
            model = f"http://{CANARY}@127.0.0.1:{server.port}/v1#{server.model}"
            build(model=model, out="runs/b", exit_code=8)
        else:
            build(model=f"{server.url}#toy-lm", out="runs/b", exit_code=8)
    cai("audit", "report", "runs/a")
    with open_run(Path("runs/a")) as run:
        where = "http://127.0.0.1:" if place in ("environment", "address") else "toy"
        assert f"at {where}" in run.facts["served by"]
    shown = capsys.readouterr()
    assert CANARY not in shown.out + shown.err
    files = [path for path in project.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("key", KEYS[:3])
def test_no_form_of_an_address_shows_its_key(
    key: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether a command takes it or not, no output and no file has a part of the key."""
    with toy() as server:
        for number, form in enumerate(FORMS):
            model = form.format(key=key, host=f"127.0.0.1:{server.port}")
            run_any("build-data", "-c", "house.yaml", "-p", "prompts.jsonl", "-m", model,
                    "-o", f"runs/{number}", "--limit", "1", "--no-examine")  # fmt: skip
            run_any("render", "kind.yaml", "--prompt", "Hi", "-m", model)
            run_any(model)
        for command in (
            ("lint", "house.yaml", "-m", model),
            ("try", "kind.yaml", "--prompt", "Hi", "-m", model),
            ("plan", "-p", "prompts.jsonl", "-c", "house.yaml", "--judge", model),
            ("compare", "-m", model, "-p", "prompts.jsonl"),
            ("train", "sft", "--base", model, "--data", "runs/none"),
        ):  # fmt: skip
            run_any(*command)
    shown = capsys.readouterr()
    texts = {"output": shown.out + shown.err}
    texts |= {str(p): p.read_bytes().decode("utf-8", "replace") for p in files_of(project)}
    for where, text in texts.items():
        found = re.search("xqzj|vkwp", text, re.IGNORECASE)
        assert found is None, (where, text[max(0, found.start() - 200) : found.end() + 50])


def files_of(project: Path) -> list[Path]:
    return [path for path in project.rglob("*") if path.is_file()]


def run_any(*arguments: str) -> None:
    """Run a command whose exit code does not matter; a traceback does."""
    with pytest.raises(SystemExit):
        main(list(arguments))


def test_an_adapter_is_the_servers_own(capsys: pytest.CaptureFixture[str]) -> None:
    with toy() as server:
        registry(server)
        build("--adapter", "runs/sft", exit_code=2)
    assert "loads its own adapters" in capsys.readouterr().err


def test_a_name_of_the_registry_may_be_a_local_model(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rules.yaml").write_text("replies: [{say: Sure.}]\n")
    Path("cai.yaml").write_text('models: {fake: {path: "scripted:rules.yaml"}}')
    build(model="fake", out="runs/fake")
    manifest = json.loads(Path("runs/fake/manifest.json").read_text())
    assert manifest["models"]["generator"]["name"] == "rules.yaml"


def test_a_name_that_is_close_to_one_of_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    with toy() as server:
        model = {"url": server.url, "model": server.model}
        Path("cai.yaml").write_text(json.dumps({"models": {"writer": model}}))
        build(model="wrtier", exit_code=2)
    assert "Did you mean 'writer'?" in capsys.readouterr().err


def test_a_served_build_imports_no_torch() -> None:
    with toy() as server:
        arguments = [
            "build-data", "-c", "house.yaml", "-p", "prompts.jsonl", "-m", server.url,
            "-o", "runs/a", "--max-new-tokens", "8", "--no-examine", "-q",
        ]  # fmt: skip
        code = (
            "import sys; from cai.cli.main import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr


def test_a_dry_run_shows_the_address_without_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    with toy().requires_key(CANARY) as server:
        address = server.url.replace("http://", f"http://{CANARY}@")
        build("--dry-run", model=f"{address}#{server.model}")
    shown = capsys.readouterr()
    assert CANARY not in shown.out + shown.err
    assert "http://***@127.0.0.1" in shown.out
    assert "the speed of a model server is not measured" in shown.out
    assert not Path("runs").exists()


def test_a_dry_run_estimates_the_cost(capsys: pytest.CaptureFixture[str]) -> None:
    """Words stand in for tokens; prices are of a million."""
    with toy() as server:
        registry(server, price={"prompt": 3.0, "response": 5.0})
        build("--dry-run", "--json")
    estimate = json.loads(capsys.readouterr().out)["estimate"]
    for name in ("least", "most"):
        work = estimate[name]
        expected = (3 * work["read"] + 5 * work["written"]) / 1e6
        assert estimate[f"{name}_cost"] == pytest.approx(expected)
    assert estimate["least_cost"] > 0


def test_a_served_model_chats(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with toy().says("Bread needs \x1b]0;title\x07time.") as server:
        registry(server)
        monkeypatch.setattr("sys.stdin", io.StringIO("How is bread made?\n/load runs/sft\n"))
        cai("chat", "-m", "toy")
        shown = capsys.readouterr()
        assert "Bread needs ␛]0;title␇time." in shown.out  # shown, not obeyed
        assert "\x1b]0" not in shown.out + shown.err
        cai("chat", "-m", "toy", "-a", "runs/sft", exit_code=2)
        assert "loads its own adapters" in capsys.readouterr().err


def test_trace_names_the_server_and_shows_messages(capsys: pytest.CaptureFixture[str]) -> None:
    with toy() as server:
        build(model=f"{server.url}#{server.model}")
    cai("trace", "runs/a/sft.jsonl:1", "--prompts")
    shown = capsys.readouterr().out
    assert f"toy-lm by tests at {server.url} (critic, generator, judge)" in shown
    assert "these messages; the model server applied its own chat template" in shown
    assert "user: Tell me of" in shown and "assistant: \n" not in shown
    card = Path("runs/a/README.md").read_text()
    assert f"toy-lm was served by tests at {server.url}." in card
    assert "Sampling: left to the model server." in card


def test_a_lost_server_is_in_the_summary_and_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with toy() as dead:
        gone = dead.url
    with toy() as server:
        registry(server, url=[server.url, gone])
        arguments = (
            "build-data", "-c", "house.yaml", "-p", "prompts.jsonl", "-m", "toy", "-o", "runs/a",
            "--max-new-tokens", 8, "--no-examine",
        )  # fmt: skip
        cai(*arguments)
        shown = capsys.readouterr()
        assert gone in shown.err and "`identity`" in shown.err
        assert f"the model server at {gone} was lost" in " ".join(shown.out.split())
        assert gone in Path("runs/a/run.log").read_text()
        cai(*arguments, "--json")
        assert gone in json.loads(capsys.readouterr().out)["lost_servers"]


def test_a_build_refuses_the_folder_of_a_guard(capsys: pytest.CaptureFixture[str]) -> None:
    with toy() as server:
        registry(server)
        build()
        manifest = json.loads(Path("runs/a/manifest.json").read_text())
        manifest["config"]["guard"] = {}
        Path("runs/a/manifest.json").write_text(json.dumps(manifest))
        build(exit_code=2)
    assert "is the folder of a guard" in capsys.readouterr().err
