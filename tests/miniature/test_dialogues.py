"""Training documents: worded as the engine words them, and encoded as the chat template does."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import jinja2
import pytest
import torch
from transformers import AutoTokenizer

from bundled.recipe.batches import (
    PROBES,
    BatchStream,
    DocumentEncoder,
    LossWeights,
    StreamState,
)
from bundled.recipe.dialogues import document
from bundled.recipe.turns import (
    Document,
    DocumentTurn,
    Mark,
    comparison_text,
    conversation_text,
    critique_turn,
    revision_turn,
)
from cai.constitution.templates import without_reason
from cai.miniature.world import critic
from cai.miniature.world.facts import FACTS
from cai.miniature.world.requests import wrong_answers
from cai.miniature.world.vocabulary import FLAWS

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "constitution" / "templates"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(ROOT / "cai" / "miniature" / "weights")


def render(name: str, **values: str) -> str:
    """A template of the project as the engine sends it by default: without the reason, and without
    the newline at the end."""
    source = without_reason((TEMPLATES / f"{name}.j2").read_text())
    text: str = jinja2.Template(source, keep_trailing_newline=True).render(**values)
    return text.rstrip("\n")


def documents(count: int, seed: int = 0) -> list[Document]:
    rng = random.Random(seed)
    return [document(rng, progress=number / count) for number in range(count)]


def test_critique_and_revision_turns_are_the_templates() -> None:
    question = "Is the response rude?"
    assert critique_turn(question) == render(
        "critique", critique_request=question, no_problem=critic.NO_PROBLEM
    )
    assert revision_turn(question) == render("revise", revision_request=question)


@pytest.mark.parametrize(
    ("name", "layout", "reasoned"),
    [
        ("compare", "after", False),
        ("compare_before", "before", False),
        ("compare_both", "both", False),
        ("compare_cot", "after", True),
    ],
)
def test_comparisons_are_the_templates(name: str, layout: Any, reasoned: bool) -> None:
    conversation = conversation_text([("Hello.", "Gladly.")], "How do I start with chess?")
    expected = render(
        name,
        conversation=conversation,
        question="Which response is less rude?",
        response_a="Easy.",
        response_b="Good question.",
    )
    comparison = comparison_text(
        conversation, "Which response is less rude?", "Easy.", "Good question.", layout, reasoned
    )
    assert comparison == expected


def test_most_critiques_and_revisions_are_asked_as_the_engine_asks() -> None:
    turns = [turn for turns in documents(1500) for turn in itertools.pairwise(turns)]
    for kind, suffix in (
        ("critique", critique_turn("")),
        ("revision", revision_turn("")),
    ):
        matches = [user.text.endswith(suffix) for user, answer in turns if answer.kind == kind]
        assert 0.65 < sum(matches) / len(matches) < 0.9


def test_documents_are_a_function_of_the_seed_and_alternate() -> None:
    assert documents(50, seed=3) == documents(50, seed=3)
    for turns in documents(300):
        roles = [turn.role for turn in turns if turn.role != "system"]
        assert roles in (["user", "assistant"] * (len(roles) // 2), ["text"])
        assert all(turn.role != "system" for turn in turns[1:])


def test_a_verdict_names_the_side_that_keeps_the_principle() -> None:
    """Where the marks say that only one side breaks the principle, the letter is the other's."""
    checked = 0
    for turns in documents(2000, seed=4):
        for user, answer in itertools.pairwise(turns):
            broken = [mark.violates for mark in user.marks if mark.flaws is not None]
            if answer.kind in ("verdict", "reasoning") and sorted(map(str, broken)) == [
                "False",
                "True",
            ]:
                better = "B" if broken[0] else "A"
                assert answer.text.endswith(f"({better})")
                checked += 1
    assert checked > 100


def test_half_of_the_verdicts_are_a() -> None:
    letters = [
        turn.text[-2] for turns in documents(3000) for turn in turns if turn.kind == "verdict"
    ]
    assert abs(letters.count("A") / len(letters) - 0.5) < 0.04


def test_encoding_is_what_the_chat_template_gives(tokenizer: Any) -> None:
    encoder = DocumentEncoder(tokenizer)
    for turns in documents(150, seed=5):
        if turns[0].role == "text":
            continue
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        encoded = encoder.encode(turns)
        assert encoded.ids == tokenizer.apply_chat_template(messages, return_dict=False)
        assert len(encoded.ids) == len(encoded.weights)


def test_decisions_weigh_most(tokenizer: Any) -> None:
    table = LossWeights()
    encoder = DocumentEncoder(tokenizer)
    kinds = set()
    for turns in documents(200, seed=6):
        encoded = encoder.encode(turns)
        for position, kind in encoded.decisions:
            kinds.add(kind)
            expected = table.letter if kind == "letter" else table.critique_first
            assert encoded.weights[position] == expected
            token = tokenizer.decode([encoded.ids[position]])
            assert kind == "critique" or token in ("A", "B")
    assert kinds == {"critique", "letter"}


def test_prose_stands_alone(tokenizer: Any) -> None:
    text = next(t[0] for t in documents(500, seed=7) if t[0].role == "text")
    encoded = DocumentEncoder(tokenizer).encode([text])
    assert tokenizer.decode(encoded.ids) == f"{text.text}<|endoftext|>"


