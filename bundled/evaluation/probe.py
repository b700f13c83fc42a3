"""Ask a checkpoint: batched generation and scoring for the evaluation and the tests.

Deliberately apart from the engine's own sampler: the evaluation of the weights must not change when
the engine does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from bundled.recipe.tokenizer import END_OF_TEXT

Conversation: TypeAlias = list[dict[str, str]]

BATCH = 64


class Checkpoint:
    """A saved model and its tokenizer, in float32 on the CPU."""

    def __init__(self, folder: Path | str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def _prompt_ids(self, conversation: Conversation, prefill: str = "") -> list[int]:
        text = self.tokenizer.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = self.tokenizer(text + prefill, add_special_tokens=False).input_ids
        return ids

    def generate(
        self, conversations: Sequence[Conversation], temperature: float = 0.0, limit: int = 110
    ) -> list[str]:
        """The assistant's next turn for each conversation; greedy at temperature 0."""
        prompts = [self._prompt_ids(conversation) for conversation in conversations]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        texts = [""] * len(prompts)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            ids, mask = self._pad_left([prompts[index] for index in chosen])
            options: dict[str, Any] = {"do_sample": temperature > 0}
            if temperature > 0:
                options |= {"temperature": temperature, "top_p": 1.0, "top_k": 0}
            with torch.no_grad():
                out = self.model.generate(
                    input_ids=ids, attention_mask=mask, max_new_tokens=limit, **options
                )
            new = self.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
            for index, text in zip(chosen, new, strict=True):
                texts[index] = text.strip()
        return texts

    @torch.no_grad()
    def option_logprobs(
        self, conversations: Sequence[Conversation], options: Sequence[str], prefill: str = ""
    ) -> Tensor:
        """Log-probability of each option after `prefill`: (conversations, options)."""
        single = [self.tokenizer(option, add_special_tokens=False).input_ids for option in options]
        if all(len(ids) == 1 for ids in single) and len(single) > 1:
            first = self._next_logprobs(conversations, prefill)
            return first[:, [ids[0] for ids in single]]
        rows: list[tuple[list[int], int]] = []
        for conversation in conversations:
            prompt = self._prompt_ids(conversation, prefill)
            for option in options:
                answer = self.tokenizer(option, add_special_tokens=False).input_ids
                rows.append((prompt + answer, len(prompt)))
        order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
        scores = torch.zeros(len(rows))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            width = max(len(rows[index][0]) for index in chosen)
            ids = torch.full((len(chosen), width), self.tokenizer.pad_token_id)
            for row, index in enumerate(chosen):
                ids[row, : len(rows[index][0])] = torch.tensor(rows[index][0])
            logprobs = self.model(input_ids=ids).logits.log_softmax(-1)
            for row, index in enumerate(chosen):
                full, start_of_answer = rows[index]
                places = torch.arange(start_of_answer, len(full))
                scores[index] = logprobs[row, places - 1, ids[row, places]].sum()
        return scores.view(len(conversations), len(options))

    @torch.no_grad()
    def perplexity(self, texts: Sequence[str]) -> float:
        """Perplexity a token of plain texts, each ended by the end-of-text token.

        The first token of a text is given, not predicted.
        """
        total, count = 0.0, 0
        end = self.tokenizer.convert_tokens_to_ids(END_OF_TEXT)
        for text in texts:
            ids = torch.tensor([[*self.tokenizer(text, add_special_tokens=False).input_ids, end]])
            logprobs = self.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            total -= logprobs.gather(1, ids[0, 1:, None]).sum().item()
            count += ids.shape[1] - 1
        return math.exp(total / count)

    def _next_logprobs(self, conversations: Sequence[Conversation], prefill: str) -> Tensor:
        """Log-probabilities of the next token: (conversations, vocabulary)."""
        prompts = [self._prompt_ids(conversation, prefill) for conversation in conversations]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        logprobs = torch.zeros(len(prompts), len(self.tokenizer))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            ids, mask = self._pad_left([prompts[index] for index in chosen])
            logits = self.model(input_ids=ids, attention_mask=mask, logits_to_keep=1).logits
            logprobs[chosen] = logits[:, -1].log_softmax(-1)
        return logprobs

    def _pad_left(self, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.tokenizer.pad_token_id)
        mask = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        return ids, mask


def chat(*texts: str) -> Conversation:
    """A conversation of alternating turns, the user's first."""
    roles = ("user", "assistant")
    return [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
