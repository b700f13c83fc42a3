"""A page of 20,000 traces in a real browser: size, time to open, time to search.

    python bench/audit_page.py [HH.jsonl.gz] [--items 20000]

Traces of two rounds. Their texts are shuffled sentences of HH-RLHF's harmless-base test file, so
that no two items hold the same text and the page can't shrink by repetition. Opening is from the
call to the browser until the page can be used; searching from the key to the list that is left.
The page makes its texts ready for search in idle time after opening, so the first search is made
twice: at once, and a second later.
Writes DATE-audit-page.json and .md. Needs Chromium and the `browser` extra.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

import cai

# The page alone is measured: its run is made up, without a build.
from cai.audit.items import Entry, trace_item
from cai.audit.report import write_report

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("CAI_TEST_DATA", HERE.parents[1] / "shared" / "data"))
AT_ONCE = "weapon, at once after opening"
QUERIES = (AT_ONCE, "weapon", "I cannot", "neighbour", "zzz no such text", "the")
PRINCIPLES = [
    {
        "id": f"theme.p{n}", "version": "1.0.0", "title": f"Principle number {n}", "weight": 1,
        "why": "It matters.", "phases": ["sl", "rl"], "tags": ["theme"],
        "critique_request": f"Identify ways in which the response breaks principle {n}.",
        "revision_request": "Rewrite it.", "comparison_question": "Which is better?",
    }
    for n in range(16)
]  # fmt: skip


class Made:
    """A run of traces that was never built: the page is what is measured."""

    kind = "build"
    id = "r-bench"
    name = "bench"
    principles = PRINCIPLES
    draw = "weighted"

    def __init__(self, folder: Path, sentences: list[str], count: int) -> None:
        self.folder = folder
        self.facts = {"run": "r-bench"}
        self._sentences = sentences
        self._count = count

    def __len__(self) -> int:
        return self._count

    def entries(self) -> Iterator[Entry]:
        for n in range(self._count):
            yield Entry(trace_item(self._trace(random.Random(n), n)), (("sft.jsonl", f"t{n}.2"),))

    def _trace(self, rng: random.Random, n: int) -> cai.Trace:
        def say(low: int, high: int, context: str) -> cai.Generation:
            text = " ".join(rng.sample(self._sentences, rng.randint(low, high)))
            return cai.Generation(text, (), "stop", "m", context, 100, len(text) // 4)

        question = rng.choice(self._sentences)
        prompt = cai.Prompt(f"p{n}", (cai.Message("user", question),), f"prompts.jsonl:{n}")
        first = say(2, 5, f"<user>{question}<assistant>")
        rounds = []
        for number in range(2):
            principle = rng.choice(PRINCIPLES)
            context = (
                f"<user>{question}<assistant>{first.text}<user>{principle['critique_request']}"
            )
            problem = rng.random() < 0.6
            critique = say(1, 3, context)
            conversation = f"{context}<assistant>{critique.text}"
            revision = say(2, 5, conversation) if problem else None
            rounds.append(
                cai.Revision(
                    number, str(principle["id"]), "1.0.0", critique,
                    "problem" if problem else "no-problem", revision,
                )
            )  # fmt: skip
        return cai.Trace(f"t{n}", prompt, first, tuple(rounds))


def sentences_of(file: Path) -> list[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)[side] for line in lines for side in ("chosen", "rejected")]
    parts = (s.strip() for text in texts for s in re.split(r"(?<=[.!?])\s+|\n+", text))
    return sorted({p for p in parts if 20 <= len(p) <= 240 and not p.startswith(("Human", "Assi"))})


def measure(page_file: Path, times: int) -> dict[str, Any]:
    """Seconds, a number for each time: open, and search for each query."""
    opened: list[float] = []
    searched: dict[str, list[float]] = {query: [] for query in QUERIES}
    memory = 0.0
    with sync_playwright() as playwright:
        for _ in range(times):
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            start = time.perf_counter()
            page.goto(page_file.as_uri())
            page.wait_for_selector("html[data-ready]")
            opened.append(time.perf_counter() - start)
            version = browser.version
            memory = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
            page.keyboard.press("o")
            for query in QUERIES:
                # As typing does, without the pause for the next key; until the list is drawn.
                took = page.evaluate(
                    """async (query) => {
                      const field = document.getElementById("search");
                      field.value = query;
                      const start = performance.now();
                      field.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));
                      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                      return performance.now() - start;
                    }""",
                    query.partition(",")[0],
                )
                page.wait_for_timeout(1000)  # what is made ready in idle time is ready then
                searched[query].append(took / 1000)
            browser.close()
    return {"opened": opened, "searched": searched, "heap_mb": memory, "chromium": version}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=DATA / "hh-harmless-dev.jsonl.gz")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run: Any = Made(Path(name), sentences_of(options.data), options.items)
        start = time.perf_counter()
        (file,) = write_report(run, Path(name) / "page.html")
        seconds = time.perf_counter() - start
        measurements = measure(file, options.times)
        size = file.stat().st_size
    record = {"items": options.items, "bytes": size, "wrote": seconds, **measurements}
    stem = options.out / f"{datetime.now(UTC):%Y-%m-%d}-audit-page"
    text = table(record, options.data.name)
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def table(record: dict[str, Any], data: str) -> str:
    """The same for people, as Markdown."""
    lines = [
        f"# The audit page with {record['items']:,} traces",
        "",
        f"`python bench/audit_page.py`, {datetime.now(UTC):%Y-%m-%d}: traces of two rounds, their"
        f" texts shuffled sentences of {data}. Chromium {record['chromium']}, headless, on two"
        f" cores; medians of {len(record['opened'])}, the slowest in brackets.",
        "",
        "| | |",
        "|---|---|",
        f"| size | {record['bytes'] / 1e6:.1f} MB |",
        f"| written in | {record['wrote']:.1f} s |",
        f"| open, until it can be used | {_median_and_slowest(record['opened'])} s |",
    ]
    lines += [
        f"| search “{q}” | {_median_and_slowest(t)} s |" for q, t in record["searched"].items()
    ]
    lines += [f"| memory of the script | {record['heap_mb']:.0f} MB |", ""]
    return "\n".join(lines)


def _median_and_slowest(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({max(seconds):.2f})"


if __name__ == "__main__":
    main()
