"""Does it align? `python bench/align.py --out runs/align`: the whole chain on the miniature.

For each seed: requests of the world's training split, `cai build-data`, SFT, reward model; from the
SFT adapter PPO, RLOO and PPO under the constitution as reward, DPO, KTO, and two rounds of DPO
(`cai loop`); PPO on the DPO adapter. From the base: distillation, DPO on contrast pairs, and DPO on
the same pairs and on those judged by a constitution whose feedback weighs every principle the same:
what the weights are for. Each stage by the command that a user types. Then base and stages answer
fresh held-out requests of each kind, and the world's ground truth judges the answers. It shares its
grammar with the text the miniature was trained on (see `cai.miniature.world.judge`); words from
outside of the grammar and the right object are counted beside.

A stopped run goes on where it was; `--stages` trains and judges only some. Seeds may be run by
several processes: `--seeds 0` here, `--seeds 1` there, then `--seeds 0 1 2` for the table. It pools
the seeds, with 95 % intervals (Wilson). `--draw choose` asks other held-out requests: for choosing
settings. Those of the table are all different from one another and from all that were looked at
before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from commands import run

import cai
from cai.evaluation.statistics import mean
from cai.miniature import (
    EVASIVE,
    GARBLED,
    HARMS,
    RequestKind,
    WorldRequest,
    copied,
    draw_request,
    judge,
    unknown_words,
)
from cai.miniature.world.vocabulary import STYLES

# KL is read as PPO reads it: on the very tokens drawn, at the temperature of the draw.
from cai.models.backbone import Backbone
from cai.stats import Proportion
from cai.training.rollout import Response, encode_prompts, generate_responses, logprobs_and_values

HERE = Path(__file__).resolve().parent
KINDS: tuple[RequestKind, ...] = ("harmful", "benign", "lookalike")
TEMPERATURES = (0.7, 1.0)
NEW_TOKENS = 96
CHOOSE, TABLE = "choose", "table"
EARLIER = (CHOOSE, "fresh", "report")  # draws that settings or an earlier table were made by
MOST = 150  # requests of a kind that any of them had for a seed
BASE = "base"
Seconds = dict[str, list[float]]  # of a stage, a number a seed
STAGES = {
    "sft": "SFT",
    "ppo": "SFT, PPO",
    "ppo-constitution": "SFT, PPO under the constitution",
    "rloo-constitution": "SFT, RLOO under the constitution",
    "kto": "SFT, KTO",
    "dpo": "SFT, DPO",
    "loop": "SFT, two rounds of DPO",
    "dpo-ppo": "SFT, DPO, PPO",
    "distill": "distillation alone",
    "base-contrast": "DPO on contrast pairs alone",
    "base-dpo": "DPO alone",
    "base-dpo-equal": "DPO alone, equal weights",
}
SFT = "sft"
ALL = "all"
NEEDS = {"ppo": ("reward",), "dpo-ppo": ("reward", "dpo")}  # besides SFT
SHARES = ("any flaw", "harmful", "evasive", "object right", "odd word")
MEANS = ("tokens", "KL")
COMPARED = ("any flaw", "harmful", "evasive", "odd word", "tokens")
SETTINGS: dict[str, tuple[object, ...]] = {
    "sft": ("--epochs", 8, "--learning-rate", 2e-3),
    "reward": ("--epochs", 2, "--learning-rate", 1e-3),
    "dpo": ("--epochs", 1, "--learning-rate", 1e-3, "--beta", 0.3, "--nll", 0.3),
    "ppo": ("--learning-rate", 2e-4, "--kl-coef", 0.2, "--prompts-per-update", 64),
    "rloo": ("--learning-rate", 5e-4, "--kl-coef", 0.05, "--prompts-per-update", 16),
    "kto": ("--epochs", 1, "--learning-rate", 5e-4, "--beta", 0.3),
    "distill": (
        "--learning-rate",
        1e-3,
        "--prompts-per-update",
        16,
        "--max-new-tokens",
        NEW_TOKENS,
    ),
}
GENTLER = ("--learning-rate", 1e-4)  # of PPO after DPO, which leaves less to gain
EQUAL_WEIGHTS = """\
api: cai/v1
kind: Constitution
id: equal-weights
version: 1.0.0
title: The default, but that all of its feedback weighs the same
extends: [./default.yaml]

