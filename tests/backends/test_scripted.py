"""The scripted backend: rules in, deterministic results out."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from cai.backends.base import Backend
from cai.backends.scripted import ScriptedBackend
from cai.errors import ModelError, PromptError, UsageError
from cai.types import Generate, Generation, Message, Request, Sampling, Score, Scores


def user(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def answer(backend: ScriptedBackend, *requests: Request) -> list[Generation | Scores]:
    backend.submit(1, [backend.prepare(r) for r in requests], "c")
    (done,) = backend.poll()
    assert done.error is None
    return list(done.results)


def text(backend: ScriptedBackend, message: str, **sampling: object) -> str:
    (result,) = answer(backend, Generate(user(message), Sampling(**sampling)))  # type: ignore[arg-type]
    assert isinstance(result, Generation)
    return result.text


def test_the_first_rule_that_holds() -> None:
    backend: ScriptedBackend = ScriptedBackend(
        replies=[
            ("bread$", "Bake it."),
            (lambda m: m[-1].content.startswith("W"), lambda r: r.messages[-1].content.upper()),
            ("", ["one", "two"]),
        ]
    )
    assert text(backend, "some bread") == "Bake it."
    assert text(backend, "What?") == "WHAT?"
    replies = [text(backend, "x", seed=s) for s in range(40)]
    assert set(replies) == {"one", "two"}
    assert replies == [text(backend, "x", seed=s) for s in range(40)]
    assert len(backend.requests) == 82
    assert text(ScriptedBackend(default="Hm."), "x") == "Hm."


def test_scores() -> None:
    backend = ScriptedBackend(
        scores=[("which", {"A": 0.8, "B": 0.0}), ("rate", lambda r, option: -float(len(option)))]
    )
    first, second, third = answer(
        backend,
        Score(user("which?"), ("A", "B")),
        Score(user("rate"), ("x", "yyy")),
        Score(user("?"), ("A", "B")),
    )
    assert isinstance(first, Scores) and isinstance(second, Scores) and isinstance(third, Scores)
    assert first.logprobs[0] == pytest.approx(math.log(0.8))
    assert first.logprobs[1] < -60
    assert second.logprobs == (-1.0, -3.0)
    assert third.logprobs == pytest.approx((math.log(0.5),) * 2)


def test_limits_and_stop_texts() -> None:
    backend = ScriptedBackend(default="One two three. END four")
    assert text(backend, "x", stop=("END",)) == "One two three."
    (result,) = answer(backend, Generate(user("x"), Sampling(max_new_tokens=2)))
    assert isinstance(result, Generation)
    assert (result.text, result.finish_reason, result.response_tokens) == ("One two", "length", 2)
    assert len(result.token_ids) == 2


def test_keys() -> None:
    backend = ScriptedBackend()
    requests: list[Request] = [
        Generate(user("x"), Sampling()), Generate(user("x"), Sampling(seed=1)),
        Generate(user("x"), Sampling(), "a"), Generate(user("y"), Sampling()),
        Score(user("x"), ("A",)),
    ]  # fmt: skip
    assert len({backend.prepare(r).key for r in requests}) == 5
    other = ScriptedBackend(replies=[("", "else")])
    assert other.prepare(requests[0]).key != backend.prepare(requests[0]).key
    assert ScriptedBackend().prepare(requests[0]).key == backend.prepare(requests[0]).key
    with pytest.raises(PromptError, match="NUL"):
        backend.prepare(Generate(user("\x00"), Sampling()))


def test_errors_stay_with_their_group() -> None:
    def fail(request: Generate) -> str:
        raise ModelError("no")

    backend: Backend = ScriptedBackend(replies=[("bad", fail)])
    for ticket, message in enumerate(["bad", "good"]):
        backend.submit(ticket, [backend.prepare(Generate(user(message), Sampling()))], "c")
    assert str(backend.poll()[0].error) == "no"
    assert backend.poll()[0].results
    assert backend.poll() == []


def test_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(
        "default: Hm.\nreplies:\n- {when: hello, say: [Hi., Hi there.]}\n- {when: bye, say: Bye.}\n"
        "scores:\n- when: ''\n  options: {A: 0.75, B: 0.25}\n"
    )
    backend = ScriptedBackend.from_yaml(path)
    assert text(backend, "say bye") == "Bye."
    assert text(backend, "hello") in {"Hi.", "Hi there."}
    assert text(backend, "?") == "Hm."
    (scores,) = answer(backend, Score(user("?"), ("B",)))
    assert isinstance(scores, Scores)
    assert scores.logprobs == pytest.approx((math.log(0.25),))
    assert backend.info.name == "script.yaml"
    assert backend.requests == [], "a build of 100,000 prompts would keep millions"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("replys: []", "unknown key 'replys'\n.*replies"),
        ("- a", "must be a mapping"),
        ("replies: {}", "replies must be a list"),
        ("replies: [{when: a}]", "reply 1 has no 'say'"),
        ("replies: [{say: {a: b}}]", "`say` is a text"),
        ("replies: [{when: '(', say: a}]", "no regular expression"),
        ("scores: [{options: {A: 2}}]", "a probability"),
        ("a: [", "can't be read as YAML"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        ScriptedBackend.from_yaml(path)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys, cai.backends.scripted; assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
