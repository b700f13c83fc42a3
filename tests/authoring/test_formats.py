"""Foreign constitutions: written here from the formats' keys, read, and written back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cai.authoring.formats import FORMATS, read_format, unsupported, write_format
from cai.constitution.load import load_constitution
from cai.errors import DataError
from tests.e2e.helpers import cai

CRITIQUE = "Identify specific ways in which the assistant's last response is harmful."
REVISE = "Please rewrite the assistant response to remove any harm."
QUESTION = "Which of these assistant responses is less harmful?"
FILES: dict[str, Any] = {
    "anthropic": {
        "harmful0": {
            "prompt": [f"\n\nCritiqueRequest: {CRITIQUE}\n\nCritique:"],
            "edit_request": f"\n\nRevisionRequest: {REVISE}\n\nRevision:",
        },
        "harmful1": {"prompt": ["Bare request."], "edit_request": "Bare revision."},
    },
    "anthropic-feedback": [f"{QUESTION}\n\nOptions:", "Which one is wiser? Options:"],
    "llm-swarm": {
        "constitutions": [{"critic": CRITIQUE, "revision": REVISE}],
        "system_chat": [
            {"role": "system", "content": "Be good."},
            {"role": "user", "content": "P"}, {"role": "assistant", "content": "R"},
            {"role": "user", "content": CRITIQUE}, {"role": "assistant", "content": "C"},
            {"role": "user", "content": REVISE}, {"role": "assistant", "content": "V"},
        ],
    },
    "langchain": [
        {"name": "Harmful Principle", "critique_request": CRITIQUE, "revision_request": REVISE},
        {"name": "harmful-principle", "critique_request": "Other.", "revision_request": "More."},
    ],
}  # fmt: skip


def write(tmp_path: Path, value: Any) -> Path:
    file = tmp_path / "foreign.json"
    text = value if isinstance(value, str) else json.dumps(value)
    file.write_text(text, "utf-8")
    return file


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "constitution").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_imported_loads_and_keeps_the_words(name: str, home: Path) -> None:
    cai("import", name, write(home, FILES[name]), "--name", "theirs")
    rules = load_constitution("theirs")
    first = rules.members[0].principle
    if "critique" in FORMATS[name].fields:
        assert (first.critique_request, first.revision_request) == (CRITIQUE, REVISE)
        assert rules.feedback.mode == "pointwise"  # asks no comparison question
    else:
        assert first.comparison_question == QUESTION
        assert rules.feedback.mode == "letters"


@pytest.mark.parametrize("name", FORMATS)
def test_there_and_back(name: str, home: Path) -> None:
    """What a format carries comes back as it was, from the shipped constitution too."""
    rules = load_constitution("default")
    principles = [m.principle for m in rules.members]
    text = write_format(name, principles)
    content = read_format(name, text, "x")
    assert len(content.principles) == len(principles)
    fields = {"critique": "critique_request", "revise": "revision_request",
              "compare": "comparison_question"}  # fmt: skip
    for theirs, ours in zip(content.principles, principles, strict=True):
        for field, attribute in fields.items():
            carried = field in FORMATS[name].fields
            assert getattr(theirs, field) == (getattr(ours, attribute) if carried else None)
    if name == "llm-swarm":
        assert content.examples == principles[0].examples
    cai("import", name, write(home, text), "--name", "again")
    again = [m.principle for m in load_constitution("again").members]
    assert len(again) == len(principles)
    assert read_format(name, write_format(name, again), "x").principles[0].critique == (
        content.principles[0].critique
    )


def test_examples_of_a_chat_become_few_shot_examples(home: Path) -> None:
    cai("import", "llm-swarm", write(home, FILES["llm-swarm"]), "--name", "swarm")
    rules = load_constitution("swarm")
    (example,) = rules.members[0].principle.examples
    assert (example.prompt, example.response, example.critique, example.revision) == tuple("PRCV")
    assert rules.plan.fewshot == 1


def test_chats_in_a_list_and_what_is_left_over(home: Path, capsys: Any) -> None:
    chat = FILES["llm-swarm"]["system_chat"][1:]
    value = FILES["llm-swarm"] | {"system_chat": [chat, chat[:3]], "seed": 1}
    cai("import", "llm-swarm", write(home, value), "--name", "swarm")
    out = capsys.readouterr().out
    assert "left out: 3 messages" in out and "left out: the keys seed" in out


def test_a_chat_that_goes_on_gives_the_turn_that_was_criticised(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight messages: a first turn, then prompt, response and what was said of that response."""
    first = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    chat = FILES["llm-swarm"]["system_chat"][1:]
    value = FILES["llm-swarm"] | {"system_chat": [first + chat]}
    cai("import", "llm-swarm", write(home, value), "--name", "swarm")
    (example,) = load_constitution("swarm").members[0].principle.examples
    assert (example.prompt, example.response, example.critique, example.revision) == tuple("PRCV")
    assert "left out: 2 messages" in capsys.readouterr().out


def test_a_list_of_constitutions_alone_is_read(home: Path) -> None:
    entries = FILES["llm-swarm"]["constitutions"]
    cai("import", "llm-swarm", write(home, entries), "--name", "swarm")
    requests = [m.principle.critique_request for m in load_constitution("swarm").members]
    assert requests == [entry["critic"] for entry in entries]


def test_names_that_come_to_the_same_are_told_apart(home: Path) -> None:
    cai("import", "langchain", write(home, FILES["langchain"]), "--name", "chain")
    ids = [m.principle.id for m in load_constitution("chain").members]
    assert ids == ["chain.harmful-principle", "chain.harmful-principle-2"]


