"""The recipe of the bundled weights: its numbers, and the digest that the weights carry."""

from __future__ import annotations

import ast
import hashlib
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

from cai.miniature.batches import LossWeights
from cai.miniature.dialogues import document

CODE = ("tokenizer.py", "batches.py", "pretrain.py")
SAMPLED = 1500


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the weights, the code apart."""

    steps: int = 4400
    seed: int = 0
    processes: int = 2
    batch_tokens: int = 4096
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


def recipe_digest() -> str:
    """SHA-256 over the numbers, the training code, and what the world writes.

    The world counts by the documents that it draws, so moving its code about changes nothing, and
    changing a word does. The training code counts without its command line, comments, docstrings
    and layout.
    """
    digest = hashlib.sha256()
    numbers = {"recipe": asdict(Recipe()), "weights": asdict(LossWeights())}
    digest.update(json.dumps(numbers, sort_keys=True).encode())
    for progress in (0.0, 0.25, 0.5, 1.0):
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
        tree = ast.parse((Path(__file__).parent / name).read_text(encoding="utf-8"))
        tree.body = [n for n in tree.body if getattr(n, "name", "") != "main"]
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                first = node.body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    node.body = node.body[1:] or [ast.Pass()]
        digest.update(f"{name}\0{ast.unparse(tree)}\0".encode())
    return digest.hexdigest()
