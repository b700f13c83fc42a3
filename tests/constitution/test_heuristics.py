"""What is read for its meaning, for its layout, and against the lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai.constitution.codes import CODES
from cai.constitution.layout import fixed_text
from cai.constitution.lint import lint
from cai.constitution.load import load_constitution
from cai.constitution.lock import NAME, lock_entry, lock_text, read_lock
from cai.constitution.templates import source_problems
from tests.constitution.projects import CONSTITUTION, principle, project

TEMPLATES = ("C040", "C041", "C042", "C043")
RUDE = principle("rude")


def codes(root: Path) -> set[str]:
    return {problem.code for problem in lint([root]).problems}


@pytest.mark.parametrize(
    "code", [c for c, page in CODES.items() if page.wrong and c not in TEMPLATES]
)
def test_every_page_s_example_has_its_problem(code: str, tmp_path: Path) -> None:
    """The small project, what is right put wrong: the code is found, and was not before."""
    page = CODES[code]
    project(tmp_path)
    assert codes(tmp_path) == set()
    changed = 0
    for file in (tmp_path / "principles" / "rude.yaml", tmp_path / "constitution" / "small.yaml"):
        text = file.read_text("utf-8")
        indented = page.right.replace("- ref", "  - ref", 1)
        for right in (page.right, indented):
            if right in text and not changed:
                wrong = page.wrong if right == page.right else "  " + page.wrong
                file.write_text(text.replace(right, wrong), "utf-8")
                changed += 1
    assert changed, "`right` is a piece of the small project"
    assert code in codes(tmp_path)


@pytest.mark.parametrize("code", TEMPLATES)
def test_every_template_s_example_has_its_problem(code: str, tmp_path: Path) -> None:
    page = CODES[code]
    for text, there in ((page.right, False), (page.wrong, True)):
        project(tmp_path)
        folder = tmp_path / "constitution" / "templates"
        folder.mkdir(exist_ok=True)
        (folder / "critique.j2").write_text(text + "\n", "utf-8")
        assert (code in codes(tmp_path)) is there
    assert source_problems(page.right, "x", {"critique_request", "no_problem"}) == []


@pytest.mark.parametrize(
    ("compare", "code"),
    [
        ("Which is more rude?", "C057"),
        ("Which response is more hurtful or rude?", "C057"),
        ("Which response is worse?", "C057"),
        ("Which response is ruder?", "C057"),
        ("Which response sounds more like a rude one?", "C057"),
        ("Which response is rude?", "C057"),
        ("Which response is more likely to be rude?", "C057"),
        ("Which response is the least rude?", None),
        ("Which response answers rude requests better?", None),
        ("Which response is more careful not to be rude?", None),
        ("Which is less rude and more polite?", None),
        ("Which response is more helpful, even if it is rude?", None),
    ],
)
def test_comparisons_that_ask_for_the_worse(compare: str, code: str | None, tmp_path: Path) -> None:
    project(tmp_path, rude=RUDE.replace("Which is less rude?", compare))
    assert codes(tmp_path) == ({code} if code else set())


PRIVATE = "Identify where the response reveals private information about other people."


@pytest.mark.parametrize(
    ("critique", "compare", "code"),
    [
        (PRIVATE, "Which response reveals more private information?", "C057"),
        (PRIVATE, "Which reveals private information about people?", "C057"),
        (PRIVATE, "Which response reveals more?", "C057"),
        (PRIVATE, "Which response reveals less private information?", None),
        (PRIVATE, "Which response reveals no private information?", None),
        (PRIVATE, "Which response reveals more useful facts without private information?", None),
        (PRIVATE, "Which response keeps private information to itself?", None),
        ("Say how the response gives dangerous instructions.",
         "Which response gives more dangerous instructions?", "C057"),
        ("Say how the response gives dangerous instructions.",
         "Which response gives safer instructions?", None),
        ("Identify insults, slurs and threats in the response.",
         "Which response contains more insults?", "C057"),
        ("Identify insults, slurs and threats in the response.",
         "Which response contains threats or slurs?", "C057"),
        ("Identify insults, slurs and threats in the response.",
         "Which answer contains the fewest insults?", None),
        ("Point out flattery.", "Which of the responses uses more flattery?", "C057"),
        ("Point out flattery.", "Which of the responses avoids flattery?", None),
        ("Point out flattery.", "Which of the responses uses a plainer tone?", None),
        ("Say where the response gives the user wrong facts.",
         "Which response gives the user the facts?", None),
        ("Identify the tone of the response.", "Which response has the better tone?", None),
        ("Identify missing sources.", "Which response gives more sources?", None),
    ],
)  # fmt: skip
def test_questions_the_wrong_way_round_in_whole(
    critique: str, compare: str, code: str | None, tmp_path: Path
) -> None:
    text = RUDE.replace("Say what is rude.", critique).replace("Which is less rude?", compare)
    project(tmp_path, rude=text)
    assert codes(tmp_path) - {"C056"} == ({code} if code else set())


INVADES = "Identify any way in which the response invades somebody's privacy or helps to spy."


@pytest.mark.parametrize(
    ("compare", "code"),
    [
        ("Which response invades other people's privacy?", "C057"),
        ("Which response better invades privacy?", "C057"),
        ("Which response more openly invades privacy?", "C057"),
        ("Which response is more invasive of privacy?", "C057"),
        ("Which response reveals more about other people's privacy?", "C057"),
        ("Which response discloses more personal information?", "C057"),
        ("Which response violates somebody's privacy?", "C057"),
        ("Which response ignores the user's safety?", "C057"),
        ("Which response shows less respect for other people's privacy?", "C057"),
        ("Which response is less respectful of other people's privacy?", "C057"),
        ("Which response fails to respect other people's privacy?", "C057"),
        ("Which response does not protect privacy?", "C057"),
        ("Which response does less to protect privacy?", "C057"),
        ("Which response lacks respect for others?", "C057"),
        ("Which response is the least careful with personal data?", "C057"),
        ("Which response is more respectful of other people's privacy?", None),
        ("Which response reveals less about other people's privacy?", None),
        ("Which response invades privacy less?", None),
        ("Which response is less invasive?", None),
        ("Which response better protects privacy?", None),
        ("Which response does not invade privacy?", None),
        ("Which response violates no one's privacy?", None),
        ("Which response helps less with spying and shows more respect?", None),
        ("Which response is more helpful without being less respectful?", None),
    ],
)
def test_questions_the_wrong_way_round_in_other_words(
    compare: str, code: str | None, tmp_path: Path
) -> None:
    text = RUDE.replace("Say what is rude.", INVADES).replace("Which is less rude?", compare)
    project(tmp_path, rude=text)
    assert codes(tmp_path) - {"C056"} == ({code} if code else set())


@pytest.mark.parametrize(
    ("critique", "compare"),
    [
        ("Say where the response is too careful.", "Which response is less careful?"),
        ("Identify cruelty.", "Which response shows no kind of cruelty?"),
        ("Identify empty politeness.", "Which response is less polite?"),
        ("Identify risks that the response hides.", "Which response reveals more risks?"),
        ("Say how the response helps with a crime.", "Which response does not help with a crime?"),
        ("Say how the response helps too little.", "Which response is more helping?"),
    ],
)
def test_too_much_of_a_merit_may_be_a_fault(critique: str, compare: str, tmp_path: Path) -> None:
    text = RUDE.replace("Say what is rude.", critique).replace("Which is less rude?", compare)
    project(tmp_path, rude=text)
    assert "C057" not in codes(tmp_path)


def test_a_comparison_without_a_test_is_told(tmp_path: Path) -> None:
    """A principle with no tests at all is told that alone; a comment silences the advice."""
    untested = RUDE[: RUDE.index("  - name: prefers")]
    project(tmp_path, rude=untested)
    (problem,) = lint([tmp_path]).problems
    line = RUDE.splitlines().index("compare: Which is less rude?") + 1
    assert (problem.code, problem.line) == ("C061", line)
    project(tmp_path, rude=untested.replace("rude?", "rude? # lint: ignore C061"))
    assert codes(tmp_path) == set()
    project(tmp_path, rude=RUDE[: RUDE.index("tests:")])
    assert codes(tmp_path) == {"C050"}


@pytest.mark.parametrize(
    ("critique", "compare"),
    [
        ("Identify missing emojis.", "Which response has more emojis?"),
        ("Say where it could be more concise.", "Which response is more concise?"),
        ("Identify claims that need sources.", "Which response cites more sources?"),
        ("How accurate is the response?", "Which response is more accurate?"),
    ],
)
def test_what_a_critique_misses_may_be_asked_for(
    critique: str, compare: str, tmp_path: Path
) -> None:
    text = RUDE.replace("Say what is rude.", critique).replace("Which is less rude?", compare)
    project(tmp_path, rude=text)
    assert "C057" not in codes(tmp_path)


def test_advice_is_silenced_where_it_stands_and_errors_are_not(tmp_path: Path) -> None:
    upside = RUDE.replace("Which is less rude?", "Which is ruder? # lint: ignore C056, C057")
    project(tmp_path, rude=upside)
    assert codes(tmp_path) == set()
    project(tmp_path, rude=upside.replace("C057", "C055"))
    assert codes(tmp_path) == {"C057"}
    project(tmp_path, rude=RUDE.replace("title:", "titel:") + "# lint: ignore C010 C011\n")
    assert codes(tmp_path) == {"C010", "C011"}


def test_every_fault_of_a_list_counts(tmp_path: Path) -> None:
    text = RUDE.replace("Say what is rude.", "Say what is harmful, rude, toxic, or illegal.")
    project(tmp_path, rude=text.replace("Which is less rude?", "Which response is more toxic?"))
    assert codes(tmp_path) == {"C057"}


def test_more_of_what_lacks_is_better(tmp_path: Path) -> None:
    """The critique asks what is *not* helpful: more helpful is the better one."""
    text = RUDE.replace("Say what is rude.", "Say how it is not helpful enough.")
    text = text.replace("Remove what is rude.", "Make it helpful.")
    project(tmp_path, rude=text.replace("Which is less rude?", "Which is more helpful?"))
    assert codes(tmp_path) == set()


def test_a_revision_may_name_the_opposite(tmp_path: Path) -> None:
    text = RUDE.replace("Say what is rude.", "Say what is impolite.").replace("About rude", "Tone")
    text = text.replace("Which is less rude?", "Which is less impolite?")
    project(tmp_path, rude=text.replace("Remove what is rude.", "Make it polite."))
    assert codes(tmp_path) == set()
    project(tmp_path, rude=text.replace("Remove what is rude.", "Add a table."))
    assert codes(tmp_path) == {"C056"}


@pytest.mark.parametrize(
    ("plan", "member", "code"),
    [
        ("rounds: 1", "{ref: ../principles/rude.yaml, rounds: [2]}", "C059"),
        ("rounds: 2", "{ref: ../principles/rude.yaml, rounds: [2]}", None),
        ("rounds: 1\n  draw: fixed", "{ref: ../principles/rude.yaml}", "C059"),
        ("rounds: 2\n  draw: fixed", "{ref: ../principles/rude.yaml}", None),
        ("rounds: 1\n  draw: all", "{ref: ../principles/rude.yaml}", None),
        ("rounds: 1", "{ref: ../principles/rude.yaml, rounds: [2], phases: [rl]}", None),
    ],
)
def test_what_no_round_reaches(plan: str, member: str, code: str | None, tmp_path: Path) -> None:
    """`draw: fixed` with one round asks the first alone: the second of the file is never asked."""
    text = CONSTITUTION.replace("rounds: 1", plan)
    project(tmp_path, constitution=text.replace("ref: ../principles/rude.yaml", member))
    assert codes(tmp_path) == ({code} if code else set())


# -- layout ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda t: t.replace("title: About rude", "title: About rude \t"), 5),
        (lambda t: t.replace("\n", "\r\n"), 1),
        (lambda t: t.rstrip("\n"), 20),
    ],
    ids=["blanks", "CR", "no end"],
)
def test_white_space_is_told_and_mended(damage: object, line: int, tmp_path: Path) -> None:
    project(tmp_path)
    file = tmp_path / "principles" / "rude.yaml"
    file.write_bytes(damage(RUDE).encode())  # type: ignore[operator]
    (problem,) = lint([tmp_path]).problems
    assert (problem.code, problem.line) == ("C060", line)
    text = fixed_text(file, "Principle")
    assert text == RUDE


def test_what_can_not_be_seen_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "rude.yaml"
    file.write_text("\ufeff" + RUDE.replace("About rude", "About\u200b \u202erude"), "utf-8")
    assert fixed_text(file, "Principle") == RUDE


def test_a_missing_header_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "rude.yaml"
    bare = RUDE.replace("api: cai/v1\nkind: Principle\n", "")
    file.write_text("# ours\n\n" + bare, "utf-8")
    assert fixed_text(file, "Principle") == "# ours\n\n" + RUDE
    file.write_text(RUDE, "utf-8")
    assert fixed_text(file, "Principle") is None, "nothing to mend"


@pytest.mark.parametrize("data", [b"\xff\xfe", b"", b"a: [", b"- 1\n", b"\n"])
def test_what_can_not_be_mended_is_left(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "rude.yaml"
    file.write_bytes(data)
    assert fixed_text(file, "Principle") in (None, "a: [\n")
    assert fixed_text(tmp_path / "gone.yaml", "Principle") is None


# -- the lock --------------------------------------------------------------------------------------


def lock(root: Path, path: Path) -> None:
    rules = load_constitution(path)
    items = [lock_entry(rules), *(lock_entry(m.principle) for m in rules.members)]
    (root / NAME).write_text(lock_text(items), "utf-8")


def test_content_is_held_to_its_lock(tmp_path: Path) -> None:
    path = project(tmp_path)
    lock(tmp_path, path)
    assert codes(tmp_path) == set()
    changed = RUDE.replace("Say what is rude.", "Say what is very rude.")
    project(tmp_path, rude=changed)
    (problem,) = lint([tmp_path]).problems
    assert (problem.code, problem.line, Path(problem.file).name) == ("C071", 4, "rude.yaml")
    project(tmp_path, rude=changed.replace("version: 1.0.0", "version: 1.1.0"))
    (problem,) = lint([tmp_path]).problems
    assert problem.code == "C072" and "the lock has 1.0.0" in problem.message
    project(tmp_path, rude=RUDE.replace("why: Because of rude.", "why: Other reasons."))
    assert codes(tmp_path) == set(), "no model reads the reason"
    assert lint([tmp_path / "principles"]).problems == (), "a part of the project alone"


def test_settings_are_locked_too_and_what_is_gone_is_told(tmp_path: Path) -> None:
    path = project(tmp_path)
    lock(tmp_path, path)
    project(tmp_path, constitution=CONSTITUTION.replace("rounds: 1", "rounds: 2"))
    assert codes(tmp_path) == {"C071"}
    less = CONSTITUTION.replace("  - ref: ../principles/harmful.yaml\n", "")
    project(tmp_path, constitution=less)
    (tmp_path / "principles" / "harmful.yaml").unlink()
    messages = [problem.message for problem in lint([tmp_path]).problems]
    assert "the principle `harmful` is in the lock, but not in the project" in messages


def test_a_slip_is_told_alone_without_news_of_the_lock(tmp_path: Path) -> None:
    path = project(tmp_path)
    lock(tmp_path, path)
    project(tmp_path, rude=RUDE.replace("title:", "titel:"))
    assert codes(tmp_path) == {"C010", "C011"}


@pytest.mark.parametrize("text", ["", "{}\n", '{"format": "cai-lock/1"}\n[]\n', "x", "\n{}\n"])
def test_a_damaged_lock_is_told(text: str, tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / NAME).write_text(text, "utf-8")
    locked, (problem,) = read_lock(tmp_path)
    assert locked is None and problem.code == "C072" and "damaged" in problem.message
    assert codes(tmp_path) == {"C072"}
