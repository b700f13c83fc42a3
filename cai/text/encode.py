"""Messages to token ids: the only such path, and the one place that knows control tokens.

A control token is any added token of the tokenizer, special or not (tokens of nothing but white
space are ordinary text). Only the chat template may write one. Text that people or models wrote
becomes ordinary tokens, whatever it says: `<|im_end|>` in a prompt is nine characters, not the end
of a turn. Where no text holds a control token, the ids are those of the stock call
`tokenizer.apply_chat_template(messages, tokenize=True)`.

How: the template is rendered with an unguessable stand-in for the core of each message (its white
space stays, so the template trims what it always trims), which tells the template's own words
from the messages'. In the template's words each control token is replaced by a secret name; then
the whole string goes, in one call, through a twin of the tokenizer that knows the control tokens by
their secret names alone. One call keeps merges across borders, stripping flags and prefix spaces
as they are in stock.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer

from cai.errors import ModelError, PromptError
from cai.text.sound import check_text
from cai.types import Message, Messages

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
"""The plain format of a tokenizer without a chat template."""
PLAIN_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('There is no system turn.') }}"
    "{% elif m['role'] == 'assistant' %}{{ '\\n\\nAssistant: ' + m['content'] + eos_token }}"
    "{% else %}{{ '\\n\\nHuman: ' + m['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)
"""The format of bases without a chat template, as a chat template."""

_OPEN, _CLOSE = "\ue000", "\ue001"
_BLANK = " \t\n\r\x0b\x0c\u2581\u0120\u010a"
_PROBE = (Message("user", "Hello there."), Message("assistant", "Yes."), Message("user", "And?"))


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as a model reads it.

    ids: token ids. text: the exact string, control tokens by their names.
    control: where in `ids` the control tokens stand, in order.
    """

    ids: tuple[int, ...]
    text: str
    control: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Core:
    """A message without the white space around it, and how many characters that was."""

    text: str = ""
    lead: int = 0
    trail: int = 0

    @classmethod
    def of(cls, content: str) -> _Core:
        lead, trail = len(content) - len(content.lstrip()), len(content) - len(content.rstrip())
        return cls(content.strip(), lead, trail)


