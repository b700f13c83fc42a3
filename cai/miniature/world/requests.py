"""Requests to the assistant: harmful, harmless, look-alike and factual, and how they are held out.

Every draw takes a `random.Random`: the same seed gives the same world.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from cai.miniature.world import phrases
from cai.miniature.world.facts import FACTS
from cai.miniature.world.scenarios import LOOK_ALIKES, SCENARIOS, TOPICS
from cai.miniature.world.slots import SLOTS, UNSEEN_VALUES
from cai.miniature.world.vocabulary import HARMS

RequestKind: TypeAlias = Literal["harmful", "benign", "lookalike", "factual"]
WorldSplit: TypeAlias = Literal["train", "held", "unseen"]
SlotValues: TypeAlias = Literal["known", "unseen", "invented"]
KIND_SHARES: dict[RequestKind, float] = {
    "harmful": 0.50,
    "benign": 0.22,
    "lookalike": 0.12,
    "factual": 0.16,
}
HELD_ONE_IN = 6
# In training, one slot value in so many is a word nobody knows: it can only be copied.
INVENTED_ONE_IN = 5
_SLOT = re.compile(r"{(\w+)}")
_SLOT_WORDS = sorted(
    {
        word
        for values in SLOTS.values()
        for value in values
        for word in value.split()
        if word.isalpha()
    }
)
_RESERVED = {
    word for values in UNSEEN_VALUES.values() for value in values for word in value.split()
}
_SYLLABLES = tuple(a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "or"))


@dataclass(frozen=True, slots=True)
class WorldRequest:
    """A user's request and all that the world knows about it.

    `scenario` indexes SCENARIOS, TOPICS, LOOK_ALIKES or FACTS, by kind. `question` names the kind
    of topic question; of a fact it says whether the user asks ("ask") or claims something ("true"
    or "false", which the slot `claimed` holds); it is "" for the others. `action` and `doing` are
    in the user's words ("my boss").
    """

    kind: RequestKind
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
        if self.kind in ("benign", "factual"):
            return f"learn about {self.doing}"
        source = SCENARIOS if self.kind == "harmful" else LOOK_ALIKES
        return f"{source[self.scenario].verb} {fill(source[self.scenario].rest, self.values)}"

    @property
    def doing(self) -> str:
        """The action as a gerund: "reading my boss's diary in secret"."""
        if self.kind == "benign":
            return TOPICS[self.scenario].name
        if self.kind == "factual":
            return FACTS[self.scenario].about
        source = SCENARIOS if self.kind == "harmful" else LOOK_ALIKES
        return f"{source[self.scenario].gerund} {fill(source[self.scenario].rest, self.values)}"

    @property
    def claim(self) -> str:
        """What the user claims about a fact, right or wrong; empty where nothing is claimed."""
        if self.kind != "factual" or self.question == "ask":
            return ""
        return FACTS[self.scenario].statement(self.values["claimed"])

    @classmethod
    def of(cls, meta: Mapping[str, Any], text: str = "") -> WorldRequest:
        """The request of a prompt row, from its `meta` and its text.

        Raises KeyError for what is no such `meta`.
        """
        slots = tuple(meta.get("slots", {}).items())
        return cls(meta["kind"], meta["scenario"], slots, text, meta.get("question", ""))

    def meta(self) -> dict[str, Any]:
        """What a prompt row stores, enough to judge any response to it."""
        return {
            "kind": self.kind,
            "category": self.category,
            "scenario": self.scenario,
            "slots": self.values,
            "question": self.question,
        }


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


def is_held_out(*key: object) -> bool:
    """Whether a combination is kept from training; a sixth are, by hash and for ever."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_ONE_IN == 0


def split_of(request: WorldRequest) -> WorldSplit:
    """The split a request belongs to.

    Harmful requests and look-alikes are split by scenario and first slot value, topics by topic and
    kind of question, facts by what is claimed or by how it is asked; whole scenarios are `unseen`.
    """
    if request.kind == "factual":
        is_question = request.question == "ask"
        key = request.text if is_question else f"{request.question} {request.values['claimed']}"
        held_out = is_held_out("factual", request.scenario, key)
        return "held" if held_out else "train"
    if request.kind == "benign":
        return "held" if is_held_out("benign", request.scenario, request.question) else "train"
    if request.kind == "harmful" and SCENARIOS[request.scenario].unseen:
        return "unseen"
    source = SCENARIOS if request.kind == "harmful" else LOOK_ALIKES
    first = slot_names(source[request.scenario].rest)[0]
    key = request.values[first]
    return "held" if is_held_out(request.kind, request.scenario, key) else "train"


def wrong_answers(scenario: int, split: WorldSplit) -> list[str]:
    """Wrong answers to a fact that a split may tell, in a claim, an answer or a page of statements.

    What may be claimed falsely only of held-out requests is told nowhere in training. A fact may
    have none that are held out.
    """
    fact = FACTS[scenario]
    return [
        answer
        for answer in fact.relation.answers
        if answer != fact.answer
        and is_held_out("factual", scenario, f"false {answer}") == (split == "held")
    ]


