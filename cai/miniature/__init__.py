"""The miniature: a small real language model, and the synthetic world whose truth is known.

`weights/` is the model. The names here are the library of its world: requests, responses and their
ground truth. `python -m cai.miniature.prompts` writes prompts of the world, `python -m
cai.miniature.measure` judges a run on them, `known` tells which words the model knows. None of it
imports torch, and names are loaded when they are first used. How the model was trained and
evaluated is outside the package, in `bundled/` of the repository. See docs/miniature.md.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cai.miniature.prompts import PROMPTS, prompt_rows
    from cai.miniature.world.critic import critique, named_flaws
    from cai.miniature.world.facts import FACTS
    from cai.miniature.world.judge import (
        GARBLED,
        answers,
        copied,
        flaws_of,
        judge,
        refuses,
        unknown_words,
    )
    from cai.miniature.world.lexicon import covered_flaws
    from cai.miniature.world.pairs import draw_pairs
    from cai.miniature.world.prose import draw_prose
    from cai.miniature.world.quality import quality
    from cai.miniature.world.requests import RequestKind, WorldRequest, draw_request
    from cai.miniature.world.responses import draw_push, respond_with, revise, sample_response
    from cai.miniature.world.vocabulary import EVASIVE, FLAWS, HARMS

WEIGHTS = Path(__file__).parent / "weights"
"""The model's folder, in the hub's layout."""

_WORLD = {
    "critic": ("critique", "named_flaws"),
    "facts": ("FACTS",),
    "judge": ("GARBLED", "answers", "copied", "flaws_of", "judge", "refuses", "unknown_words"),
    "lexicon": ("covered_flaws",),
    "pairs": ("draw_pairs",),
    "prose": ("draw_prose",),
    "quality": ("quality",),
    "requests": ("RequestKind", "WorldRequest", "draw_request"),
    "responses": ("draw_push", "respond_with", "revise", "sample_response"),
    "vocabulary": ("EVASIVE", "FLAWS", "HARMS"),
}
_HOMES = {
    "PROMPTS": "cai.miniature.prompts",
    "prompt_rows": "cai.miniature.prompts",
    **{name: f"cai.miniature.world.{module}" for module, names in _WORLD.items() for name in names},
}

__all__ = [
    "EVASIVE",
    "FACTS",
    "FLAWS",
    "GARBLED",
    "HARMS",
    "PROMPTS",
    "WEIGHTS",
    "RequestKind",
    "WorldRequest",
    "answers",
    "copied",
    "covered_flaws",
    "critique",
    "draw_pairs",
    "draw_prose",
    "draw_push",
    "draw_request",
    "flaws_of",
    "judge",
    "named_flaws",
    "prompt_rows",
    "quality",
    "refuses",
    "respond_with",
    "revise",
    "sample_response",
    "unknown_words",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cai.miniature' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
