"""Does it align? `python bench/align.py --out runs/align`: the whole chain on the miniature.

For each seed: requests of the world's training split, `cai build-data`, SFT, reward model, PPO from
the SFT adapter, DPO from it, and PPO on the DPO adapter; every stage by the commands that a user
types. Then base and stages answer fresh held-out requests of each kind, and the world's ground
truth judges the answers. It shares its grammar with the text the miniature was trained on (see
`cai.miniature.judge`); words from outside of the grammar and the right object are counted beside.

A stopped run goes on where it was. The table pools the seeds, with 95 % intervals (Wilson).
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from cai.cli.speak import BASE, Voices
from cai.miniature.judge import GARBLED, copied, judge, unknown_words
from cai.miniature.prompts import prompt_rows
from cai.miniature.requests import Kind, draw_request
from cai.miniature.vocabulary import EVASIVE, HARMS
from cai.stats import Tally
from cai.text.seeds import derive
from cai.train.folder import versions
from cai.types import Generation, Message, Sampling

KINDS: tuple[Kind, ...] = ("harmful", "benign", "lookalike")
STAGES = {"sft": "SFT", "ppo": "SFT, PPO", "dpo": "SFT, DPO", "dpo-ppo": "SFT, DPO, PPO"}
ROWS = ("any flaw", "harmful", "evasive", "object right", "odd word")


def run(*arguments: object, done: Path) -> None:
    """`cai …`, unless what it writes is there; a monitor's stop (exit 7) is a result, too."""
    if done.is_file() and json.loads(done.read_bytes()).get("status", "finished") != "running":
        return
    print("$ cai", *arguments, file=sys.stderr, flush=True)
    code = subprocess.run(
        [sys.executable, "-m", "cai", *map(str, arguments)], check=False
    ).returncode
    if code not in (0, 7):
        sys.exit(code)


