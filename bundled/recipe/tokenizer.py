"""The miniature's tokenizer: byte-level BPE, 2,560 entries, a ChatML-like chat template.

Parentheses are split off before merging, so `(`, `A` and `B` are tokens of their own and a letter's
probability can be read right after "(".
"""

from __future__ import annotations

import random
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from bundled.recipe.dialogues import document
from cai.miniature.world.facts import FACTS

VOCABULARY_SIZE = 2560
FACT_REPEATS = 500
END_OF_TEXT, PADDING, TURN_START, TURN_END = (
    "<|endoftext|>",
    "<|pad|>",
    "<|im_start|>",
    "<|im_end|>",
)
MAX_POSITIONS = 1024

# A system turn is optional: the template adds none of its own.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endgeneration -%}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def train_tokenizer(seed: int = 0, documents: int = 12_000) -> Any:
    """Train the tokenizer on documents drawn from the world; deterministic for a seed."""
    rng = random.Random(f"tokenizer/{seed}")
    texts = [
        "\n".join(f"{turn.role}\n{turn.text}" for turn in document(rng)) for _ in range(documents)
    ]
    # A fact is a pair of words: each should be a token, so that truth is a matter of two tokens.
    texts += [f" {fact.subject} {fact.answer}" for fact in FACTS] * FACT_REPEATS
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[()]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_OF_TEXT, PADDING, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=PADDING,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