principles:
  - {ref: ../principles/harm/ethics.yaml, weight: 1, phases: [rl]}
  - {ref: ../principles/honesty/untruth.yaml, weight: 1, phases: [rl]}
  - {ref: ../principles/honesty/sycophancy.yaml, weight: 1, phases: [rl]}
  - {ref: ../principles/helpfulness/evasion.yaml, weight: 1, phases: [rl]}
"""


def equal_weights(folder: Path) -> Path:
    """A project whose constitution is the default without its balance."""
    for name in ("constitution", "principles"):
        shutil.copytree(HERE.parent / name, folder / name, dirs_exist_ok=True)
    file = folder / "constitution" / "equal-weights.yaml"
    file.write_text(EQUAL_WEIGHTS, encoding="utf-8")
    return file


def train(folder: Path, seed: int, prompts: int, updates: int, stages: Sequence[str]) -> None:
    """One seed's chain: these stages, and what they need."""
    wanted = {SFT, *stages, *(needed for stage in stages for needed in NEEDS.get(stage, ()))}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "prompts.jsonl"
    rows = [
        sys.executable, "-m", "cai.miniature.prompts", "--n", str(prompts), "--split", "train",
        "--seed", str(1000 + seed),
    ]  # fmt: skip
    file.write_bytes(subprocess.run(rows, check=True, capture_output=True).stdout)
    build = (
        "build-data", "--prompts", file, "--seed", seed, "--pairs", 2, "--sft-share", 0.4,
        "--test-share", 0.1, "--max-new-tokens", NEW_TOKENS, "--batch-size", 32, "--quiet",
    )  # fmt: skip
    data, equal, contrast = (folder / f"data{name}" for name in ("", "-equal", "-contrast"))
    run(*build, "--out", data, done=data / "manifest.json")
    if "base-dpo-equal" in wanted:
        constitution = equal_weights(folder / "project")
        run(*build, "--constitution", constitution, "--out", equal, done=equal / "manifest.json")
    if "base-contrast" in wanted:
        done = contrast / "manifest.json"
        run(*build, "--constitution", "contrast", "--out", contrast, done=done)

    def step(stage: str, name: str, source: Path, *more: object) -> None:
        if name not in wanted:
            return
        out = folder / name
        with noted_seconds(folder, name):
            run("train", stage, "--data", source, "--seed", seed, "--quiet", "--out", out,
                *SETTINGS[stage], *more, done=out / "run.json")  # fmt: skip

    start = ("--adapter", folder / "sft")
    step("sft", "sft", data)
    step("reward", "reward", data, *start)
    step("dpo", "dpo", data, *start)
    rewarded = ("--reward", folder / "reward", "--updates", updates)
    step("ppo", "ppo", data, *start, *rewarded)
    step("ppo", "dpo-ppo", data, "--adapter", folder / "dpo", *rewarded, *GENTLER)
    judged = ("--reward", "constitution:default", "--updates", updates)
    step("ppo", "ppo-constitution", data, *start, *judged)
    step("rloo", "rloo-constitution", data, *start, *judged)
    step("kto", "kto", data, *start)
    step("distill", "distill", data, "--updates", updates, "--constitution", "miniature",
         "--max-new-tokens", NEW_TOKENS)  # fmt: skip
    if "loop" in wanted:
        with noted_seconds(folder, "loop"):
            run("loop", "--prompts", file, *start, "--rounds", 2, "--no-judge-gate",
                "--held-out", 48, "--seed", seed, "--quiet",
                "--build-options", f"--pairs 2 --max-new-tokens {NEW_TOKENS} --quiet",
                "--train-options", shlex.join(map(str, (*SETTINGS["dpo"], "--quiet"))),
                "--eval-options", f"--max-new-tokens {NEW_TOKENS} --quiet",
                "--out", folder / "loop", done=folder / "loop" / "dpo-2" / "run.json")  # fmt: skip
    step("dpo", "base-contrast", contrast)
    step("dpo", "base-dpo", data)
    step("dpo", "base-dpo-equal", equal)


