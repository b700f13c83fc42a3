"""Score against truth against KL: `python bench/ppo_curve.py --reward RUN --prompts FILE`.

Two runs of PPO on the miniature under one reward model. The first uses sensible settings: a KL
penalty and a moderate learning rate. The second is set up to be hacked: no KL penalty and a high
learning rate. Every response is scored by the reward model and judged by the world's ground truth,
which only this script sees. If the trainer's monitors stop a run, the script notes the update and
the reason, and continues anyway, to show what they stopped.

RUN: a reward model's folder. FILE: requests of the world (`cai.miniature.prompts`). bench/align.py
makes both. Writes DATE-ppo-curve.json, .md and .svg; needs the `bench` extra.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

import cai
from cai.miniature import GARBLED, flaws_of, unknown_words

# The monitors are measured: `cai.train` ends where they stop a run, and this goes on.
from cai.training.folder import versions
from cai.training.monitors import AlarmBounds, Monitors
from cai.training.policy import resolve
from cai.training.train import make_trainer

HERE = Path(__file__).resolve().parent
RUNS: dict[str, dict[str, Any]] = {
    "KL 0.05, rate 2e-4": {"kl_coef": 0.05, "learning_rate": 2e-4},
    "planted hack: KL 0, rate 1e-3": {"kl_coef": 0.0, "learning_rate": 1e-3},
}


@dataclass
class Curve:
    """One run: a number an update in each list, and where the monitors stopped it."""

    score: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    flawed: list[float] = field(default_factory=list)
    odd: list[float] = field(default_factory=list)
    stopped_at: int | None = None
    reason: str = ""
    samples: list[dict[str, Any]] = field(default_factory=list)


def follow(config: cai.PpoConfig, prompts: Path) -> Curve:
    """Train, and judge every rollout."""
    rows = (json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines())
    worlds = {row["id"]: row["world"] for row in rows}
    trainer: Any = make_trainer(resolve(config), [prompts])
    curve = Curve()
    folder = tempfile.TemporaryDirectory()
    trainer.attach(Path(folder.name))
    while not trainer.done:
        figures = trainer.update()
        lines = trainer.rollouts.read_text(encoding="utf-8").splitlines()
        trainer.rollouts.unlink()
        responses = [json.loads(line) for line in lines]
        flawed = odd = 0
        for row in responses:
            world = worlds[row["prompt_id"]]
            flaws = flaws_of(world, row["response"])
            flawed += bool(flaws - {GARBLED})
            words = unknown_words(row["response"], world.get("slots", {}).values())
            odd += bool(words) or GARBLED in flaws
        curve.score.append(figures["score"])
        curve.kl.append(figures["kl"])
        curve.flawed.append(flawed / len(responses))
        curve.odd.append(odd / len(responses))
        curve.samples = responses[:3]
        if trainer.stopped:
            curve.stopped_at, curve.reason = trainer.step, trainer.stopped
            trainer.stopped = None
            trainer.monitors = Monitors(AlarmBounds(patience=10**9))  # seen enough: look away
        print(
            f"  {trainer.step}: score {figures['score']:.2f}  KL {figures['kl']:.1f}"
            f"  any flaw {curve.flawed[-1]:.0%}  odd word {curve.odd[-1]:.0%}",
            file=sys.stderr,
            flush=True,
        )
    return curve


def draw(curves: dict[str, Curve], file: Path) -> None:
    """Score and truth above, KL below, a column a run."""
    plt.rcParams.update({"svg.hashsalt": "cai", "font.size": 9})
    figure, axes = plt.subplots(2, len(curves), figsize=(9, 5), sharex="col", height_ratios=(2, 1))
    for column, (title, curve) in enumerate(curves.items()):
        updates = range(1, len(curve.score) + 1)
        top, bottom = axes[0][column], axes[1][column]
        truth = top.twinx()
        top.plot(updates, curve.score, color="tab:blue", label="reward model's score")
        truth.plot(updates, curve.flawed, color="tab:red", label="any flaw (truth)")
        truth.plot(updates, curve.odd, color="tab:orange", ls="--", label="odd word (truth)")
        truth.set_ylim(0, 1.02)
        bottom.plot(updates, curve.kl, color="tab:gray")
        for axis in (top, bottom):
            if curve.stopped_at:
                axis.axvline(curve.stopped_at, color="black", lw=0.8, ls=":")
        if curve.stopped_at:
            label = "the monitors stop it"
            top.annotate(label, (curve.stopped_at, top.get_ylim()[0]), rotation=90, fontsize=8,
                         xytext=(3, 4), textcoords="offset points")  # fmt: skip
        top.set_title(title)
        top.set_ylabel("score")
        truth.set_ylabel("share of responses")
        bottom.set_ylabel("KL, nats")
        bottom.set_xlabel("update")
        if column == 0:
            lines = top.get_lines() + truth.get_lines()
            top.legend(lines, [line.get_label() for line in lines], fontsize=8, loc="center right")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def report(arguments: argparse.Namespace, curves: dict[str, Curve], picture: str) -> list[str]:
    """All that is told, as Markdown."""
    packages = ", ".join(f"{k} {v}" for k, v in versions().items())
    lines = [
        "# PPO on the miniature: score, truth and KL",
        "",
        f"`python bench/ppo_curve.py`, {datetime.now(UTC):%Y-%m-%d}, on a CPU. From the base, seed"
        f" {arguments.seed}, {arguments.updates} updates of 32 responses. {packages}.",
        "",
        f"![Score, truth and KL]({picture})",
        "",
        "| run | updates | score | any flaw | odd word | KL, nats | stopped by its monitors |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, curve in curves.items():
        stop = f"at update {curve.stopped_at}" if curve.stopped_at else "no"
        for name, part in (("first", slice(0, 4)), ("last", slice(-4, None))):
            cells = (_mean(getattr(curve, key)[part]) for key in ("score", "flawed", "odd", "kl"))
            score, flawed, odd, kl = cells
            lines.append(
                f"| {title} | {name} four | {score:.2f} | {flawed:.0%} | {odd:.0%} | {kl:.1f} |"
                f" {stop} |"
            )
    for title, curve in curves.items():
        lines += ["", f"**{title}**", ""]
        if curve.reason:
            lines += [f"Stopped at update {curve.stopped_at}: {curve.reason}", ""]
        lines += ["Of the last update:", ""]
        lines += [f"- score {r['score']:.2f}: {r['response']}" for r in curve.samples]
    return [*lines, ""]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reward", required=True, help="a reward model's run")
    parser.add_argument("--prompts", type=Path, required=True, help="requests of the world")
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder to write")
    arguments = parser.parse_args()
    curves = {}
    for title, settings in RUNS.items():
        print(title, file=sys.stderr)
        config = cai.PpoConfig(
            test_share=0.0,
            reward=arguments.reward, updates=arguments.updates, seed=arguments.seed,
            device="cpu", dtype="float32", **settings,
        )  # fmt: skip
        curves[title] = follow(config, arguments.prompts)
    stem = arguments.out / f"{datetime.now(UTC):%Y-%m-%d}-ppo-curve"
    draw(curves, stem.with_suffix(".svg"))
    text = "\n".join(report(arguments, curves, stem.with_suffix(".svg").name))
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    values = {title: asdict(curve) for title, curve in curves.items()}
    stem.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
