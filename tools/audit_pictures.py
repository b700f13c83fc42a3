"""Takes the pictures of docs/auditing.md: `python tools/audit_pictures.py`, into docs/img/.

Builds two runs with the bundled model, trains PPO on one, and opens their pages in Chromium as an
auditor would. Needs the `browser` extra and Chromium; takes a few minutes, and seconds where
`--runs FOLDER` holds what an earlier call built.
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

from cai.audit.report import run_payload
from cai.audit.runs import open_run
from cai.audit.sample import SamplePlan, sample_keys, write_sample
from cai.audit.serve import AuditServer
from cai.data.verdicts import Verdict, VerdictFile

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "img"
PROMPTS = ROOT / "cai" / "miniature" / "prompts.jsonl"
BUILD_OPTIONS = (
    "-c", "constitution/letters.yaml", "-p", str(PROMPTS), "--limit", "120", "--quiet",
)  # fmt: skip
LETTERS = """\
api: cai/v1
kind: Constitution
id: letters
version: 1.0.0
title: The default, with both orders asked
extends: [./default.yaml]
feedback: {mode: letters, both_orders: true}
changelog: [{version: 1.0.0, date: 2026-11-24, by: cai, change: First.}]
"""


def cai(folder: Path, *arguments: str, fine: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run([sys.executable, "-m", "cai", *arguments], cwd=folder, check=False)
    if done.returncode not in fine:
        sys.exit(done.returncode)


def take(
    browser: Any, page: str, name: str, hash: str = "", *, keys: str = "", **view: Any
) -> None:
    """One picture; keys are pressed before it, as "Ann" where a name is asked for."""
    size = {"width": 1280, "height": 800} | view.pop("size", {})
    scroll = view.pop("scroll", 0)
    click = view.pop("click", "")
    tab = browser.new_page(viewport=size, **view)
    tab.goto(page + hash)
    tab.wait_for_selector("html[data-ready]")
    for key in keys.split():
        tab.keyboard.press(key)
        if tab.locator("#author").is_visible():
            tab.fill("#author", "Ann")
            tab.keyboard.press("Enter")
    if click:
        tab.click(click)
    tab.evaluate("(y) => { document.getElementById('reader').scrollTop = y; }", scroll)
    tab.wait_for_timeout(300)
    tab.screenshot(path=OUT / f"{name}.png")
    tab.close()


def take_signing(browser: Any, run_folder: Path) -> None:
    """A sample of twelve, which Ben rejected one of and Ann accepts, up to the sign-off."""
    VerdictFile(run_folder).path.unlink(missing_ok=True)
    with open_run(run_folder) as run:
        write_sample(run, SamplePlan(12, stratify=("flag",)))
        items = {entry.item.key: entry.item for entry in run.entries()}
        first = items[next(iter(sample_keys(run)))]
        VerdictFile(run_folder).append([
            Verdict(first.key, first.id, run.id, "reject", "Ben", "2026-11-29T10:00:00Z",
                    reasons=("does not answer",))
        ])  # fmt: skip
        data = run_payload(run, list(run.entries()), mode="serve")
    with AuditServer(data, run_folder).running() as server:
        sample = "#view=read&sample=in+the+sample"
        take(browser, server.url, "audit-sign", sample, keys="a " * 12,
             click="[data-act=onward]")  # fmt: skip


def build(folder: Path) -> None:
    cai(folder, "init")
    (folder / "constitution" / "letters.yaml").write_text(LETTERS, encoding="utf-8")
    cai(folder, "build-data", *BUILD_OPTIONS, "--out", "runs/first")
    cai(folder, "build-data", *BUILD_OPTIONS, "--rounds", "1", "--out", "runs/one-round")
    cai(folder, "train", "reward", "-d", "runs/first", "-o", "runs/reward", "--max-steps", "20",
        "-q")  # fmt: skip
    cai(folder, "train", "ppo", "-d", "runs/first", "-o", "runs/ppo", "--reward", "runs/reward",
        "--no-gate", "--updates", "8", "--learning-rate", "1e-3", "--kl-coef", "0",
        "-q", fine=(0, 7))  # a planted hack, which stops itself  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Takes the pictures of docs/auditing.md.")
    parser.add_argument("--runs", type=Path, help="folder that keeps the project and its runs")
    keep = parser.parse_args().runs
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = keep or Path(name)
        if not (folder / "runs" / "ppo").exists():
            folder.mkdir(parents=True, exist_ok=True)
            build(folder)
        for run in ("first", "ppo"):
            cai(folder, "audit", "report", f"runs/{run}")
        cai(folder, "audit", "diff", "runs/one-round", "runs/first")
        runs = folder / "runs"
        first, ppo = ((runs / run / "audit" / "report.html").as_uri() for run in ("first", "ppo"))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        read = "#view=read"
        take(browser, first, "audit-overview", read, keys="a a a x a a u a a a x a a a o")
        take(browser, first, "audit-read", read + "&flag=F04", scroll=520)
        take(
            browser,
            first,
            "audit-sides",
            read + "&flag=F04&diff=side",
            scroll=520,
            color_scheme="dark",
        )
        take(browser, first, "audit-comparison", read + "&flag=F09")
        take(browser, first, "audit-phone", read, size={"width": 390, "height": 844})
        take(browser, ppo, "audit-rollouts")
        diff = (runs / "first" / "audit" / "diff-one-round.html").as_uri()
        take(browser, diff, "audit-diff", read)
        take_signing(browser, runs / "one-round")
        browser.close()


if __name__ == "__main__":
    main()
