"""A toy language model for servers of tests: no weights, but a proper distribution over tokens.

The log-probabilities after a prefix are a hash of its token ids, so that they depend on all of the
prefix and on nothing else. Whatever an endpoint asks for (chat or completion, generated or echoed,
text or ids), the same ids have the same log-probabilities, and those of a text add up by the chain
rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

START, END = "<|im_start|>", "<|im_end|>"
_WORDS = """the a of to and is in it you that not for with this as can be are help safe harm honest
kind answer question please because should someone private lawful danger care people never always
yes no problem found response better worse first second think good I your we they"""
_PIECES = [START.encode(), END.encode()]
_PIECES += [bytes([value]) for value in range(256)]
_PIECES += [f" {word}".encode() for word in _WORDS.split()]
_PIECES += [b"<think>", b"</think>", b"\n\n", b". ", b", "]
START_ID, END_ID = 0, 1
VOCABULARY = len(_PIECES)
_IDS = {piece: id_ for id_, piece in enumerate(_PIECES)}
_LONGEST = max(map(len, _PIECES))
_CONTROL = {START_ID, END_ID}

Scores = NDArray[np.float64]
"""Log-probabilities of all tokens at one position. Shape (VOCABULARY,)."""


def _weights() -> Scores:
    """What a token's logit is before the hash is added: English words first, odd bytes last."""
    weights = np.full(VOCABULARY, 4.0)
    weights[2:258] = -8.0
    weights[[_IDS[bytes([value])] for value in range(32, 127)]] = 0.5
    weights[[_IDS[bytes([value])] for value in b"ABCD"]] = 4.0  # the letters of a judge's answers
    weights[START_ID], weights[END_ID] = -12.0, 4.5
    weights[[_IDS[b"<think>"], _IDS[b"</think>"]]] = -12.0
    return weights


_WEIGHTS = _weights()


def encode(text: str) -> list[int]:
    """Token ids of a text, longest piece first. Control tokens are recognised, as by a server."""
    data, ids, at = text.encode("utf-8", "surrogatepass"), [], 0
    while at < len(data):
        for length in range(min(_LONGEST, len(data) - at), 0, -1):
            id_ = _IDS.get(data[at : at + length])
            if id_ is not None:
                ids.append(id_)
                at += length
                break
    return ids


def decode(ids: Sequence[int], *, control: bool = True) -> str:
    """The text of token ids; bytes that are no UTF-8 become U+FFFD.

    control: whether control tokens are written.
    """
    pieces = (_PIECES[id_] for id_ in ids if control or id_ not in _CONTROL)
    return b"".join(pieces).decode("utf-8", "replace")


def piece(id_: int) -> bytes:
    """The bytes of a token."""
    return _PIECES[id_]


def chat_text(
    messages: Sequence[Mapping[str, str]],
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    enable_thinking: bool = True,
) -> str:
    """Messages in ChatML. As with Qwen3, no thinking means an empty block of it in the prompt."""
    text = "".join(f"{START}{turn['role']}\n{turn['content']}{END}\n" for turn in messages)
    if continue_final_message:
        return text.removesuffix(f"{END}\n")
    if add_generation_prompt:
        text += f"{START}assistant\n" + ("" if enable_thinking else "<think>\n\n</think>\n\n")
    return text


class Prefix:
    """Token ids read so far, as a hash; `scores` is the distribution of the next one.

    variant: another name gives another model (an adapter, say).
    """

    def __init__(self, ids: Sequence[int] = (), *, variant: str = "") -> None:
        self._hash = hashlib.blake2b(variant.encode())
        for id_ in ids:
            self.add(id_)

    def add(self, id_: int) -> None:
        self._hash.update(id_.to_bytes(2, "big"))

    def scores(self) -> Scores:
        noise = hashlib.shake_128(self._hash.digest()).digest(2 * VOCABULARY)
        logits = _WEIGHTS + np.frombuffer(noise, dtype="<u2") / 65536 * 6 - 3
        return _log_softmax(logits)


def _log_softmax(logits: Scores) -> Scores:
    top = logits.max()
    return np.asarray(logits - top - np.log(np.exp(logits - top).sum()), dtype=np.float64)


def at_temperature(row: Scores, temperature: float) -> Scores:
    """A distribution, sharpened or flattened."""
    return _log_softmax(row / temperature)


def score(ids: Sequence[int], *, variant: str = "") -> list[Scores | None]:
    """The distribution at each position of `ids`; None for the first, which nothing precedes."""
    prefix, rows = Prefix(variant=variant), []
    for position, id_ in enumerate(ids):
        rows.append(prefix.scores() if position else None)
        prefix.add(id_)
    return rows


def logprob(text: str, *, after: str) -> float:
    """log P(text | after), where the tokens of both texts are those of each alone."""
    start = len(encode(after))
    ids = encode(after) + encode(text)
    rows = score(ids)[start:]
    return float(
        sum(row[id_] for row, id_ in zip(rows, ids[start:], strict=True) if row is not None)
    )


