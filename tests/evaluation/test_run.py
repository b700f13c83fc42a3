"""Several models, several judges: results, changes, agreement, warnings and the record."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cai.backends.base import ModelInfo
from cai.backends.scripted import ScriptedBackend
from cai.errors import DataError, PromptError, UsageError
from cai.evaluation.folder import read_evaluation
from cai.evaluation.record import answers_problems, read_answers, validate_out, write_evaluation
from cai.evaluation.run import Evaluation, Judges, evaluate, name_models
from cai.evaluation.suite import Suite
from cai.pipeline.steps import Draws
from cai.store.store import Store
from cai.types import Feedback, Messages, Score
from tests.evaluation.asking import suite
from tests.factories import constitution

NO = "I'm sorry, I can't help with that."
PROMPTS = suite(
    "response", *({"prompt": f"Tell me of {n} things."} for n in range(10)),
    judges={"refused": "lower"},
)  # fmt: skip


class LongerIsBetter:
    """A reward of one a word; it can't read more than five."""

    def score_rows(self, rows: Sequence[tuple[Messages, str]]) -> list[float]:
        if any(len(text.split()) > 5 for _, text in rows):
            raise PromptError("too long")
        return [float(len(text.split())) for _, text in rows]


def refuser(share: int) -> ScriptedBackend:
    """A model that refuses the first `share` of ten prompts."""
    rules = [(f" {n} ", NO) for n in range(share)]
    return ScriptedBackend([*rules, ("", "Here is one.")], name=f"refuser {share}")


def run(folder: Path, models: dict[str, ScriptedBackend], *suites: Suite,
        judges: Judges | None = None) -> Evaluation:  # fmt: skip
    makers = {name: (lambda model=model: model) for name, model in models.items()}
    with Store.open(folder / "store.sqlite") as store:
        return evaluate(makers, suites, store, Draws(temperature=0.0), judges)


def test_results_and_changes_against_the_first_model(tmp_path: Path) -> None:
    """From 8 of 10 refused to none: all eight changed one way, McNemar's p is 2 · 2^-8."""
    found = run(tmp_path, {"base": refuser(8), "sft": refuser(0), "same": refuser(8)}, PROMPTS)
    values = {(r.model, r.measure.name): r.estimate for r in found.results}
    assert values["base", "refused"].value == 0.8
    assert values["sft", "refused"].value == 0.0
    low, high = values["base", "refused"].low, values["base", "refused"].high
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)  # Wilson, 8 of 10
    by_model = {change.model: change for change in found.changes}
    assert by_model["sft"].paired.change.value == -0.8
    assert by_model["sft"].paired.p_value == pytest.approx(2 * 0.5**8)
    assert by_model["sft"].adjusted == pytest.approx(2 * 2 * 0.5**8)  # of two comparisons
    assert by_model["sft"].better is True
    assert by_model["same"].better is None
    assert by_model["same"].adjusted == 1.0


def test_judges_agree_or_do_not(tmp_path: Path) -> None:
    """The rule finds eight refusals bad; the judge finds every reply good but the last two."""
    judge = ScriptedBackend(
        scores=[
            (lambda messages: messages[-2].content.startswith("Here"), {"No problem found.": 0.1}),
            ("", {"No problem found.": 0.9}),
        ],
        name="judge",
    )
    judges = Judges(model=judge, rules=constitution("rude"))
    found = run(tmp_path, {"base": refuser(8)}, PROMPTS, judges=judges)
    (row,) = found.record["agreement"]
    assert row["judges"] == ["refused", "judge"]
    assert (row["agreed"], row["n"]) == (0.0, 10)
    # Expected by chance: 0.8 · 0.2 + 0.2 · 0.8 = 0.32; κ = (0 − 0.32) / (1 − 0.32)
    assert row["kappa"] == pytest.approx(-0.32 / 0.68)
    shares = {r.measure.name: r.estimate.value for r in found.results}
    assert shares["violation"] == 0.2
    assert found.record["warnings"] == []
    again = run(tmp_path / "b", {"judge": judge}, PROMPTS, judges=judges)
    assert again.record["warnings"] == ["judge judges itself: the judge is the same model"]


def test_a_reward_model_judges_and_is_judged(tmp_path: Path) -> None:
    style = suite(
        "style",
        {"prompt": "Why?", "response": "Because it is.", "edited": "Well, because it is.",
         "edit": "padding"},
        {"prompt": "Why?", "response": "It just is so.", "edited": "It is.", "edit": "formal"},
        {"prompt": "Why?", "response": "Yes.", "edited": "1 2 3 4 5 6", "edit": "x"},
    )  # fmt: skip
    judges = Judges(reward=LongerIsBetter(), reward_facts={"name": "rm"})
    found = run(tmp_path, {"base": refuser(2)}, PROMPTS, style, judges=judges)
    values = {(r.model, r.measure.name): r.estimate for r in found.results}
    # Eight replies have three words, and refusals have seven, which it can't read.
    assert (values["base", "reward"].value, values["base", "reward"].n) == (3.0, 8)
    assert values["reward model rm", "prefers_edit"].value == 0.5
    # Scores 3, 4, 1 and 4, 2: the edits change them by +1 and −2.
    spread = math.sqrt(sum((x - 2.8) ** 2 for x in (3, 4, 1, 4, 2)) / 5)
    change = values["reward model rm", "score_change"]
    assert change.value == pytest.approx((1 - 2) / 2 / spread, rel=0.2)
    assert [row["source"] for row in found.record["set_aside"]] == ["a-style: style-3"]


