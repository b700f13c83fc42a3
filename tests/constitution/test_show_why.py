"""`show_why`: who reads a principle's reason, and what stays as it was where nobody does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import cai
from cai.authoring.changes import changes, changes_model_input, content_of
from cai.constitution import messages
from cai.constitution.convert import templates_in_use, with_digest
from cai.constitution.load import load_constitution
from cai.constitution.lock import own_digest
from cai.constitution.templates import render, without_reason
from cai.digest import digest
from cai.pipeline.snapshot import constitution_of, snapshot
from cai.store.store import Store
from cai.types import Constitution, Feedback, Message
from tests.constitution.projects import CONSTITUTION, only, principle, project
from tests.factories import prompt

SHOWN = CONSTITUTION.replace("plan:", "show_why: true\nplan:")
WHY = "Because of rude."

BEFORE = {
    "critique": "{{ critique_request }}\n\n"
    "If there is no such problem, answer only: {{ no_problem }}\n",
    "revise": "{{ revision_request }}\n\nAnswer with the revised response only.\n",
    "compare": "Consider the following conversation between a human and an assistant:\n\n"
    "{{ conversation }}\n\nResponses:\n(A) {{ response_a }}\n(B) {{ response_b }}\n\n"
    "{{ question }} Answer with (A) or (B).\n",
    "compare_cot": "Consider the following conversation between a human and an assistant:\n\n"
    "{{ conversation }}\n\nResponses:\n(A) {{ response_a }}\n(B) {{ response_b }}\n\n"
    "{{ question }} Say for each response what speaks for and against it, then answer with (A)"
    " or (B).\n",
}
"""The shipped templates of the version before `show_why`."""


def texts(rules: Constitution) -> dict[str, str]:
    """What each stage asks under the first principle, by stage."""
    rude = rules.members[0].principle
    talk = (Message("user", "Hello?"), Message("assistant", "Hi."))
    letters, thought = (
        replace(rules, feedback=Feedback(mode="letters", chain_of_thought=cot))
        for cot in (False, True)
    )
    return {
        "critique": messages.critique(rules, rude, talk)[-1].content,
        "revise": messages.revision(rules, rude, talk, "Bad.")[-1].content,
        "direct": messages.revision(rules, rude, talk, None)[-1].content,
        "compare": messages.comparison(letters, rude, talk[:1], "x", "y")[-1].content,
        "compare_cot": messages.comparison(thought, rude, talk[:1], "x", "y")[-1].content,
    }


def test_every_stage_shows_the_reason_once_where_it_is_asked_to(tmp_path: Path) -> None:
    rules = load_constitution(project(tmp_path, constitution=SHOWN))
    assert {stage: text.count(WHY) for stage, text in texts(rules).items()} == dict.fromkeys(
        ("critique", "revise", "direct", "compare", "compare_cot"), 1
    )
    assert texts(rules)["critique"] == (
        "Say what is rude.\n\nWhy this matters: Because of rude.\n\n"
        "If there is no such problem, answer only: No problem found."
    )
    plain = load_constitution(project(tmp_path / "plain"))
    assert not any(WHY in text for text in texts(plain).values())


def test_a_reason_s_lines_are_joined_and_its_paragraphs_kept(tmp_path: Path) -> None:
    wrapped = principle("rude").replace(
        "why: Because of rude.", "why: |\n  Because\n  of rude.\n\n  And\n  so on.\n"
    )
    rules = load_constitution(project(tmp_path, constitution=SHOWN, rude=wrapped))
    assert "matters: Because of rude.\n\nAnd so on.\n\nIf" in texts(rules)["critique"]


def test_where_it_is_off_templates_and_digests_are_those_of_before(tmp_path: Path) -> None:
    """So stores, locks and run ids of earlier versions hold: the digest is a constant of theirs."""
    rules = load_constitution(project(tmp_path))
    in_use = templates_in_use(rules)
    assert {kind: getattr(in_use, kind) for kind in BEFORE} == BEFORE
    assert rules.digest == "75be7900c0f349fbd76251954a1c6250fe3b4d40a36c964e765163d6f2703cb0"
    assert own_digest(rules) == "a7c4520b870604d4f80907cfc46d8c605a139232463de6e5753d29ae7fbba6e5"
    assert (
        digest(snapshot(rules))
        == "656eed6ceb4a65755e542c262bc02b5e798761c16ab4490a3b4164eb50b060dc"
    )
    assert (
        digest(texts(rules)) == "cdfe09a30d27546ef906fe3834ae04334a0c64aff4a6607c9f1b47e058a4fece"
    )
    off = load_constitution(project(tmp_path / "off", constitution=SHOWN.replace("true", "false")))
    assert (off.digest, own_digest(off)) == (rules.digest, own_digest(rules))


@pytest.mark.parametrize(("text", "read"), [(CONSTITUTION, False), (SHOWN, True)])
def test_an_edited_reason_counts_where_it_is_shown(text: str, read: bool, tmp_path: Path) -> None:
    """In the digest, the lock and the diff; and what a model reads is other text, or the same."""
    one = load_constitution(project(tmp_path / "a", constitution=text))
    edited = principle("rude").replace("Because", "Since")
    two = load_constitution(project(tmp_path / "b", constitution=text, rude=edited))
    assert (one.digest != two.digest) is read
    assert (own_digest(one) != own_digest(two)) is read
    assert (texts(one) != texts(two)) is read
    before, after = content_of(one), content_of(two)
    assert changes_model_input(before, after) is read
    assert [(c.name, c.field) for c in changes(before, after)] == [("rude", "why")]


@pytest.mark.parametrize(("text", "again"), [(CONSTITUTION, 0), (SHOWN, 3)])
def test_a_build_after_an_edited_reason(text: str, again: int, tmp_path: Path) -> None:
    """Asks again what shows the reason: a critique and two checks, but no response."""
    backend = cai.ScriptedBackend(
        replies=[("^Say", "No problem found."), ("", "Hi.")],
        scores=[("", {"No problem found.": 0.9})],
    )
    asked: list[int] = []
    for number, word in enumerate(("Because", "Since")):
        edited = {name: principle(name).replace("Because", word) for name in ("rude", "harmful")}
        rules = load_constitution(project(tmp_path / str(number), constitution=text, **edited))
        before = len(backend.requests)
        with Store.open(tmp_path / "store.sqlite") as store:
            cai.build(rules, [prompt()], store, backend, cai.BuildConfig(pairs=0))
        asked.append(len(backend.requests) - before)
    assert asked[1] == again and asked[0] > 3


def test_a_diff_names_the_setting_alone(tmp_path: Path) -> None:
    """Also beside a run's record, which lacks the setting and what templates say of reasons."""
    off = load_constitution(project(tmp_path / "a"))
    on = load_constitution(project(tmp_path / "b", constitution=SHOWN))
    for before in (content_of(off), json.loads(json.dumps(snapshot(off)))):
        found = [(c.part, c.field, c.before, c.after) for c in changes(before, content_of(on))]
        assert found == [("constitution", "show_why", False, True)]
        assert changes_model_input(before, content_of(on))


