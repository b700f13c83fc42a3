"""A twin of a tokenizer that knows the control tokens by secret names alone.

In it `<|im_end|>` in anyone's text is text; the control token is what its secret name becomes.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE

from cai.errors import ModelError

OPEN, CLOSE = "\ue000", "\ue001"
"""Private-use characters around a secret name."""
BLANK = " \t\n\r\x0b\x0c\u2581\u0120\u010a"
"""White space, as characters and as the marks that tokenizers write for it."""


class TwinTokenizer:
    """Tokenises text in which control tokens stand under secret names, to the tokenizer's own ids.

    names: the secret name of each control token. ids: the id of each. Raises `ModelError` where the
    tokenizer can't be copied.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self._secret = secrets.token_hex(16)
        self.names: dict[str, str] = {}
        self.ids: dict[str, int] = {}
        self._normalized: set[str] = set()
        self._unknown: set[int] = set()
        self._tokenizer, self._original_ids = self._make(backend)
        self._finders = tuple(
            re.compile("|".join(map(re.escape, sorted(some, key=len, reverse=True))) or r"(?!)")
            for some in (self.names.keys() - self._normalized, self._normalized)
        )
        self.control_ids = frozenset(self.ids.values()) - self._unknown
        """Ids that no text can become (the one for unknown characters is no control token)."""

    def tokenize(self, text: str) -> list[int]:
        """The tokenizer's own ids of a text under secret names."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [self._original_ids.get(i, i) for i in ids] if self._original_ids else ids

    def split(self, gap: str, trail: int = 0, lead: int = 0) -> Iterator[tuple[str, bool]]:
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

    def _make(self, backend: Tokenizer) -> tuple[Tokenizer, dict[int, int]]:
        """The same tokenizer under secret names, and where its control ids stood before."""
        added = sorted(backend.get_added_tokens_decoder().items())
        visible_tokens = {i: t for i, t in added if t.content.strip(BLANK)}
        for i, token in visible_tokens.items():
            name = f"{OPEN}{self._secret}t{i}{CLOSE}"
            self.names[token.content] = name
            self.ids[token.content] = i
            if token.normalized:
                self._normalized.add(token.content)
        plain = (
            self.names[t.content] for t in visible_tokens.values() if not (t.rstrip or t.normalized)
        )
        self.anchor = next(plain, None)
        """A control token's secret name: text behind it is tokenised as in a conversation."""
        twin = self._around_model(backend, added) or self._copy(backend)
        original_ids = {}
        for content, name in self.names.items():
            there = twin.token_to_id(name)
            if there is None:
                raise ModelError(f"The tokenizer lost its token {content!r} when it was copied")
            original_ids[there] = self.ids[content]
        return twin, {a: b for a, b in original_ids.items() if a != b}

    def _around_model(
        self, backend: Tokenizer, added: Sequence[tuple[int, AddedToken]]
    ) -> Tokenizer | None:
        """A twin that shares the tokenizer's model; None where that knows a control token itself.

        It takes no time, where a copy of a vocabulary of 200,000 takes seconds.
        """
        model = backend.model
        if not isinstance(model, BPE):
            return None
        if any(model.token_to_id(content) is not None for content in self.names):
            return None
        twin = Tokenizer(model)
        if backend.normalizer is not None:
            twin.normalizer = backend.normalizer
        if backend.pre_tokenizer is not None:
            twin.pre_tokenizer = backend.pre_tokenizer
        for i, token in added:
            twin.add_tokens([_with_content(token, self.names.get(token.content, token.content))])
            if token.content not in self.names and twin.token_to_id(token.content) != i:
                return None
        if model.unk_token is not None:
            unknown = model.token_to_id(model.unk_token)
            self._unknown = {self.ids.get(model.unk_token, -1), -1 if unknown is None else unknown}
        return twin

    def _copy(self, backend: Tokenizer) -> Tokenizer:
        """A twin with a model of its own, which knows control tokens by their secret names."""
        data = json.loads(backend.to_str())
        data.update(truncation=None, padding=None, post_processor=None)
        for token in data["added_tokens"]:
            token["content"] = self.names.get(token["content"], token["content"])
        unknown = data["model"].get("unk_token"), data["model"].get("unk_id")
        self._unknown = {self.ids.get(unknown[0], -1), -1 if unknown[1] is None else unknown[1]}
        _rename(data["model"], self.names)
        return Tokenizer.from_str(json.dumps(data))


def _with_content(token: AddedToken, name: str) -> AddedToken:
    """The same token under another name."""
    return AddedToken(
        name,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.normalized,
        special=token.special,
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
