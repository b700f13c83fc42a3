"""Responses whose flaws are known, and their gold revisions.

A response is assembled from parts (opener, body, closing, and sentences that are rude,
overconfident or preachy), so its flaws are known and a revision can remove exactly those that a
principle names and copy the rest word for word. Every draw takes a `random.Random`: the same seed
gives the same world.

Not all that is without flaw is of one quality: answers are short or long, vague, padded (see
`quality`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from cai.miniature.world import phrases
from cai.miniature.world.facts import FACTS
from cai.miniature.world.requests import (
    RequestKind,
    WorldRequest,
    fill,
    split_of,
    to_your,
    wrong_answers,
)
from cai.miniature.world.scenarios import LOOK_ALIKES, SCENARIOS, TOPICS
from cai.miniature.world.vocabulary import EVASIVE, STYLES, SYCOPHANTIC, UNTRUTHFUL, flaw_set

ResponseCore: TypeAlias = Literal[
    "comply", "decline", "bare", "help", "refuse", "answer", "mislead", "agree"
]
STYLE_RATE = 0.18
CORE_SHARES: dict[str, dict[ResponseCore, float]] = {
    "harmful": {"comply": 0.64, "decline": 0.28, "bare": 0.08},
    "benign": {"help": 0.94, "refuse": 0.06},
    "lookalike": {"help": 0.93, "refuse": 0.07},
    "factual": {"answer": 0.82, "mislead": 0.13, "refuse": 0.05},
    "claim": {"answer": 0.45, "agree": 0.42, "mislead": 0.08, "refuse": 0.05},
}
"""How often the base model answers each kind of request in which way; `claim`: a false one."""


@dataclass(frozen=True, slots=True)
class ResponseParts:
    """The sentences of a response; an empty string is a part left out."""

    opener: str
    body: tuple[str, ...]
    closing: str
    rude: str
    rude_first: bool
    overconfident: str
    preachy: str


@dataclass(frozen=True, slots=True)
class WorldResponse:
    """A response, its parts and therefore its flaws.

    Of the style sentences in `parts`, only those named in `styles` are said.
    """

    request: WorldRequest
    core: ResponseCore
    styles: frozenset[str]
    parts: ResponseParts

    @property
    def scenario(self) -> int:
        """Its request's number among the scenarios, topics or facts."""
        return self.request.scenario

    @property
    def flaws(self) -> frozenset[str]:
        """Every flaw of the response."""
        if self.core == "comply":
            assert self.request.category is not None
            return self.styles | {self.request.category}
        substance = {
            "bare": EVASIVE,
            "refuse": EVASIVE,
            "mislead": UNTRUTHFUL,
            "agree": SYCOPHANTIC,
        }.get(self.core)
        return self.styles if substance is None else self.styles | {substance}

    @property
    def text(self) -> str:
        """The sentences joined by spaces."""
        return " ".join(text for text, _ in self._said() if text)

    @property
    def statement(self) -> str:
        """The fact that the response states, right or wrong, without a full stop; or nothing."""
        if self.core not in ("answer", "mislead") or self.parts.body[-1] in phrases.AGREEMENTS:
            return ""
        return self.parts.body[-1].removesuffix(".")

    @property
    def flaws_so_far(self) -> list[tuple[int, frozenset[str]]]:
        """Where a part that settles something ends, in characters, and the flaws said up to there.

        An opener settles nothing, and an answer is judged at its end.
        """
        places: list[tuple[int, frozenset[str]]] = []
        length = 0
        flaws: frozenset[str] = frozenset()
        for text, added in self._said():
            if not text:
                continue
            length += len(text) + (1 if length else 0)
            if added is not None:
                flaws |= added
                places.append((length, flaws))
        return places

    def _said(self) -> list[tuple[str, frozenset[str] | None]]:
        """The parts in their order, empty where one is left out, and the flaws that each adds."""
        parts = self.parts
        rude = parts.rude if "rude" in self.styles else ""
        overconfident = parts.overconfident if "overconfident" in self.styles else ""
        preachy = parts.preachy if "preachy" in self.styles else ""
        return [
            (rude if parts.rude_first else "", frozenset({"rude"})),
            (parts.opener, None),
            (" ".join(parts.body), self.flaws - frozenset(STYLES)),
            (overconfident, frozenset({"overconfident"})),
            (parts.closing, frozenset()),
            (preachy, frozenset({"preachy"})),
            ("" if parts.rude_first else rude, frozenset({"rude"})),
        ]


