"""What fifty steps of each method do to a real model: `python bench/real_methods.py MODEL`.

SmolLM2-135M-Instruct (or any MODEL) is trained for a few steps by each method, from the same start
and by the commands that a user types: DPO and KTO on short pairs of Anthropic's HH-RLHF, RLOO and
PPO with the constitution `brand-voice` as the reward, and distillation of it, on the same pairs'
prompts. Then all answer requests of XSTest and SimpleSafetyTests. Fifty steps show that a method
runs on a real model and which way it pulls, not how good it is. What is there already is kept, so a
stopped run goes on. The files of others are read from --files, by default ../shared/data or
CAI_TEST_DATA.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alignment_tax import FILES, nothing_given, seconds, split
from commands import run
from results_file import publish

from cai.evaluation.answers import ItemAnswer
from cai.evaluation.record import read_answers, read_evaluation
from cai.evaluation.reply_rules import is_refused
from cai.evaluation.statistics import share

OFFLINE: tuple[object, ...] = ("--max-length", 192, "--learning-rate", 1e-4, "--batch-size")
ROLLOUTS: tuple[object, ...] = (
    "--max-new-tokens", 48, "--learning-rate", 1e-4, "--save-every", 10,
)  # fmt: skip
REWARD: tuple[object, ...] = ("--reward", "constitution:brand-voice", "--missing-eos-penalty", 0)
TAUGHT: tuple[object, ...] = ("--constitution", "brand-voice", "--teacher", "constitution")
METHODS: dict[str, tuple[str, tuple[object, ...]]] = {
    "dpo": ("dpo", (*OFFLINE, 2)),
    "kto": ("kto", (*OFFLINE, 4)),
    "distill": ("distill", (*ROLLOUTS, *TAUGHT, "--prompts-per-update", 2)),
    "rloo": ("rloo", (*ROLLOUTS, *REWARD, "--prompts-per-update", 1)),
    "ppo": ("ppo", (*ROLLOUTS, *REWARD, "--prompts-per-update", 4, "--epochs", 2)),
}
"""Name → stage of `cai train`, its settings. Chosen before the first run, and not tuned. Most
responses are cut off, and the penalty for it would drown the constitution."""
SUITES = ("xstest-dev.csv", "simple-safety-tests.csv")
BEFORE = "before"
SHOWN = 4
"""Items whose replies are printed."""
METRICS = ("loss", "margin", "accuracy", "score", "kl", "reward", "divergence")


def train(name: str, model: str, folder: Path, steps: int, seed: int) -> None:
    """One of METHODS."""
    stage, settings = METHODS[name]
    length = "--max-steps" if stage in ("dpo", "kto") else "--updates"
    run("train", stage, "--data", folder / "train.jsonl", "--model", model, *settings, length,
        steps, "--micro-tokens", 1024, "--test-share", 0, "--seed", seed, "--quiet",
        "--out", folder / name, done=folder / name / "run.json")  # fmt: skip


def evaluate(options: argparse.Namespace) -> dict[str, dict[str, list[ItemAnswer]]]:
    """What each model answered to each suite."""
    folder = options.out
    suites = [word for suite in SUITES for word in ("--suite", options.files / suite)]
    run("eval", options.model, *(folder / name for name in options.methods), *suites, "--limit",
        options.limit, "--max-new-tokens", 64, "--batch-size", 32, "--seed", 0, "-q",
        "--out", folder / "eval", done=folder / "eval" / "evaluation.json")  # fmt: skip
    names = [model["name"] for model in read_evaluation(folder / "eval")["models"]]
    titles = dict(zip(names, (BEFORE, *options.methods), strict=True))
    found: dict[str, dict[str, list[ItemAnswer]]] = {}
    for model, answer in read_answers(folder / "eval"):
        found.setdefault(titles[model], {}).setdefault(answer.suite, []).append(answer)
    return found


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The training steps of a run."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if not row.get("held_out")]


def moved(rows: list[dict[str, Any]], name: str) -> str:
    """A metric's mean over the first five steps and over the last five."""
    values = [row[name] for row in rows if isinstance(row.get(name), int | float)]
    if not values:
        return ""
    first, last = values[:5], values[-5:]
    return f"{name} {sum(first) / len(first):.3g} → {sum(last) / len(last):.3g}"