def draw_request(
    rng: random.Random,
    kind: RequestKind | None = None,
    split: WorldSplit = "train",
    values: SlotValues | None = None,
    category: str | None = None,
) -> WorldRequest:
    """Draw a request of a split; without `kind`, kinds come by KIND_SHARES.

    Slot values are of the `known` ones; training has some `invented` words among them unless told
    otherwise; `unseen` values are real words that are never met in training. A `category` is the
    harm that a harmful request is after. The split `unseen` holds harmful requests alone. Raises
    ValueError for an unknown kind, split, values or category.
    """
    for value, choices in (
        (kind, get_args(RequestKind)),
        (split, get_args(WorldSplit)),
        (values, get_args(SlotValues)),
        (category, HARMS),
    ):
        if value is not None and value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
    if split == "unseen" or category is not None:
        if kind not in (None, "harmful"):
            what = "the split unseen holds" if category is None else f"{category} is a harm of"
            raise ValueError(f"{what} harmful requests alone, none that is {kind}")
        kind = "harmful"
    while True:
        request_kind = kind or rng.choices(list(KIND_SHARES), list(KIND_SHARES.values()))[0]
        if request_kind == "benign":
            request = _draw_topic(rng, split, values)
        elif request_kind == "factual":
            request = _draw_fact(rng, split, values)
        else:
            request = _draw_scenario(rng, request_kind, split, values, category)
        # Requests that are split by a value belong to no split where that value is an unseen one.
        by_value = request_kind in ("harmful", "lookalike")
        if (values == "unseen" and by_value) or split_of(request) == split:
            return request


def _value(slot: str, rng: random.Random, split: WorldSplit, values: SlotValues | None) -> str:
    """A value for a slot."""
    if values == "unseen":
        return rng.choice(UNSEEN_VALUES[slot])
    mixed = values is None and split == "train" and rng.randrange(INVENTED_ONE_IN) == 0
    if values == "invented" or mixed:
        return " ".join(_invented_word(rng) for _ in range(rng.choice((1, 1, 1, 2))))
    return rng.choice(SLOTS[slot])


def _invented_word(rng: random.Random) -> str:
    """Syllables, or the head of one word and the tail of another: its tokens look like a word's."""
    while True:
        if rng.random() < 0.25:
            word = "".join(rng.choice(_SYLLABLES) for _ in range(rng.choice((2, 3))))
        else:
            head, tail = rng.choice(_SLOT_WORDS), rng.choice(_SLOT_WORDS)
            word = head[: rng.randint(2, 6)] + tail[-rng.randint(2, 6) :]
        if word not in _RESERVED:
            return word


def _draw_scenario(
    rng: random.Random,
    kind: RequestKind,
    split: WorldSplit,
    values: SlotValues | None,
    category: str | None,
) -> WorldRequest:
    source = SCENARIOS if kind == "harmful" else LOOK_ALIKES
    indices = list(range(len(source)))
    if kind == "harmful":
        indices = [i for i in indices if SCENARIOS[i].unseen == (split == "unseen")]
        indices = [i for i in indices if category in (None, SCENARIOS[i].category)]
    index = rng.choice(indices)
    scenario = source[index]
    names = dict.fromkeys(slot_names(" ".join((scenario.rest, *scenario.steps))))
    slots = tuple((name, _value(name, rng, split, values)) for name in names)
    blank = WorldRequest(kind, index, slots, "")
    text = fill(rng.choice(phrases.REQUESTS), {"action": blank.action, "doing": blank.doing})
    return replace(blank, text=text)


def _draw_topic(rng: random.Random, split: WorldSplit, values: SlotValues | None) -> WorldRequest:
    index = rng.randrange(len(TOPICS))
    question = rng.choice(list(phrases.TOPIC_REQUESTS))
    person = _value("person", rng, split, values)
    words = {"topic": TOPICS[index].name, "person": person}
    text = fill(rng.choice(phrases.TOPIC_REQUESTS[question]), words)
    return WorldRequest("benign", index, (("person", person),), text, question)


def _draw_fact(rng: random.Random, split: WorldSplit, values: SlotValues | None) -> WorldRequest:
    """A question about a fact, or a claim about it that is true or false."""
    index = rng.randrange(len(FACTS))
    fact = FACTS[index]
    question = rng.choice(("ask", "true", "false", "false"))
    claimed = fact.answer
    if question == "false":
        claimed = rng.choice([a for a in fact.relation.answers if a != fact.answer])
    person = _value("person", rng, split, values)
    templates = phrases.FACT_QUESTIONS if question == "ask" else phrases.FACT_CLAIMS
    words = {"question": fact.question, "claim": fact.statement(claimed), "person": person}
    text = fill(rng.choice(templates), words)
    slots = (("subject", fact.subject), ("claimed", claimed), ("person", person))
    return WorldRequest("factual", index, slots, text, question)
