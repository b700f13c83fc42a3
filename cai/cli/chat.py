"""`cai chat`: talk to a base model and to the adapters on it, the base loaded once."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cai.cli.defaults import constitution_option
from cai.cli.loaded_models import BASE, LoadedModels, chat_options, nearest
from cai.cli.roles import need_adapter, template_options
from cai.errors import CaiError
from cai.guard.config import MODES
from cai.text.seeds import derive
from cai.text.terminal import visible
from cai.types import Message, Messages, Sampling

if TYPE_CHECKING:
    from cai.cli.chat_guard import ChatGuard
    from cai.guard.config import GuardMode

HELP = {
    "/adapter NAME": "answer as this adapter from now on; `base` is the model without one",
    "/adapters": "list who can answer",
    "/load RUN": "load another adapter, and answer as it",
    "/system TEXT": "set the system message; without a text, remove it",
    "/reset": "forget the conversation; the system message stays",
    "/why": "show what the guard did to the last answer",
    "/help": "show this",
    "/quit": "end (Ctrl-D and Ctrl-C do too)",
}


@click.command("chat")
@chat_options
@click.option(
    "--guard", "mode", type=click.Choice(MODES), default=None,
    help="Guard each answer by a constitution, as `cai guard serve` does.  [default: no guard]",
)  # fmt: skip
@constitution_option
def command(
    model: str | None, adapters: tuple[str, ...], device: str, dtype: str, thinking: str,
    template_args: tuple[str, ...], date: str | None, mode: GuardMode | None, constitution: str,
    **sampling: Any,
) -> None:  # fmt: skip
    """Chat with a model and its adapters.

    The first adapter answers until you switch: /adapter NAME does so within a conversation, without
    loading the base again. /help lists the other commands. A line that begins with a space is
    always a message.

    With --guard, whoever answers also critiques and judges the answer; /why shows how. Nothing of a
    chat is kept.

    \b
    cai chat --adapter runs/sft --adapter runs/dpo
    cai chat --guard revise
    """
    template = template_options(
        {"thinking": thinking, "template_args": template_args, "date": date}, adapters
    )
    models = LoadedModels.load(
        model, adapters, device=device, dtype=dtype, at_once=1, template=template
    )
    guard = None
    if mode is not None:
        from cai.cli.chat_guard import ChatGuard

        guard = ChatGuard.load(constitution, mode, models)
    chat = Chat(models, Sampling(**sampling), name_unknown=models.title == "miniature", guard=guard)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (arrow keys and history in `input`)
    _say(f"{models.title}, answering as {chat.speaker}. /help lists the commands.")
    try:
        while chat.read(input("you> " if sys.stdin.isatty() else "")):
            pass
    except (EOFError, KeyboardInterrupt):
        click.echo()
    _say("Bye.")


class Chat:
    """A conversation, and who answers in it.

    name_unknown: say once which words of a message the miniature does not know. guard: answers in
    the speaker's place.

    An answer depends on the conversation, the speaker and the seed alone, so the same lines give
    the same chat.
    """

    def __init__(
        self,
        models: LoadedModels,
        sampling: Sampling,
        *,
        name_unknown: bool = False,
        guard: ChatGuard | None = None,
    ) -> None:
        self.models = models
        self.guard = guard
        self.speaker = models.names[min(1, len(models.names) - 1)]
        self.system = ""
        self.turns: list[Message] = []
        self._sampling = sampling
        self._name_unknown = name_unknown
        self._commands: dict[str, Callable[[str], None]] = {
            "/adapter": self._adapter,
            "/adapters": self._adapters,
            "/load": self._load,
            "/system": self._system,
            "/reset": self._reset,
            "/why": self._why,
            "/help": self._help,
            "/quit": lambda rest: None,
        }

    @property
    def messages(self) -> Messages:
        """The conversation as a model reads it."""
        return (*([Message("system", self.system)] if self.system else []), *self.turns)

    def read(self, line: str) -> bool:
        """Run a line; False if it ends the chat. Mistakes are printed, not raised."""
        if not line.startswith("/"):
            if line.strip():
                self._ask(line.strip())
            return True
        name, _, rest = line.strip().partition(" ")
        if name not in self._commands:
            _say(f"There is no command {name}. {nearest(name, list(self._commands))}")
            return True
        self._commands[name](rest.strip())
        return name != "/quit"

    def _ask(self, text: str) -> None:
        """Send a message and show the answer; without an answer the message is dropped."""
        self.turns.append(Message("user", text))
        seed = derive(self._sampling.seed, "chat", len(self.turns))
        sampling = replace(self._sampling, seed=seed)
        try:
            if self.guard is not None:
                answer = self.guard.answer(self.speaker, self.messages, sampling)
            else:
                answer = self.models.answer(self.speaker, self.messages, sampling)
        except CaiError as error:
            self.turns.pop()
            _say(f"{error.message}." + (" /reset forgets what was said." if self.turns else ""))
            return
        self.turns.append(Message("assistant", answer.text))
        self._tell_unknown(text)
        if answer.reasoning:
            _say(answer.reasoning)
        _show(self.speaker, answer.text)
        if answer.finish_reason == "length":
            _say(f"(cut off after {answer.response_tokens} tokens)")
        if self.guard is not None:
            for note in self.guard.notes():
                _say(note)

    def _tell_unknown(self, text: str) -> None:
        """Warn once in a chat with the miniature about words that it does not know."""
        if not self._name_unknown:
            return
        from cai.cli.unknown_words import unknown_in

        if message := unknown_in("this message", [text]):
            self._name_unknown = False
            _say(message)

    def _adapter(self, name: str) -> None:
        if not name:
            self._adapters("")
        elif name not in self.models.names:
            _say(f"There is no adapter {name}. {nearest(name, self.models.names)}")
        else:
            self.speaker = name
            _say(f"Answering as {name}.")

    def _adapters(self, rest: str) -> None:
        for name in self.models.names:
            title = f" ({self.models.title})" if name == BASE else ""
            _say(f"{'*' if name == self.speaker else ' '} {name}{title}")

    def _load(self, run: str) -> None:
        if not run:
            _say("Say which: /load RUN")
            return
        try:
            self._adapter(self.models.put(need_adapter(run)))
        except CaiError as error:
            _say(str(error))

    def _system(self, text: str) -> None:
        self.system = text
        _say("System message set." if text else "No system message.")

    def _reset(self, rest: str) -> None:
        self.turns.clear()
        _say("The conversation begins anew.")

    def _why(self, rest: str) -> None:
        lines = ["There is no guard: cai chat --guard MODE"]
        if self.guard is not None:
            lines = self.guard.explanation() or ["There is no answer yet."]
        for line in lines:
            _say(line)

    def _help(self, rest: str) -> None:
        for name, text in HELP.items():
            _say(f"{name:<14} {text}")


def _show(name: str, text: str) -> None:
    click.echo(f"{click.style(visible(name) + '>', bold=True)} {visible(text, lines=True)}")


def _say(text: str) -> None:
    click.echo(click.style(visible(text, lines=True), dim=True))
