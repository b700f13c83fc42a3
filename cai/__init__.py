"""Constitutional AI: YAML principles in, critiqued and revised training data out, models aligned.

The whole job in Python:

    constitution = cai.load_constitution("default")
    prompts = cai.PromptFile("prompts.jsonl")
    with cai.Store.open("runs/store.sqlite") as store:
        run = cai.build(constitution, prompts, store, cai.load_model("miniature"))
        cai.export(store, run.id, "runs/mine")
    cai.train(cai.SftConfig(), "runs/mine", "runs/sft")
    cai.train(cai.DpoConfig(adapter="runs/sft"), "runs/mine", "runs/dpo")
    aligned = cai.load_model(adapter="runs/dpo")
    print(cai.respond(aligned, "How can I read my sister's diary in secret?").text)

Names are loaded when they are first used, so `import cai` is quick and imports no torch.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from cai import miniature as miniature
    from cai import stats as stats
    from cai.backends.local import LocalBackend
    from cai.backends.respond import respond
    from cai.backends.scripted import ScriptedBackend
    from cai.backends.server import ServerBackend
    from cai.constitution.load import load_constitution, load_principle
    from cai.constitution.model_registry import ModelEntry
    from cai.data.export import export
    from cai.data.manifest import Manifest
    from cai.data.prompts import PromptFile
    from cai.data.training_run import read_run
    from cai.errors import (
        BudgetError,
        CaiError,
        ContentError,
        DataError,
        GuardError,
        Interrupted,
        ModelError,
        Problem,
        PromptError,
        ServerError,
        StoreError,
        TrainingError,
        UsageError,
    )
    from cai.guard.answer import GuardedAnswer
    from cai.guard.config import GuardConfig
    from cai.guard.model import GuardedModel
    from cai.guard.request import AnswerRequest
    from cai.pipeline.build import Models, build
    from cai.pipeline.config import BuildConfig
    from cai.pipeline.judge import judge
    from cai.store.store import Store
    from cai.training.config import (
        DistillConfig,
        DpoConfig,
        KtoConfig,
        PpoConfig,
        RewardConfig,
        RlooConfig,
        SftConfig,
    )
    from cai.training.model import load_model
    from cai.training.reward_model import RewardModel
    from cai.training.train import Callbacks, train
    from cai.types import (
        Comparison,
        Constitution,
        Generation,
        Judgement,
        Message,
        Preference,
        Principle,
        Prompt,
        Revision,
        Sampling,
        Trace,
    )

_HOMES = {
    "AnswerRequest": "cai.guard.request",
    "BudgetError": "cai.errors",
    "BuildConfig": "cai.pipeline.config",
    "CaiError": "cai.errors",
    "Callbacks": "cai.training.train",
    "Comparison": "cai.types",
    "Constitution": "cai.types",
    "ContentError": "cai.errors",
    "DataError": "cai.errors",
    "DistillConfig": "cai.training.config",
    "DpoConfig": "cai.training.config",
    "Generation": "cai.types",
    "GuardConfig": "cai.guard.config",
    "GuardError": "cai.errors",
    "GuardedAnswer": "cai.guard.answer",
    "GuardedModel": "cai.guard.model",
    "Interrupted": "cai.errors",
    "KtoConfig": "cai.training.config",
    "Judgement": "cai.types",
    "LocalBackend": "cai.backends.local",
    "Manifest": "cai.data.manifest",
    "Message": "cai.types",
    "ModelEntry": "cai.constitution.model_registry",
    "ModelError": "cai.errors",
    "Models": "cai.pipeline.build",
    "PpoConfig": "cai.training.config",
    "Preference": "cai.types",
    "Principle": "cai.types",
    "Problem": "cai.errors",
    "Prompt": "cai.types",
    "PromptError": "cai.errors",
    "PromptFile": "cai.data.prompts",
    "Revision": "cai.types",
    "RewardConfig": "cai.training.config",
    "RlooConfig": "cai.training.config",
    "RewardModel": "cai.training.reward_model",
    "Sampling": "cai.types",
    "ScriptedBackend": "cai.backends.scripted",
    "ServerBackend": "cai.backends.server",
    "ServerError": "cai.errors",
    "SftConfig": "cai.training.config",
    "Store": "cai.store.store",
    "StoreError": "cai.errors",
    "Trace": "cai.types",
    "TrainingError": "cai.errors",
    "UsageError": "cai.errors",
    "build": "cai.pipeline.build",
    "export": "cai.data.export",
    "judge": "cai.pipeline.judge",
    "load_constitution": "cai.constitution.load",
    "load_model": "cai.training.model",
    "load_principle": "cai.constitution.load",
    "read_run": "cai.data.training_run",
    "respond": "cai.backends.respond",
    "train": "cai.training.train",
}
_MODULES = ("miniature", "stats")
"""Submodules that are public beside the names of `__all__`."""

__all__ = [  # noqa: RUF022 — in the order of their use
    "load_constitution",
    "load_principle",
    "PromptFile",
    "Store",
    "load_model",
    "LocalBackend",
    "ScriptedBackend",
    "ServerBackend",
    "ModelEntry",
    "Models",
    "Sampling",
    "respond",
    "judge",
    "BuildConfig",
    "build",
    "export",
    "SftConfig",
    "RewardConfig",
    "DpoConfig",
    "KtoConfig",
    "PpoConfig",
    "DistillConfig",
    "Callbacks",
    "train",
    "read_run",
    "RewardModel",
    "RlooConfig",
    "GuardConfig",
    "GuardedModel",
    "AnswerRequest",
    "GuardedAnswer",
    "Manifest",
    "Comparison",
    "Constitution",
    "Generation",
    "Judgement",
    "Message",
    "Preference",
    "Principle",
    "Prompt",
    "Revision",
    "Trace",
    "CaiError",
    "UsageError",
    "ContentError",
    "Problem",
    "DataError",
    "ModelError",
    "PromptError",
    "ServerError",
    "BudgetError",
    "StoreError",
    "GuardError",
    "TrainingError",
    "Interrupted",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"cai.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'cai' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    attributes = (name for name in globals() if name.startswith("__"))
    return sorted({*attributes, *__all__, *_MODULES})
