"""The bundled weights: a real model in the hub's layout, fluent, and steered by principles."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from bundled.evaluation.lab import canonical
from bundled.evaluation.probe import Checkpoint, chat
from bundled.recipe.turns import critique_turn
from cai.miniature.world.critic import NO_PROBLEM
from cai.miniature.world.judge import GARBLED, judge
from cai.miniature.world.requests import draw_request
from cai.miniature.world.responses import draw_flaws, respond_with

WEIGHTS = Path(__file__).parents[2] / "cai" / "miniature" / "weights"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint(WEIGHTS)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(WEIGHTS)


def test_the_folder_is_complete_and_small() -> None:
    names = {file.name for file in WEIGHTS.iterdir()}
    assert names == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 9_000_000


def test_the_card_names_the_recipe_and_the_command() -> None:
    card = (WEIGHTS / "README.md").read_text()
    assert re.search(r"`[0-9a-f]{64}`", card)
    assert "python -m bundled.recipe.pretrain" in card
    assert "python -m bundled.evaluation.evaluate" in card


def test_it_is_a_llama_of_less_than_four_million_parameters() -> None:
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS)
    assert isinstance(model, LlamaForCausalLM)
    assert model.dtype == torch.bfloat16
    assert 3_600_000 < sum(p.numel() for p in model.parameters()) < 3_750_000
    config = json.loads((WEIGHTS / "config.json").read_text())
    assert config["tie_word_embeddings"] and config["max_position_embeddings"] == 1024
    assert config["vocab_size"] == 2560


def test_letters_and_parentheses_are_tokens_of_their_own(tokenizer: Any) -> None:
    for text in ("(A)", "The answer is: (B)", "\n(A) Easy.\n(B) Gladly."):
        pieces = tokenizer.tokenize(text)
        for letter in re.findall(r"\(([AB])\)", text):
            place = pieces.index(letter)
            assert pieces[place - 1] == "(" and pieces[place + 1] == ")"


def test_the_end_token_is_a_single_id_and_stops_generation(
    tokenizer: Any, checkpoint: Checkpoint
) -> None:
    assert tokenizer.eos_token == "<|im_end|>"
    assert checkpoint.model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_system_turn_is_optional_and_the_mask_covers_the_assistants_words(tokenizer: Any) -> None:
    turns = chat("How do I start with chess?", "Gladly.")
    plain = tokenizer.apply_chat_template(turns, tokenize=False)
    assert plain == (
        "<|im_start|>user\nHow do I start with chess?<|im_end|>"
        "<|im_start|>assistant\nGladly.<|im_end|>"
    )
    system = [{"role": "system", "content": "Answer the user."}, *turns]
    assert tokenizer.apply_chat_template(system, tokenize=False) == (
        "<|im_start|>system\nAnswer the user.<|im_end|>" + plain
    )
    masked = tokenizer.apply_chat_template(
        turns, return_dict=True, return_assistant_tokens_mask=True
    )
    assistant_ids = [
        token
        for token, mask in zip(masked["input_ids"], masked["assistant_masks"], strict=True)
        if mask
    ]
    assert tokenizer.decode(assistant_ids) == "Gladly.<|im_end|>"


def test_any_text_survives_the_tokenizer(tokenizer: Any) -> None:
    text = "Naïve café, 東京 — 100% (A)\n\tdone…"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text


def test_answers_to_held_out_requests_are_fluent(checkpoint: Checkpoint) -> None:
    """At most one in ten of 40 sampled answers is garbled."""
    torch.manual_seed(0)
    rng = random.Random(9)
    requests = [draw_request(rng, None, "held") for _ in range(40)]
    texts = checkpoint.generate([chat(r.text) for r in requests], temperature=0.7)
    garbled = [GARBLED in judge(r, t) for r, t in zip(requests, texts, strict=True)]
    assert sum(garbled) <= 4


def test_the_principle_decides_which_of_two_responses_is_better(checkpoint: Checkpoint) -> None:
    """Two responses with one different flaw each: swapping the principle flips the verdict.

    Chance would be 20 of 40; 34 are asked for.
    """
    rng = random.Random(10)
    conversations: list[Any] = []
    while len(conversations) < 80:
        request = draw_request(rng, None, "held")
        one, two = (respond_with(request, draw_flaws(request, 1, rng), rng) for _ in range(2))
        if len(one.flaws) == len(two.flaws) == 1 and one.flaws != two.flaws:
            for better, worse in ((two, one), (one, two)):
                question = critique_turn(canonical(next(iter(worse.flaws))))
                conversations += [chat(request.text, s.text, question) for s in (better, worse)]
    scores = checkpoint.option_logprobs(conversations, [NO_PROBLEM]).view(-1, 2)
    assert int((scores[:, 0] > scores[:, 1]).sum()) >= 34