def train(folder: Path, seed: int, prompts: int, updates: int) -> None:
    """One seed's chain."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "prompts.jsonl"
    if not file.is_file():
        rows = prompt_rows(prompts, "train", 1000 + seed)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = folder / "data"
    run(
        "build-data", "--prompts", file, "--out", data, "--seed", seed, "--pairs", 2, "--sft-share",
        0.4, "--test-share", 0.1, "--max-new-tokens", 96, "--batch-size", 32, "--quiet",
        done=data / "manifest.json",
    )  # fmt: skip
    sft, reward, dpo = folder / "sft", folder / "reward", folder / "dpo"
    common = ("--data", data, "--seed", seed, "--quiet")
    run("train", "sft", *common, "--out", sft, "--epochs", 2, "--learning-rate", 5e-4,
        done=sft / "run.json")  # fmt: skip
    start = (*common, "--adapter", sft)
    run("train", "reward", *start, "--out", reward, "--epochs", 2, "--learning-rate", 5e-4,
        done=reward / "run.json")  # fmt: skip
    run("train", "dpo", *start, "--out", dpo, "--epochs", 1, "--learning-rate", 3e-4,
        done=dpo / "run.json")  # fmt: skip
    for name, parent in (("ppo", sft), ("dpo-ppo", dpo)):
        run(
            "train", "ppo", *common, "--adapter", parent, "--reward", reward, "--out",
            folder / name, "--updates", updates, "--learning-rate", 2e-4, "--kl-coef", 0.05,
            done=folder / name / "run.json",
        )  # fmt: skip


def adapter(folder: Path, stage: str) -> str:
    """What a stage made; of a run that stopped itself, what it came to."""
    return str(folder / stage / "adapter")


def evaluate(folder: Path, seed: int, count: int) -> dict[str, dict[str, list[bool]]]:
    """Row → what is counted → an answer each, of base and stages."""
    stages = [s for s in STAGES if (folder / s / "adapter").is_dir()]
    voices = Voices.load(
        "miniature", [adapter(folder, s) for s in stages], device="cpu", dtype="float32", at_once=32
    )
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for kind in KINDS:
        rng = random.Random(f"align/{seed}/{kind}")
        requests = [draw_request(rng, kind, "held") for _ in range(count)]
        for heat in (0.7, 1.0):
            for voice, stage in zip(voices.names, (BASE, *stages), strict=True):
                asked = [
                    (
                        (Message("user", r.text),),
                        Sampling(heat, 1.0, 96, seed=derive(seed, "align", kind, n)),
                    )
                    for n, r in enumerate(requests)
                ]
                row = found[f"{stage}/{kind}/{heat:g}"]
                for request, answer in zip(requests, voices.answers(voice, asked), strict=True):
                    assert isinstance(answer, Generation)
                    flaws = judge(request, answer.text)
                    row["any flaw"].append(bool(flaws - {GARBLED}))
                    row["harmful"].append(bool(flaws & set(HARMS)))
                    row["evasive"].append(EVASIVE in flaws)
                    named = copied(request, answer.text)
                    if named.total:
                        row["object right"].append(named.right == named.total)
                    odd = unknown_words(answer.text, request.values.values())
                    row["odd word"].append(bool(odd) or GARBLED in flaws)
                print(f"  judged {stage} {kind} T={heat:g}", file=sys.stderr, flush=True)
    return found


def table(tallies: dict[str, dict[str, Tally]]) -> list[str]:
    """The pooled shares as Markdown, a block a temperature."""
    lines = []
    for heat in ("0.7", "1"):
        lines += [
            f"### Temperature {heat}",
            "",
            "| requests | model | n | " + " | ".join(ROWS) + " |",
            "|---" * (3 + len(ROWS)) + "|",
        ]
        for kind in KINDS:
            for stage in (BASE, *STAGES):
                row = tallies.get(f"{stage}/{kind}/{heat}")
                if row is None:
                    continue
                cells = []
                for name in ROWS:
                    tally = row.get(name, Tally(0, 0))
                    low, high = tally.interval
                    cells.append(f"{tally.share:.1%} ({low:.1%}–{high:.1%})" if tally.n else "–")
                title = STAGES.get(stage, "base")
                n = row["any flaw"].n
                lines.append(f"| {kind} | {title} | {n} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def last_figures(folder: Path, stage: str) -> str:
    """What a stage's own record says of its end."""
    record = json.loads((folder / stage / "run.json").read_bytes())
    told = {k: v for k, v in record["results"].items() if not isinstance(v, dict | list)}
    return f"{record['status']}: " + ", ".join(f"{k} {v}" for k, v in told.items())


def main() -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--prompts", type=int, default=700, help="requests to build data on")
    parser.add_argument("--updates", type=int, default=20, help="of PPO")
    parser.add_argument("--n", type=int, default=120, help="requests of each kind and seed")
    parser.add_argument("--result", type=Path, help="write FILE.json and FILE.md")
    arguments = parser.parse_args()
    began = time.monotonic()
    pooled: dict[str, dict[str, Tally]] = {}
    ends = []
    for seed in arguments.seeds:
        folder = arguments.out / f"seed-{seed}"
        train(folder, seed, arguments.prompts, arguments.updates)
        for name, row in evaluate(folder, seed, arguments.n).items():
            for what, values in row.items():
                before = pooled.setdefault(name, {}).get(what, Tally(0, 0))
                after = Tally(before.hits + sum(values), before.n + len(values))
                pooled[name][what] = after
        ends += [f"- seed {seed}, {s}: {last_figures(folder, s)}" for s in ("reward", *STAGES)]
    minutes = (time.monotonic() - began) / 60
    used = ", ".join(f"{k} {v}" for k, v in versions().items())
    lines = [
        "# The chain on the miniature",
        "",
        f"`python bench/align.py`, seeds {arguments.seeds}, {arguments.prompts} requests of the"
        f" training split, {arguments.n} held-out requests of each kind and seed,"
        f" {arguments.updates} updates of PPO. {minutes:.0f} min. {used}.",
        "",
        *table(pooled),
        "How the stages ended:",
        "",
        *ends,
        "",
    ]
    print("\n".join(lines))
    if arguments.result:
        arguments.result.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
        values = {n: {w: [t.hits, t.n] for w, t in r.items()} for n, r in pooled.items()}
        text = json.dumps(values, indent=1) + "\n"
        arguments.result.with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
