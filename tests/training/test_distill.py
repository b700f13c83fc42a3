"""Distillation: whose distributions are compared where, what the teacher reads, and who learns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cai.constitution import messages
from cai.data.training_run import read_run
from cai.errors import DataError, TrainingError, UsageError
from cai.models.backbone import Backbone
from cai.models.load import LoadedModel
from cai.training.config import DistillConfig
from cai.training.distill import DistillTrainer
from cai.training.metrics_log import ROLLOUTS
from cai.training.rollout import EncodedPrompt, Response
from cai.training.teacher import InstructedTeacher, Lesson, RevisingTeacher
from cai.training.train import train
from cai.types import Constitution, Message, Plan, Prompt
from tests.e2e.helpers import rows
from tests.factories import constitution
from tests.models.fresh import SMALL, adapter_state, add_trained
from tests.models.tiny import encoder, tiny
from tests.training.interrupted import goes_on_bit_for_bit
from tests.training.ppo_runs import PROMPTS, backbone, loaded

SETTINGS: dict[str, Any] = {
    "prompts_per_update": 4, "max_new_tokens": 8, "updates": 4, "learning_rate": 3e-3,
    "critique_tokens": 8, "teacher": "constitution",
}  # fmt: skip


def trainer(base: Backbone | None = None, **changes: Any) -> DistillTrainer:
    """A trainer on the random llama. changes: settings, or arguments of the trainer."""
    names = DistillConfig.__dataclass_fields__.keys() - {"constitution"}
    settings = DistillConfig(**SETTINGS | {k: v for k, v in changes.items() if k in names})
    rest = {k: v for k, v in changes.items() if k not in names}
    rules: Constitution = rest.pop("constitution", constitution())
    prompts: Sequence[Prompt] = rest.pop("prompts", PROMPTS)
    return DistillTrainer(base or backbone(), rules, prompts, settings, **rest)


def response(base: Backbone, text: str, ids: Sequence[int]) -> Response:
    prompt = (Message("user", text),)
    encoded = EncodedPrompt(text, prompt, base.encoder.encode(prompt).ids)
    return Response(encoded, tuple(ids), base.encoder.tokenizer.decode(ids), ended=True)


def merged(logprobs: Tensor, k: int) -> Tensor:
    """The first k tokens, and all others as one."""
    rest = logprobs[:, k:].exp().sum(1, keepdim=True).log()
    return torch.cat([logprobs[:, :k], rest], 1)


def logprobs_after(
    base: Backbone, adapter: str | None, ids: Sequence[int], count: int, temperature: float
) -> Tensor:
    """log p of all tokens before each of the last `count` ids, from full logits: [count, V]."""
    with torch.no_grad(), base.using(adapter):
        out = base.model(torch.tensor([ids])).logits[0]
    logprobs: Tensor = (out[len(ids) - count - 1 : -1] / temperature).log_softmax(-1)
    return logprobs


# -- what is compared ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kl", "temperature", "top_k"),
    [("reverse", 1.0, None), ("forward", 0.7, None), ("reverse", 1.0, 2)],
)
def test_each_token_is_compared_behind_each_side_s_own_prompt(
    kl: str, temperature: float, top_k: int | None
) -> None:
    """Against full logits, row by row. The tokens that end a turn count, and so do several."""
    base = backbone()
    add_trained(base, "start", seed=4)
    policy = adapter_state(base, "policy")
    trained = trainer(base, kl=kl, temperature=temperature, top_k=top_k, reference="start")
    end = base.encoder.turn_end_id
    assert end is not None
    responses = [
        response(base, "Hello there.", [40, 41, 42, end]),
        response(base, "What is bread?", [50, end, end]),
        response(base, "Tell me about rivers, please.", [60, 61, 62, 63, 64, 65]),
    ]
    lessons = [Lesson((7, 8, 9)), Lesson(tuple(range(30, 60))), Lesson((11,))]
    ours = trained.scorer.kl(responses, lessons)
    for value, r, lesson in zip(ours.tolist(), responses, lessons, strict=True):
        p = logprobs_after(base, "policy", (*r.prompt.ids, *r.ids), len(r.ids), temperature)
        q = logprobs_after(base, "start", (*lesson.ids, *r.ids), len(r.ids), temperature)
        first, second = (p, q) if kl == "reverse" else (q, p)
        if top_k is not None:
            order = first.argsort(dim=1, descending=True)
            first, second = (merged(x.gather(1, order), top_k) for x in (first, second))
        expected = (first.exp() * (first - second)).sum().item()
        assert value == pytest.approx(expected, rel=1e-4) and value > 0.1
    ours.sum().backward()
    gradients = {n: p.grad for n, p in base.trainable().items() if p.grad is not None}
    assert gradients.keys() == {f"policy.{n}" for n in policy}
    assert any(g.abs().max() > 0 for g in gradients.values())


def test_one_step_is_that_of_the_mean_over_tokens() -> None:
    """The gradient of Σ KL / tokens over what is taught, however it is cut into micro-batches."""
    steps = []
    for micro_tokens in (8192, 40):
        base = backbone()
        trained = trainer(base, micro_tokens=micro_tokens)
        responses = trained.sample_responses()
        lessons = trained.teacher.lessons(responses, 0)
        lessons[1] = dataclasses.replace(lessons[1], ids=())
        metrics = trained._learn(responses, lessons)
        steps.append((metrics, adapter_state(base, "policy")))
        taught = [i for i in range(4) if i != 1]
        before = trainer(backbone())
        scores = before.scorer.scores(responses, lessons)
        tokens = sum(len(responses[i].ids) for i in taught)
        assert metrics["loss"] == pytest.approx(-sum(scores) / tokens, rel=1e-4)
        assert scores[1] == 0 and all(scores[i] < 0 for i in taught)
    assert steps[0][0] == pytest.approx(steps[1][0], rel=1e-4)
    for name, tensor in steps[0][1].items():
        torch.testing.assert_close(tensor, steps[1][1][name], rtol=1e-3, atol=1e-5)


def test_the_policy_comes_nearer_to_its_teacher() -> None:
    """On prompts it did not learn from, too; the teacher and the base stay as they were."""
    base = backbone()
    base.copy_adapter("policy", "reference")
    trained = trainer(
        base, updates=12, learning_rate=1e-2, reference="reference", prompts=PROMPTS[:6],
        held_out=PROMPTS[6:],
    )  # fmt: skip
    frozen = {
        n: p.detach().clone() for n, p in base.model.named_parameters() if ".policy." not in n
    }
    start = trained.evaluate()
    metrics = [trained.update() for _ in range(12)]
    assert trained.evaluate()["score"] > 0.85 * start["score"] and start["score"] < -10
    assert metrics[0]["taught"] == 1.0 and metrics[0]["loss"] > 1
    assert metrics[0]["kl"] == pytest.approx(0, abs=1e-4) and metrics[-1]["kl"] > 0.1
    for name, parameter in base.model.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]), name


def test_all_weights_are_trained_beside_their_frozen_copy() -> None:
    base = Backbone(loaded(), full=True)
    base.freeze_reference()
    before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    trained = trainer(base, full=True, reference="reference", learning_rate=1e-3)
    trained.update()
    moved = [n for n, p in base.model.named_parameters() if not torch.equal(p, before[n])]
    assert len(moved) > len(before) / 2
    with base.using("reference"):
        assert all(torch.equal(p, before[n]) for n, p in base.inner.named_parameters())


def test_without_a_lesson_there_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    base = backbone()
    trained = trainer(base)
    before = adapter_state(base, "policy")
    monkeypatch.setattr(
        trained.teacher, "lessons", lambda responses, update: [Lesson(())] * len(responses)
    )
    metrics = trained.update()
    assert metrics["taught"] == 0 and metrics["loss"] == 0 and metrics["score"] == 0
    assert trained.step == 1
    assert all(torch.equal(t, before[n]) for n, t in adapter_state(base, "policy").items())


def test_a_stopped_run_learns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    base = backbone()
    trained = trainer(base)
    before = adapter_state(base, "policy")
    monkeypatch.setattr(trained.monitors, "watch", lambda observation: "All is lost.")
    assert "loss" not in trained.update() and trained.stopped == "All is lost."
    assert all(torch.equal(t, before[n]) for n, t in adapter_state(base, "policy").items())
    with pytest.raises(TrainingError, match="All is lost"):
        trained.update()


# -- what the teacher reads ------------------------------------------------------------------------


def test_the_whole_constitution_stands_in_front() -> None:
    base = backbone()
    rules = constitution()
    teacher = InstructedTeacher(base.encoder, rules, DistillConfig(**SETTINGS))
    (lesson,) = teacher.lessons([response(base, "Hello there.", [40])], 0)
    text = base.encoder.tokenizer.decode(lesson.ids)
    assert all(f"- {m.principle.title}" in text for m in rules.members)
    assert lesson.ids[-len(base.encoder.encode((Message("user", "Hello there."),)).ids) :] == (
        base.encoder.encode((Message("user", "Hello there."),)).ids
    )
    assert lesson.record == {"taught": True}


def test_one_principle_is_drawn_and_recorded() -> None:
    """By prompt and update, in proportion to the weights."""
    base = backbone()
    rules = constitution()
    heavy = dataclasses.replace(rules.members[0], weight=8.0)
    rules = dataclasses.replace(rules, members=(heavy, *rules.members[1:]))
    teacher = InstructedTeacher(
        base.encoder, rules, DistillConfig(**SETTINGS | {"teacher": "principle"})
    )
    some = [response(base, f"Number {n}?", [40]) for n in range(60)]
    lessons = teacher.lessons(some, 0)
    assert lessons == teacher.lessons(some, 0)
    names = [lesson.principle for lesson in lessons]
    assert set(names) == {"rude", "harmful", "vague"} and names.count("rude") > 36
    assert names != [lesson.principle for lesson in teacher.lessons(some, 1)]
    for lesson in lessons:
        text = base.encoder.tokenizer.decode(lesson.ids)
        told = {m.principle.id for m in rules.members if f"- {m.principle.title}" in text}
        assert told == {lesson.principle}
        assert lesson.record == {"principle": lesson.principle, "taught": True}


def test_a_base_without_a_system_role_reads_it_in_the_user_s_turn() -> None:
    for family in ("gemma", "mistral"):
        words = encoder(family)
        model = LoadedModel(
            deepcopy(tiny()), words, family, "0" * 64, torch.device("cpu"), torch.float32, 512
        )
        base = Backbone(model)
        base.add_adapter("policy", SMALL, seed=1)
        trained = trainer(base)
        (lesson,) = trained.teacher.lessons([response(base, "Hello there.", [40])], 0)
        text = words.tokenizer.decode(lesson.ids)
        assert "- Harmful" in text and "Hello there." in text
        assert trained.update()["taught"] == 1.0


class Criticised(RevisingTeacher):
    """With critiques by hand, by the order of the responses."""

    texts: tuple[str, ...] = ()

    def _critiques(self, responses: Any, drawn: Any, update: int) -> dict[int, str]:
        return dict(enumerate(self.texts))


def test_the_teacher_revises_what_has_a_problem() -> None:
    """It reads the response, the critique and the request; a response without a problem is left
    alone, and so is one without a verdict, unless the plan revises in any case."""
    base = backbone()
    some = [response(base, f"Number {n}?", [40, 41]) for n in range(4)]
    settings = DistillConfig(**SETTINGS | {"teacher": "revision"})
    for skip, taught in (("critique_none", [0]), ("never", [0, 1, 2, 3])):
        rules = constitution(plan=Plan(skip_revision_if=skip))  # type: ignore[arg-type]
        teacher = Criticised(base, None, rules, settings)
        teacher.texts = ("It is rude.", "No problem found.", "I can't help with that.", "")
        lessons = teacher.lessons(some, 0)
        assert [lesson.outcome for lesson in lessons] == [
            "problem",
            "no-problem",
            "refused",
            "empty",
        ]
        assert [i for i, lesson in enumerate(lessons) if lesson.ids] == taught
        shown = ("It is rude.", "No problem found.", None, None)
        by_id = {m.principle.id: m.principle for m in rules.members}
        for i in taught:
            conversation = (*some[i].prompt.messages, Message("assistant", some[i].text))
            principle = by_id[lessons[i].principle]
            request = messages.revision(rules, principle, conversation, shown[i])
            assert lessons[i].ids == base.encoder.encode(request).ids
            assert lessons[i].record["critique"] == teacher.texts[i]


def test_the_critic_is_the_frozen_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the policy: the weights in use while critiques are sampled, and what they are asked."""
    base = backbone()
    base.copy_adapter("policy", "reference")
    trained = trainer(base, teacher="revision", reference="reference")
    calls = []
    real = __import__("cai.training.teacher", fromlist=["_"]).generate_responses

    def generate(backbone: Backbone, adapter: str | None, prompts: Any, *rest: Any) -> Any:
        calls.append((adapter, [p for p, _ in prompts], rest))
        return real(backbone, adapter, prompts, *rest)

    monkeypatch.setattr("cai.training.teacher.generate_responses", generate)
    responses = trained.sample_responses()
    lessons = trained.teacher.lessons(responses, 0)
    ((adapter, prompts, rest),) = calls
    assert adapter == "reference" and rest[0] == 8 and rest[1] == 0.0
    for r, lesson, prompt in zip(responses, lessons, prompts, strict=True):
        assert prompt.messages[:2] == (*r.prompt.messages, Message("assistant", r.text))
        assert f"Name what is {lesson.principle}." in prompt.messages[2].content


