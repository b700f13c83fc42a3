"""Documents on principles: what is asked for, what is left out, and what an edit makes anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cai.authoring.documents.config import DocumentsConfig
from cai.authoring.documents.run import build_documents
from cai.authoring.documents.write import guards, requests, without_duplicates
from cai.authoring.effects import effect, rows
from cai.authoring.reasons import NOT_GIVEN, TO_BE_SAID, has_reason
from cai.backends.scripted import ScriptedBackend
from cai.constitution.convert import with_digest
from cai.constitution.load import load_constitution
from cai.data.documents import KINDS
from cai.errors import Interrupted, ModelError, UsageError
from cai.pipeline.revise import make_trace
from cai.store.store import Store
from cai.types import Constitution, ExplainedPrinciple, Generate, Member, Trace
from tests.constitution.test_messages import own_project
from tests.factories import constitution, generation, principle, prompt

CONFIG = DocumentsConfig(per_principle=6, kinds=",".join(KINDS), min_tokens=0)


def writer(**options: Any) -> ScriptedBackend:
    """Writes a text of its own for each request: thirty words drawn by the request's seed."""

    def say(request: Generate) -> str:
        seed = request.sampling.seed
        return " ".join(f"w{(seed >> n) % 9973}" for n in range(30))

    return ScriptedBackend([("", say)], **options)


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    with Store.open(folder / "store.sqlite") as store:
        yield store


def traces(store: Store, run: str) -> dict[str, Trace]:
    return {t.prompt.id: t for t in store.traces(run)}


def without_why(name: str) -> Constitution:
    """Three principles, one of them without a reason."""
    rules = constitution("rude", "harmful", "vague")
    members = tuple(
        Member(replace(m.principle, why="")) if m.principle.id == name else m for m in rules.members
    )
    return with_digest(replace(rules, members=members))


# -- requests -------------------------------------------------------------------------------------


def test_other_principles_and_more_documents_change_no_document() -> None:
    few = {r.prompt.id: r for r in requests(constitution("rude", "vague"), CONFIG)}
    more = {
        r.prompt.id: r
        for r in requests(constitution("new", "vague", "rude"), replace(CONFIG, per_principle=9))
    }
    assert len(few) == 12 and len(more) == 27
    assert {name: more[name] for name in few} == few
    kinds = Counter(one.explained.kind for one in more.values())
    assert set(kinds) == set(KINDS)


def test_leaving_out_a_kind_draws_its_documents_anew_and_no_others() -> None:
    """An exponential race: the documents of the other kinds keep theirs."""
    rules = constitution("rude")
    every = [r.explained.kind for r in requests(rules, replace(CONFIG, per_principle=40))]
    some = DocumentsConfig(per_principle=40)  # no examples, by default
    fewer = [r.explained.kind for r in requests(rules, some)]
    assert "example" in every and "example" not in fewer
    assert [b for a, b in zip(every, fewer, strict=True) if a != "example"] == [
        a for a in every if a != "example"
    ]


def test_the_writer_reads_the_reason_where_there_is_one_and_it_is_wanted() -> None:
    rules = without_why("vague")
    with_why = {r.explained.principle_id: r for r in requests(rules, CONFIG)}
    plain = {r.explained.principle_id: r for r in requests(rules, replace(CONFIG, why=False))}
    texts = {name: one.prompt.messages[-1].content for name, one in with_why.items()}
    assert "because of rude" in texts["rude"] and with_why["rude"].explained.with_why
    assert "reason for the principle:" not in texts["vague"]
    assert not with_why["vague"].explained.with_why
    assert all("because of" not in one.prompt.messages[-1].content for one in plain.values())
    assert not any(one.explained.with_why for one in plain.values())
    assert plain["vague"].prompt == with_why["vague"].prompt


def test_each_kind_is_asked_for_in_its_own_words() -> None:
    asked = requests(constitution("rude"), replace(CONFIG, per_principle=40))
    texts = {one.explained.kind: one.prompt.messages[-1].content for one in asked}
    words = {"question": "Question:", "essay": "essay", "dialogue": "Ada", "example": "Bad answer:"}
    for kind, word in words.items():
        assert [other for other, text in texts.items() if word in text] == [kind]


def test_a_constitution_may_word_the_request_itself(tmp_path: Path) -> None:
    template = "A {{ kind }} on {{ principle }}: {{ question }}"
    own = load_constitution(own_project(tmp_path, template, "document"))
    default = load_constitution("default")
    (first, *_) = requests(own, CONFIG)
    title = own.members[0].principle.title
    assert first.prompt.messages[-1].content.startswith(f"A {first.explained.kind} on {title}: ")
    assert default.templates.document == ""  # the shipped one, which is in no digest
    assert own.digest != default.digest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kinds": "essay,poem"}, "no 'poem'"),
        ({"kinds": "essay,essay"}, "twice"),
        ({"per_principle": 0}, "1 or more"),
        ({"per_principle": 5, "temperature": 0.0}, "all the same"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DocumentsConfig(**values)


def test_a_sentence_in_the_place_of_a_reason_is_none() -> None:
    assert has_reason(principle("rude"))
    imported = f"Imported from langchain;\n{NOT_GIVEN}\n"
    for why in ("", " \n", imported, f"A draft. {TO_BE_SAID}"):
        assert not has_reason(principle("rude", why=why))


# -- what is left out -----------------------------------------------------------------------------

OWN = "Write a short essay of two or three paragraphs for the general reader, and nothing else."


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("Politeness costs nothing, and a rude answer teaches nobody.", "stop", ()),
        (" … ", "stop", ("empty",)),
        ("Politeness costs", "length", ("truncated",)),
        ("I'm sorry, I can't help with that.", "stop", ("refused",)),
        ("I will write a short essay of two or three paragraphs for the general reader.", "stop",
         ("leaked",)),
        ("Here is a short essay about the principle:\n\nPoliteness costs nothing.", "stop",
         ("leaked",)),
        ("a short essay of two or three paragraphs for me", "stop", ()),  # nine words in a row
        ("be kind to each of them " * 3, "stop", ("loop",)),
    ],
)  # fmt: skip
def test_a_document_with_a_fault_is_guarded(
    text: str, finish: str, expected: tuple[str, ...]
) -> None:
    assert guards(generation(text, finish=finish), OWN, 0) == expected