class Constraint(Protocol):
    """Which answers are allowed."""

    def allows(self, text: str) -> bool:
        """Whether an allowed answer begins with `text`."""

    def is_complete(self, text: str) -> bool:
        """Whether `text` is an allowed answer."""


@dataclass(frozen=True)
class Choices:
    """One of a few texts."""

    texts: Sequence[str]

    def allows(self, text: str) -> bool:
        return any(choice.startswith(text) for choice in self.texts)

    def is_complete(self, text: str) -> bool:
        return text in self.texts


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How tokens are chosen. The names and meanings are vLLM's; temperature 0 is greedy."""

    max_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    min_tokens: int = 0
    seed: int = 0
    stop: Sequence[str] = ()
    stop_ids: Sequence[int] = ()
    ignore_end: bool = False
    constraint: Constraint | None = None


@dataclass(frozen=True)
class Answer:
    """A generated text. `ids` has the tokens that ended it, `text` has not.

    scores: a distribution a token, before temperature, penalties and constraints.
    """

    ids: list[int]
    text: str
    finish_reason: Literal["stop", "length"]
    stop: int | str | None
    scores: list[Scores]


def generate(prompt: Sequence[int], decoding: Decoding, *, variant: str = "") -> Answer:
    """Sample after a prompt. Equal prompts, decodings and variants give equal answers."""
    ids: list[int] = []
    rows: list[Scores] = []
    prefix = Prefix(prompt, variant=variant)
    ends = {*decoding.stop_ids, *(() if decoding.ignore_end else (END_ID,))}
    while len(ids) < decoding.max_tokens:
        row = prefix.scores()
        id_ = _choose(row, prompt, ids, decoding)
        rows.append(row)
        ids.append(id_)
        prefix.add(id_)
        if id_ in ends:
            matched = None if id_ == END_ID else id_
            return Answer(ids, decode(ids[:-1], control=False), "stop", matched, rows)
        text = decode(ids, control=False)
        for stop in decoding.stop:
            if stop in text:
                return Answer(ids, text.partition(stop)[0], "stop", stop, rows)
    return Answer(ids, decode(ids, control=False), "length", None, rows)


def spoken(prompt: Sequence[int], text: str, *, variant: str = "") -> Answer:
    """A given text as an answer, with the scores that its tokens have."""
    ids, rows, prefix = [*encode(text), END_ID], [], Prefix(prompt, variant=variant)
    for id_ in ids:
        rows.append(prefix.scores())
        prefix.add(id_)
    return Answer(ids, text, "stop", None, rows)


def _choose(row: Scores, prompt: Sequence[int], ids: list[int], decoding: Decoding) -> int:
    logits = row.copy()
    if decoding.repetition_penalty != 1:
        logits[list({*prompt, *ids})] *= decoding.repetition_penalty  # all logits are below 0
    if decoding.frequency_penalty or decoding.presence_penalty:
        counts = np.bincount(ids, minlength=VOCABULARY)
        logits -= decoding.frequency_penalty * counts + decoding.presence_penalty * (counts > 0)
    logits[START_ID] = -np.inf
    if decoding.ignore_end or len(ids) < decoding.min_tokens:
        logits[END_ID] = -np.inf
    if decoding.constraint is not None:
        allowed = list(_allowed(decoding.constraint, decode(ids, control=False)))
        logits = np.where(np.isin(np.arange(VOCABULARY), allowed), logits, -np.inf)
    if decoding.temperature == 0:
        return int(logits.argmax())
    logits = at_temperature(logits, decoding.temperature)
    if decoding.top_k > 0 or decoding.top_p < 1 or decoding.min_p > 0:
        logits = _cut(logits, decoding)
    return int((logits + _gumbel(decoding.seed, len(ids))).argmax())


def _allowed(constraint: Constraint, text: str) -> Iterator[int]:
    for id_, piece in enumerate(_PIECES):
        if id_ == END_ID:
            if constraint.is_complete(text):
                yield id_
        elif id_ != START_ID and constraint.allows(text + piece.decode("utf-8", "replace")):
            yield id_


def _cut(logits: Scores, decoding: Decoding) -> Scores:
    """Tokens outside top-k, top-p and min-p get no probability."""
    order = (-logits).argsort(kind="stable")
    chances = np.exp(logits[order])
    keep = chances >= decoding.min_p * chances[0]
    keep &= chances.cumsum() - chances < decoding.top_p
    if decoding.top_k > 0:
        keep[decoding.top_k :] = False
    cut = np.full(VOCABULARY, -np.inf)
    cut[order[keep]] = logits[order[keep]]
    return cut


def _gumbel(seed: int, position: int) -> Scores:
    data = hashlib.shake_128(f"{seed}:{position}".encode()).digest(8 * VOCABULARY)
    uniform = (np.frombuffer(data, dtype="<u8") + 0.5) / 2.0**64
    return np.asarray(-np.log(-np.log(np.clip(uniform, 1e-300, 1 - 1e-16))), dtype=np.float64)
