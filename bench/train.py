"""LoRA training on one device: seconds a step and peak memory, beside transformers' Trainer.

    python bench/train.py [--size m|l] [--device cuda] [--json FILE]

A random-weight Llama in the hub's layout with the miniature's tokenizer, and conversations of
random words whose lengths are spread as real ones are. `cai.train` against `Trainer` with the
same adapter, rows, batch and optimizer, in bfloat16 on a GPU: the Trainer pads each batch, the
first as its rows come, the second grouped by length. Then reward model, DPO and PPO by themselves.
Every side has a process of its own, which runs it three times: few steps to warm up, few, many.
The difference of the last two is time in steps alone, without loading. That both learn the same
tokens is a test's business (tests/training/test_peer_trl.py), not this script's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

import torch
import transformers
from generate import SIZES, machine

import cai
from cai.miniature import FLAWS, WEIGHTS

BATCH = 16
RATE = 1e-4
CONFIGS = {
    "sft": cai.SftConfig, "reward": cai.RewardConfig, "dpo": cai.DpoConfig, "ppo": cai.PpoConfig,
}  # fmt: skip


def write_model(size: str, folder: Path) -> float:
    """A random-weight model that reads and ends turns as the miniature does; its parameters."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(WEIGHTS)
    shape = dict(SIZES[size])
    heads = shape.pop("heads")
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=2048, num_attention_heads=heads,
        num_key_value_heads=heads // 2, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None, **shape,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return float(sum(p.numel() for p in model.parameters())) / 1e6


def write_rows(folder: Path, count: int) -> None:
    """Conversations and pairs of random words: a few to some hundred tokens a turn."""
    rng = random.Random(0)
    words = [f"{a}{b}" for a in FLAWS for b in ("", "ly", "ness", " and", " or", ".")]

    def text(median: float) -> str:
        return " ".join(
            rng.choices(words, k=max(4, min(160, int(rng.lognormvariate(median, 0.7)))))
        )

    with (folder / "sft.jsonl").open("w") as sft, (folder / "pairs.jsonl").open("w") as pairs:
        for _ in range(count):
            prompt = [{"role": "user", "content": text(3.6)}]
            first, second = ([{"role": "assistant", "content": text(3.4)}] for _ in range(2))
            sft.write(json.dumps({"messages": prompt + first}) + "\n")
            pairs.write(json.dumps({"prompt": prompt, "chosen": first, "rejected": second}) + "\n")


def cai_side(stage: str, folder: Path, steps: int, device: str, out: Path) -> None:
    """One training run, in this process, so that its memory can be read."""
    settings: dict[str, Any] = {
        "model": str(folder / "model"), "device": device, "eval_every": 1000, "save_every": 1000,
        "schedule": "constant", "test_share": 0.02,
    }  # fmt: skip
    if stage == "ppo":
        settings |= {
            "reward": str(folder / "reward-0"), "updates": steps, "gate": False,
            "prompts_per_update": 64, "max_new_tokens": 64,
        }  # fmt: skip
    else:
        settings |= {
            "learning_rate": RATE, "max_steps": steps, "batch_size": BATCH, "epochs": 9,
        }  # fmt: skip
    data = "sft.jsonl" if stage == "sft" else "pairs.jsonl"
    cai.train(CONFIGS[stage](**settings), [folder / data], out)


def trainer_side(folder: Path, steps: int, device: str, grouped: bool) -> None:
    """The same adapter and rows through `transformers.Trainer`."""
    from peft import LoraConfig, get_peft_model

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    rows = []
    for line in (folder / "sft.jsonl").read_text().splitlines():
        encoded = tokenizer.apply_chat_template(
            json.loads(line)["messages"], return_dict=True, return_assistant_tokens_mask=True
        )
        labels = [
            token if learned else -100
            for token, learned in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
        ]
        rows.append({"input_ids": encoded["input_ids"], "labels": labels})
    dtype = torch.bfloat16 if device != "cpu" else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=dtype)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    settings = transformers.TrainingArguments(
        output_dir=str(folder / "trainer"), max_steps=steps, per_device_train_batch_size=BATCH,
        learning_rate=RATE, lr_scheduler_type="constant", report_to=[], save_strategy="no",
        logging_strategy="no", disable_tqdm=True, use_cpu=device == "cpu",
        bf16=device != "cpu", dataloader_pin_memory=device != "cpu",
        train_sampling_strategy="group_by_length" if grouped else "random",
    )  # fmt: skip
    collate = transformers.DataCollatorForSeq2Seq(tokenizer)
    transformers.Trainer(model, settings, data_collator=collate, train_dataset=rows).train()


def measured(side: str, folder: Path, steps: Sequence[int], device: str) -> dict[str, float]:
    """Seconds a step and the peak of allocated memory of one side, in a process of its own."""
    command = [
        sys.executable, __file__, "--side", side, "--folder", str(folder), "--steps",
        *map(str, steps), "--device", device,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stdout}{done.stderr}")
    short, long, memory = map(float, done.stdout.split()[-3:])
    return {"seconds a step": (long - short) / (steps[1] - steps[0]), "memory GB": memory}


def run_side(side: str, folder: Path, steps: Sequence[int], device: str) -> None:
    """What a process of `measured` does."""
    few, many = steps
    seconds = []
    for turn, count in enumerate((few, few, many)):
        begin = time.perf_counter()
        if side in CONFIGS:
            cai_side(side, folder, count, device, folder / f"{side}-{turn}")
        else:
            trainer_side(folder, count, device, grouped=side == "trainer, grouped")
        seconds.append(time.perf_counter() - begin)
    memory = torch.cuda.max_memory_allocated() / 1e9 if device != "cpu" else 0.0
    print(*seconds[1:], memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="l")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, nargs=2, default=(10, 50), help="few and many")
    parser.add_argument("--updates", type=int, nargs=2, default=(1, 4), help="of PPO")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run_side(options.side, options.folder, options.steps, options.device)
        return
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parameters = write_model(options.size, folder / "model")
        write_rows(folder, BATCH * options.steps[1] + 100)
        for side in ("trainer", "trainer, grouped", *CONFIGS):
            steps = options.updates if side == "ppo" else options.steps
            results[side] = measured(side, folder, steps, options.device)
            print(f"{side}: {results[side]}", file=sys.stderr, flush=True)
    print(f"{parameters:.0f}M parameters, {machine(options.device, torch.get_num_threads())}")
    print(f"{'':20}{'ms a step':>10}{'peak GB':>9}{'cai is':>9}")
    for side, numbers in results.items():
        ratio = numbers["seconds a step"] / results["sft"]["seconds a step"]
        multiple = f"{ratio:.2f}×" if side.startswith("trainer") else ""
        print(
            f"{side:20}{numbers['seconds a step'] * 1000:10.1f}"
            f"{numbers['memory GB']:9.2f}{multiple:>9}"
        )
    if options.json:
        record = {
            "parameters": round(parameters * 1e6), "machine": machine(options.device, 0),
            "found": results,
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }  # fmt: skip
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
