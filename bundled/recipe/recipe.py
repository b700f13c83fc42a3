"""The recipe of the bundled weights: its numbers, and the digest that the weights carry."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import random
import tokenize
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from bundled.recipe import comparing, dialogues, turns
from bundled.recipe.batches import LossWeights
from bundled.recipe.dialogues import document
from cai.miniature.world import (
    critic,
    facts,
    lexicon,
    phrases,
    prose,
    requests,
    responses,
    scenarios,
    slots,
    wording,
)

CODE = ("tokenizer.py", "batches.py", "pretrain.py")
WORLD = (
    comparing, critic, dialogues, facts, lexicon, phrases, prose, requests, responses, scenarios,
    slots, turns, wording,
)  # fmt: skip
SAMPLED = 300
STAGES = 20
"""At so many steps of the training's progress, and before the first, documents are sampled."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the weights, the code apart."""

    steps: int = 4400
    seed: int = 1
    processes: int = 2
    batch_tokens: int = 4096
    pool_documents: int = 384
    muon_rate: float = 3e-3
    adam_rate: float = 2e-3
    warmup: int = 60
    flat_until: float = 0.4
    weight_decay: float = 0.05
    clip: float = 1.0
    hidden: int = 256
    layers: int = 4
    heads: int = 8
    intermediate: int = 640


def recipe_digest(recipe: Recipe | None = None) -> str:
    """SHA-256 over the numbers, the training code, and what the world writes.

    The world counts by its tables, of words and of shares, and by documents that it draws all along
    the training, so moving its code about changes nothing, and changing a word does. The training
    code counts without its command line, imports, comments, docstrings and white space.
    """
    digest = hashlib.sha256()
    numbers = {"recipe": asdict(recipe or Recipe()), "weights": asdict(LossWeights())}
    digest.update(json.dumps(numbers, sort_keys=True).encode())
    tables = {
        name: _plain(value)
        for module in WORLD
        for name, value in vars(module).items()
        if name.isupper()
    }
    digest.update(json.dumps(tables, sort_keys=True).encode())
    for progress in (stage / STAGES for stage in range(STAGES + 1)):
        rng = random.Random(f"digest/{progress}")
        for _ in range(SAMPLED):
            for turn in document(rng, progress):
                marks = [
                    (
                        mark.end,
                        *(sorted(f or ()) for f in (mark.so_far, mark.flaws, mark.asked)),
                        mark.violates,
                        mark.untrue,
                    )
                    for mark in turn.marks
                ]
                digest.update(repr((turn.role, turn.kind, turn.text, marks)).encode())
    for name in CODE:
        source = (Path(__file__).parent / name).read_text(encoding="utf-8")
        digest.update(f"{name}\0{bare(source)}\0".encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A table as JSON has it, the same in every process."""
    if is_dataclass(value):
        return [_plain(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Mapping):
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def bare(source: str) -> str:
    """Code without `main`, imports, docstrings, comments and white space, in every Python alike.

    Imports say where a name comes from, not what it does: what the world's names do is in the
    tables and the documents.
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column]
    for node in ast.walk(ast.parse(source)):
        left_out: ast.stmt | None = None
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.FunctionDef) and node.name == "main"
        ):
            left_out = node
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                left_out = first
        if left_out is not None and left_out.end_lineno is not None:
            for line in range(left_out.lineno - 1, left_out.end_lineno):
                lines[line] = ""
    return " ".join("\n".join(lines).split())