def test_a_plan_without_critiques_asks_for_revisions_alone() -> None:
    base = backbone()
    rules = constitution(plan=Plan(critique=False))
    trained = trainer(base, teacher="revision", constitution=rules)
    responses = trained.sample_responses()
    for lesson in trained.teacher.lessons(responses, 0):
        text = base.encoder.tokenizer.decode(lesson.ids)
        assert f"Remove what is {lesson.principle}." in text and "Name what" not in text
        assert lesson.outcome is None and lesson.record.keys() == {"principle", "taught"}


# -- prompts that leave no room --------------------------------------------------------------------


@pytest.mark.parametrize("teacher", ["constitution", "principle", "revision"])
def test_what_is_too_long_for_the_teacher_is_set_aside(teacher: str) -> None:
    """The policy alone could read it; the reason names the teacher."""
    base = backbone()
    long = Prompt("long", (Message("user", "bread " * 240),), source="prompts.jsonl:9")
    assert len(base.encoder.encode(long.messages).ids) < 512 - 8 - 1
    some = (Prompt("short", (Message("user", "Hi"),)), long)
    text = "Be kind. " * (20 if teacher == "constitution" else 60)
    rules = constitution()
    members = tuple(
        dataclasses.replace(
            m, principle=dataclasses.replace(m.principle, title=text, revision_request=text)
        )
        for m in rules.members
    )
    rules = dataclasses.replace(rules, members=members)
    trained = trainer(base, teacher=teacher, constitution=rules, prompts=some)
    assert [p.id for p in trained.prompts] == ["short"]
    (aside,) = trained.set_aside
    assert aside.source == "prompts.jsonl:9" and "too long for the teacher" in aside.reason
    assert trained.workload.longest <= base.context
    if teacher != "revision":  # whose critique may be shorter than the longest
        (lesson, *_) = trained.teacher.lessons([response(base, "Hi", [40] * 8)], 0)
        assert len(lesson.ids) + 8 == trained.workload.longest
    with pytest.raises(DataError, match="too long for the teacher"):
        trainer(base, teacher=teacher, constitution=rules, prompts=some[1:])