def test_what_was_made_up_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai("import", "anthropic-feedback", write(home, FILES["anthropic-feedback"]))
    out = capsys.readouterr().out
    assert "2 × `critique` was filled in from another wording" in out
    capsys.readouterr()
    cai("lint", exit_code=3)
    codes = {line.split()[1] for line in capsys.readouterr().out.splitlines() if ": C0" in line}
    assert codes == {"C050"}, "no tests yet, and nothing else"


def test_hidden_characters_do_not_come_in(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = {"a\u202eb": {"prompt": ["Say\u200b it."], "edit_request": "Do\u2028 it."}}
    cai("import", "anthropic", write(home, value), "--name", "x")
    (member,) = load_constitution("x").members
    assert member.principle.critique_request == "Say it."
    assert "from which invisible characters were removed: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("anthropic", "{", ":1:2 is not JSON"),
        ("anthropic", [], "it is not an object of names"),
        ("anthropic", {"a": {"prompt": 3}}, "a.prompt is not a text"),
        ("anthropic", {}, "holds no principle"),
        ("anthropic-feedback", [""], "question 1 is not a text"),
        ("llm-swarm", {"constitutions": {}}, "`constitutions` is not a list"),
        ("llm-swarm", {"constitutions": [{"critic": "x"}]}, "constitution 1: revision"),
        ("langchain", [{"name": "a", "critique_request": "x"}], "a: revision_request"),
        ("langchain", "[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_of_the_format_is_told(name: str, value: Any, message: str) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(DataError) as caught:
        read_format(name, text, "f.json")
    assert message in str(caught.value) and "f.json" in str(caught.value)


def test_what_would_not_load_is_told_and_nothing_written(home: Path, capsys: Any) -> None:
    value = {"a": {"prompt": ["x" * 9000], "edit_request": "y"}}
    cai("import", "anthropic", write(home, value), exit_code=3)
    assert "principles/imported/a.yaml:" in capsys.readouterr().err
    assert not (home / "principles").exists()


def test_long_names_and_long_texts_load(home: Path) -> None:
    value = [{"name": "n" * 400, "critique_request": "x" * 7900, "revision_request": "y"}]
    cai("import", "langchain", write(home, value), "--name", "long")
    (member,) = load_constitution("long").members
    assert len(member.principle.title) <= 200


def test_several_prompts_become_one_request(home: Path, capsys: Any) -> None:
    parts = ["\n\nCritiqueRequest: One.\n\nCritique:", "\n\nCritiqueRequest: Two.\n\nCritique:"]
    value = {"a": {"prompt": parts, "edit_request": "Change it."}}
    cai("import", "anthropic", write(home, value), "--name", "two")
    (member,) = load_constitution("two").members
    assert member.principle.critique_request == "One.\nTwo."
    out = capsys.readouterr().out
    assert (
        "several parts, joined into one request: 1" in out and "names became ids: a → two.a" in out
    )


def test_a_name_that_stands_twice_is_refused(home: Path, capsys: Any) -> None:
    entry = '{"prompt": ["x"], "edit_request": "y"}'
    cai("import", "anthropic", write(home, f'{{"a": {entry}, "a": {entry}}}'), exit_code=4)
    assert "the key 'a' stands twice" in capsys.readouterr().err


def test_system_messages_are_counted(home: Path, capsys: Any) -> None:
    cai("import", "llm-swarm", write(home, FILES["llm-swarm"]), "--name", "swarm")
    assert "left out: 1 system messages" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "anthropic",
            {"a": {"prompt": ["X"], "edit_request": "Y", "note": "n"}},
            "left out: the keys note (1)",
        ),
        (
            "llm-swarm",
            [{"critic": "X", "revision": "Y", "id": n, "weight": 2} for n in range(2)],
            "left out: the keys id (2), weight (2)",
        ),
        (
            "langchain",
            {
                "version": 3,
                "constitutional_principles": [
                    {"name": "a", "critique_request": "X", "revision_request": "Y", "tone": "z"}
                ],
            },
            "left out: the keys tone (1)",
        ),
    ],
)
def test_keys_that_nothing_comes_from_are_told(
    name: str, value: Any, message: str, home: Path, capsys: Any
) -> None:
    cai("import", name, write(home, value), "--name", "other")
    out = capsys.readouterr().out
    assert message in out
    assert ("left out: the keys version (1)" in out) == (name == "langchain")


def test_files_that_are_there_are_left_alone(home: Path, capsys: Any) -> None:
    file = write(home, FILES["langchain"])
    cai("import", "langchain", file)
    mine = home / "principles" / "imported" / "harmful-principle.yaml"
    mine.write_text(mine.read_text("utf-8") + "# mine\n", "utf-8")
    cai("import", "langchain", file, exit_code=2)
    assert "--force" in capsys.readouterr().err and "# mine" in mine.read_text("utf-8")
    cai("import", "langchain", file, "--force")
    assert "# mine" not in mine.read_text("utf-8")


def test_what_is_lost_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The default has 15 principles, each with a comparison question that LangChain can't hold."""
    out = tmp_path / "out.json"
    cai("convert", "langchain", "-o", out)
    output = capsys.readouterr().err
    assert "15 comparison questions" in output and "the plan" in output
    assert len(json.loads(out.read_text("utf-8"))) == 15
    rules = load_constitution("default")
    assert "15 critiques" in unsupported("anthropic-feedback", [m.principle for m in rules.members])
