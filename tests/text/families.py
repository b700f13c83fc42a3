"""Small tokenizers trained on the spot, with the chat templates of well-known families."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "You are a helpful assistant. Please answer the question, and be kind and honest.",
    "Here is some text about bread, gardens, bicycles, rivers; and 12 numbers like 3.14!",
    "user system assistant human model end start inst sys im eot header id think <a> [b] |c|",
    "Ünïcode: naïve café, 你好世界, здравствуй мир, 🙂 emoji. New\nlines\n\nand\ttabs  here.",
] * 20

CHATML = """{% for m in messages %}<|im_start|>{{ m['role'] }}
{{ m['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

LLAMA3 = """{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] \
+ '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}\
{% endif %}"""

MISTRAL = """{{ bos_token }}{% for m in messages %}\
{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}\
{% else %}{{ ' ' + m['content'].strip() + eos_token }}{% endif %}{% endfor %}"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}\
{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate') }}{% endif %}\
{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}\
{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

ZEPHYR = """{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'].lstrip('\n') \
+ eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"""

QWEN3 = """{%- set ns = namespace(last=-1) -%}
{%- for m in messages -%}{%- if m['role'] == 'user' -%}{%- set ns.last = loop.index0 -%}\
{%- endif -%}{%- endfor -%}
{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\n' -}}
{%- if m['role'] == 'assistant' and loop.index0 > ns.last -%}
{{- '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' -}}{%- endif -%}
{{- m['content'] + '<|im_end|>\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}\
{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}{%- endif -%}"""
"""A finished turn holds a reasoning block that the generation prompt does not."""

QWEN35 = QWEN3.replace(
    "{{- '<|im_start|>assistant\n' -}}", "{{- '<|im_start|>assistant\n<think>\n' -}}"
).replace("enable_thinking is defined and enable_thinking is false", "false")
"""The generation prompt begins reasoning, and there is no switch."""

R1 = """{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}\
{{ '<|User|>' + m['content'] }}{% elif m['role'] == 'assistant' %}\
{{ '<|Assistant|>' + m['content'].split('</think>')[-1] + eos_token }}{% else %}\
{{ m['content'] }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"""
"""The generation prompt begins reasoning that a finished turn leaves out."""

PHI = """{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}\
{% else %}{{ eos_token }}{% endif %}"""
"""A finished conversation ends in a token that no turn ends in."""

HARMONY = """{% for m in messages %}{% if m['role'] == 'assistant' %}\
{% if m.thinking and loop.last %}\
{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}\
{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] }}\
{{ '<|return|>' if loop.last else '<|end|>' }}{% else %}\
{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"""
"""Channels, and a token that ends the last turn alone."""

NO_END = """{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }}
{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"""
"""No token ends a turn."""

ALPACA = """{% for m in messages %}{{ '### ' + m['role'] + ':\n\n' + m['content'] }}\
{{ eos_token if m['role'] == 'assistant' else '' }}{{ '\n\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '### assistant:\n\n' }}{% endif %}"""
"""A generation prompt whose last token could merge with the answer's first letter."""


def plain(content: str, **flags: bool) -> AddedToken:
    """An added token that is not special."""
    return AddedToken(content, special=False, normalized=False, **flags)


def special(content: str, **flags: bool) -> AddedToken:
    return AddedToken(content, special=True, normalized=False, **flags)


def byte_level(added: list[AddedToken], corpus: Sequence[str] = CORPUS) -> Tokenizer:
    """BPE on bytes, as in GPT-2, Llama 3 and Qwen; added tokens behind the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_tokens(added)
    return tokenizer


def with_blank_lines(added: list[AddedToken]) -> Tokenizer:
    """The same with one token for a blank line, where no word follows it (GPT-2's splitting)."""
    return byte_level(added, [*CORPUS, *["A paragraph ends here.\n\n"] * 20])


def metaspace_bpe(added: list[AddedToken]) -> Tokenizer:
    """BPE as in Llama 2 and Gemma: ▁ for spaces, byte fallback, added tokens in the vocabulary."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[*deepcopy(added), *(AddedToken(f"<0x{b:02X}>") for b in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer = _as_added(tokenizer, added)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def unigram(added: list[AddedToken]) -> Tokenizer:
    """Unigram with Metaspace, as in T5 and XGLM; added tokens are pieces of the vocabulary."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=deepcopy(added), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _as_added(tokenizer, added)


def _as_added(tokenizer: Tokenizer, added: list[AddedToken]) -> Tokenizer:
    """Trainers make every token they are given special: put the flags right."""
    data = json.loads(tokenizer.to_str())
    flags = {t.content: t.special for t in added}
    data["added_tokens"] = [
        {**t, "special": flags[t["content"]]} for t in data["added_tokens"] if t["content"] in flags
    ]
    return Tokenizer.from_str(json.dumps(data))


FAMILIES: dict[str, tuple[Any, str | None, list[AddedToken], dict[str, str]]] = {
    "chatml": (
        byte_level,
        CHATML,
        [special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>"), plain("<think>"),
         plain("</think>"), plain("<tool_call>")],
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    ),
    "llama3": (
        byte_level,
        LLAMA3,
        [special("<|begin_of_text|>"), special("<|end_of_text|>"), special("<|start_header_id|>"),
         special("<|end_header_id|>"), special("<|eot_id|>"), special("<|python_tag|>")],
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
    ),
    "mistral": (
        metaspace_bpe,
        MISTRAL,
        [special("<unk>"), special("<s>"), special("</s>"), special("[INST]"), special("[/INST]")],
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    ),
    "gemma": (
        metaspace_bpe,
        GEMMA,
        [special("<unk>"), special("<bos>"), special("<eos>"), plain("<start_of_turn>"),
         plain("<end_of_turn>"), plain("\n\n"), plain("<table>")],
        {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"},
    ),
    "zephyr": (
        unigram,
        ZEPHYR,
        [special("<unk>"), special("<s>"), special("</s>", rstrip=True),
         special("<|user|>", lstrip=True, rstrip=True), plain("<|assistant|>", rstrip=True),
         special("<|system|>")],
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    ),
    "qwen3": (
        byte_level,
        QWEN3,
        [special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>"),
         plain("<think>"), plain("</think>")],
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    ),
    "qwen35": (
        byte_level,
        QWEN35,
        [special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>"),
         plain("<think>"), plain("</think>")],
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    ),
    "r1": (
        byte_level,
        R1,
        [special("<|begin|>"), special("<|eos|>"), plain("<|User|>"), plain("<|Assistant|>"),
         plain("<think>"), plain("</think>")],
        {"bos_token": "<|begin|>", "eos_token": "<|eos|>"},
    ),
    "phi": (
        byte_level,
        PHI,
        [special("<|endoftext|>"), special("<|user|>"), special("<|assistant|>"),
         special("<|system|>"), special("<|end|>")],
        {"eos_token": "<|endoftext|>"},
    ),
    "harmony": (
        byte_level,
        HARMONY,
        [special("<|endoftext|>"), special("<|return|>"), special("<|channel|>"),
         special("<|start|>"), special("<|end|>"), special("<|message|>")],
        {"eos_token": "<|return|>", "pad_token": "<|endoftext|>"},
    ),
    "no_end": (
        byte_level,
        NO_END,
        [special("<|endoftext|>")],
        {"eos_token": "<|endoftext|>"},
    ),
    "alpaca": (
        with_blank_lines,
        ALPACA,
        [special("<|endoftext|>")],
        {"eos_token": "<|endoftext|>"},
    ),
    "plain": (
        byte_level,
        None,
        [special("<|endoftext|>"), plain("<|pad|>")],
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    ),
}  # fmt: skip


@cache
def family(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a family, trained once a run."""
    make, template, added, names = FAMILIES[name]
    backend = make(added)
    if "bos_token" in names:  # what stock adds to plain text; chat templates write it themselves
        bos = names["bos_token"]
        backend.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.chat_template = template
    return tokenizer
