"""A copy of a constitution with edits in it: loadable, versioned, and the originals untouched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cai.authoring.edits.draft_tests import DraftTest
from cai.authoring.edits.drafts import draft, next_version
from cai.authoring.edits.rewording import DraftWording
from cai.content import packaged
from cai.errors import ContentError
from cai.types import PrincipleTest
from tests.authoring.edits.records import rejected, trace

RUDENESS = "respect.rudeness"
PLACE = "principles/respect/rudeness.yaml"
TEST = PrincipleTest("added", "P?", {"critique_flags": "none"}, response="R.", source="t-1")
WORDING = DraftWording(
    RUDENESS, "Name every insult to the user.", "Rewrite it without an insult to the user.",
    "Which response is less insulting to the user?", (),
)  # fmt: skip


def added(test: PrincipleTest = TEST) -> dict[str, list[DraftTest]]:
    return {RUDENESS: [DraftTest(RUDENESS, test, rejected(trace()))]}


def test_tests_alone_are_a_patch_and_change_nothing_that_a_model_reads() -> None:
    path = packaged() / "constitution" / "miniature.yaml"
    drafts = draft(path, {}, added())
    (file,) = drafts.files
    assert (file.place, file.versions, file.reworded) == (PLACE, ("1.0.0", "1.0.1"), False)
    assert not drafts.changes_model_input
    diff = file.diff()
    assert diff[:2] == [f"--- a/{PLACE}", f"+++ b/{PLACE}"]
    assert [line for line in diff if line.startswith("-")][1:] == ["-version: 1.0.0"]
    assert "+    source: t-1" in diff
    by_id = {m.principle.id: m.principle for m in drafts.constitution.members}
    assert by_id[RUDENESS].tests[-1] == TEST
    assert file.before == (packaged() / PLACE).read_text()


def test_another_wording_is_a_minor_version() -> None:
    drafts = draft(packaged() / "constitution" / "miniature.yaml", {RUDENESS: WORDING}, added())
    (file,) = drafts.files
    assert (file.versions[1], file.reworded, file.tests) == ("1.1.0", True, 1)
    by_id = {m.principle.id: m.principle for m in drafts.constitution.members}
    assert by_id[RUDENESS].critique_request == WORDING.critique_request
    assert by_id[RUDENESS].revision_request == WORDING.revision_request
    assert by_id[RUDENESS].comparison_question == WORDING.comparison_question
    assert {"constitution/miniature.yaml", PLACE} < drafts.texts.keys()
    assert drafts.advice == ()
    assert next_version("2.9.9", reworded=True) == "2.10.0"


def test_what_a_reviewer_would_say_of_a_draft() -> None:
    worse = replace(WORDING, comparison_question="Which response is worse to the user?")
    drafts = draft(packaged() / "constitution" / "miniature.yaml", {RUDENESS: worse}, {})
    (advice,) = drafts.advice
    assert (advice.file, advice.code) == (PLACE, "C057")


def test_an_edit_that_does_not_load_is_left_out() -> None:
    broken = replace(TEST, expect={"critique_flags": "maybe"})
    drafts = draft(packaged() / "constitution" / "miniature.yaml", {}, added(broken))
    assert drafts.files == ()
    assert "it must be" in drafts.refused[RUDENESS]
    assert drafts.texts[PLACE] == (packaged() / PLACE).read_text()


def test_a_project_with_templates_and_inheritance_of_its_own(tmp_path: Path) -> None:
    for place, text in {
        "rules/mine.yaml": "api: cai/v1\nkind: Constitution\nid: mine\nversion: 1.0.0\n"
        "title: Mine\ntemplates: {critique: ../words/critique.j2}\n"
        "principles: [{ref: ../p/b.yaml}]\nplan: {rounds: 1}\n",
        "words/critique.j2": "{{ critique_request }} or {{ no_problem }}",
        "p/a.yaml": "api: cai/v1\nkind: Principle\nid: a\nversion: 1.0.0\ntitle: A\nwhy: So.\n"
        "stages: {critique: Find rudeness., revise: Remove rudeness.}\n"
        "compare: Which is less rude?\n",
        "p/b.yaml": "# b\napi: cai/v1\nkind: Principle\nid: b\nversion: 1.0.0\ntitle: B\n"
        "extends: a.yaml\n",
    }.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    (tmp_path / ".cai").mkdir()
    drafts = draft(tmp_path / "rules" / "mine.yaml", {"b": replace(WORDING, principle="b")}, {})
    assert set(drafts.texts) == {"rules/mine.yaml", "words/critique.j2", "p/a.yaml", "p/b.yaml"}
    assert drafts.place == "rules/mine.yaml"
    assert drafts.constitution.members[0].principle.critique_request == WORDING.critique_request
    assert drafts.constitution.templates.critique == "{{ critique_request }} or {{ no_problem }}"
    assert (tmp_path / "p/b.yaml").read_text().endswith("extends: a.yaml\n")
    with pytest.raises(ContentError):
        draft(tmp_path / "rules" / "none.yaml", {}, {})
