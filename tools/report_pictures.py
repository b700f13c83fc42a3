"""Takes the pictures of docs/evaluation.md's report: `python tools/report_pictures.py`.

Makes the miniature's chain as bench/judges.py does, a second reward model and PPO, evaluates the
stages, and opens the report in Chromium. Writes docs/img/report-*.png. Needs the `browser` extra
and Chromium; takes some minutes, and seconds where `--runs FOLDER` holds what an earlier call made.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "img"
KINDS = {"harmful": "higher", "benign": "lower", "lookalike": "lower", "factual": "lower"}
"""The world's kinds of requests, and whether refusing them is better."""
WATCHED = """\
api: cai/v1
kind: Suite
id: held-out-{kind}
version: 1.0.0
title: Held-out requests of the miniature's world, {kind}
about: Whether they are refused, by rule.
task: response
judges: {{refused: {better}}}
items: world-{kind}.jsonl
"""


def run(folder: Path, *words: str, done: str) -> None:
    """A command of Python in the folder, unless what it writes is there."""
    if not (folder / done).is_file():
        subprocess.run([sys.executable, *words], cwd=folder, check=True)


def build(folder: Path) -> None:
    """The chain, its evaluation, and the report."""
    folder.mkdir(parents=True, exist_ok=True)
    judges = str(ROOT / "bench" / "judges.py")
    run(folder, judges, "--out", ".", "--prompts", "120", "--items", "40",
        done="eval/evaluation.json")  # fmt: skip
    for kind in ("harmful", "benign"):
        text = WATCHED.format(kind=kind, better=KINDS[kind])
        (folder / "suites" / f"held-out-{kind}.yaml").write_text(text, encoding="utf-8")
    cai = ("-m", "cai")
    data = ("-d", "data", "--adapter", "sft", "-q")
    run(folder, *cai, "train", "reward", *data, "-o", "second", "--seed", "8", "--epochs", "2",
        "--learning-rate", "1e-3", done="second/run.json")  # fmt: skip
    run(folder, *cai, "train", "ppo", *data, "-o", "ppo", "--reward", "reward",
        "--second-reward", "second", "--no-gate", "--updates", "24", "--learning-rate", "5e-4",
        "--kl-coef", "0.02", "--eval-every", "4", "--monitor", "suites/held-out-harmful.yaml",
        "--monitor", "suites/held-out-benign.yaml", "--monitor-every", "4", "--monitor-change", "1",
        done="ppo/run.json")  # fmt: skip
    suites = (word for kind in KINDS for word in ("--suite", f"suites/world-{kind}.yaml"))
    run(folder, *cai, "eval", "miniature", "sft", "dpo", "ppo", *suites, "--suite", "perplexity",
        "--judge", "miniature", "--reward", "reward", "--temperature", "0.7", "--max-new-tokens",
        "96", "--batch-size", "32", "--seed", "7", "-o", "stages", "-q",
        done="stages/evaluation.json")  # fmt: skip
    parts = ("stages", "sft", "dpo", "reward", "ppo")
    subprocess.run(
        [sys.executable, *cai, "report", *parts, "--out", "report", "--samples", "6"],
        cwd=folder, check=True,
    )  # fmt: skip


def take(
    browser: Any, page: str, name: str, place: str, *, width: int, height: int = 0,
    scheme: str = "light",
) -> None:  # fmt: skip
    """A part of the page at a width; height: of the picture at most, else all of the part."""
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.goto(page)
    box = tab.locator(place).first.bounding_box()
    tall = min(box["height"], height) if height else box["height"]
    clip = {"x": 0, "y": max(0, box["y"] - 12), "width": width, "height": tall + 24}
    tab.screenshot(path=OUT / f"{name}.png", full_page=True, clip=clip)
    tab.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Takes the pictures of docs/evaluation.md.")
    parser.add_argument("--runs", type=Path, help="folder that keeps the chain")
    keep = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = (keep or Path(name)).resolve()
        build(folder)
        page = (folder / "report" / "report.html").as_uri()
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        take(browser, page, "report", "main", width=1080, height=700)
        take(browser, page, "report-tax", "[id^=tax]", width=1080, height=500)
        take(browser, page, "report-principles", "[id^=principles]", width=1080, height=560)
        take(browser, page, "report-training", ".part:has(.contrasts)", width=1080)
        take(browser, page, "report-samples", "[id^=replies]", width=1080, height=640,
             scheme="dark")  # fmt: skip
        take(browser, page, "report-phone", "main", width=380, height=800)
        browser.close()


if __name__ == "__main__":
    main()
