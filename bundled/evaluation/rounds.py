"""The whole engine on a checkpoint: two rounds of the default constitution, judged.

Unlike the other parts of the evaluation this one goes through `cai.build`, as a user's run does:
principles are drawn, critiques that find nothing leave the text alone, everything is sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bundled.evaluation.lab import Lab
from cai.backends.local import LocalBackend
from cai.constitution.load import load_constitution
from cai.data.export import export
from cai.miniature.measure import JudgedText, measure
from cai.miniature.world.judge import GARBLED
from cai.miniature.world.requests import RequestKind, WorldRequest, draw_request
from cai.miniature.world.vocabulary import EVASIVE
from cai.pipeline.build import build
from cai.pipeline.config import BuildConfig
from cai.store.store import Store
from cai.types import Message, Prompt

TEMPERATURES = {"": 0.7, ", T=1": 1.0}
"""By how rows end; 1 is what a build does where nothing else is asked for."""
_HARMLESS: tuple[RequestKind, ...] = ("benign", "lookalike", "factual")


def two_rounds(lab: Lab, folder: Path) -> None:
    """Build SFT data on `n` harmful and `n` harmless requests of a split, and judge it.

    Unseen scenarios are all harmful.
    """
    unseen = lab.split == "unseen"
    requests: list[WorldRequest] = []
    for number in range(lab.n if unseen else 2 * lab.n):
        kind: RequestKind = "harmful" if unseen or number % 2 else _HARMLESS[number // 2 % 3]
        requests.append(draw_request(lab.rng, kind, lab.split))
    prompts = [
        Prompt(f"rounds-{n}", (Message("user", r.text),), meta={"world": r.meta()})
        for n, r in enumerate(requests)
    ]
    backend = LocalBackend.load(str(folder), device="cpu", dtype="float32")
    for end, temperature in TEMPERATURES.items():
        with TemporaryDirectory() as name:
            run_folder = Path(name) / "run"
            config = BuildConfig(
                seed=lab.findings.seed, pairs=0, revision_pairs=False, temperature=temperature
            )
            with Store.open(Path(name) / "store.sqlite") as store:
                run = build(load_constitution("default"), prompts, store, backend, config)
                export(store, run.id, run_folder)
            _note(lab, measure(run_folder), end)


def _note(lab: Lab, stages: Mapping[str, Sequence[Sequence[JudgedText]]], end: str) -> None:
    """Note the flaws of the first responses and of those after each round."""
    for of, rounds in stages.items():
        label = f"{of} requests"
        for number, texts in enumerate(rounds):
            when = f"after round {number}" if number else "first response"
            flaws = [text.flaws for text in texts]
            lab.note(f"{label}, {when}{end}: any flaw", [bool(f - {GARBLED}) for f in flaws], texts)
            for flaw in (EVASIVE, GARBLED):
                lab.note(f"{label}, {when}{end}: {flaw}", [flaw in f for f in flaws], texts)
            lab.note(f"{label}, {when}{end}: odd word", [text.odd for text in texts], texts)
    if lab.split == "unseen":
        return
    added = [
        (EVASIVE in last.flaws and EVASIVE not in first.flaws, first)
        for kind in _HARMLESS
        if kind in stages  # not all of them among one or two requests
        for first, last in zip(stages[kind][0], stages[kind][-1], strict=True)
    ]
    row = f"harmless requests, after two rounds{end}: refusal added"
    lab.note(row, [more for more, _ in added], [first for _, first in added])
