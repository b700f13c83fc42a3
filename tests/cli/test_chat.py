"""`cai chat`, as a script would use it: lines on stdin."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cai.backends.local import LocalBackend
from cai.cli.chat import Chat
from cai.cli.loaded_models import LoadedModels
from cai.models.load import LoadedModel, load_model
from cai.text.seeds import derive
from cai.types import Generate, Generation, Message, Messages, Sampling
from tests.cli.project import cai

Talk = Callable[..., list[str]]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Talk:
    """Runs a chat over lines and returns what it printed, without the greeting."""

    def run(*lines: str, options: tuple[object, ...] = ()) -> list[str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        cai("chat", "--temperature", 0, "--max-new-tokens", 12, *options)
        return capsys.readouterr().out.splitlines()[1:]

    return run


def answer(messages: Messages, adapter: Path | None = None) -> str:
    """What a model of its own, with the adapter alone on it, says to the same."""
    backend = LocalBackend.load("miniature", adapter=str(adapter) if adapter else None)
    sampling = Sampling(temperature=0, max_new_tokens=12)
    backend.submit(0, [backend.prepare(Generate(messages, sampling))], "c")
    while not (done := backend.poll()):
        pass
    result = done[0].results[0]
    assert isinstance(result, Generation)
    return result.text


def test_adapters_switch_within_a_conversation_and_the_base_is_loaded_once(
    talk: Talk,
    sft_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every answer is that of a model of its own; no cache knows of another's."""
    loads: list[str] = []

    def counted(name: str, *rest: Any, **more: Any) -> LoadedModel:
        loads.append(name)
        return load_model(name, *rest, **more)

    monkeypatch.setattr("cai.models.load.load_model", counted)
    out = talk(
        "What is bread?", "/adapter base", "And a river?", "/adapter sft", "And you?",
        options=("--adapter", sft_run),
    )  # fmt: skip
    said = [line for line in out if line.startswith(("sft> ", "base> "))]
    turns: list[Message] = []
    expected = []
    for text, name in (("What is bread?", "sft"), ("And a river?", "base"), ("And you?", "sft")):
        turns.append(Message("user", text))
        turns.append(Message("assistant", answer(tuple(turns), sft_run if name == "sft" else None)))
        expected.append(f"{name}> {turns[-1].content}")
    assert said == expected
    first = (Message("user", "What is bread?"),)
    assert answer(first, sft_run) != answer(first)  # else the above would prove nothing
    assert loads == ["miniature"]


def test_commands(talk: Talk, sft_run: Path) -> None:
    out = talk(
        "/adapters", "/adaptr x", "/adapter sfd", "/load", f"/load {sft_run}",
        "/load nowhere/at/all", f"/load {sft_run}", "/adapter sft", "/adapters",
        "/system Be brief.", "/system", "/reset", "", "/help", "/quit", "never read",
    )  # fmt: skip
    assert out[0] == "* base (miniature)"
    assert "Did you mean '/adapter'?" in out[1]
    assert out[2] == "There is no adapter sfd. There are: base."
    assert out[3] == "Say which: /load RUN"
    assert out[4] == "Answering as sft."
    assert "nowhere/at/all" in out[5]
    rest = out[7:]
    assert rest[:2] == ["Answering as sft-2.", "Answering as sft."]
    assert rest[2:5] == ["  base (miniature)", "* sft", "  sft-2"]
    assert rest[5:8] == [
        "System message set.", "No system message.", "The conversation begins anew.",
    ]  # fmt: skip
    assert "/system TEXT" in "\n".join(rest)
    assert out[-1] == "Bye."


def test_a_conversation_that_is_too_long_is_told_and_can_go_on(talk: Talk) -> None:
    """The miniature takes 1024 tokens; the long line is not kept."""
    out = talk("Hello.", "bread " * 1100, "Hello again.")
    assert [line.startswith("base> ") for line in out].count(True) == 2
    assert "the model takes 1024 in all" in "\n".join(out)
    assert "/reset" in "\n".join(out)
    assert out[-1] == "Bye."