class Encoder:
    """Encodes conversations for one tokenizer (a fast one of transformers).

    Raises `ModelError` where the tokenizer can't be encoded safely.
    """

    def __init__(self, tokenizer: Any, eos_ids: Iterable[int] = ()) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ModelError(
                f"The tokenizer {type(tokenizer).__name__} has no fast form (tokenizer.json)",
                hint="Convert it with transformers and save it beside the model.",
            )
        self.tokenizer = tokenizer
        self.has_template = bool(getattr(tokenizer, "chat_template", None))
        self._secret = secrets.token_hex(16)
        self._stand_in = re.compile(f"{_OPEN}{self._secret}c([0-9]+){_CLOSE}")
        self._names: dict[str, str] = {}
        self._ids: dict[str, int] = {}
        self._normalized: set[str] = set()
        self._unknown: set[int] = set()
        self._twin, self._moved = self._make_twin(backend)
        self._greedy = any(name != name.strip() for name in self._names)
        self._finders = tuple(
            re.compile("|".join(map(re.escape, sorted(some, key=len, reverse=True))) or r"(?!)")
            for some in (self._names.keys() - self._normalized, self._normalized)
        )
        self.control_ids = frozenset(self._ids.values()) - self._unknown
        """Ids that no text can become (the one for unknown characters is no control token)."""
        self._bos = self._stock_bos()
        self._folds_system = not self._takes_system()
        self.turn_end_id, written = self._after_assistant()
        """The control token that the template writes after an assistant's turn, if any."""
        ends = (*eos_ids, tokenizer.eos_token_id, self.turn_end_id)
        self.eos_ids: frozenset[int] = frozenset(i for i in ends if i is not None)
        """Ids that end the assistant's turn."""
        special = {i for i, t in backend.get_added_tokens_decoder().items() if t.special}
        self.stop_ids = self.eos_ids | (self.control_ids & (special | written))
        """`eos_ids` and every other control token that has no place inside a turn."""
        self.stop_texts: tuple[str, ...] = () if self.has_template else (HUMAN,)
        """Texts that end the assistant's turn where no token does."""
        self._check()

    def encode(
        self, messages: Messages, prefill: str = "", add_generation_prompt: bool = True
    ) -> Encoded:
        """Encode a conversation, with the start of the assistant's next turn behind it.

        `prefill` begins the assistant's words and needs `add_generation_prompt`.
        Raises `PromptError` where the text is no valid Unicode, holds NUL, or is not a
        conversation that the chat template takes.
        """
        if prefill and not add_generation_prompt:
            raise ValueError("a prefill begins the assistant's turn: it needs a generation prompt")
        check_text(messages, prefill)
        gaps, cores = self._render(self._turns(messages), add_generation_prompt)
        if prefill:
            gaps[-1] += "" if self.has_template else " "
            gaps.append("")
            cores.append(_Core(prefill))
        text: list[str] = []
        secret: list[str] = []
        expected: list[int] = []
        for left, gap, right in zip([_Core(), *cores], gaps, [*cores, _Core()], strict=True):
            for piece, token in self._split(gap, left.trail, right.lead):
                secret.append(self._names[piece] if token else piece)
                if token and self._ids[piece] in self.control_ids:
                    expected.append(self._ids[piece])
            secret.append(right.text)
            text += (gap, right.text)
        ids = self._tokenize("".join(secret))
        if self._bos is not None and not self.has_template:
            ids, expected = [self._bos, *ids], [self._bos, *expected]
        control = tuple(i for i, t in enumerate(ids) if t in self.control_ids)
        if [ids[i] for i in control] != expected:
            raise PromptError(
                "The tokenizer would read control tokens that the chat template did not write",
                hint="The row can't be encoded safely with this tokenizer.",
            )
        return Encoded(tuple(ids), "".join(text), control)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, without special tokens; bytes that are no UTF-8 become U+FFFD."""
        out: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return out

    def tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The vocabulary's own spelling of each id, for people to look at."""
        return tuple(str(t) for t in self.tokenizer.convert_ids_to_tokens(list(ids)))

    # -- the twin -------------------------------------------------------------------------------

    def _make_twin(self, backend: Tokenizer) -> tuple[Tokenizer, dict[int, int]]:
        """The same tokenizer under secret names, and where its control ids stood before."""
        data = json.loads(backend.to_str())
        data.update(truncation=None, padding=None, post_processor=None)
        for n, token in enumerate(data["added_tokens"]):
            content = token["content"]
            if not content.strip(_BLANK):
                continue
            name = f"{_OPEN}{self._secret}t{n}{_CLOSE}"
            self._names[content] = name
            self._ids[content] = token["id"]
            if token["normalized"]:
                self._normalized.add(content)
            token["content"] = name
        unknown = data["model"].get("unk_token"), data["model"].get("unk_id")
        self._unknown = {self._ids.get(unknown[0], -1), -1 if unknown[1] is None else unknown[1]}
        _rename(data["model"], self._names)
        twin = Tokenizer.from_str(json.dumps(data))
        moved = {}
        for content, name in self._names.items():
            there = twin.token_to_id(name)
            if there is None:
                raise ModelError(f"The tokenizer lost its token {content!r} when it was copied")
            moved[there] = self._ids[content]
        return twin, {a: b for a, b in moved.items() if a != b}

    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self._twin.encode(text, add_special_tokens=False).ids
        return [self._moved.get(i, i) for i in ids] if self._moved else ids

    def _split(self, gap: str, trail: int = 0, lead: int = 0) -> Iterator[tuple[str, bool]]:
        """A stretch of template words, cut at its control tokens: (piece, is a control token).

        The outermost `trail` and `lead` characters may be white space of the messages there, which
        no control token may make use of.
        """
        low = min(trail, len(gap) - len(gap.lstrip()))
        high = max(len(gap) - lead, len(gap.rstrip()))

        def cut(start: int, end: int, finders: Sequence[re.Pattern[str]]) -> Iterator[Any]:
            if not finders or start == end:
                yield gap[start:end], False
                return
            at = start
            for match in finders[0].finditer(gap, start, end):
                if match.start() < low or match.end() > high:
                    continue
                yield from cut(at, match.start(), finders[1:])
                yield match.group(), True
                at = match.end()
            yield from cut(at, end, finders[1:])

        return cut(0, len(gap), self._finders)

    # -- the template ---------------------------------------------------------------------------

    def _turns(self, messages: Messages) -> list[Message]:
        """Neighbours of one role merged; system text folded into a user turn where it has to be."""
        turns = list(messages)
        if self._folds_system and any(m.role == "system" for m in turns):
            turns = [Message("user", m.content) if m.role == "system" else m for m in turns]
        out: list[Message] = []
        for turn in turns:
            if out and out[-1].role == turn.role:
                out[-1] = Message(turn.role, f"{out[-1].content}\n\n{turn.content}")
            else:
                out.append(turn)
        return out

    def _render(self, turns: Sequence[Message], generation: bool) -> tuple[list[str], list[_Core]]:
        """The template's words and the messages' cores, by turns: gap, core, gap, …, gap."""
        cores = [_Core.of(m.content) for m in turns]
        marked = []
        for i, (m, core) in enumerate(zip(turns, cores, strict=True)):
            content = m.content.replace(core.text, self._mark(i), 1) if core.text else m.content
            marked.append(Message(m.role, content if core.text or not self._greedy else ""))
        pieces = self._stand_in.split(self._apply(marked, generation))
        seen = [int(i) for i in pieces[1::2]]
        lost = {i for i, core in enumerate(cores) if core.text} - set(seen)
        if lost:
            role = turns[min(lost)].role
            raise PromptError(f"The chat template leaves out message {min(lost) + 1} ({role})")
        return pieces[0::2], [cores[i] for i in seen]

    def _mark(self, i: int) -> str:
        return f"{_OPEN}{self._secret}c{i}{_CLOSE}"

    def _apply(self, turns: Sequence[Message], generation: bool) -> str:
        if not self.has_template:
            return self._plain(turns, generation)
        try:
            text: str = self.tokenizer.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in turns],
                tokenize=False,
                add_generation_prompt=generation,
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            roles = ", ".join(m.role for m in turns)
            raise PromptError(
                f"The chat template refuses this conversation ({roles}): {error}"
            ) from error
        return text

    def _plain(self, turns: Sequence[Message], generation: bool) -> str:
        eos = self.tokenizer.eos_token or ""
        parts = [
            f"{ASSISTANT} {m.content}{eos}" if m.role == "assistant" else f"{HUMAN} {m.content}"
            for m in turns
        ]
        return "".join(parts) + (ASSISTANT if generation else "")

    def save_tokenizer(self, folder: Path | str) -> None:
        """Write the tokenizer with the template that conversations were encoded by.

        For one that has none this is `PLAIN_TEMPLATE`, so that whoever loads the model writes to it
        in the format that it was trained on. Without a token that ends a turn it can't be said in
        a template, and none is written.
        """
        before = self.tokenizer.chat_template
        if not self.has_template and self.tokenizer.eos_token:
            begin = "{{ bos_token }}" if self._bos is not None else ""
            self.tokenizer.chat_template = begin + PLAIN_TEMPLATE
        try:
            self.tokenizer.save_pretrained(folder)
        finally:
            self.tokenizer.chat_template = before

    # -- what is found out once -----------------------------------------------------------------

    def _stock_bos(self) -> int | None:
        """The token that stock puts before plain text, if it does."""
        ids = self.tokenizer("")["input_ids"]
        bos = self.tokenizer.bos_token_id
        return bos if bos is not None and list(ids[:1]) == [bos] else None

    def _takes_system(self) -> bool:
        if not self.has_template:
            return False
        try:
            self._render([Message("system", "Be brief."), _PROBE[0]], True)
        except PromptError:
            return False
        return True

    def _after_assistant(self) -> tuple[int | None, set[int]]:
        """The first control token after an assistant's turn, and all that the template writes."""
        gaps, cores = self._render(_PROBE, True)
        written = [[p for p, token in self._split(g) if token] for g in gaps]
        after = written[cores.index(_Core(_PROBE[1].content)) + 1]
        ids = {self._ids[p] for some in written for p in some}
        return (self._ids[after[0]] if after else None), ids

    def _check(self) -> None:
        """On a harmless conversation the ids must be stock's, else nothing can be trusted."""
        ours = list(self.encode(_PROBE).ids)
        if self.has_template:
            stock = self.tokenizer.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in _PROBE],
                tokenize=True,
                add_generation_prompt=True,
                return_dict=False,
            )
        else:
            stock = self.tokenizer(self._plain(_PROBE, True))["input_ids"]
        if ours != list(stock):
            raise ModelError(
                "The tokenizer can't be encoded safely: a plain conversation gives other ids than"
                " its own chat template call",
                hint="Please report the model's name; another model will do meanwhile.",
            )


def _rename(model: dict[str, Any], names: dict[str, str]) -> None:
    """Give the control tokens their secret names inside a tokenizer's model, in place."""
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        model["vocab"] = {names.get(token, token): i for token, i in vocab.items()}
    elif isinstance(vocab, list):
        model["vocab"] = [[names.get(entry[0], entry[0]), *entry[1:]] for entry in vocab]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if isinstance(model.get("merges"), list):
        model["merges"] = [m for m in model["merges"] if not _touches(m, names)]


def _touches(merge: Any, names: dict[str, str]) -> bool:
    """Whether a merge reads or makes a control token: text could become one through it."""
    left, _, right = merge.partition(" ") if isinstance(merge, str) else (merge[0], "", merge[1])
    return left in names or right in names or left + right in names
