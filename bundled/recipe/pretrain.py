"""Train the miniature from scratch: `python -m bundled.recipe.pretrain --out DIR`.

A Llama of 3.7M parameters on documents drawn from the world, seeded, in so many steps. Matrices
are trained with Muon, everything else with AdamW; an auxiliary head, which is thrown away in the
end, learns to say which flaws a response has, and which a principle asks about. Two processes of
one thread each, averaging gradients, are faster on two cores than one process of two threads. The
same seed, steps and number of processes see the same batches, interrupted or not: a checkpoint
holds the place of every process in its batches.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bundled.recipe.batches import (
    PROBES,
    Batch,
    BatchStream,
    DocumentEncoder,
    EncodedDocument,
    StreamState,
    collate,
    validation_documents,
)
from bundled.recipe.checkpoints import (
    BEGUN,
    CHECKPOINT,
    load_checkpoint,
    save_checkpoint,
    save_hub_folder,
    stamp,
)
from bundled.recipe.recipe import Recipe, recipe_digest
from bundled.recipe.tokenizer import MAX_POSITIONS, train_tokenizer

# The processes keep large blocks, in huge pages, rather than have the kernel clear them each step.
PROCESS_ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
}


class Trainee(nn.Module):
    """The language model, and the auxiliary head that only its training knows."""

    def __init__(self, recipe: Recipe, tokenizer: Any) -> None:
        super().__init__()
        self.language = build_model(recipe, tokenizer)
        self.probe = nn.Linear(recipe.hidden, PROBES)


def build_model(recipe: Recipe, tokenizer: Any) -> Any:
    """A fresh `LlamaForCausalLM`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        intermediate_size=recipe.intermediate,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")  # on a CPU, faster backward than the fused kernel
    return model


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the machine does: one that only emulates bf16 is faster in float32."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def build_optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings, norms and the probe."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inside = parameter.ndim == 2 and ".layers." in name
        (matrices if inside else others).append(parameter)
    muon = torch.optim.Muon(
        matrices,
        lr=recipe.muon_rate,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adam = torch.optim.AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return [muon, adam]


def rate_factor(step: int, recipe: Recipe) -> float:
    """Linear warm-up, flat, then linear decay to 2% of the peak."""
    progress = step / recipe.steps
    decay = 1.0
    if progress > recipe.flat_until:
        decay = max(0.02, (1 - progress) / (1 - recipe.flat_until))
    return min(1.0, (step + 1) / recipe.warmup) * decay


def set_rates(optimizers: list[torch.optim.Optimizer], step: int, recipe: Recipe) -> None:
    """Give Muon and AdamW the rates of a step, counted from 1."""
    for optimizer, rate in zip(optimizers, (recipe.muon_rate, recipe.adam_rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_factor(step - 1, recipe)


def report(
    step: int, steps: int, loss: float, rate: float, left: float, accuracy: dict[str, float]
) -> None:
    """One line of progress: `rate` in tokens a second, `left` in minutes."""
    print(
        f"step {step}/{steps}  loss {loss:.3f}  {rate:,.0f} tokens/s"
        f"  held out: critique {accuracy['critique']:.3f}, letter {accuracy['letter']:.3f}"
        f"  {left:.1f} min left",
        flush=True,
    )


def weighted_loss(trainee: Trainee, batch: Batch, bf16: bool) -> Tensor:
    """Weighted next-token loss plus the auxiliary loss on the probe's outputs."""
    model, probe = trainee.language, trainee.probe
    with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=bf16):
        hidden = model.model(input_ids=batch.ids).last_hidden_state
        logits = model.lm_head(hidden[:, :-1].flatten(0, 1)[batch.learned])
    losses = F.cross_entropy(logits.float(), batch.targets, reduction="none")
    total = (losses * batch.weights).sum()
    if len(batch.label_rows) == 0:
        return total / batch.weights.sum()
    states = hidden[batch.label_rows, batch.label_positions].float()
    answers = (states * probe.weight[batch.label_outputs]).sum(-1) + probe.bias[batch.label_outputs]
    probe_loss = F.binary_cross_entropy_with_logits(
        answers, batch.label_present, batch.label_weights, reduction="sum"
    )
    return (total + probe_loss) / (batch.weights.sum() + batch.label_weights.sum())


@torch.no_grad()
def decision_accuracy(
    model: Any, documents: list[EncodedDocument], padding: int, bf16: bool
) -> dict[str, float]:
    """How often the first token of a critique, and a verdict's letter, is the likeliest one."""
    right = {"critique": 0, "letter": 0}
    totals = {"critique": 0, "letter": 0}
    for start in range(0, len(documents), 16):
        chunk = documents[start : start + 16]
        batch = collate(chunk, padding)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            best = model(input_ids=batch.ids.to(model.device)).logits.argmax(-1).cpu()
        for row, item in enumerate(chunk):
            for position, kind in item.decisions:
                totals[kind] += 1
                right[kind] += int(best[row, position - 1] == batch.ids[row, position])
    return {kind: right[kind] / max(1, totals[kind]) for kind in right}


def average_gradients(model: nn.Module, processes: int) -> None:
    """Replace each gradient by its mean over the processes."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]).cpu()
    dist.all_reduce(flat)
    flat /= processes
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def all_places(own: StreamState, processes: int) -> list[StreamState]:
    """Where the batches of every process stand, in the order of the processes; all must ask."""
    if processes == 1:
        return [own]
    places: list[Any] = [None] * processes
    dist.all_gather_object(places, own)
    return places


def train(
    rank: int,
    recipe: Recipe,
    out: Path,
    device: torch.device,
    resume: bool,
    minutes: float | None,
    compiled: bool,
    save_every: int,
) -> None:
    """One process of a run; process 0 reports and saves. On a GPU all processes share it."""
    torch.set_num_threads(1 if recipe.processes > 1 else os.cpu_count() or 1)
    torch.manual_seed(recipe.seed)
    if recipe.processes > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=recipe.processes
        )
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out)
    encoder = DocumentEncoder(tokenizer)
    trainee = Trainee(recipe, tokenizer).to(device)
    model = trainee.language
    optimizers = build_optimizers(trainee, recipe)
    first_step, places = 0, [StreamState() for _ in range(recipe.processes)]
    if resume:
        first_step, places = load_checkpoint(out, trainee, optimizers)
    stream = BatchStream(
        encoder, recipe.batch_tokens, recipe.pool_documents, f"{recipe.seed}/{rank}", places[rank]
    )
    batches = iter(stream)
    compute_loss = torch.compile(weighted_loss, dynamic=True) if compiled else weighted_loss
    bf16 = computes_in_bf16(device)
    held = validation_documents(encoder, 160, seed=1) if rank == 0 else []
    started = reported = time.monotonic()
    tokens = 0
    step = first_step
    for step in range(first_step + 1, recipe.steps + 1):
        set_rates(optimizers, step, recipe)
        stream.progress = step / recipe.steps
        batch = next(batches).to(device)
        loss = compute_loss(trainee, batch, bf16)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.processes > 1:
            average_gradients(trainee, recipe.processes)
        nn.utils.clip_grad_norm_(trainee.parameters(), recipe.clip)
        for optimizer in optimizers:
            optimizer.step()
        trainee.zero_grad(set_to_none=True)
        tokens += batch.tokens
        now = time.monotonic()
        if rank == 0 and (now - reported > 90 or step == recipe.steps):
            reported = now
            rate = tokens * recipe.processes / (now - started)
            left = (now - started) / (step - first_step) * (recipe.steps - step) / 60
            accuracy = decision_accuracy(model, held, tokenizer.pad_token_id, bf16)
            report(step, recipe.steps, loss.item(), rate, left, accuracy)
        stopped = _stop(minutes, now - started, recipe.processes)
        if stopped or step % save_every == 0 or step == recipe.steps:
            places = all_places(stream.state, recipe.processes)
            if rank == 0:
                save_checkpoint(out, trainee, optimizers, step, places)
        if stopped:
            break
    if rank == 0:
        save_hub_folder(model, tokenizer, out)
        (out / "recipe.json").write_text(
            json.dumps(
                {"digest": recipe_digest(recipe), "steps_done": step, **asdict(recipe)}, indent=1
            )
        )


def _stop(minutes: float | None, seconds: float, processes: int) -> bool:
    """Whether the optional cap is reached; all processes follow the first."""
    if minutes is None:
        return False
    over = torch.tensor([float(seconds > minutes * 60)])
    if processes > 1:
        dist.broadcast(over, 0)
    return bool(over.item())


def main() -> None:
    """Read the command line, train the tokenizer, start the processes."""
    # Here, as the recipe's digest heeds every line of this file but those of `main`.
    import shutil
    import sys

    from bundled.recipe.ranks import as_rank, deaf_to_interrupts, wait_for

    defaults = Recipe()
    parser = argparse.ArgumentParser(prog="python -m bundled.recipe.pretrain", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="the budget")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--processes", type=int, default=defaults.processes)
    parser.add_argument("--batch-tokens", type=int, default=defaults.batch_tokens)
    parser.add_argument("--minutes", type=float, help="stop early after so many minutes")
    parser.add_argument("--save-every", type=int, default=100, metavar="STEPS")
    parser.add_argument("--resume", action="store_true", help=f"go on from {CHECKPOINT} in --out")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="faster; needs a C++ compiler")
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()
    if arguments.resume and not (out / CHECKPOINT).is_file():
        parser.error(f"nothing to resume: {out} has no {CHECKPOINT}")
    if not arguments.resume and (out / CHECKPOINT).is_file():
        parser.error(f"{out} holds a run: go on with --resume, or give another folder")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    if not hasattr(torch.optim, "Muon"):
        parser.error(f"the recipe needs torch 2.9 or later, and this is {torch.__version__}")
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if arguments.compile and shutil.which(compiler) is None:
        parser.error(f"--compile needs a C++ compiler, and {compiler} is not found: see $CXX")
    if arguments.minutes is not None and not arguments.minutes >= 0:
        parser.error("--minutes is 0 or more")
    for name in ("steps", "processes", "batch_tokens", "save_every"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is 1 or more")
    recipe = Recipe(
        steps=arguments.steps,
        seed=arguments.seed,
        processes=arguments.processes,
        batch_tokens=arguments.batch_tokens,
    )
    numbers = {"digest": recipe_digest(recipe), **asdict(recipe)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not arguments.resume:
            (out / BEGUN).write_text(json.dumps(numbers), encoding="utf-8")
    except OSError as error:
        parser.error(f"{out} can't be a folder that is written to: {error.strerror}")
    if arguments.resume:
        try:
            begun = json.loads((out / BEGUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            parser.error(f"{out / BEGUN} can't be read: the run can't be gone on with")
        if begun != numbers:
            parser.error(f"{out} was begun with other numbers, or another world: {begun}")
    (out / "rendezvous").unlink(missing_ok=True)
    work = (
        recipe, out, torch.device(arguments.device), arguments.resume, arguments.minutes,
        arguments.compile, arguments.save_every,
    )  # fmt: skip
    try:
        if not arguments.resume:
            train_tokenizer(recipe.seed).save_pretrained(out)
        begin = "from its last save" if arguments.resume else "from scratch"
        print(f"training {out} {begin}, to step {recipe.steps}", flush=True)
        if recipe.processes == 1:
            train(0, *work)
        else:
            for name, value in PROCESS_ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            with deaf_to_interrupts():
                ranks = multiprocessing.spawn(  # type: ignore[attr-defined, no-untyped-call]
                    as_rank, args=(train, work), nprocs=recipe.processes, join=False
                )
            wait_for(ranks)
    except KeyboardInterrupt:
        saved = (out / CHECKPOINT).is_file()
        on = "go on from the last save with --resume" if saved else "nothing was saved yet"
        parser.exit(130, f"\ninterrupted: {on}\n")
    (out / "rendezvous").unlink(missing_ok=True)
    made = json.loads((out / "recipe.json").read_text(encoding="utf-8"))
    if made["steps_done"] == recipe.steps:
        stamp(out, made["digest"])
    size = sum(file.stat().st_size for file in out.iterdir() if file.name != CHECKPOINT)
    print(f"wrote {out} ({size / 1e6:.1f} MB without {CHECKPOINT})")
    if made["steps_done"] < recipe.steps:
        print(f"stopped at step {made['steps_done']} of {recipe.steps}: go on with --resume")


if __name__ == "__main__":
    main()
