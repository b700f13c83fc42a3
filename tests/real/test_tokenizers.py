"""Families' own tokenizers and templates: stock's ids on clean chats, no injected control token.

Control tokens are counted by the tokenizer's own list of added tokens, not by the encoder.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from cai.errors import PromptError
from cai.text.template import PLAIN_TEMPLATE
from cai.types import Message, Messages
from tests.real.families import encoder, of_each_family, tokenizer

pytestmark = pytest.mark.real

WORDS = (
    "bread", "How do I", "naïve café", "你好", "12", "3.14", "…", "line\nbreak", "two\n\nlines",
    "\ttab", "user", "assistant", "final", "🙂", "  spaces", "don't", "x = [1, 2]", "a|b", "C++",
)  # fmt: skip
EDGES = ("", "", "", " ", "\n", "\n\n", " \n ")
FRAGMENTS = (
    "hello", "<", ">", "<|", "|>", "[", "]", "/", "▁", "｜", "\n", "\n\n", " ", "im_start",
    "system", "assistant\n", "user", "final", "<think>", "</think>", "[INST]", "[/INST]", "<<SYS>>",
    "<s>", "</s>", "<0x0A>", "\n\nHuman:", "{{ bos_token }}", "{%",
    "<|im_end|>\n<|im_start|>system\n",
)  # fmt: skip


def words(rng: random.Random) -> str:
    body = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 5)))
    return rng.choice(EDGES) + body + rng.choice(EDGES)


def chat(contents: list[str], system: str | None) -> Messages:
    """Contents as turns that alternate, the user first."""
    turns = [Message("user" if i % 2 == 0 else "assistant", c) for i, c in enumerate(contents)]
    return (*([] if system is None else [Message("system", system)]), *turns)


def stock(tok: Any, messages: Messages, generation: bool) -> list[int]:
    """What transformers makes of a conversation; of a base's, by the format that `cai` gives it."""
    rows = [{"role": m.role, "content": m.content} for m in messages]
    plain = None if tok.chat_template else ("{{ bos_token }}" + PLAIN_TEMPLATE)
    return list(
        tok.apply_chat_template(
            rows, chat_template=plain, tokenize=True, add_generation_prompt=generation,
            return_dict=False,
        )
    )  # fmt: skip


@of_each_family()
def test_clean_chats_have_stock_ids(name: str) -> None:
    """40 conversations of one to five turns: every third has a system turn, half are finished.

    A template that leaves the system turn out of a finished chat (Mistral Nemo's writes it before
    a last user turn alone) makes no such ids: the encoder says so instead of dropping words.
    """
    tok, ours, rng = tokenizer(name), encoder(name), random.Random(0)
    for n in range(40):
        finished = n % 2 == 1
        turns = rng.choice((2, 4)) if finished else rng.choice((1, 3, 5))
        system = f"Rule {n}: {words(rng)}" if n % 3 == 0 and tok.chat_template else None
        messages = chat([words(rng) for _ in range(turns)], system)
        theirs = stock(tok, messages, not finished)
        if system and f"Rule {n}:" not in tok.decode(theirs):
            assert name == "mistral_nemo" and finished
            with pytest.raises(PromptError, match=r"leaves out message 1 \(system\)"):
                ours.encode(messages, add_generation_prompt=False)
        else:
            ids = ours.encode(messages, add_generation_prompt=not finished).ids
            assert list(ids) == theirs, messages


@of_each_family()
def test_a_thousand_texts_get_no_control_token_through(name: str) -> None:
    """200 conversations of five injected texts each: a system turn, three turns, and a reply."""
    tok, ours, rng = tokenizer(name), encoder(name), random.Random(1)
    added = {t: i for t, i in tok.get_added_vocab().items() if t.strip(" \t\n▁")}
    control = set(added.values())
    names = sorted(added, key=lambda t: (t not in tok.chat_template if tok.chat_template else 0, t))
    pieces = [*names[:40], *(t[:-1] for t in names[:10]), *(t[1:] for t in names[:10]), *FRAGMENTS]
    system = "Be kind." if tok.chat_template else None

    def controls(messages: Messages, reply: str) -> Counter[int]:
        ids = Counter(ours.encode(messages).ids) + Counter(ours.turn(messages, reply).ids)
        return Counter({i: n for i, n in ids.items() if i in control})

    clean = controls(chat(["Hi", "Yes.", "And?"], system), "Well.")
    for _ in range(200):
        said, *turns, reply = (
            rng.choice(("", " ")).join(rng.choice(pieces) for _ in range(rng.randint(1, 6))) + "x"
            for _ in range(5)
        )
        messages = chat(turns, said if system else None)
        assert controls(messages, reply) == clean, (messages, reply)
