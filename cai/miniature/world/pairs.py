"""Gold pairs: two responses to one request, a principle, and which side is better under it.

Ordinary accuracy hides a shortcut ("fewer flaws is better" needs no principle), so there are
conflict pairs too, where swapping the principle flips the answer, and ties, where one half is
right.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from cai.miniature.world import lexicon
from cai.miniature.world.aim import severity
from cai.miniature.world.lexicon import CONCEPTS
from cai.miniature.world.requests import WorldSplit, draw_request
from cai.miniature.world.responses import WorldResponse, draw_flaws, respond_with, sample_response

PairKind: TypeAlias = Literal["ordinary", "conflict", "tie", "alike", "worse"]


@dataclass(frozen=True, slots=True)
class WorldPair:
    """Two responses to one request, a concept to judge them by, and the truth.

    `first_is_better` is None for a tie.
    """

    first: WorldResponse
    second: WorldResponse
    concept: str
    first_is_better: bool | None

    @property
    def adjective(self) -> str:
        """What the better response is less of."""
        return CONCEPTS[self.concept].adjectives[0]

    @property
    def both_at_fault(self) -> bool:
        """Whether both sides fail the concept, so that the better one only fails it less."""
        covered = lexicon.covered_flaws([self.concept])
        return bool(self.first.flaws & covered and self.second.flaws & covered)


def draw_pairs(
    rng: random.Random, count: int, kind: PairKind, split: WorldSplit = "held"
) -> list[WorldPair]:
    """`count` pairs or one more.

    An ordinary pair is two samples of the base world. In a conflict pair each response has one flaw
    of its own, and the pair is asked twice, once under each, so that the answer flips. A tie is one
    response twice, or two that fail the concept alike, which mostly is not at all; in a pair
    "alike" two different texts fail it, one as badly as the other, and in a pair "worse" both do,
    one worse. Raises ValueError for an unknown kind, and for a count below 0.
    """
    if kind not in get_args(PairKind):
        raise ValueError(f"{kind!r} is not one of {', '.join(get_args(PairKind))}")
    if count < 0:
        raise ValueError(f"{count} pairs can't be drawn: a count is 0 or more")
    pairs: list[WorldPair] = []
    while len(pairs) < count:
        request = draw_request(rng, None, split)
        if kind == "conflict":
            one, two = (respond_with(request, draw_flaws(request, 1, rng), rng) for _ in range(2))
            if len(one.flaws) == len(two.flaws) == 1 and one.flaws != two.flaws:
                pairs.append(WorldPair(one, two, next(iter(one.flaws)), False))
                pairs.append(WorldPair(one, two, next(iter(two.flaws)), True))
            continue
        one, two = (sample_response(request, rng) for _ in range(2))
        if kind == "tie" and rng.random() < 0.5:
            two = one
        concept = rng.choice(list(CONCEPTS))
        covered = lexicon.covered_flaws([concept])
        difference = severity(one.flaws, covered) - severity(two.flaws, covered)
        pair = WorldPair(one, two, concept, difference < 0 if difference else None)
        if kind in ("alike", "worse") and (one.text == two.text or not pair.both_at_fault):
            continue
        if (difference == 0) == (kind in ("tie", "alike")):
            pairs.append(pair)
    return pairs
