"""Plain paragraphs that are no conversation, to measure perplexity on."""

from __future__ import annotations

import random

from cai.miniature.world import phrases
from cai.miniature.world.facts import FACTS
from cai.miniature.world.requests import WorldSplit, fill, is_held_out
from cai.miniature.world.scenarios import TOPICS
from cai.miniature.world.slots import SLOTS


def draw_prose(rng: random.Random, split: WorldSplit = "train") -> str:
    """A short paragraph that is no conversation; split by topic and person, `train` or `held`.

    Raises ValueError for another split.
    """
    if split not in ("train", "held"):
        raise ValueError(f"{split!r} is not train or held: prose has no scenarios")
    while True:
        topic = rng.choice(TOPICS)
        tip, other = rng.sample(topic.tips, 2)
        fact = rng.choice(FACTS)
        values = {slot: rng.choice(SLOTS[slot]) for slot in ("person", "place", "shop", "circle")}
        held_out = is_held_out("prose", topic.name, values["person"])
        if held_out != (split == "held"):
            continue
        values |= {"topic": topic.name, "gear": topic.gear, "tip": tip, "other": other}
        values["fact"] = fact.statement(fact.answer)
        return " ".join(fill(rng.choice(sentences), values) for sentences in phrases.PROSE)
