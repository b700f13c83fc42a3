"""Models that reason before they answer, through whole builds: what is kept, learned and scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cai.audit.items import trace_item
from cai.backends.local import LocalBackend
from cai.backends.scripted import ScriptedBackend
from cai.constitution.load import load_constitution
from cai.models.load import load_model
from cai.pipeline.build import Models, build
from cai.pipeline.config import BuildConfig
from cai.store.store import Store
from cai.text.template import TemplateOptions
from cai.types import Generate, Message, Prompt, Sampling, Score
from tests.e2e.helpers import EXPORTED, cai, rows
from tests.models.tiny import tiny
from tests.text.families import CHATML, family

SCRIPT = r"""
replies:
  - {when: "(?i)identify|critique", say: "<think>\nIt seems fine.\n</think>\n\nNo problem found."}
  - {when: "Never", say: "<think>\nHmm, so long that it never ends"}
  - when: "One"
    say: "So I think about it.\n</think>\n\nStudy endgames."
  - {say: ["<think>\nChess it is.\n</think>\n\nStudy openings.", "Look first."]}
scores:
  - {options: {"No problem found.": 0.4}}
"""
PROMPTS = "Never?\nOne?\n" + "".join(f"Question {n}?\n" for n in range(10))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("script.yaml").write_text(SCRIPT, "utf-8")
    Path("prompts.txt").write_text(PROMPTS, "utf-8")
    return tmp_path


def made(out: str, *more: object) -> Path:
    common = ("build-data", "-m", "scripted:script.yaml", "-p", "prompts.txt", "-o", out, "-q")
    cai(*common, "--rounds", 1, "--ties", *more)
    return Path(out)


@pytest.mark.usefixtures("here")
def test_reasoning_is_told_from_the_answer_and_kept_out_of_the_data() -> None:
    """Rows hold answers alone; a critique behind reasoning finds nothing; what never ends is aside.

    "One?" is answered as by a model whose prompt began the reasoning: only its end is written.
    """
    out = made("runs/a", "--pairs", 0)
    texts = [m["content"] for name in EXPORTED[:2] for r in rows(out / name) for m in r["messages"]]
    answers = texts[1::2]
    assert set(answers) == {"Study openings.", "Look first.", "Study endgames."}
    assert len(answers) == 11
    aside = rows(out / "set_aside.jsonl")
    assert [r["source"] for r in aside] == ["prompts.txt:1"]
    assert aside[0]["reason"].startswith("no answer: the reasoning of ")
    with Store.open(Path("runs/store.sqlite"), read_only=True) as store:
        traces = list(store.traces(store.runs()[0].id))
    assert all(r.outcome == "no-problem" for t in traces for r in t.revisions)
    thought = {t.response.reasoning for t in traces}
    assert thought == {"Chess it is.", "So I think about it.", ""}
    shown = [trace_item(t).values["response"].get("reasoning") for t in traces]
    assert set(shown) == {"Chess it is.", "So I think about it.", None}


@pytest.mark.usefixtures("here")
def test_reasoning_is_exported_on_request() -> None:
    plain, asked = made("runs/a"), made("runs/b", "--export-reasoning")
    for name in EXPORTED:
        assert "reasoning_content" not in (plain / name).read_text()
    responses = [
        message
        for name in EXPORTED
        for row in rows(asked / name)
        for key in ("messages", "chosen", "rejected")
        for message in row.get(key, [])[-1:]
    ]
    found = {message["content"]: message.get("reasoning_content") for message in responses}
    assert found == {
        "Study openings.": "Chess it is.",
        "Study endgames.": "So I think about it.",
        "Look first.": None,
    }


class Reasoner(ScriptedBackend):
    """A script whose model says of itself that it reasons."""

    @property
    def info(self) -> Any:
        return replace(super().info, reasons=True)


@pytest.mark.parametrize("mode", ["pointwise", "letters"])
def test_a_judge_that_reasons_is_scored_behind_its_reasoning(mode: Any, tmp_path: Path) -> None:
    """Every score asks behind what the judge thought of that question, also the final check."""
    rules = load_constitution("default")
    rules = replace(rules, feedback=replace(rules.feedback, mode=mode, principles_per_pair=2))
    thinker = Reasoner(
        [("", lambda request: f"<think>\nThought {request.sampling.seed}.\n</think>\n\nYes.")],
        [("", lambda request, option: -0.5)],
    )
    writer = ScriptedBackend([("", ["Study openings.", "Look first.", "Ask.", "Go."])])
    prompts = [Prompt(f"p{n}", (Message("user", f"Question {n}?"),)) for n in range(4)]
    with Store.open(tmp_path / "store.sqlite") as store:
        config = BuildConfig(rounds=1, sft_share=0.0, test_share=0.0)
        run = build(rules, prompts, store, Models(writer, thinker, thinker), config)
        comparisons = [c for c in store.comparisons(run.id) if c.judgements]
    scores = [r for r in thinker.requests if isinstance(r, Score)]
    thoughts = [r for r in thinker.requests if isinstance(r, Generate)]
    assert scores and comparisons
    assert len({s.reasoning for s in scores}) == len(scores), "each question has its own thoughts"
    assert {s.reasoning for s in scores} <= {f"Thought {t.sampling.seed}." for t in thoughts}
    for comparison in comparisons:
        for judgement in comparison.judgements:
            assert [g.reasoning for g in judgement.reasoning] != []
            assert all(g.reasoning.startswith("Thought ") for g in judgement.reasoning)


def test_options_are_scored_behind_closed_reasoning(tmp_path: Path) -> None:
    """On a model: after an empty block where nothing was thought, else after the thoughts."""
    tiny().save_pretrained(tmp_path)
    family("qwen35").save_pretrained(tmp_path)
    backend = LocalBackend(load_model(str(tmp_path), device="cpu"))
    assert backend.info.reasons
    ask = (Message("user", "Which?"),)
    for thought, block in (("", "<think>\n\n</think>\n\n"), ("hm", "<think>\nhm\n</think>\n\n")):
        prepared = backend.prepare(Score(ask, ("A", "B"), "(", thought))
        assert prepared.payload.encoded.text.endswith(f"assistant\n{block}(")
        start = prepared.payload.task.start
        option = prepared.payload.task.options[0]
        assert backend.encoder.decode(option[start:]) in ("A", "(A")
    off = LocalBackend(
        load_model(str(tmp_path), device="cpu", template=TemplateOptions(thinking="off"))
    )
    assert not off.info.reasons and off.info.template == {"thinking": "off"}
    wrote = off.prepare(Generate(ask, Sampling(max_new_tokens=4)))
    assert wrote.payload.encoded.text.endswith("assistant\n<think>\n\n</think>\n\n")


def test_a_run_keeps_the_day_on_which_it_began(tmp_path: Path, monkeypatch: Any) -> None:
    """A prompt more on another day: the template writes the first day, and nothing is made anew."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "dated"
    tiny().save_pretrained(folder)
    tokenizer = family("chatml")
    monkeypatch.setattr(
        tokenizer, "chat_template", "Today is {{ strftime_now('%Y-%m-%d') }}.\n" + CHATML
    )
    tokenizer.save_pretrained(folder)
    Path("p.txt").write_text("One?\nTwo?\n")
    common: tuple[Any, ...] = ("build-data", "-m", folder, "-p", "p.txt", "-o", "runs/a")
    common += ("--pairs", 0, "--rounds", 1, "--max-new-tokens", 4, "--no-examine", "-q")
    cai(*common, "--date", "2024-02-29")
    Path("p.txt").write_text("One?\nTwo?\nThree?\n")
    cai(*common)
    with Store.open(Path("runs/store.sqlite"), read_only=True) as store:
        first, second = store.runs()
        for run in (first, second):
            assert run.config["models"]["generator"]["template"] == {"date": "2024-02-29"}
        events = [e.detail for e in store.events(second.id) if e.event == "finished"]
        before = [e.detail for e in store.events(first.id) if e.event == "finished"]
        (trace, *_) = store.traces(second.id)
    assert trace.response.rendered_prompt.startswith("Today is 2024-02-29.\n")
    assert events[0]["reused"] == before[0]["generated"]
    assert events[0]["generated"]["response"] == 1
