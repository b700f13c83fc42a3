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

OUT = Path(__file__).resolve().parents[1] / "docs" / "img"
BUILT = ("-c", "constitution/letters.yaml", "--limit", "120", "--quiet")
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
    browser: Any, page: Path, name: str, hash: str = "", *, keys: str = "", **view: Any
) -> None:
    """One picture; keys are pressed before it, as "Ann" where a name is asked for."""
    size = {"width": 1280, "height": 800} | view.pop("size", {})
    scroll = view.pop("scroll", 0)
    tab = browser.new_page(viewport=size, **view)
    tab.goto(page.as_uri() + hash)
    tab.wait_for_selector("html[data-ready]")
    for key in keys.split():
        tab.keyboard.press(key)
        if tab.locator("#author").is_visible():
            tab.fill("#author", "Ann")
            tab.keyboard.press("Enter")
    tab.evaluate("(y) => { document.getElementById('reader').scrollTop = y; }", scroll)
    tab.wait_for_timeout(300)
    tab.screenshot(path=OUT / f"{name}.png")
    tab.close()


def build(folder: Path) -> None:
    cai(folder, "init")
    (folder / "constitution" / "letters.yaml").write_text(LETTERS, encoding="utf-8")
    cai(folder, "build-data", *BUILT, "--out", "runs/first")
    cai(folder, "build-data", *BUILT, "--rounds", "1", "--out", "runs/one-round")
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
        first, ppo = (runs / run / "audit" / "report.html" for run in ("first", "ppo"))
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
        take(browser, runs / "first" / "audit" / "diff-one-round.html", "audit-diff", read)
        browser.close()


if __name__ == "__main__":
    main()