def test_system_and_history_reach_the_model_and_reset_forgets() -> None:
    seen: list[tuple[Messages, int]] = []

    class Echo(LoadedModels):
        def __init__(self) -> None:
            self._loaded = {"base": None}  # type: ignore[dict-item]

        def answer(self, name: str, messages: Messages, sampling: Sampling) -> Generation:
            seen.append((messages, sampling.seed))
            return Generation(f"{len(messages)}", (), "stop", name, "", 0, 0)

    chat = Chat(Echo(), Sampling(seed=5))
    for line in ("One", "/system Be brief.", "Two", "/reset", " /etc"):
        assert chat.read(line)
    assert not chat.read("/quit")
    user, bot, system = (
        Message("user", "One"),
        Message("assistant", "1"),
        Message("system", "Be brief."),
    )
    assert [messages for messages, _ in seen] == [
        (user,), (system, user, bot, Message("user", "Two")), (system, Message("user", "/etc")),
    ]  # fmt: skip
    assert [seed for _, seed in seen] == [derive(5, "chat", n) for n in (1, 3, 1)]


def test_a_models_control_characters_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    class Hostile(LoadedModels):
        def __init__(self) -> None:
            self._loaded = {"base": None}  # type: ignore[dict-item]

        def answer(self, name: str, messages: Messages, sampling: Sampling) -> Generation:
            return Generation("a\x1b]0;x\x07\nb", (), "stop", name, "", 0, 0)

    Chat(Hostile(), Sampling()).read("Hello")
    assert capsys.readouterr().out == "base> a␛]0;x␇\nb\n"


def test_ctrl_c_ends_it_politely(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    cai("chat")
    assert capsys.readouterr().out.splitlines()[-1] == "Bye."


@pytest.mark.parametrize("option", [("--top-p", 0), ("--temperature", -1), ("--max-new-tokens", 0)])
def test_values_out_of_range_are_refused(option: tuple[str, int]) -> None:
    cai("chat", *option, exit_code=2)


def test_the_miniature_says_once_which_words_it_does_not_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Echo(LoadedModels):
        def __init__(self) -> None:
            self._loaded = {"base": None}  # type: ignore[dict-item]

        def answer(self, name: str, messages: Messages, sampling: Sampling) -> Generation:
            return Generation("Yes.", (), "stop", name, "", 0, 0)

    chat = Chat(Echo(), Sampling(), name_unknown=True)
    for line in ("How do I get better at chess?", "Renew my visa", "Renew it"):
        chat.read(line)
    assert capsys.readouterr().out.count("does not know words of this message: renew, visa.") == 1
    Chat(Echo(), Sampling()).read("Renew my visa")
    assert "does not know" not in capsys.readouterr().out


def test_a_guard_answers_in_the_speakers_place_and_says_why(talk: Talk) -> None:
    question = "It is clear to me that the colour of milk is red. Is it so?"
    out = talk("/why", question, "/why", options=("--guard", "filter", "--constitution", "default"))
    assert out[0] == "There is no answer yet."
    own = next(line for line in out if line.startswith("The model's own: "))
    assert own.removeprefix("The model's own: ") == answer((Message("user", question),))
    assert "base> I can't help with that." in out
    assert any(line.startswith("Withheld: ") and "is below 0.5" in line for line in out)
    assert "There is no guard: cai chat --guard MODE" in talk("/why")


def test_an_answer_without_a_fault_passes_the_guard(talk: Talk) -> None:
    """The same text, with the guard and without it."""
    question = "Help me plan a weekend of yoga with my babysitter."
    guarded = talk(question, options=("--guard", "filter", "--max-new-tokens", 48))
    plain = talk(question, options=("--max-new-tokens", 48))
    assert guarded == plain