def tables(options: argparse.Namespace) -> Iterator[str]:
    """The tables of the results file."""
    folder = options.out
    yield "## Training\n"
    yield "Means of the first five steps → of the last five. Wall time on two cores that other work"
    yield "shared, one thread.\n"
    yield "| method | steps | seconds | metrics |"
    yield "|---|---|---|---|"
    for name in options.methods:
        rows = metrics(folder / name)
        told = ", ".join(filter(None, (moved(rows, metric) for metric in METRICS)))
        yield f"| {name} | {len(rows)} | {seconds(folder / name):,.0f} | {told} |"
    answers = evaluate(options)
    yield "\n## Replies\n"
    yield "Greedy, of up to 64 tokens, with 95 % intervals. Nothing given, by rule: declined, or"
    yield "said not to know, or evasive; the commonest reply stands beside it.\n"
    yield "| suite | model | replies unlike before | words | refused, by rule | nothing given |"
    yield "|---|---|---|---|---|---|"
    suites = list(answers[BEFORE])
    for suite in suites:
        before = {a.item: a.response for a in answers[BEFORE][suite]}
        for name in (BEFORE, *options.methods):
            some = answers[name][suite]
            unlike = sum(before[a.item] != a.response for a in some) / len(some)
            words = sum(len(a.response.split()) for a in some) / len(some)
            e = share([float(is_refused(a.response)) for a in some])
            refused = f"{e.value:.0%} ({e.low:.0%} to {e.high:.0%})"
            yield (
                f"| {suite} | {name} | {unlike:.0%} | {words:.0f} | {refused}"
                f" | {nothing_given(some)} |"
            )


def said(options: argparse.Namespace) -> Iterator[str]:
    """Some requests with all replies, to be read: not for the results file, since the requests are
    others' data."""
    answers = evaluate(options)
    for suite in answers[BEFORE]:
        for number in range(0, len(answers[BEFORE][suite]), options.limit // SHOWN + 1):
            yield f"**{answers[BEFORE][suite][number].messages[-1].content}**\n"
            for name in (BEFORE, *options.methods):
                yield f"- {name}: {' '.join(answers[name][suite][number].response.split())}"
            yield ""


def main() -> None:
    """Run it, and write the results file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a base: a directory or a hub id")
    parser.add_argument("--files", type=Path, default=FILES, help="where the public files are")
    parser.add_argument("--out", type=Path, default=Path("runs/real-methods"))
    parser.add_argument("--pairs", type=int, default=200, help="to train on")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--limit", type=int, default=24, help="items of each suite")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path, default=None, help="the results file to write")
    options = parser.parse_args()
    if not (options.out / "train.jsonl").is_file():
        pairs = options.files / "hh-harmless-dev.jsonl.gz"
        split(pairs, options.out, options.pairs, 1, options.seed)
    for name in options.methods:
        train(name, options.model, options.out, options.steps, options.seed)
    command = (
        f"python bench/real_methods.py MODEL --pairs {options.pairs} --steps {options.steps}"
        f" --limit {options.limit} --seed {options.seed} --methods {' '.join(options.methods)}"
    )
    settings = [
        f"- {name}: `{' '.join(map(str, words))}`"
        for name, (_, words) in METHODS.items()
        if name in options.methods
    ]
    lines = [f"MODEL: {Path(options.model).name}. Settings, not tuned; else the defaults:\n",
             *settings, "", *tables(options)]  # fmt: skip
    title = f"{options.steps} steps of each method on a real model"
    publish(title, command, lines, options.result)
    print("\n".join(said(options)))


if __name__ == "__main__":
    main()
