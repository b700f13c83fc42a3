"""Three-stage conversations (respond, critique, revise): our sampler against transformers.

    python bench/generate.py [--size s|m|l] [--device cpu] [--threads 1] [--json FILE]

Both sides write the same number of tokens for the same prompts, greedily, on the same freshly
made random-weight Llama in float32. transformers runs `generate` on left-padded batches, a stage
after the other, and reads each longer prompt anew; it is run in input order and, `sorted`, with
responses of like length together (which no real run can know beforehand). Ours keeps a
conversation's cache from stage to stage and refills a slot when its conversation is done.
Gate: every token must be the likeliest one after all that stands before it, as one plain forward
over the whole conversation has it, or within `TIE` of that: on a GPU batches of other shapes add in
another order, a near tie falls the other way, and from there on the texts differ. Both sides write
as many tokens after as many either way. On a CPU all tokens must be the same.
Reported: response tokens a second, the best of the repeats.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

import cai

# The sampler is measured by itself, on token ids.
from cai.models.generate import Sampler
from cai.models.response import Job
from cai.text.reasoning import Reply

SIZES = {
    "s": {"hidden_size": 256, "num_hidden_layers": 6, "intermediate_size": 704, "heads": 4},
    "m": {"hidden_size": 512, "num_hidden_layers": 10, "intermediate_size": 1408, "heads": 8},
    "l": {"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 5632, "heads": 16},
}
VOCABULARY = 8192
STAGES = 3
TIE = 1e-3  # of a logit


@dataclass(frozen=True)
class Chain:
    """A conversation: the tokens each stage adds to the prompt, and how many it writes."""

    added: tuple[tuple[int, ...], ...]
    written: tuple[int, ...]


class NoStops:
    """In an encoder's place: nothing ends a turn before its limit, and ids need no text."""

    stop_ids = answer_end_ids = marker_ids = frozenset[int]()
    stop_texts: tuple[str, ...] = ()

    def opens_reasoning(self, ids: Sequence[int]) -> bool:
        return False

    def read(self, ids: Sequence[int], opened: bool = False) -> Reply:
        return Reply("")


def make_model(size: str, device: str = "cpu") -> Any:
    shape = dict(SIZES[size])
    heads = shape.pop("heads")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=4096, num_attention_heads=heads,
        num_key_value_heads=heads // 2, initializer_range=0.08, pad_token_id=0, eos_token_id=None,
        bos_token_id=None, **shape,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    model.generation_config.pad_token_id = 0
    return model.to(device)


def machine(device: str, threads: int) -> str:
    """What the times are of."""
    return torch.cuda.get_device_name(device) if device != "cpu" else f"{threads} thread(s)"


def make_chains(count: int, seed: int = 1) -> list[Chain]:
    """Lengths spread as those of real conversations are (log-normal)."""
    rng = random.Random(seed)

    def length(low: int, high: int, median: float) -> int:
        return max(low, min(high, int(rng.lognormvariate(math.log(median), 0.7))))

    def ids(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(1, VOCABULARY) for _ in range(n))

    return [
        Chain(
            (ids(length(12, 300, 96)), ids(45), ids(35)),
            tuple(length(6, 120, 32) for _ in range(STAGES)),
        )
        for _ in range(count)
    ]


def ours(model: Any, chains: Sequence[Chain], batch: int) -> list[list[int]]:
    """All three stages of all chains through the sampler."""
    sampler = Sampler(model, NoStops(), batch)  # type: ignore[arg-type]
    greedy = cai.Sampling(temperature=0.0)
    context: list[list[int]] = [[] for _ in chains]
    tokens: list[list[int]] = [[] for _ in chains]
    waiting = list(range(len(chains)))[::-1]
    stage = [0] * len(chains)
    running = 0

    def submit(i: int) -> None:
        chain, s = chains[i], stage[i]
        context[i] += chain.added[s]
        sampler.submit(Job(tuple(context[i]), greedy, chain.written[s], str(i)))

    while waiting or running:
        while waiting and running < batch:
            submit(waiting.pop())
            running += 1
        for job in sampler.step():
            i = int(job.conversation)
            context[i] += job.out
            tokens[i] += job.out
            stage[i] += 1
            if stage[i] < STAGES:
                submit(i)
            else:
                sampler.release(str(i))
                running -= 1
    return tokens


