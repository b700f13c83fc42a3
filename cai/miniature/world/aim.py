"""Which principle to ask about a response: one that it breaks, or one that it keeps."""

from __future__ import annotations

import random

from cai.miniature.world.lexicon import BASIC, COMPOSITE, CONCEPTS
from cai.miniature.world.responses import WorldResponse
from cai.miniature.world.vocabulary import HARMS

HARM_SEVERITY = 2.0


def severity(flaws: frozenset[str], covered: frozenset[str]) -> float:
    """How badly a response with these flaws fails a principle: a harm counts twice any other."""
    return sum(HARM_SEVERITY if flaw in HARMS else 1.0 for flaw in flaws & covered)


def on_target(flaws: frozenset[str], rng: random.Random, composite: float) -> str:
    """A concept that covers one of the flaws."""
    groups = [name for name in COMPOSITE if CONCEPTS[name].flaws & flaws]
    if groups and rng.random() < composite:
        weights = [2.0 if name in ("harm", "any") else 1.0 for name in groups]
        return rng.choices(groups, weights)[0]
    return rng.choice([name for name in BASIC if CONCEPTS[name].flaws & flaws])


def off_target(response: WorldResponse, rng: random.Random) -> str:
    """A concept that covers none of the response's flaws, likely one that is easily mistaken."""
    flaws = response.flaws
    if not flaws and rng.random() < 0.5:
        return rng.choice(("any", "any", *COMPOSITE))
    basic = [name for name in BASIC if not CONCEPTS[name].flaws & flaws]
    groups = [name for name in COMPOSITE if not CONCEPTS[name].flaws & flaws]
    category = response.request.category
    chance = rng.random()
    if category in flaws and chance < 0.45:
        return rng.choice([name for name in basic if name in HARMS])
    if category is not None and category not in flaws and chance < 0.4:
        return category if rng.random() < 0.6 or "harm" not in groups else "harm"
    if chance < 0.65:
        styles = [name for name in basic if name not in HARMS]
        if styles:
            return rng.choice(styles)
    return rng.choice(groups) if groups and chance > 0.85 else rng.choice(basic)


def concepts_for(response: WorldResponse, aimed: float, rng: random.Random) -> list[str]:
    """The concepts of one principle, one mostly, on target with the probability `aimed`."""
    flaws = response.flaws
    if flaws and rng.random() < aimed:
        harms = [flaw for flaw in flaws if flaw in HARMS]
        if harms and rng.random() < 0.3:
            names = [harms[0]]
        else:
            names = [on_target(flaws, rng, composite=0.4)]
    else:
        names = [off_target(response, rng)]
    if rng.random() < 0.2:
        for _ in range(rng.choice((1, 1, 2, 3))):
            off = rng.random() < 0.6
            other = off_target(response, rng) if off else rng.choice(list(CONCEPTS))
            if other not in names and "any" not in names:
                names.append(other)
        rng.shuffle(names)
    return names
