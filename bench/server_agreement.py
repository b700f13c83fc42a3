"""Do a model here and the same weights behind llama.cpp's server say the same?

Greedy responses to prompts, and the judge's verdicts on pairs of known responses under every
principle, by letters in both orders and pointwise. A difference of a probability is what a label
would differ by.

python bench/server_agreement.py --model miniature --gguf .venv/servers/gguf/miniature.gguf
  [--pairs 12] [--prompts 40] [--out NAME]

Needs what `make test-servers` installs.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Literal

import cai
from cai import (
    ModelEntry,
    Prompt,
    PromptFile,
    Sampling,
    ServerBackend,
    Store,
    load_constitution,
    respond,
)
from cai.miniature.prompts import PROMPTS
from cai.pipeline.examine import neutral_pairs
from tests.servers.running import FLOAT32_KV, llama_cpp

MODES: tuple[Literal["letters", "pointwise"], ...] = ("letters", "pointwise")
RESULTS = Path(__file__).parent / "results"


@dataclass
class Agreement:
    """Equal texts of all, and the largest difference of a verdict and of a label, by mode."""

    texts: int
    equal: int
    verdicts: dict[str, int]
    worst_verdict: dict[str, float]
    worst_label: dict[str, float]
    methods: dict[str, str]
    version: str
    seconds: float


@contextmanager
def served(gguf: Path, options: tuple[str, ...]) -> Iterator[ServerBackend]:
    with (
        tempfile.TemporaryDirectory() as folder,
        llama_cpp(gguf, Path(folder) / "log", gguf.stem, 2048, options) as server,
        ServerBackend.connect(ModelEntry(url=[server.url], model=server.model)) as backend,
    ):
        yield backend


def measure(here: cai.LocalBackend, there: ServerBackend, prompts: int, pairs: int) -> Agreement:
    begin = time.monotonic()
    rows = [row for row in PromptFile(PROMPTS) if isinstance(row, Prompt)][:prompts]
    greedy = Sampling(temperature=0.0, max_new_tokens=48)
    equal = sum(
        respond(here, row.messages, greedy).text == respond(there, row.messages, greedy).text
        for row in rows
    )
    out = Agreement(len(rows), equal, {}, {}, {}, {}, str(there.info.server["version"]), 0.0)
    known = [pair for theme in neutral_pairs().values() for pair in theme][:pairs]
    rules = load_constitution("default")
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s.sqlite") as store:
        for mode in MODES:
            feedback = replace(rules.feedback, mode=mode)
            constitution = replace(rules, feedback=feedback)
            verdicts, labels = [], []
            for pair in known:
                texts = (pair.prompt, pair.better, pair.worse)
                mine = cai.judge(constitution, *texts, store, here)
                theirs = cai.judge(constitution, *texts, store, there)
                out.methods[mode] = theirs.method
                labels.append(abs(mine.probability - theirs.probability))
                for a, b in zip(mine.judgements, theirs.judgements, strict=True):
                    verdicts.append(abs(a.p_first - b.p_first))
                    if a.p_first_swapped is not None and b.p_first_swapped is not None:
                        verdicts.append(abs(a.p_first_swapped - b.p_first_swapped))
            out.verdicts[mode] = len(verdicts)
            out.worst_verdict[mode], out.worst_label[mode] = max(verdicts), max(labels)
    out.seconds = time.monotonic() - begin
    return out


def table(name: str, rows: dict[str, Agreement]) -> str:
    lines = [
        f"## {name}", "",
        "| llama.cpp | texts equal | letters: worst verdict, label"
        " | pointwise: worst verdict, label |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for options, a in rows.items():
        cells = [f"{a.worst_verdict[m]:.1e}, {a.worst_label[m]:.1e} ({a.verdicts[m]} verdicts)"
                 for m in MODES]  # fmt: skip
        lines.append(f"| {options} | {a.equal} of {a.texts} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="miniature")
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--out", help="a name: writes bench/results/DATE-NAME.json")
    options = parser.parse_args()
    here = cai.load_model(options.model, device="cpu", dtype="float32")
    rows = {}
    for name, flags in (("float32 KV cache", FLOAT32_KV), ("its default, float16 KV cache", ())):
        with served(options.gguf, tuple(flags)) as there:
            rows[name] = measure(here, there, options.prompts, options.pairs)
    print(table(f"{options.model} as {options.gguf.name}", rows))
    if options.out:
        machine = {"system": platform.platform(), "processor": platform.processor()}
        versions = {n: metadata.version(n) for n in ("torch", "transformers")}
        record = {
            "date": date.today().isoformat(), "model": options.model, "gguf": options.gguf.name,
            "machine": machine, "versions": versions | {"cai": cai.__version__},
            "rows": {name: vars(a) for name, a in rows.items()},
        }  # fmt: skip
        path = RESULTS / f"{date.today()}-{options.out}.json"
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
