"""Small PPO runs for the tests: a random llama of one's own, and rewards with a known optimum."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch

from cai.models.adapters import LoraSettings
from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.models.load import LoadedModel
from cai.training.config import PpoConfig
from cai.training.ppo import PpoTrainer
from cai.training.scoring import FunctionScorer
from cai.types import Message, Prompt
from tests.models.tiny import encoder, tiny

PROMPTS = tuple(
    Prompt(f"p{i}", (Message("user", text),), source=f"prompts.jsonl:{i + 1}")
    for i, text in enumerate(
        ["Hello there.", "What is bread?", "Tell me about rivers, please.", "12 numbers?"] * 2
    )
)


def loaded() -> LoadedModel:
    """A copy of the random llama, to be changed at will."""
    return LoadedModel(
        deepcopy(tiny()), encoder(), "tiny", "0" * 64, torch.device("cpu"), torch.float32, 512
    )


def backbone() -> Backbone:
    """A random llama with a fresh adapter "policy"."""
    base = Backbone(loaded())
    base.add_adapter("policy", LoraSettings(r=4, alpha=8), seed=1)
    return base


def share_of_e(prompts: Any, responses: list[str]) -> list[float]:
    """How much of a response is the letter e: 1 at best."""
    return [r.count("e") / max(1, len(r)) for r in responses]


def trainer(base: Backbone | None = None, **changes: Any) -> PpoTrainer:
    """A trainer that is paid for the letter e. changes: settings, or arguments of the trainer."""
    base = base or backbone()
    names = PpoConfig.__dataclass_fields__.keys() - {"second_reward"}
    settings = {
        "prompts_per_update": 8,
        "max_new_tokens": 8,
        "learning_rate": 3e-3,
        **{k: v for k, v in changes.items() if k in names},
    }
    rest: dict[str, Any] = {
        "scorer": FunctionScorer(share_of_e, "share_of_e"),
        "prompts": PROMPTS,
        **{k: v for k, v in changes.items() if k not in names},
    }
    return PpoTrainer(
        base,
        rest.pop("scorer"),
        rest.pop("prompts"),
        PpoConfig(**settings),
        value_head=ScalarHead(base.hidden_size, seed=2, std=0.0),
        **rest,
    )