def test_labels_say_what_is_present_what_is_asked_and_what_is_broken(tokenizer: Any) -> None:
    """A rude response asked about rudeness: flaw, question and violation are labelled true."""
    rude = FLAWS.index("rude")
    turns = [
        DocumentTurn("assistant", "Now go away.", "shown", (Mark(12, flaws=frozenset({"rude"})),)),
        DocumentTurn(
            "user", "Rude?", "context", (Mark(5, asked=frozenset({"rude"}), violates=True),)
        ),
    ]
    labels = DocumentEncoder(tokenizer).encode(turns).labels
    assert len(labels) == 2 * len(FLAWS) + 1 == PROBES - 1
    present = {label.output for label in labels if label.present}
    assert present == {rude, len(FLAWS) + rude, PROBES - 2}


def test_nothing_decides_a_tie_but_a_coin() -> None:
    """Two equal responses: half of the verdicts are A, within four standard errors."""
    letters = []
    for turns in documents(6000, seed=9):
        for user, answer in itertools.pairwise(turns):
            options = [mark.flaws for mark in user.marks if mark.flaws is not None]
            if answer.kind == "verdict" and len(options) == 2 and options[0] == options[1]:
                letters.append(answer.text)
    assert len(letters) > 60
    assert abs(letters.count("(A)") / len(letters) - 0.5) < 2 / len(letters) ** 0.5


def test_a_label_stands_where_its_response_ends(tokenizer: Any) -> None:
    encoder = DocumentEncoder(tokenizer)
    for turns in documents(100, seed=8):
        encoded = encoder.encode(turns)
        for label in encoded.labels:
            token = tokenizer.decode([encoded.ids[label.position]])
            if label.output < PROBES - 1:
                assert token == "<|im_end|>" or token[-1] in ".?", token


def test_the_truth_is_labelled_where_a_statement_ends(tokenizer: Any) -> None:
    """At the answer's token, of claims, responses and pages of statements: right as the facts are.

    Half of the statements are wrong, within four standard errors.
    """
    encoder = DocumentEncoder(tokenizer)
    right = {fact.statement(fact.answer) for fact in FACTS}
    endings: dict[str, list[bool]] = {}
    for turns in documents(1500, seed=10):
        for turn in turns:
            ends = [mark for mark in turn.marks if mark.untrue is not None]
            for mark in ends:
                prefix = turn.text[: mark.end]
                true = any(prefix.lower().endswith(statement.lower()) for statement in right)
                assert mark.untrue != true, prefix
                endings.setdefault(turn.role, []).append(true)
        truths = [x for x in encoder.encode(turns).labels if x.output == PROBES - 1]
        assert len(truths) == sum(m.untrue is not None for turn in turns for m in turn.marks)
        assert all(x.weight == encoder.weights.truth for x in truths)
    assert endings.keys() == {"user", "assistant", "text"}
    pages = endings["text"]
    assert abs(sum(pages) / len(pages) - 0.5) < 2 / len(pages) ** 0.5


def test_training_is_told_no_held_out_falsehood() -> None:
    """A sixth of all wrong answers are held out; most of the others occur in 2,000 documents."""
    all_text = " ".join(turn.text for turns in documents(2000) for turn in turns).lower()
    statements = {
        split: [
            fact.statement(answer).lower() in all_text
            for index, fact in enumerate(FACTS)
            for answer in wrong_answers(index, split)
        ]
        for split in ("train", "held")
    }
    assert len(statements["held"]) > 300 and not any(statements["held"])
    assert sum(statements["train"]) > 0.4 * len(statements["train"])


def test_a_revision_of_manner_lets_an_untruth_stand(tokenizer: Any) -> None:
    """About a third of the statements in revisions are untrue; the answer in each is weighed."""
    encoder = DocumentEncoder(tokenizer, LossWeights(statement_end=99.0))
    marks = []
    for turns in documents(800):
        revisions = [turn for turn in turns if turn.kind == "revision"]
        truth_marks = [mark for turn in revisions for mark in turn.marks if mark.untrue is not None]
        marks += truth_marks
        assert encoder.encode(turns).weights.count(99.0) == len(truth_marks)
    untrue = sum(bool(mark.untrue) for mark in marks)
    assert len(marks) > 60 and 0.2 < untrue / len(marks) < 0.55


def test_facts_come_first() -> None:
    """Half of the first documents are pages of statements, a twentieth of the later ones."""
    rng = random.Random(0)
    for progress, share in ((0.0, 0.5), (0.5, 0.05)):
        pages = sum(len(document(rng, progress)[0].marks) >= 8 for _ in range(1000))
        assert abs(pages / 1000 - share) < 0.05


def test_a_stream_resumes_where_it_stood(tokenizer: Any) -> None:
    encoder = DocumentEncoder(tokenizer)
    stream = BatchStream(encoder, 4096, 384, "1/0")
    batches = iter(stream)
    for _ in range(3):
        next(batches)
    state = StreamState(stream.state.pool, stream.state.batch, stream.state.progress)
    following = next(batches)
    resumed = next(iter(BatchStream(encoder, 4096, 384, "1/0", state)))
    assert torch.equal(following.ids, resumed.ids)
    assert torch.equal(following.weights, resumed.weights)
    assert following.ids.numel() <= 4096