def test_a_document_may_quote_its_principle() -> None:
    """Only the request's own words are no document's: those of the principle may be repeated."""
    rule = "Name each and every way in which the last response of the assistant is rude to somebody"
    rules = replace(
        constitution("rude"), members=(Member(principle("rude", critique_request=rule)),)
    )
    (first, *_) = requests(rules, CONFIG)
    assert rule in first.prompt.messages[-1].content
    assert (
        guards(generation(f"The rule says: {rule}. It is a good rule."), first.own_words, 0) == ()
    )


def test_a_document_of_too_few_tokens_is_guarded() -> None:
    """`generation` has two tokens."""
    text = generation("Politeness costs nothing.")
    assert [guards(text, OWN, least) for least in (2, 3)] == [(), ("short",)]


def document(text: str, name: str, number: int, **fields: Any) -> Trace:
    explained = ExplainedPrinciple(name, "1.0.0", "d", "essay", True, **fields)
    trace = make_trace(prompt(name=f"{name}/{number:05d}-essay"), generation(text))
    return replace(trace, explained=explained)


def test_near_duplicates_are_told_within_a_principle_alone() -> None:
    """ "a b c d e" and "a b c d f": 7 of 11 words and pairs in common, 0.64."""
    texts = [
        document("a b c d e", "rude", 0),
        document("a b c d f", "rude", 1),
        document("a b c d e", "vague", 0),
        document("v w x y z", "vague", 1, guards=("truncated",)),
        document("v w x y z", "vague", 2),
    ]
    found = [t.explained.guards for t in without_duplicates(texts) if t.explained]
    assert found == [(), ("near-duplicate",), (), ("truncated",), ()]


# -- runs -----------------------------------------------------------------------------------------


def test_an_edited_reason_makes_only_its_principle_s_documents_anew(tmp_path: Path) -> None:
    """18 documents; then 6 generated and 12 reused, and `cai diff` counts them by principle."""
    rules, edited = with_digest(constitution("rude", "harmful", "vague")), without_why("vague")
    with opened(tmp_path) as store:
        first = build_documents(rules, writer(), store, CONFIG)
        second = build_documents(edited, writer(), store, CONFIG)
        assert first.id != second.id
        work = [store.events(run.id)[-1].detail for run in (first, second)]
        before, after = traces(store, first.id), traces(store, second.id)
        compared = rows(store.traces(first.id), store.traces(second.id))
    assert [one["generated"] for one in work] == [{"document": 18}, {"document": 6}]
    assert [one["reused"].get("document", 0) for one in work] == [0, 12]
    changed = {name for name in before if before[name].id != after[name].id}
    assert changed == {name for name in before if name.startswith("vague/")}
    assert len(compared) == 18
    assert effect(compared, "vague").prompts == effect(compared, "rude").prompts == 6
    assert effect(compared, "rude").changed == 0


def test_a_stopped_run_resumes_and_comes_to_the_same_records(tmp_path: Path) -> None:
    rules = with_digest(constitution())
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    with opened(straight) as store:
        whole = build_documents(rules, writer(), store, CONFIG)
        expected = traces(store, whole.id)

    def interrupt(now: Any) -> None:
        if now.tally.finished >= 5:
            raise KeyboardInterrupt

    with opened(broken) as store:
        with pytest.raises(Interrupted, match="of 18 documents are written"):
            build_documents(rules, writer(capacity=2), store, CONFIG, progress=interrupt)
        assert store.status(whole.id) == "interrupted"
        run = build_documents(rules, writer(), store, CONFIG)
        events = store.events(run.id)
        assert run.id == whole.id and traces(store, run.id) == expected
    assert 0 < events[-1].detail["reused"]["document"] < 18
    assert sum(events[-1].detail[n].get("document", 0) for n in ("generated", "reused")) == 18


def test_a_finished_run_is_recorded_once(tmp_path: Path) -> None:
    rules = with_digest(constitution())
    with opened(tmp_path) as store:
        ids = {build_documents(rules, writer(), store, CONFIG).id for _ in range(2)}
        (run,) = ids
        assert store.counts(run)["trace"] == 18
        assert all(t.explained for t in store.traces(run))


def test_a_model_that_can_t_write_is_told_at_once(tmp_path: Path) -> None:
    backend = writer()

    def verify(requests: Any) -> None:
        raise ModelError("no text comes of it")

    backend.verify = verify  # type: ignore[method-assign]
    with opened(tmp_path) as store, pytest.raises(ModelError, match="no text comes of it"):
        build_documents(with_digest(constitution()), backend, store, CONFIG)
