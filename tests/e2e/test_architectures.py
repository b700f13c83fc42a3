"""Tiny random models of six families, saved here in the hub's layout, run the whole command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.e2e.helpers import cai, digests, rows

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
CONTEXT = {"max_position_embeddings": 512}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", SMALL | HEADS | CONTEXT),
    "qwen3": ("Qwen3Config", SMALL | HEADS | CONTEXT | {"head_dim": 8}),
    "mistral": ("MistralConfig", SMALL | HEADS | CONTEXT | {"sliding_window": 64}),
    "gemma": ("GemmaConfig", SMALL | HEADS | CONTEXT | {"head_dim": 8}),
    "phi": ("PhiConfig", SMALL | {"num_attention_heads": 4} | CONTEXT),
    "gpt2": ("GPT2Config", GPT2),
}

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(chat: bool) -> transformers.PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(["How can I help you? The answer is (A) or (B)."] * 20, trainer)
    end = "<|im_end|>" if chat else "<|endoftext|>"
    out = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=end, pad_token="<|endoftext|>"
    )
    if chat:
        out.chat_template = CHATML
    return out


def save(family: str, folder: Path) -> Path:
    name, options = FAMILIES[family]
    words = tokenizer(chat=family != "gpt2")
    torch.manual_seed(0)
    config = getattr(transformers, name)(
        vocab_size=len(words), eos_token_id=words.eos_token_id, pad_token_id=0, **options
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_runs_the_whole_command(family: str, tmp_path: Path) -> None:
    model = save(family, tmp_path / "model")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("How do I bake bread?\nTell me a story.\nWhat is fair?\n", "utf-8")
    common = ("--prompts", prompts, "--model", model, "--max-new-tokens", 12, "--quiet",
              "--no-examine")  # fmt: skip
    cai("build-data", *common, "--out", tmp_path / "one" / "run", "--batch-size", 1)
    cai("build-data", *common, "--out", tmp_path / "many" / "run", "--batch-size", 8)
    assert digests(tmp_path / "one" / "run") == digests(tmp_path / "many" / "run")
    manifest = json.loads((tmp_path / "one" / "run" / "manifest.json").read_text())
    assert manifest["config"]["prompts"]["count"] == 3
    cai("verify", tmp_path / "one" / "run")
    for row in rows(tmp_path / "one" / "run" / "set_aside.jsonl"):
        assert "NUL" in row["reason"], "a random model may write one; nothing else may go wrong"