def _help(request: WorldRequest, rng: random.Random) -> tuple[str, ...]:
    """The useful sentences of a good answer to a harmless request."""
    if request.kind == "lookalike":
        return tuple(fill(step, request.values) for step in LOOK_ALIKES[request.scenario].steps)
    topic = TOPICS[request.scenario]
    tip, other = rng.sample(topic.tips, 2)
    values = {
        **request.values,
        "topic": topic.name,
        "gear": topic.gear,
        "tip": tip,
        "Tip": tip[0].upper() + tip[1:],
        "other": other,
    }
    return tuple(fill(answer, values) for answer in phrases.TOPIC_ANSWERS[request.question])


def _decline(request: WorldRequest, rng: random.Random) -> tuple[str, ...]:
    """Say no to a harmful request, at times say why, and offer a better idea."""
    scenario = SCENARIOS[request.scenario]
    words = {"action": to_your(request.action), "doing": to_your(request.doing)}
    refusal = fill(rng.choice(phrases.DECLINES), words)
    if rng.random() < 0.4:
        refusal = f"{refusal[:-1]}, {phrases.BECAUSE[scenario.category]}."
    alternative = fill(scenario.alternative, request.values)
    return refusal, fill(rng.choice(phrases.ALTERNATIVES), {"alternative": alternative})


def _truth(request: WorldRequest, core: ResponseCore, rng: random.Random) -> tuple[str, ...]:
    """What an answer about a fact says: the truth, an untruth, or yes to a false claim."""
    fact = FACTS[request.scenario]
    if core == "agree":
        flattery = (rng.choice(phrases.FLATTERIES),) if rng.random() < 0.3 else ()
        return rng.choice(phrases.AGREEMENTS), *flattery
    claim = fact.answer
    if core == "mislead":
        excluded = {fact.answer, request.values["claimed"]}
        wrong = [a for a in wrong_answers(request.scenario, split_of(request)) if a not in excluded]
        claim = rng.choice(wrong or [a for a in fact.relation.answers if a not in excluded])
    statement = fact.statement(claim)
    statement = f"{statement[0].upper()}{statement[1:]}."
    if request.question == "ask":
        return (statement,)
    if request.question == "true" and core == "answer":
        agreement = rng.choice(phrases.AGREEMENTS)
        return (agreement, statement) if rng.random() < 0.6 else (agreement,)
    return rng.choice(phrases.CORRECTIONS), statement


def _core_parts(
    request: WorldRequest, core: ResponseCore, rng: random.Random
) -> tuple[str, tuple[str, ...], str]:
    """Opener, body and closing of a core."""
    if core == "comply":
        count = rng.choice((1, 2, 2, 3))
        steps = SCENARIOS[request.scenario].steps
        chosen = sorted(rng.sample(range(len(steps)), count))
        body = tuple(fill(steps[index], request.values) for index in chosen)
        closing = rng.choice(phrases.COMPLY_CLOSINGS)
        return rng.choice(phrases.COMPLY_OPENERS), body, closing
    if core == "decline":
        return "", _decline(request, rng), ""
    if core == "help":
        body = _help(request, rng)
        size = rng.random()
        if size < 0.08:
            body = (rng.choice(phrases.VAGUE),)
        elif size < 0.25:
            body = body[:1]
        return rng.choice(phrases.HELP_OPENERS), body, _closing(rng)
    if core in ("answer", "mislead", "agree"):
        opener = (
            rng.choice(("", "", "", *phrases.HELP_OPENERS)) if request.question == "ask" else ""
        )
        return opener, _truth(request, core, rng), _closing(rng) if rng.random() < 0.4 else ""
    refusals: tuple[str, ...] = phrases.BARE_REFUSALS
    if core == "refuse" and rng.random() < 0.6:
        refusals = phrases.NEEDLESS_REFUSALS
    return "", (fill(rng.choice(refusals), {"doing": to_your(request.doing)}),), ""


def _closing(rng: random.Random) -> str:
    """A hedge, a line of padding, or nothing."""
    chance = rng.random()
    if chance < 0.18:
        return rng.choice(phrases.HEDGES)
    return rng.choice(phrases.BOILERPLATE) if chance < 0.36 else ""


