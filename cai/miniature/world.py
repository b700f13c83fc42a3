"""The synthetic world: requests, responses whose flaws are known, and their gold revisions.

A response is assembled from parts (opener, body, closing, and sentences that are rude,
overconfident or preachy), so its flaws are known and a revision can remove exactly those that a
principle names and copy the rest word for word. Every draw takes a `random.Random`: the same seed
gives the same world.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from cai.miniature import phrases
from cai.miniature.scenarios import LOOK_ALIKES, SCENARIOS, TOPICS
from cai.miniature.vocabulary import EVASIVE, HARMS, SLOTS, STYLES

Kind: TypeAlias = Literal["harmful", "benign", "lookalike"]
Core: TypeAlias = Literal["comply", "decline", "bare", "help", "refuse"]
WorldSplit: TypeAlias = Literal["train", "held", "unseen"]

KIND_SHARES: dict[Kind, float] = {"harmful": 0.58, "benign": 0.27, "lookalike": 0.15}
HELD_ONE_IN = 6
_SLOT = re.compile(r"{(\w+)}")


@dataclass(frozen=True, slots=True)
class Request:
    """A user's request and all that the world knows about it.

    `scenario` indexes SCENARIOS, TOPICS or LOOK_ALIKES, by kind; `question` names the kind of topic
    question, "" for the others. `action` and `doing` are in the user's words ("my boss").
    """

    kind: Kind
    scenario: int
    slots: tuple[tuple[str, str], ...]
    text: str
    question: str = ""

    @property
    def category(self) -> str | None:
        """The harm that compliance would do, None for harmless requests."""
        return SCENARIOS[self.scenario].category if self.kind == "harmful" else None

    @property
    def values(self) -> dict[str, str]:
        """Slot values by slot name."""
        return dict(self.slots)

    @property
    def action(self) -> str:
        """What the user wants to do: "read my boss's diary in secret"."""
        if self.kind == "benign":
            return f"learn about {TOPICS[self.scenario].name}"
        source = SCENARIOS if self.kind == "harmful" else LOOK_ALIKES
        return f"{source[self.scenario].verb} {fill(source[self.scenario].rest, self.values)}"

    @property
    def doing(self) -> str:
        """The action as a gerund: "reading my boss's diary in secret"."""
        if self.kind == "benign":
            return TOPICS[self.scenario].name
        source = SCENARIOS if self.kind == "harmful" else LOOK_ALIKES
        return f"{source[self.scenario].gerund} {fill(source[self.scenario].rest, self.values)}"

    def meta(self) -> dict[str, Any]:
        """What a prompt row stores, enough to judge any response to it."""
        return {
            "kind": self.kind,
            "category": self.category,
            "scenario": self.scenario,
            "slots": self.values,
            "question": self.question,
        }


@dataclass(frozen=True, slots=True)
class Parts:
    """The sentences of a response; an empty string is a part left out."""

    opener: str
    body: tuple[str, ...]
    closing: str
    rude: str
    rude_first: bool
    overconfident: str
    preachy: str


@dataclass(frozen=True, slots=True)
class Response:
    """A response, its parts and therefore its flaws.

    Of the style sentences in `parts`, only those named in `styles` are said.
    """

    request: Request
    core: Core
    styles: frozenset[str]
    parts: Parts

    @property
    def flaws(self) -> frozenset[str]:
        """Every flaw of the response."""
        if self.core == "comply":
            assert self.request.category is not None
            return self.styles | {self.request.category}
        return self.styles | {EVASIVE} if self.core in ("bare", "refuse") else self.styles

    @property
    def text(self) -> str:
        """The sentences joined by spaces."""
        parts = self.parts
        rude = parts.rude if "rude" in self.styles else ""
        sentences = [
            rude if parts.rude_first else "",
            parts.opener,
            *parts.body,
            parts.overconfident if "overconfident" in self.styles else "",
            parts.closing,
            parts.preachy if "preachy" in self.styles else "",
            "" if parts.rude_first else rude,
        ]
        return " ".join(sentence for sentence in sentences if sentence)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values into a template's slots; unknown slots stay as they are."""
    return _SLOT.sub(lambda match: values.get(match.group(1), match.group(0)), template)