@contextlib.contextmanager
def noted_seconds(folder: Path, name: str) -> Iterator[None]:
    """Keep the processor time of a stage, whatever else the machine does meanwhile. What is done is
    not run again, and has none to add."""
    before = cpu_seconds()
    yield
    used = cpu_seconds() - before
    file = folder / "cpu_seconds.json"
    noted = json.loads(file.read_bytes()) if file.is_file() else {}
    if used:
        file.write_text(json.dumps(noted | {name: used}), encoding="utf-8")


def cpu_seconds() -> float:
    """Processor time of the commands that have ended, and of what they started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def adapter_of(folder: Path, stage: str) -> Path:
    """The adapter that a stage ends with: a loop's is that of its last round."""
    if stage != "loop":
        return folder / stage / "adapter"
    return max((folder / "loop").glob("dpo-*/adapter"))


def evaluate(
    folder: Path, draw: str, seed: int, count: int, stages: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    """`stage/kind/temperature` → what is counted → a number each answer; kept in the folder."""
    cache = folder / f"judged-{draw}-{count}.json"
    outcomes: dict[str, dict[str, list[float]]] = {}
    if cache.is_file():
        outcomes = json.loads(cache.read_bytes())
    backbone = Backbone.load("miniature", device="cpu", dtype="float32")
    for stage in (BASE, *stages):
        adapter = None
        if stage != BASE:
            adapter = stage
            backbone.load_adapter(stage, adapter_of(folder, stage))
        for kind in KINDS:
            for heat in TEMPERATURES:
                name = f"{stage}/{kind}/{heat:g}"
                if name not in outcomes:
                    requests = requests_of(draw, seed, kind, count)
                    outcomes[name] = dict(outcomes_of(backbone, adapter, requests, heat, seed))
                    cache.write_text(json.dumps(outcomes), encoding="utf-8")
                    print(f"  judged {folder.name} {name}", file=sys.stderr, flush=True)
    return outcomes


def requests_of(draw: str, seed: int, kind: RequestKind, count: int) -> list[WorldRequest]:
    """Held-out requests of a kind. Those of the table are all different, over all seeds, and none
    is one that settings were chosen by or that an earlier table was made of."""
    if draw == CHOOSE:
        return _draw_requests(draw, seed, kind, count)
    used_texts = {
        r.text for d in EARLIER for s in range(3) for r in _draw_requests(d, s, kind, MOST)
    }
    rng = random.Random(f"align/{draw}/{kind}")
    requests: list[WorldRequest] = []
    while len(requests) < (seed + 1) * count:
        request = draw_request(rng, kind, "held")
        if request.text not in used_texts:
            used_texts.add(request.text)
            requests.append(request)
    return requests[seed * count :]


def _draw_requests(draw: str, seed: int, kind: RequestKind, count: int) -> list[WorldRequest]:
    rng = random.Random(f"align/{draw}/{seed}/{kind}")
    return [draw_request(rng, kind, "held") for _ in range(count)]


def outcomes_of(
    backbone: Backbone,
    adapter: str | None,
    requests: Sequence[WorldRequest],
    heat: float,
    seed: int,
) -> dict[str, list[float]]:
    """An answer to each request, in numbers."""
    prompts = [cai.Prompt(str(n), (cai.Message("user", r.text),)) for n, r in enumerate(requests)]
    ready, _ = encode_prompts(backbone.encoder, prompts, backbone.context - NEW_TOKENS - 1)
    draws = [(prompt, 0) for prompt in ready]
    answers = generate_responses(backbone, adapter, draws, NEW_TOKENS, heat, seed, 0)
    outcomes: dict[str, list[float]] = defaultdict(list)
    for request, answer in zip(requests, answers, strict=True):
        flaws = judge(request, answer.text)
        outcomes["any flaw"].append(bool(flaws - {GARBLED}))
        outcomes["harmful"].append(bool(flaws & set(HARMS)))
        outcomes["evasive"].append(EVASIVE in flaws)
        outcomes["ill-mannered"].append(bool(flaws & set(STYLES)))
        named = copied(request, answer.text)
        if named.total:
            outcomes["object right"].append(named.right == named.total)
        odd_words = unknown_words(answer.text, request.values.values())
        outcomes["odd word"].append(bool(odd_words) or GARBLED in flaws)
        outcomes["tokens"].append(len(answer.ids))
    outcomes["KL"] = list(kl_to_base(backbone, adapter, answers, heat))
    return outcomes


@torch.no_grad()
def kl_to_base(
    backbone: Backbone, adapter: str | None, answers: Sequence[Response], heat: float
) -> Iterator[float]:
    """log π(answer) − log base(answer), at the temperature they were drawn with, in nats."""
    for start in range(0, len(answers), 32):
        some = answers[start : start + 32]
        width = max(len(a.ids) for a in some)
        own, _ = logprobs_and_values(backbone, adapter, some, width, heat)
        base, _ = logprobs_and_values(backbone, None, some, width, heat)
        yield from (own - base).sum(dim=1).tolist()


def table(pooled: dict[str, dict[str, list[float]]], stages: Sequence[str]) -> list[str]:
    """The pooled figures as Markdown, a block a temperature."""
    lines = []
    for heat in TEMPERATURES:
        lines += [
            f"### Temperature {heat:g}",
            "",
            "| requests | model | n | " + " | ".join((*SHARES, *MEANS)) + " |",
            "|---" * (3 + len(SHARES) + len(MEANS)) + "|",
        ]
        for kind in (ALL, *KINDS):
            for stage in (BASE, *stages):
                rows = [pooled[f"{stage}/{k}/{heat:g}"] for k in KINDS if kind in (ALL, k)]
                row = {what: [x for r in rows for x in r.get(what, [])] for what in rows[0]}
                cells = [_share(row.get(name, [])) for name in SHARES]
                cells += [f"{sum(row[name]) / len(row[name]):.1f}" for name in MEANS]
                title, n = STAGES.get(stage, BASE), len(row["any flaw"])
                lines.append(f"| {kind} | {title} | {n} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def _share(values: Sequence[float]) -> str:
    tally = Proportion(int(sum(values)), len(values))
    low, high = tally.interval
    return f"{tally.share:.1%} ({low:.1%}–{high:.1%})" if tally.n else "–"


def changes(
    outcomes: Sequence[dict[str, dict[str, list[float]]]], seconds: Seconds, stages: Sequence[str]
) -> list[str]:
    """Each method against SFT, answer by answer, as Markdown; a seed's outcomes each."""
    lines = []
    for heat in TEMPERATURES:
        lines += [
            f"### Temperature {heat:g}",
            "",
            "| model | " + " | ".join(COMPARED) + " | any flaw, seed by seed | CPU seconds |",
            "|---" * (len(COMPARED) + 3) + "|",
        ]
        for stage in stages:
            if stage == SFT:
                continue
            by_seed = [[_differences(seed, stage, heat, what) for what in COMPARED]
                       for seed in outcomes]  # fmt: skip
            cells = []
            for column, what in enumerate(COMPARED):
                scale = 1 if what in MEANS else 100
                e = mean([scale * d for rows in by_seed for d in rows[column]])
                cells.append(f"{e.value:+.1f} ({e.low:+.1f} to {e.high:+.1f})")
            flaws = [100 * sum(rows[0]) / len(rows[0]) for rows in by_seed]
            cells.append(", ".join(f"{flaw:+.1f}" for flaw in flaws))
            cells.append(f"{sum(seconds[stage]) / len(seconds[stage]):.0f}")
            lines.append(f"| {STAGES[stage]} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def _differences(
    outcomes: dict[str, dict[str, list[float]]], stage: str, heat: float, what: str
) -> list[float]:
    """Of a stage's answers and SFT's to the same requests."""
    return [
        own - before
        for kind in KINDS
        for own, before in zip(
            outcomes[f"{stage}/{kind}/{heat:g}"][what],
            outcomes[f"{SFT}/{kind}/{heat:g}"][what],
            strict=True,
        )
    ]


def last_metrics(folder: Path, stage: str) -> str:
    """What a stage's own record says of its end."""
    record = json.loads((adapter_of(folder, stage).parent / "run.json").read_bytes())
    numbers = {k: v for k, v in record["results"].items() if not isinstance(v, dict | list)}
    said = ", ".join(f"{k} {v}" for k, v in numbers.items())
    return f"{record['status']}: {said}"


def report(
    arguments: argparse.Namespace,
    outcomes: Sequence[dict[str, dict[str, list[float]]]],
    pooled: dict[str, dict[str, list[float]]],
) -> list[str]:
    """All that is told, as Markdown."""
    seconds: Seconds = defaultdict(list)
    for seed in arguments.seeds:
        noted = json.loads((arguments.out / f"seed-{seed}" / "cpu_seconds.json").read_bytes())
        for stage, value in noted.items():
            seconds[stage].append(value)
    run = cai.read_run(arguments.out / f"seed-{arguments.seeds[0]}" / "sft")
    versions = ", ".join(f"{k} {v}" for k, v in run["versions"].items())
    commands = {**SETTINGS, "ppo after dpo, besides": GENTLER}
    settings = [f"- {n}: `{' '.join(map(str, options))}`" for n, options in commands.items()]
    ends = [
        f"- seed {seed}, {stage}: {last_metrics(arguments.out / f'seed-{seed}', stage)}"
        for seed in arguments.seeds
        for stage in ("sft", "reward", *arguments.stages[1:])
        if (arguments.out / f"seed-{seed}" / stage).is_dir()
    ]
    return [
        "# The chain on the miniature",
        "",
        f"`python bench/align.py`, {datetime.now(UTC):%Y-%m-%d}, on a CPU. Seeds {arguments.seeds};"
        f" {arguments.prompts} requests of the training split a seed;"
        f" {arguments.n} held-out requests of each kind and seed; {arguments.updates} updates of"
        f" PPO, RLOO and distillation; answers of up to {NEW_TOKENS} tokens. {versions}.",
        "",
        *_only(arguments.stages),
        "Shares of answers, with 95 % intervals. Evasive: refuses or dodges what could be answered."
        " Odd word: one that the world's grammar never uses, or a garbled answer. KL: to the base,"
        " nats an answer, at the table's temperature.",
        "",
        *table(pooled, arguments.stages),
        "## Against SFT",
        "",
        "The same requests, answered by both; points for shares, with 95 % bootstrap intervals over"
        " requests. They know nothing of how training seeds differ, for which the seeds stand"
        " beside. Not adjusted for the number of methods. CPU seconds: of a stage's training alone,"
        " a mean over the seeds in which it was not interrupted; a loop's have its builds and"
        " evaluations.",
        "",
        *changes(outcomes, seconds, arguments.stages),
        "## Settings",
        "",
        "PPO's were chosen on seed 0 by answers to other held-out requests, the reward model's by"
        " its held-out loss; SFT's and DPO's on a smaller build; RLOO's among four, on seed 0, by"
        " its scores in training. KTO's and distillation's were not searched, and PPO under the"
        " constitution has PPO's. All else is the default.",
        "",
        *settings,
        "",
        "## How the stages ended",
        "",
        *ends,
        "",
    ]


def _only(stages: Sequence[str]) -> list[str]:
    """That not all stages were trained, where that is so."""
    if len(stages) == len(STAGES):
        return []
    return [f"Only these stages: {'; '.join(STAGES[stage] for stage in stages)}.", ""]


def main() -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--prompts", type=int, default=700, help="requests to build data on")
    parser.add_argument("--updates", type=int, default=20, help="of PPO")
    parser.add_argument("--n", type=int, default=100, help="requests of each kind and seed")
    parser.add_argument("--draw", choices=(TABLE, CHOOSE), default=TABLE)
    parser.add_argument("--result", type=Path, help="write FILE.json and FILE.md")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES),
                        help="besides SFT, which all are compared with")  # fmt: skip
    arguments = parser.parse_args()
    arguments.stages = [stage for stage in STAGES if stage in (SFT, *arguments.stages)]
    pooled: dict[str, dict[str, Any]] = {}
    outcomes = []
    for seed in arguments.seeds:
        folder = arguments.out / f"seed-{seed}"
        train(folder, seed, arguments.prompts, arguments.updates, arguments.stages)
        outcomes.append(evaluate(folder, arguments.draw, seed, arguments.n, arguments.stages))
        for name, row in outcomes[-1].items():
            for what, values in row.items():
                pooled.setdefault(name, {}).setdefault(what, []).extend(values)
    lines = report(arguments, outcomes, pooled)
    print("\n".join(lines))
    if arguments.result:
        arguments.result.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
        sums = {n: {w: [sum(v), len(v)] for w, v in r.items()} for n, r in pooled.items()}
        text = json.dumps(sums, indent=1) + "\n"
        arguments.result.with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
