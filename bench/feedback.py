"""AI feedback under many principles: scores with a shared prefix against full forwards.

    python bench/feedback.py [--size s|m|l] [--device cpu] [--threads 1] [--json FILE]

One group: a conversation with two responses, asked about under 16 principles; the probability of
two letters is wanted for each. Naive: a full forward a principle, logits at the last position
only. Batched: the same, right-padded in one batch. Ours: the shared prefix once, the principles'
suffixes batched behind it. Random-weight Llama in float32. Gate: log-probabilities within 1e-3.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

import torch
import transformers
from generate import SIZES, VOCABULARY, machine, make_model

from cai.models.score import OptionScorer, ScoringTask  # measured on token ids, without texts

LETTERS = (100, 101)
Scores = list[tuple[float, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--prefix", type=int, default=400, help="tokens that all prompts share")
    parser.add_argument("--suffix", type=int, default=45, help="tokens of a principle, on average")
    parser.add_argument("--principles", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = make_model(options.size, options.device)
    rng = random.Random(0)

    def ids(n: int) -> list[int]:
        return [rng.randrange(1, VOCABULARY) for _ in range(n)]

    prefix = ids(options.prefix)
    low, high = int(options.suffix * 0.7), int(options.suffix * 1.3)
    prompts = [prefix + ids(rng.randint(low, high)) for _ in range(options.principles)]
    tasks = [ScoringTask.of(p, [[*p, letter] for letter in LETTERS]) for p in prompts]
    scorer = OptionScorer(model)

    @torch.inference_mode()
    def naive() -> Scores:
        out = []
        for prompt in prompts:
            ids = torch.tensor([prompt], device=model.device)
            logits = model(ids, use_cache=False, logits_to_keep=1).logits[0, -1]
            out.append(tuple(logits.log_softmax(dim=0)[list(LETTERS)].tolist()))
        return out

    @torch.inference_mode()
    def batched() -> Scores:
        width = max(map(len, prompts))
        padded = [p + [0] * (width - len(p)) for p in prompts]
        tokens = torch.tensor(padded, device=model.device)
        last = torch.tensor([len(p) - 1 for p in prompts])
        hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[torch.arange(len(prompts)), last])
        return [tuple(row) for row in logits.log_softmax(dim=1)[:, list(LETTERS)].tolist()]

    sides: dict[str, Callable[[], Scores]] = {
        "full forwards": naive,
        "one padded batch": batched,
        "cai": lambda: scorer.score(tasks),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    results: dict[str, Scores] = {}
    for repeat in range(options.repeats + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            results[name] = run()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    apart = max(
        abs(a - b)
        for scores in results.values()
        for row, mine in zip(scores, results["cai"], strict=True)
        for a, b in zip(row, mine, strict=True)
    )
    if apart > 1e-3:
        sys.exit(f"GATE FAILED: log-probabilities differ by {apart:.2g}")
    best = {name: min(spent) for name, spent in seconds.items()}
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(
        f"{parameters:.1f}M parameters, float32, {machine(options.device, options.threads)},"
        f" {len(prompts)} principles, prefix {options.prefix}, suffix about {options.suffix};"
        f" log-probabilities within {apart:.1g}"
    )
    print(f"{'':18}{'ms a group':>11}{'cai is':>9}")
    for name, spent in best.items():
        ratio = f"{spent / best['cai']:.2f}×" if name != "cai" else ""
        print(f"{name:18}{spent * 1000:11.1f}{ratio:>9}")
    if options.json:
        record = {
            "size": options.size, "parameters": round(parameters * 1e6), "apart": apart,
            "prefix": options.prefix, "suffix": options.suffix, "principles": len(prompts),
            "machine": machine(options.device, options.threads), "seconds": seconds,
            "ratio": {n: s / best["cai"] for n, s in best.items()},
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }  # fmt: skip
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
