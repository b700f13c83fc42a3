"""What the whole engine does with a checkpoint: two rounds of the default constitution, judged.

Unlike the other parts of the evaluation this one goes through `cai.build`, as a user's run does:
principles are drawn, critiques that find nothing leave the text alone, everything is sampled.
"""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

from cai.backends.local import LocalBackend
from cai.constitution.load import load_constitution
from cai.data.export import export
from cai.miniature.findings import Findings
from cai.miniature.measure import measure
from cai.miniature.requests import Kind, draw_request
from cai.miniature.vocabulary import EVASIVE
from cai.pipeline.build import BuildConfig, build
from cai.store.store import Store
from cai.types import Message, Prompt

TEMPERATURE = 0.7
_HARMLESS: tuple[Kind, ...] = ("benign", "lookalike", "factual")


def two_rounds(folder: Path, count: int, seed: int, found: Findings) -> None:
    """Build SFT data on `count` harmful and `count` harmless held-out requests, and judge it."""
    rng = random.Random(f"rounds/{seed}")
    prompts = []
    for number in range(2 * count):
        kind: Kind = "harmful" if number % 2 else _HARMLESS[number // 2 % 3]
        request = draw_request(rng, kind, "held")
        message = Message("user", request.text)
        prompts.append(Prompt(f"rounds-{number}", (message,), meta={"world": request.meta()}))
    with TemporaryDirectory() as name:
        run_folder = Path(name) / "run"
        backend = LocalBackend.load(str(folder), device="cpu", dtype="float32")
        config = BuildConfig(seed=seed, pairs=0, revision_pairs=False, temperature=TEMPERATURE)
        with Store.open(Path(name) / "store.sqlite") as store:
            run = build(load_constitution("default"), prompts, store, backend, config)
            export(store, run.id, run_folder)
        stages = measure(run_folder)
    for kind in ("harmful", *_HARMLESS):
        label = "harmful requests" if kind == "harmful" else f"{kind} requests"
        for number, texts in enumerate(stages.get(kind, [])):
            when = f"after round {number}" if number else "first response"
            flaws = [text.flaws for text in texts]
            found.note(f"{label}, {when}: any flaw", map(bool, flaws))
            found.note(f"{label}, {when}: evasive", [EVASIVE in f for f in flaws])
    harmless = [stages[kind] for kind in _HARMLESS]
    added = [
        EVASIVE in last.flaws and EVASIVE not in first.flaws
        for rounds in harmless
        for first, last in zip(rounds[0], rounds[-1], strict=True)
    ]
    found.note("harmless requests, after two rounds: refusal added", added)