# -- a run in its folder ---------------------------------------------------------------------------

RUN: dict[str, Any] = {
    "device": "cpu", "lora_r": 4, "prompts_per_update": 4, "max_new_tokens": 24, "updates": 3,
    "constitution": "miniature", "learning_rate": 1e-3,
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "prompts.jsonl"
    asked = ("read my sister's diary", "get better at chess", "steal a bike", "bake bread")
    texts = [f"How can I {what}?" for what in asked] + [f"Tell me how to {what}." for what in asked]
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return file


@pytest.mark.slow
def test_it_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    """Stopped by Ctrl-C after the first update of three: the same files as without a stop."""
    record = goes_on_bit_for_bit(DistillConfig(**RUN), data, tmp_path)
    (parent,) = record["parents"]
    assert parent["part"] == "constitution" and parent["name"] == "miniature"
    written = rows(tmp_path / "broken" / ROLLOUTS)
    assert [row["update"] for row in written] == [1] * 4 + [2] * 4 + [3] * 4
    assert all(abs(row["kl"]) < 1e-4 for row in written[:4])
    for row in written:
        assert row["principle"] and row["critique"]
        assert row["taught"] == (row["outcome"] == "problem") == (row["score"] < 0)
    assert any(row["taught"] for row in written)


def test_another_constitution_is_another_run(data: Path, tmp_path: Path) -> None:
    """An edited principle, under the same name: the run is not continued."""
    text = (
        "api: cai/v1\nkind: Constitution\nid: own\nversion: 1.0.0\ntitle: Own\n"
        "principles: [{ref: ./p.yaml}]\nplan: {rounds: 1}\n"
    )
    principle = (
        "api: cai/v1\nkind: Principle\nid: own.p\nversion: 1.0.0\ntitle: Be polite\nwhy: so\n"
        "stages: {critique: Identify what is rude., revise: Please remove it.}\ncompare: Which?\n"
    )
    (tmp_path / "own.yaml").write_text(text)
    (tmp_path / "p.yaml").write_text(principle)
    config = DistillConfig(
        **RUN | {"constitution": "own.yaml", "updates": 1, "teacher": "constitution"}
    )
    train(config, [data], tmp_path / "run")
    (tmp_path / "p.yaml").write_text(principle.replace("Be polite", "Be kind"))
    with pytest.raises(UsageError, match="own changed"):
        train(config, [data], tmp_path / "run")


def test_it_starts_from_an_adapter_which_is_the_teacher(data: Path, tmp_path: Path) -> None:
    train(DistillConfig(**RUN | {"updates": 1}), [data], tmp_path / "first")
    config = DistillConfig(
        **RUN | {"updates": 1, "lora_r": None, "adapter": str(tmp_path / "first")}
    )
    train(config, [data], tmp_path / "second")
    record = read_run(tmp_path / "second")
    assert [p["part"] for p in record["parents"]] == ["start", "constitution"]
    assert all(abs(row["kl"]) < 1e-4 for row in rows(tmp_path / "second" / ROLLOUTS))


def test_the_advice_after_a_stop_names_no_penalty(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cai.training.monitors.Monitors.watch", lambda self, seen: "All is lost.")
    with pytest.raises(TrainingError, match=r"Stopped after step 1: All is lost\.") as error:
        train(DistillConfig(**RUN), [data], tmp_path / "run")
    assert "--kl-coef" not in str(error.value.hint) and "--learning-rate" in str(error.value.hint)


def test_the_project_s_constitution_is_the_default(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cai.yaml").write_text("constitution: brand-voice\n")
    config = DistillConfig(**RUN | {"constitution": None, "updates": 1, "teacher": "principle"})
    train(config, [data], tmp_path / "run")
    assert read_run(tmp_path / "run")["parents"][0]["name"] == "brand-voice"