def test_a_record_keeps_it(tmp_path: Path) -> None:
    on = load_constitution(project(tmp_path, constitution=SHOWN))
    found = constitution_of(json.loads(json.dumps(snapshot(on))))
    assert found.show_why and texts(found) == texts(on)
    assert with_digest(found).digest == on.digest
    assert "show_why" not in snapshot(load_constitution(project(tmp_path / "off")))


def test_it_is_inherited_and_can_be_turned_off(tmp_path: Path) -> None:
    project(tmp_path, constitution=SHOWN)
    head = "api: cai/v1\nkind: Constitution\nid: own\nversion: 1.0.0\ntitle: Own\n"
    own, plain = (tmp_path / "constitution" / f"{name}.yaml" for name in ("own", "plain"))
    plain.write_text(head + "principles: [{ref: ../principles/harmful.yaml}]\n")
    own.write_text(head + "extends: [./small.yaml, ./plain.yaml]\n")
    assert load_constitution(own).show_why, "the other says nothing of it"
    own.write_text(head + "extends: ./small.yaml\nshow_why: false\n")
    assert not load_constitution(own).show_why


def test_a_team_s_template_words_it(tmp_path: Path) -> None:
    path = project(tmp_path)
    (path.parent / "own.j2").write_text(
        "{{ critique_request }}{% if why %} It matters: {{ why }}{% endif %} {{ no_problem }}\n"
    )
    own = "templates: {critique: ./own.j2}\nplan:"
    path.write_text(SHOWN.replace("plan:", own))
    shown = load_constitution(path)
    assert texts(shown)["critique"] == (
        "Say what is rude. It matters: Because of rude. No problem found."
    )
    path.write_text(CONSTITUTION.replace("plan:", own))
    assert texts(load_constitution(path))["critique"] == "Say what is rude. No problem found."


def test_templates_without_a_place_for_it_are_refused(tmp_path: Path) -> None:
    """Those in use: one that asks for letters does not help a pointwise critic."""
    path = project(tmp_path)
    for kind, text in BEFORE.items():
        (path.parent / f"{kind}.j2").write_text(text)
    old = "templates: {critique: ./critique.j2, revise: ./revise.j2}\nplan:"
    path.write_text(SHOWN.replace("plan:", old))
    found = only(path)
    assert found.code == "C035" and found.line == SHOWN.splitlines().index("show_why: true") + 1
    path.write_text(SHOWN.replace("plan:", "feedback: {mode: letters}\n" + old))
    assert load_constitution(path).show_why
    path.write_text(CONSTITUTION.replace("plan:", old))
    assert not load_constitution(path).show_why


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("a\n{% if why %}\n\n{{ why }}\n{% endif %}\n\nb\n", "a\n\nb\n"),
        ("a{% if why %} ({{ why }}){% endif %}.\n", "a.\n"),
        ("a\n  {%if why%}\n  {{ why }}\n  {% endif %}  \nb", "a\n  \nb"),
        ("{% if why %}{{ why }}{% endif %}\na{% if why %}!{% endif %}", "a"),
        ("{% if why %}a{% else %}b{% endif %}", None),
        ("{% if why %}{% if x %}a{% endif %}{% endif %}b", None),
        ("{% if not why %}a{% endif %}b", None),
        ("{% if x %}{% if why %}a{% endif %}{% endif %}b", "{% if x %}{% endif %}b"),
        ("{{ why }}", None),
    ],
)
def test_a_block_for_the_reason_is_cut_out(source: str, plain: str | None) -> None:
    """What is left renders as the whole does with an empty reason. None: nothing is cut."""
    found = without_reason(source)
    assert found == (source if plain is None else plain)
    for x in (True, False):
        assert render(found, {"why": "", "x": x}) == render(source, {"why": "", "x": x})
