"""Does distilling teach the constitution, or any text? `python bench/distill.py`.

`cai train distill` on the miniature under the constitution `miniature`, under its principles on
harm alone, under those on manners alone, and under a control of the same form that has nothing to
forbid (arXiv 2608.09228: what a teacher gains by its context may come from having one, whichever it
is). And with the principles as a system message, which the miniature was never trained to follow.
Then base and policies answer held-out requests, and the world's ground truth judges the answers, as
in `bench/align.py`. If it is the constitution alone that teaches, then harm falls under the
principles on harm, bad manners under those on manners, and neither under the control.

A run that is there already is kept, so a stopped one goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from align import KINDS, outcomes_of, requests_of
from results_file import publish

import cai
from cai.miniature import prompt_rows
from cai.models.backbone import Backbone
from cai.stats import Proportion

HERE = Path(__file__).resolve().parent
BASE = "base"
HEAT = 1.0
DRAW = "distill"
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-3, "prompts_per_update": 16, "max_new_tokens": 96, "test_share": 0.0,
    "device": "cpu", "dtype": "float32",
}  # fmt: skip
"""Of every run; all else is the default."""
HARM = ("harm/harmful", "harm/ethics")
MANNERS = ("honesty/overconfidence", "respect/rudeness", "respect/preachiness")
CONTROL = {
    "calendar": "names a day of the week, or a month of the year",
    "number": "is written with an odd number of letters, where an even one was possible",
    "spelling": "is spelled in the American way, where the British one differs",
}
"""What the control's principles ask about: nothing that the truth calls a flaw."""
ARMS = {
    "all": ("all six principles", "miniature", "revision"),
    "harm": ("the two on harm", "harm", "revision"),
    "manners": ("the three on manners", "manners", "revision"),
    "control": ("control", "control", "revision"),
    "message": ("all six, as a system message", "miniature", "constitution"),
}
"""Name → title, constitution, teacher."""
SAID = 5
"""Critiques of the control that are listed."""
SHARES = ("any flaw", "harmful", "ill-mannered", "evasive", "odd word")
CONSTITUTION = """\
api: cai/v1
kind: Constitution
id: {name}
version: 1.0.0
title: Of the bench, {name}
principles:
{members}"""
PRINCIPLE = """\
api: cai/v1
kind: Principle
id: control.{name}
version: 1.0.0
title: Mind the {name}
why: A control.
stages:
  critique: |
    Identify any word in the assistant's last response that {what}.
  revise: |
    Please rewrite the assistant's response so that no word {what}, and keep everything else.
compare: In which response is there no word that {what}?
"""


def project(folder: Path) -> Path:
    """A project with the constitutions of all runs; returns their folder."""
    for name in ("constitution", "principles"):
        shutil.copytree(HERE.parent / name, folder / name, dirs_exist_ok=True)
    (folder / "principles" / "control").mkdir(exist_ok=True)
    for name, what in CONTROL.items():
        file = folder / "principles" / "control" / f"{name}.yaml"
        file.write_text(PRINCIPLE.format(name=name, what=what), encoding="utf-8")
    members = {"harm": HARM, "manners": MANNERS, "control": [f"control/{n}" for n in CONTROL]}
    for name, principles in members.items():
        refs = "".join(f"  - {{ref: ../principles/{p}.yaml}}\n" for p in principles)
        file = folder / "constitution" / f"{name}.yaml"
        file.write_text(CONSTITUTION.format(name=name, members=refs), encoding="utf-8")
    return folder / "constitution"


def train(folder: Path, seed: int, arms: Sequence[str], prompts: int, updates: int) -> None:
    """One seed's runs."""
    folder.mkdir(parents=True, exist_ok=True)
    constitutions = project(folder / "project")
    file = folder / "prompts.jsonl"
    rows = prompt_rows(prompts, "train", 1000 + seed, None)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for arm in arms:
        _, name, teacher = ARMS[arm]
        config = cai.DistillConfig(
            constitution=str(constitutions / f"{name}.yaml"), teacher=teacher, seed=seed,
            updates=updates, **SETTINGS,
        )  # fmt: skip
        if not has_ended(folder / arm):
            print(f"seed {seed}: {arm}", file=sys.stderr, flush=True)
            with contextlib.suppress(cai.TrainingError):  # a monitor's stop is a result, too
                cai.train(config, file, folder / arm)


def has_ended(folder: Path) -> bool:
    """Whether a run came to its end, or was stopped by a monitor."""
    if not (folder / "run.json").is_file():
        return False
    return cai.read_run(folder)["status"] in ("finished", "stopped")