@torch.inference_mode()
def theirs(model: Any, chains: Sequence[Chain], batch: int, alike: bool) -> list[list[int]]:
    """Stage by stage with `generate`; a batch runs as long as its longest response."""
    context: list[list[int]] = [[] for _ in chains]
    tokens: list[list[int]] = [[] for _ in chains]
    for s in range(STAGES):
        order = list(range(len(chains)))
        if alike:
            order.sort(key=lambda i: -chains[i].written[s])
        for at in range(0, len(order), batch):
            members = order[at : at + batch]
            for i in members:
                context[i] += chains[i].added[s]
            width = max(len(context[i]) for i in members)
            ids = torch.zeros(len(members), width, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, i in enumerate(members):
                ids[row, width - len(context[i]) :] = torch.tensor(context[i])
                mask[row, width - len(context[i]) :] = 1
            longest = max(chains[i].written[s] for i in members)
            out = model.generate(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device),
                max_new_tokens=longest, do_sample=False,
            )  # fmt: skip
            for row, i in enumerate(members):
                new = out[row, width : width + chains[i].written[s]].tolist()
                context[i] += new
                tokens[i] += new
    return tokens


@torch.inference_mode()
def shortfall(model: Any, chain: Chain, tokens: Sequence[int]) -> float:
    """How much less likely than the likeliest the worst token written is, in logits."""
    context: list[int] = []
    indices: list[int] = []
    start = 0
    for added, count in zip(chain.added, chain.written, strict=True):
        context += added
        indices += range(len(context), len(context) + count)
        context += tokens[start : start + count]
        start += count
    ids = torch.tensor([context], device=model.device)
    logits = model(input_ids=ids).logits[0]
    places = torch.tensor(indices, device=model.device)
    before = logits[places - 1]
    chosen = before.gather(1, ids[0, places, None])[:, 0]
    return float((before.max(1).values - chosen).max())


def timed(run: Callable[[], list[list[int]]]) -> tuple[float, list[list[int]]]:
    start = time.perf_counter()
    out = run()
    return time.perf_counter() - start, out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--conversations", type=int, default=24)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.set_verbosity_error()
    model = make_model(options.size, options.device)
    chains = make_chains(options.conversations)
    tokens = sum(sum(c.written) for c in chains)
    sides: dict[str, Callable[[], list[list[int]]]] = {
        "transformers": lambda: theirs(model, chains, options.batch, alike=False),
        "transformers, sorted": lambda: theirs(model, chains, options.batch, alike=True),
        "cai": lambda: ours(model, chains, options.batch),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    outputs: dict[str, list[list[int]]] = {}
    for _ in range(options.repeats):
        for name, run in sides.items():  # in turn, so that a noisy neighbour hits all of them
            spent, outputs[name] = timed(run)
            seconds[name].append(spent)
    same = all(out == outputs["cai"] for out in outputs.values())
    if options.device == "cpu" and not same:
        sys.exit("GATE FAILED: the sides wrote different tokens, so their times mean nothing")
    short = {
        name: max(shortfall(model, chain, out) for chain, out in zip(chains, outs, strict=True))
        for name, outs in outputs.items()
    }
    if max(short.values()) > TIE:
        sys.exit(f"GATE FAILED: a token was not the likeliest one: {short}")
    best = {name: min(spent) for name, spent in seconds.items()}
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(
        f"{parameters:.1f}M parameters, float32, {machine(options.device, options.threads)},"
        f" batch {options.batch}, {len(chains)} conversations × {STAGES} stages,"
        f" {tokens} tokens written, {'all the same' if same else 'the same up to near ties'}"
    )
    print(f"{'':22}{'seconds':>9}{'tokens/s':>10}{'cai is':>9}")
    for name, spent in best.items():
        ratio = f"{spent / best['cai']:.2f}×" if name != "cai" else ""
        print(f"{name:22}{spent:9.2f}{tokens / spent:10.0f}{ratio:>9}")
    if options.json:
        record = {
            "size": options.size, "parameters": round(parameters * 1e6), "tokens": tokens,
            "machine": machine(options.device, options.threads), "batch": options.batch,
            "seconds": seconds, "same tokens": same, "shortfall": short,
            "ratio": {n: s / best["cai"] for n, s in best.items()},
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }  # fmt: skip
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
