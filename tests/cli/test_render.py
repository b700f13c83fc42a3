"""`cai render`: what it prints is what the stages send."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from cai.cli.render import command
from cai.constitution import messages
from cai.constitution.load import load_constitution
from cai.errors import ContentError, UsageError
from cai.types import Message, Messages
from tests.constitution.projects import CONSTITUTION, project


def run(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def rendered(*arguments: object) -> list[dict[str, object]]:
    out: list[dict[str, object]] = json.loads(run(*arguments, "--format", "json"))
    return out


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_the_messages_are_those_of_the_stages() -> None:
    rules = load_constitution("default")
    rule = next(m.principle for m in rules.members if m.principle.id == "respect.rudeness")
    shown = rendered(
        *("respect.rudeness", "--prompt", "P", "--response", "R", "--critique", "C", "--other", "O")
    )
    conversation = (Message("user", "P"), Message("assistant", "R"))
    expected = {
        "critique": messages.critique(rules, rule, conversation),
        "revise": messages.revision(rules, rule, conversation, "C"),
        "compare": messages.comparison(rules, rule, conversation[:1], "R", "O"),
    }
    assert [item["stage"] for item in shown] == list(expected)
    for item in shown:
        sent = expected[str(item["stage"])]
        assert item["messages"] == [{"role": m.role, "content": m.content} for m in sent]
        assert item["prefill"] == ("(" if item["stage"] == "compare" else "")
        assert item["ids"] is None


@pytest.mark.usefixtures("here")
def test_text_shows_every_word() -> None:
    text = run("respect.rudeness", "--prompt", "Two\nlines", "--stage", "critique")
    assert "user:\n  Two\n  lines\n" in text
    assert "assistant:\n  [response]\n" in text
    assert "  If there is no such problem, answer only: No problem found.\n" in text
    assert "compare" not in text
    assert "judges pointwise" in run("respect.rudeness", "--prompt", "P", "--stage", "compare")


@pytest.mark.usefixtures("here")
def test_other_constitutions() -> None:
    (item,) = rendered("harm.harmful", "--prompt", "P", "-c", "direct", "--stage", "revise")
    assert [m["role"] for m in item["messages"]] == ["user", "assistant", "user"]  # type: ignore[attr-defined]
    (item,) = rendered(
        "respect.rudeness", "--prompt", "P", "-c", "brand-voice", "--stage", "compare"
    )
    assert item["messages"][0]["content"].count("Which response is less") == 2  # type: ignore[index]


def test_fewshot_examples_come_first(here: Path) -> None:
    example = "examples: [{prompt: p, response: r, critique: c, revision: v}]\n"
    from tests.constitution.projects import principle

    files = {n: principle(n, example) for n in ("rude", "harmful")}
    text = CONSTITUTION.replace("rounds: 1", "rounds: 1\n  fewshot: 1")
    project(here, constitution=text, **files)
    (item,) = rendered("rude", "--prompt", "P", "-c", "small", "--stage", "critique")
    contents = [m["content"] for m in item["messages"]]  # type: ignore[attr-defined]
    assert contents[0] == "p" and contents[-3] == "P" and len(contents) == 9


def test_a_principle_by_file(here: Path) -> None:
    project(here)
    (item,) = rendered("principles/rude.yaml", "--prompt", "P", "--stage", "critique")
    assert "Say what is rude." in item["messages"][-1]["content"]  # type: ignore[index]
    with pytest.raises(ContentError):
        run("principles/none.yaml", "--prompt", "P")


@pytest.mark.usefixtures("here")
def test_an_unknown_principle() -> None:
    with pytest.raises(UsageError, match=r"Did you mean respect\.rudeness"):
        run("respect.rudenes", "--prompt", "P")


@pytest.mark.usefixtures("here")
def test_text_that_steers_a_terminal_is_shown_harmless() -> None:
    text = run("respect.rudeness", "--prompt", "a\x1b[31mb\u202ec", "--stage", "critique")
    assert "\x1b" not in text and "\u202e" not in text


@pytest.mark.usefixtures("here")
def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(UsageError, match="--prompt"):
        run("respect.rudeness", "--prompt", "a\udcff")


@dataclass
class _Encoded:
    ids: tuple[int, ...]
    text: str
    control: tuple[int, ...]


class _Encoder:
    """Two control tokens around one token a message."""

    def encode(self, sent: Messages, prefill: str, add_generation_prompt: bool) -> _Encoded:
        assert add_generation_prompt
        inner = tuple(range(10, 10 + len(sent) + bool(prefill)))
        return _Encoded((1, *inner, 2), "text", (0, len(inner) + 1))

    def tokens(self, ids: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(f"<{i}>" if i < 10 else f"t{i}" for i in ids)


@pytest.mark.usefixtures("here")
def test_token_ids_of_the_bundled_model() -> None:
    """The chat template's own control tokens are marked; one that a prompt spells out is text."""
    (item,) = rendered(
        *("respect.rudeness", "--prompt", "a<|im_end|>b", "-m", "miniature", "--stage", "critique")
    )
    tokens, control = item["tokens"], item["control"]
    assert isinstance(tokens, list) and isinstance(control, list)
    marked = [tokens[i] for i in control]
    assert len(marked) == 7 and marked[0] == "<|im_start|>"
    assert marked.count("<|im_end|>") == 3 == tokens.count("<|im_end|>")


@pytest.mark.usefixtures("here")
def test_token_ids_with_control_tokens_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for the tokenizer, so that no model is loaded here."""
    load = ModuleType("cai.models.load")
    load.load_encoder = {"tiny": _Encoder()}.__getitem__  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cai.models.load", load)
    arguments = ("respect.rudeness", "--prompt", "P", "-m", "tiny")
    critique, _, compare = rendered(*arguments)
    assert critique["ids"] == [1, 10, 11, 12, 2]
    assert critique["control"] == [0, 4]
    assert compare["ids"] == [1, 10, 11, 2]
    text = run(*arguments, "--stage", "compare")
    assert "compare · 4 tokens" in text
    assert "[<1>·1]  t10·10  t11·11  [<2>·2]" in text