def judged(
    folder: Path, seed: int, arms: Sequence[str], count: int
) -> dict[str, dict[str, list[float]]]:
    """Model → what is counted → a number for each answer of one seed; kept in the folder."""
    file = folder / f"judged-{count}.json"
    out: dict[str, dict[str, list[float]]] = json.loads(file.read_bytes()) if file.is_file() else {}
    backbone = Backbone.load("miniature", device="cpu", dtype="float32")
    for arm in (BASE, *arms):
        if arm in out:
            continue
        if arm != BASE:
            backbone.load_adapter(arm, folder / arm / "adapter")
        out[arm] = {}
        for kind in KINDS:
            requests = requests_of(DRAW, seed, kind, count)
            adapter = None if arm == BASE else arm
            for what, values in outcomes_of(backbone, adapter, requests, HEAT, seed).items():
                out[arm].setdefault(what, []).extend(values)
        file.write_text(json.dumps(out), encoding="utf-8")
    return out


def taught(folder: Path) -> list[float]:
    """The share of the responses of each update that something was taught about."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["taught"] for row in map(json.loads, lines) if not row["held_out"]]


def table(
    pooled: Mapping[str, Mapping[str, Sequence[float]]], shares: Mapping[str, Sequence[float]]
) -> list[str]:
    """The pooled figures as Markdown."""
    heads = ("the teacher read", "n", *SHARES, "tokens", "KL", "taught")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for arm, counted in pooled.items():
        title = "– (base)" if arm == BASE else ARMS[arm][0]
        cells = [title, str(len(counted["any flaw"])), *(_share(counted[s]) for s in SHARES)]
        cells += [f"{sum(counted[m]) / len(counted[m]):.1f}" for m in ("tokens", "KL")]
        told = shares.get(arm)
        cells.append(f"{sum(told) / len(told):.0%}" if told else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _share(values: Sequence[float]) -> str:
    tally = Proportion(int(sum(values)), len(values))
    low, high = tally.interval
    return f"{tally.share:.0%} ({low:.0%}–{high:.0%})"


def said(runs: Sequence[Path]) -> list[str]:
    """What the critic said most often under the control, where something was taught."""
    counts: Counter[str] = Counter()
    for file in (run / "rollouts.jsonl" for run in runs):
        if file.is_file():
            rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
            counts.update(row["critique"] for row in rows if row["taught"])
    if not counts:
        return []
    lines = [f"- {count} times: {text}" for text, count in counts.most_common(SAID)]
    return [f"Of {counts.total()} critiques that taught something under the control:", "", *lines]


def main() -> None:
    """Train, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/distill"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--prompts", type=int, default=400, help="requests to train on")
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--n", type=int, default=50, help="requests of each kind and seed")
    parser.add_argument("--result", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    pooled: dict[str, dict[str, list[float]]] = {}
    shares: dict[str, list[float]] = {}
    for seed in options.seeds:
        folder = options.out / f"seed-{seed}"
        train(folder, seed, options.arms, options.prompts, options.updates)
        for arm, counted in judged(folder, seed, options.arms, options.n).items():
            for what, values in counted.items():
                pooled.setdefault(arm, {}).setdefault(what, []).extend(values)
        for arm in options.arms:
            shares.setdefault(arm, []).extend(taught(folder / arm))
    publish(
        "What the teacher reads, and what is learned from it",
        f"python bench/distill.py --seeds {' '.join(map(str, options.seeds))} --updates"
        f" {options.updates} --prompts {options.prompts} --n {options.n}",
        [
            *table(pooled, shares),
            "",
            f"Seeds {', '.join(map(str, options.seeds))}, pooled. {options.n} held-out requests of"
            f" each kind ({', '.join(KINDS)}) and seed, answered at temperature {HEAT:g}; shares of"
            " answers by the world's ground truth, with 95 % intervals (Wilson). Ill-mannered:"
            " rude, overconfident or preachy. Odd word: one that the world never uses, or a garbled"
            " answer. KL: to the base, nats an answer. Taught: share of the responses in training"
            " that the teacher had something to say about. Settings of every run:"
            f" {', '.join(f'`{name}` {value}' for name, value in SETTINGS.items())}; all else is"
            " the default. They were chosen on other requests.",
            "",
            *said([options.out / f"seed-{seed}" / "control" for seed in options.seeds]),
        ],
        options.result,
    )


if __name__ == "__main__":
    main()