def slot_names(template: str) -> list[str]:
    """The slots of a template in order of appearance."""
    return _SLOT.findall(template)


def to_your(text: str) -> str:
    """From the user's words to the assistant's: "my boss" becomes "your boss"."""
    return re.sub(r"\bmy\b", "your", text).replace("when I am", "when you are")


def to_their(text: str) -> str:
    """From the user's words to a critic's: "my boss" becomes "their boss"."""
    return re.sub(r"\bmy\b", "their", text).replace("when I am", "when they are")


def is_held(*key: object) -> bool:
    """Whether a combination is kept from training; a sixth are, by hash and for ever."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_ONE_IN == 0


def split_of(request: Request) -> WorldSplit:
    """The split a request belongs to.

    Harmful requests and look-alikes are split by scenario and first slot value, topics by topic and
    kind of question; whole scenarios are `unseen`.
    """
    if request.kind == "benign":
        return "held" if is_held("benign", request.scenario, request.question) else "train"
    if request.kind == "harmful" and SCENARIOS[request.scenario].unseen:
        return "unseen"
    source = SCENARIOS if request.kind == "harmful" else LOOK_ALIKES
    first = slot_names(source[request.scenario].rest)[0]
    key = request.values[first]
    return "held" if is_held(request.kind, request.scenario, key) else "train"


def draw_request(
    rng: random.Random, kind: Kind | None = None, split: WorldSplit = "train"
) -> Request:
    """Draw a request of a split; without `kind`, kinds come by KIND_SHARES."""
    if split == "unseen":
        kind = "harmful"
    while True:
        drawn = kind or rng.choices(list(KIND_SHARES), list(KIND_SHARES.values()))[0]
        request = _draw_topic(rng) if drawn == "benign" else _draw_scenario(rng, drawn)
        if split_of(request) == split:
            return request


def _draw_scenario(rng: random.Random, kind: Kind) -> Request:
    source = SCENARIOS if kind == "harmful" else LOOK_ALIKES
    index = rng.randrange(len(source))
    scenario = source[index]
    names = dict.fromkeys(slot_names(" ".join((scenario.rest, *scenario.steps))))
    slots = tuple((name, rng.choice(SLOTS[name])) for name in names)
    blank = Request(kind, index, slots, "")
    text = fill(rng.choice(phrases.REQUESTS), {"action": blank.action, "doing": blank.doing})
    return replace(blank, text=text)


def _draw_topic(rng: random.Random) -> Request:
    index = rng.randrange(len(TOPICS))
    question = rng.choice(list(phrases.TOPIC_REQUESTS))
    person = rng.choice(SLOTS["person"])
    values = {"topic": TOPICS[index].name, "person": person}
    text = fill(rng.choice(phrases.TOPIC_REQUESTS[question]), values)
    return Request("benign", index, (("person", person),), text, question)


def _help(request: Request, rng: random.Random) -> tuple[str, ...]:
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


def _decline(request: Request, rng: random.Random) -> tuple[str, ...]:
    """Say no to a harmful request, at times say why, and offer a better idea."""
    scenario = SCENARIOS[request.scenario]
    words = {"action": to_your(request.action), "doing": to_your(request.doing)}
    refusal = fill(rng.choice(phrases.DECLINES), words)
    if rng.random() < 0.4:
        refusal = f"{refusal[:-1]}, {phrases.BECAUSE[scenario.category]}."
    alternative = fill(scenario.alternative, request.values)
    return refusal, fill(rng.choice(phrases.ALTERNATIVES), {"alternative": alternative})


def _core_parts(
    request: Request, core: Core, rng: random.Random
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
        closing = rng.choice(phrases.HEDGES) if rng.random() < 0.25 else ""
        return rng.choice(phrases.HELP_OPENERS), _help(request, rng), closing
    refusals: tuple[str, ...] = phrases.BARE_REFUSALS
    if core == "refuse" and rng.random() < 0.6:
        refusals = phrases.NEEDLESS_REFUSALS
    return "", (fill(rng.choice(refusals), {"doing": to_your(request.doing)}),), ""


def compose(
    request: Request, core: Core, styles: frozenset[str], rng: random.Random, brief: bool = False
) -> Response:
    """Assemble a response; `brief` leaves a single body sentence and no opener or closing."""
    if core in ("bare", "refuse"):
        styles = styles - {"overconfident"}
    opener, body, closing = _core_parts(request, core, rng)
    if brief:
        opener, closing = "", ""
        body = (rng.choice(body),) if core in ("comply", "help") else body
    rude_first = rng.random() < 0.6
    parts = Parts(
        opener=opener,
        body=body,
        closing=closing,
        rude=rng.choice(phrases.RUDE_FIRST if rude_first else phrases.RUDE_LAST),
        rude_first=rude_first,
        overconfident=rng.choice(phrases.OVERCONFIDENT),
        preachy=rng.choice(phrases.PREACHY),
    )
    return Response(request, core, styles & frozenset(STYLES), parts)


def sample_response(request: Request, rng: random.Random) -> Response:
    """A response as the base model is taught to give it: often harmful, sometimes ill-mannered."""
    styles = {style for style in STYLES if rng.random() < 0.15}
    if request.kind == "harmful":
        core: Core = rng.choices(("comply", "decline", "bare"), (0.58, 0.33, 0.09))[0]
    else:
        core = rng.choices(("help", "refuse"), (0.91, 0.09))[0]
    return compose(request, core, frozenset(styles), rng)


def respond_with(
    request: Request, flaws: frozenset[str], rng: random.Random, brief: bool = False
) -> Response:
    """A response with exactly these flaws, as far as the request allows them."""
    harmful = request.kind == "harmful"
    core: Core
    if harmful and request.category in flaws:
        core = "comply"
    elif EVASIVE in flaws:
        core = "bare" if harmful else "refuse"
    else:
        core = "decline" if harmful else "help"
    return compose(request, core, flaws & frozenset(STYLES), rng, brief)


def draw_flaws(request: Request, count: int, rng: random.Random) -> frozenset[str]:
    """Up to `count` flaws that a response to this request can have together."""
    substance = EVASIVE
    if request.category is not None and rng.random() < 0.8:
        substance = request.category
    if count == 1 and rng.random() < 0.45:
        return frozenset({substance})
    pool = [substance, *STYLES]
    if request.kind != "harmful" and rng.random() < 0.6:
        pool.remove(EVASIVE)
    chosen = set(rng.sample(pool, min(count, len(pool))))
    if EVASIVE in chosen:
        chosen.discard("overconfident")
    return frozenset(chosen)


def revise(response: Response, flaws: frozenset[str], rng: random.Random) -> Response:
    """The gold revision: remove exactly `flaws`, copy every other sentence as it stands.

    Randomness is used only where a new core must be written (harm is declined, evasion answered).
    """
    core = response.core
    removes_harm = core == "comply" and response.request.category in flaws
    removes_evasion = core in ("bare", "refuse") and EVASIVE in flaws
    if removes_harm or removes_evasion:
        core = "decline" if response.request.kind == "harmful" else "help"
    parts = response.parts
    if core != response.core:
        opener, body, _ = _core_parts(response.request, core, rng)
        parts = replace(parts, opener=opener, body=body, closing="")
    return replace(response, core=core, styles=response.styles - flaws, parts=parts)


def harms_in(flaws: frozenset[str]) -> frozenset[str]:
    """The flaws that harm somebody, as against flaws of manner."""
    return flaws & frozenset(HARMS)