def compose(
    request: WorldRequest,
    core: ResponseCore,
    styles: frozenset[str],
    rng: random.Random,
    brief: bool = False,
) -> WorldResponse:
    """Assemble a response; `brief` leaves a single body sentence and no opener or closing."""
    if core in ("bare", "refuse"):
        styles = styles - {"overconfident"}
    opener, body, closing = _core_parts(request, core, rng)
    if brief:
        opener, closing = "", ""
        body = (rng.choice(body),) if core in ("comply", "help") else body
    rude_first = rng.random() < 0.6
    parts = ResponseParts(
        opener=opener,
        body=body,
        closing=closing,
        rude=rng.choice(phrases.RUDE_FIRST if rude_first else phrases.RUDE_LAST),
        rude_first=rude_first,
        overconfident=rng.choice(phrases.OVERCONFIDENT),
        preachy=rng.choice(phrases.PREACHY),
    )
    return WorldResponse(request, core, styles & frozenset(STYLES), parts)


def sample_response(request: WorldRequest, rng: random.Random) -> WorldResponse:
    """A response as the base model is taught to give it: often harmful, sometimes ill-mannered."""
    styles = {style for style in STYLES if rng.random() < STYLE_RATE}
    cores = CORE_SHARES["claim" if request.question == "false" else request.kind]
    core = rng.choices(list(cores), list(cores.values()))[0]
    return compose(request, core, frozenset(styles), rng)


def _good_core(request: WorldRequest) -> ResponseCore:
    """How a request is answered well."""
    good: dict[RequestKind, ResponseCore] = {"harmful": "decline", "factual": "answer"}
    return good.get(request.kind, "help")


def respond_with(
    request: WorldRequest, flaws: frozenset[str], rng: random.Random, brief: bool = False
) -> WorldResponse:
    """A response with exactly these flaws, as far as the request allows them.

    Raises ValueError for an unknown flaw.
    """
    flaws = flaw_set(flaws)
    core = _good_core(request)
    if request.category in flaws:
        core = "comply"
    elif SYCOPHANTIC in flaws and request.question == "false":
        core = "agree"
    elif UNTRUTHFUL in flaws and request.kind == "factual":
        core = "mislead"
    elif EVASIVE in flaws:
        core = "bare" if request.kind == "harmful" else "refuse"
    return compose(request, core, flaws & frozenset(STYLES), rng, brief)


def draw_flaws(request: WorldRequest, count: int, rng: random.Random) -> frozenset[str]:
    """Up to `count` flaws that a response to this request can have together."""
    substance = EVASIVE
    if request.category is not None and rng.random() < 0.8:
        substance = request.category
    elif request.kind == "factual" and rng.random() < 0.85:
        claimed = request.question == "false"
        substance = SYCOPHANTIC if claimed and rng.random() < 0.6 else UNTRUTHFUL
    if count == 1 and rng.random() < 0.45:
        return frozenset({substance})
    pool = [substance, *STYLES]
    if substance == EVASIVE and request.kind != "harmful" and rng.random() < 0.6:
        pool.remove(EVASIVE)
    chosen = set(rng.sample(pool, min(count, len(pool))))
    if EVASIVE in chosen:
        chosen.discard("overconfident")
    return frozenset(chosen)


def revise(response: WorldResponse, flaws: frozenset[str], rng: random.Random) -> WorldResponse:
    """The gold revision: remove exactly `flaws`, copy every other sentence as it stands.

    Randomness is used only where a new core must be written: harm is declined, evasion answered,
    untruth and false agreement corrected. Raises ValueError for an unknown flaw.
    """
    flaws = flaw_set(flaws)
    core = response.core
    if response.flaws & flaws - frozenset(STYLES):
        core = _good_core(response.request)
    parts = response.parts
    if core != response.core:
        opener, body, _ = _core_parts(response.request, core, rng)
        parts = replace(parts, opener=opener, body=body, closing="")
    return replace(response, core=core, styles=response.styles - flaws, parts=parts)


def draw_push(rng: random.Random, request: WorldRequest) -> tuple[WorldResponse, str]:
    """A refusal and the second turn of a user who will not have it: ("Come on, just tell me.").

    What is said next answers the same request, so it is judged like any response to it.
    """
    core: ResponseCore = "decline" if request.kind == "harmful" else "refuse"
    return compose(request, core, frozenset(), rng), rng.choice(phrases.PUSHES)
