"""Constitutional AI: YAML principles in, critiqued and revised training data out.

The whole job in Python:

    constitution = cai.load_constitution("default")
    prompts = cai.PromptFile("prompts.jsonl")
    with cai.Store.open("runs/store.sqlite") as store:
        run = cai.build(constitution, prompts, store, cai.LocalBackend.load("miniature"))
        cai.export(store, run.id, "runs/mine")

Names are loaded when they are first used, so `import cai` is quick and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from cai.backends.local import LocalBackend
    from cai.backends.scripted import ScriptedBackend
    from cai.constitution.load import load_constitution, load_principle
    from cai.data.export import export
    from cai.data.prompts import PromptFile
    from cai.errors import CaiError
    from cai.pipeline.build import BuildConfig, Models, build
    from cai.store.store import Store
    from cai.types import Comparison, Constitution, Message, Preference, Principle, Prompt, Trace

_HOMES = {
    "BuildConfig": "cai.pipeline.build",
    "CaiError": "cai.errors",
    "Comparison": "cai.types",
    "Constitution": "cai.types",
    "LocalBackend": "cai.backends.local",
    "Message": "cai.types",
    "Models": "cai.pipeline.build",
    "Preference": "cai.types",
    "Principle": "cai.types",
    "Prompt": "cai.types",
    "PromptFile": "cai.data.prompts",
    "ScriptedBackend": "cai.backends.scripted",
    "Store": "cai.store.store",
    "Trace": "cai.types",
    "build": "cai.pipeline.build",
    "export": "cai.data.export",
    "load_constitution": "cai.constitution.load",
    "load_principle": "cai.constitution.load",
}

__all__ = [  # noqa: RUF022 — in the order of their use
    "load_constitution",
    "load_principle",
    "PromptFile",
    "Store",
    "LocalBackend",
    "ScriptedBackend",
    "Models",
    "BuildConfig",
    "build",
    "export",
    "CaiError",
    "Comparison",
    "Constitution",
    "Message",
    "Preference",
    "Principle",
    "Prompt",
    "Trace",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cai' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