def test_an_evaluation_in_its_folder(tmp_path: Path) -> None:
    found = run(tmp_path, {"base": refuser(1)}, PROMPTS)
    out = tmp_path / "eval"
    write_evaluation(out, found.record, found.answers)
    record = read_evaluation(out)
    assert record["results"][0]["value"] == 0.1
    assert list(read_answers(out)) == [("base", answer) for answer in found.answers["base"]]
    assert answers_problems(out, record) == []
    validate_out(out, record["id"])
    with pytest.raises(UsageError, match="holds another evaluation"):
        validate_out(out, "e-other")
    lines = (out / "answers.jsonl").read_text()
    (out / "answers.jsonl").write_text(lines.replace("Here is one", "Here is two"))
    assert "changed" in answers_problems(out, record)[0]
    (out / "answers.jsonl").write_text(lines + "{}\n")
    with pytest.raises(DataError, match=r"answers\.jsonl:11: not an answer"):
        list(read_answers(out))


def test_the_id_is_of_all_that_decides_the_results(tmp_path: Path) -> None:
    ids = [
        run(tmp_path / str(n), models, one).record["id"]
        for n, (models, one) in enumerate([
            ({"a": refuser(1)}, PROMPTS), ({"b": refuser(1)}, PROMPTS),
            ({"a": refuser(2)}, PROMPTS), ({"a": refuser(1)}, PROMPTS.sample(4, 0)),
        ])
    ]  # fmt: skip
    assert ids[0] == ids[1], "a name alone changes nothing"
    assert len(set(ids)) == 3


def test_stored_answers_are_reused(tmp_path: Path) -> None:
    model = refuser(3)
    run(tmp_path, {"base": model}, PROMPTS)
    asked = len(model.requests)
    again = run(tmp_path, {"base": model}, PROMPTS)
    assert len(model.requests) == asked == 10
    assert again.record["models"][0]["reused_steps"] == 10
    json.dumps(again.record)


def test_names_of_models() -> None:
    assert name_models(["sft", "sft", "dpo"]) == ["sft", "sft-2", "dpo"]


def test_a_judge_prefers_the_longer_reply(tmp_path: Path) -> None:
    """By letters, in both orders: 0.9 for the longer reply wherever it stands.

    The logits of both orders are capped softly before they are averaged: 5 tanh(logit(0.9) / 5) is
    2.0662, whose sigmoid is 0.8875. All pairs differ in length alike, so that no length-controlled
    rate can be told from it.
    """

    def longer(request: Score, option: str) -> float:
        text = request.messages[-1].content
        first = text.index("word word word") < text.index("Short.")
        return math.log(0.9 if (option == "A") is first else 0.1)

    rules = constitution("rude", feedback=Feedback(mode="letters"))
    judge = ScriptedBackend(
        scores=[(lambda messages: "Short." in messages[-1].content, longer),
                ("", {"No problem found.": 0.5})],
        name="judge",
    )  # fmt: skip
    models = {
        "base": ScriptedBackend([("", "Short.")], name="short"),
        "sft": ScriptedBackend([("", "word word word")], name="long"),
        "same": ScriptedBackend([("", "Short.")], name="short too"),
    }
    found = run(tmp_path, models, PROMPTS, judges=Judges(model=judge, rules=rules))
    by_model = {row["model"]: row for row in found.record["win_rates"]}
    assert by_model["sft"]["win_rate"]["value"] == pytest.approx(0.8875, abs=1e-4)
    assert by_model["sft"]["longer_by"] == 2.0
    assert by_model["sft"]["flipped"] == 0.0
    assert by_model["sft"]["length_controlled"] is None, "too few pairs"
    assert by_model["same"]["win_rate"]["value"] == 0.5, "equal replies are even"
    first = found.preferences[0]
    assert (first.model, first.item, first.lengths) == ("sft", "response-1", (1, 3))
    assert first.principles == pytest.approx({"rude": 0.9})
    write_evaluation(tmp_path / "eval", found.record, found.answers, found.preferences)
    assert len((tmp_path / "eval" / "preferences.jsonl").read_text().splitlines()) == 20
    assert answers_problems(tmp_path / "eval", read_evaluation(tmp_path / "eval")) == []


def test_the_rules_of_a_suite_are_one_judge(tmp_path: Path) -> None:
    """A reply is good by the rules where all find it so: no two rules are compared."""
    one = suite(
        "response", {"prompt": "What of 1?"}, {"prompt": "What of 2?"},
        judges={"refused": "lower", "hedged": "higher"},
    )  # fmt: skip
    model = ScriptedBackend([("1", "Nobody knows."), ("", "Here is one.")], name="model")
    judge = ScriptedBackend(scores=[("", {"No problem found.": 0.9})], name="judge")
    judges = Judges(model=judge, rules=constitution("rude"))
    (row,) = run(tmp_path, {"base": model}, one, judges=judges).record["agreement"]
    assert row["judges"] == ["rules", "judge"]
    assert row["agreed"] == 0.5


class Thinker(ScriptedBackend):
    """A scripted judge that says of itself that it reasons before it answers."""

    @property
    def info(self) -> ModelInfo:
        return replace(super().info, reasons=True)


def test_a_judge_that_reasons_reasons_before_every_verdict(tmp_path: Path) -> None:
    """Before it judges a reply, and before it compares two."""
    judge = Thinker(
        [("", "<think>Let me see.</think>\n\nA")], [("", {"No problem found.": 0.9})], name="judge"
    )
    models = {"base": refuser(0), "sft": refuser(3)}
    run(tmp_path, models, PROMPTS.sample(3, 0), judges=Judges(judge, constitution("rude")))
    verdicts = [request for request in judge.requests if isinstance(request, Score)]
    assert verdicts
    assert all(request.reasoning == "Let me see." for request in verdicts)
