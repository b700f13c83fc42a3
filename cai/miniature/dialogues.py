"""Training documents: conversations drawn from the world, each turn with its part in the loss.

Most turns are worded exactly as the engine words them (`CRITIQUE_SUFFIX`, `REVISION_SUFFIX` and the
comparison layouts, which a test holds to `constitution/templates/`), the rest in other ways, so
that the model does not hang on one phrasing. What makes a principle matter is contrast: one
response asked about flaws it has and about flaws it has not, and pairs of responses with one
different flaw each.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cai.miniature import critic, lexicon, phrases, wording
from cai.miniature.lexicon import BASIC, COMPOSITE, CONCEPTS
from cai.miniature.scenarios import SCENARIOS
from cai.miniature.vocabulary import EVASIVE, HARMS, SLOTS, STYLES
from cai.miniature.world import (
    Request,
    Response,
    WorldSplit,
    draw_flaws,
    draw_request,
    fill,
    respond_with,
    revise,
    sample_response,
    slot_names,
)

Role: TypeAlias = Literal["system", "user", "assistant"]
Layout: TypeAlias = Literal["after", "before", "both"]

CRITIQUE_SUFFIX = f"\n\nIf there is no such problem, answer only: {critic.NO_PROBLEM}"
REVISION_SUFFIX = "\n\nAnswer with the revised response only."
CONVERSATION_LEAD = "Consider the following conversation between a human and an assistant:"
COMPARISON_END = " Answer with (A) or (B)."
REASONING_END = (
    " Say for each response what speaks for and against it, then answer with (A) or (B)."
)
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful and harmless assistant.",
    "Answer the user.",
    "You are a friendly assistant for everyday questions.",
)
ENGINE_SHARE = 0.72
HARM_SEVERITY = 2.0


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known where a response ends: its flaws, for the auxiliary loss.

    `end` counts characters in the turn's text; `violates` says whether the response breaks the
    principle that was stated before it, None where none was.
    """

    end: int
    flaws: frozenset[str]
    violates: bool | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a training document.

    `kind` decides the loss weights: `context` is hardly learned, `sample` is what the base model
    says, `shown` is a response that only serves what follows it.
    """

    role: Role
    text: str
    kind: Literal["context", "sample", "shown", "critique", "revision", "verdict", "reasoning"]
    marks: tuple[Mark, ...] = ()


Document: TypeAlias = list[Turn]


def document(rng: random.Random, progress: float = 1.0, split: WorldSplit = "train") -> Document:
    """Draw a training document; `progress` (0 to 1) moves comparisons from short to full ones."""
    chance = rng.random()
    if chance < 0.18:
        return _chat(rng, split)
    if chance < 0.39:
        return _contrast(rng, split)
    if chance < 0.71:
        return _revision_rounds(rng, split)
    if chance < 0.77:
        return _direct_revision(rng, split)
    return _comparison(rng, progress, split)


def severity(response: Response, asked: frozenset[str]) -> float:
    """How badly a response fails a principle: a harm counts twice a flaw of manner."""
    hit = response.flaws & asked
    return sum(HARM_SEVERITY if flaw in HARMS else 1.0 for flaw in hit)


def critique_turn(request: str) -> str:
    """A critique request as the engine sends it."""
    return request + CRITIQUE_SUFFIX


def revision_turn(request: str) -> str:
    """A revision request as the engine sends it."""
    return request + REVISION_SUFFIX


# --- plain chat


def _system(rng: random.Random) -> Document:
    if rng.random() < 0.1:
        return [Turn("system", rng.choice(SYSTEM_PROMPTS), "context")]
    return []


def _user(request: Request) -> Turn:
    return Turn("user", request.text, "context")


def _shown(response: Response) -> Turn:
    return Turn("assistant", response.text, "shown", _final_mark(response))


def _final_mark(response: Response) -> tuple[Mark, ...]:
    return (Mark(len(response.text), response.flaws),)


def _chat(rng: random.Random, split: WorldSplit) -> Document:
    turns = _system(rng)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        request = draw_request(rng, None, split)
        response = sample_response(request, rng)
        turns += [
            _user(request),
            Turn("assistant", response.text, "sample", _final_mark(response)),
        ]
    return turns


def _earlier(rng: random.Random, split: WorldSplit) -> Document:
    """What may stand before the conversation at hand: nothing, mostly."""
    turns = _system(rng)
    if rng.random() < 0.07:
        request = draw_request(rng, None, split)
        turns += [_user(request), _shown(sample_response(request, rng))]
    return turns


# --- critiques and revisions


def _response(rng: random.Random, split: WorldSplit, weights: Sequence[float]) -> Response:
    """A response with 0, 1, 2 or 3 flaws, by weight; two thirds answer harmful requests."""
    request = draw_request(rng, "harmful" if rng.random() < 0.62 else None, split)
    count = rng.choices(range(len(weights)), weights)[0]
    return respond_with(request, draw_flaws(request, count, rng), rng)


def _on_target(flaws: frozenset[str], rng: random.Random, composite: float) -> str:
    """A concept that covers one of the flaws."""
    groups = [name for name in COMPOSITE if CONCEPTS[name].flaws & flaws]
    if groups and rng.random() < composite:
        weights = [2.0 if name in ("harm", "any") else 1.0 for name in groups]
        return rng.choices(groups, weights)[0]
    return rng.choice([name for name in BASIC if CONCEPTS[name].flaws & flaws])


def _off_target(response: Response, rng: random.Random) -> str:
    """A concept that covers none of the response's flaws, likely one that is easily mistaken."""
    flaws = response.flaws
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


def _concepts(response: Response, on_target: float, rng: random.Random) -> list[str]:
    """The concepts of one principle, one mostly, on target with the given probability."""
    flaws = response.flaws
    if flaws and rng.random() < on_target:
        harms = [flaw for flaw in flaws if flaw in HARMS]
        if harms and rng.random() < 0.3:
            names = [harms[0]]
        else:
            names = [_on_target(flaws, rng, composite=0.4)]
    else:
        names = [_off_target(response, rng)]
    if rng.random() < 0.2:
        for _ in range(rng.choice((1, 1, 2, 3))):
            off = rng.random() < 0.6
            other = _off_target(response, rng) if off else rng.choice(list(CONCEPTS))
            if other not in names and "any" not in names:
                names.append(other)
        rng.shuffle(names)
    return names


def _critique_text(request: str, engine: bool, rng: random.Random) -> str:
    if engine:
        return critique_turn(request)
    return rng.choice((request, request, f"Critique Request: {request}", critique_turn(request)))


def _revision_text(request: str, engine: bool, rng: random.Random) -> str:
    if engine:
        return revision_turn(request)
    return rng.choice((request, request, f"Revision Request: {request}", revision_turn(request)))


def _contrast(rng: random.Random, split: WorldSplit) -> Document:
    """One response under several principles, some that it breaks and some that it keeps."""
    response = _response(rng, split, (0.14, 0.38, 0.3, 0.18))
    engine = rng.random() < ENGINE_SHARE
    turns = [*_earlier(rng, split), _user(response.request), _shown(response)]
    on_first = rng.random() < 0.5
    for index in range(rng.choice((2, 3, 3, 4))):
        on_target = 0.9 if (index % 2 == 0) == on_first else 0.1
        names = _concepts(response, on_target, rng)
        request = wording.critique_request(names, rng)
        answer = critic.critique(response, lexicon.covered_flaws(names), rng)
        turns += [
            Turn("user", _critique_text(request, engine, rng), "context"),
            Turn("assistant", answer, "critique"),
        ]
    return turns


def _round(
    response: Response, on_target: float, engine: bool, rng: random.Random
) -> tuple[Document, Response]:
    """A critique, a revision request and the gold revision."""
    names = _concepts(response, on_target, rng)
    asked = lexicon.covered_flaws(names)
    revised = revise(response, asked, rng)
    turns = [
        Turn("user", _critique_text(wording.critique_request(names, rng), engine, rng), "context"),
        Turn("assistant", critic.critique(response, asked, rng), "critique"),
        Turn("user", _revision_text(wording.revision_request(names, rng), engine, rng), "context"),
        Turn("assistant", revised.text, "revision", _final_mark(revised)),
    ]
    return turns, revised


def _revision_rounds(rng: random.Random, split: WorldSplit) -> Document:
    """A response, its critique and its revision; at times a few-shot example or a second round."""
    engine = rng.random() < ENGINE_SHARE
    turns = _earlier(rng, split)
    if rng.random() < 0.06:
        example = _response(rng, split, (0.0, 0.6, 0.4))
        shown, _ = _round(example, 1.0, engine, rng)
        turns += [_user(example.request), _shown(example), *shown]
    response = _response(rng, split, (0.06, 0.32, 0.36, 0.26))
    turns += [_user(response.request), _shown(response)]
    for _ in range(rng.choice((1, 1, 1, 2))):
        added, response = _round(response, 0.82, engine, rng)
        turns += added
    return turns


def _direct_revision(rng: random.Random, split: WorldSplit) -> Document:
    """A revision without a critique before it: the request itself names what to change."""
    engine = rng.random() < ENGINE_SHARE
    response = _response(rng, split, (0.06, 0.34, 0.35, 0.25))
    turns = [*_earlier(rng, split), _user(response.request), _shown(response)]
    for _ in range(rng.choice((1, 2))):
        names = _concepts(response, 0.8, rng)
        response = revise(response, lexicon.covered_flaws(names), rng)
        request = wording.revision_request(names, rng, named=True)
        turns += [
            Turn("user", _revision_text(request, engine, rng), "context"),
            Turn("assistant", response.text, "revision", _final_mark(response)),
        ]
    return turns


# --- comparisons


def comparison_text(
    conversation: str,
    question: str,
    first: str,
    second: str,
    layout: Layout,
    reasoned: bool = False,
) -> str:
    """A comparison as the templates `compare*.j2` render it."""
    end = REASONING_END if reasoned else COMPARISON_END
    responses = f"Responses:\n(A) {first}\n(B) {second}"
    if layout == "after":
        return f"{CONVERSATION_LEAD}\n\n{conversation}\n\n{responses}\n\n{question}{end}"
    head = f"{CONVERSATION_LEAD}\n\n{conversation}\n\n{question}\n\n{responses}\n\n"
    return head + (f"{question}{end}" if layout == "both" else end.strip())


def conversation_text(turns: Sequence[tuple[str, str]], request: str) -> str:
    """Earlier (user, assistant) pairs and the request, as a judge reads them."""
    lines = [f"Human: {user}\n\nAssistant: {assistant}" for user, assistant in turns]
    return "\n\n".join([*lines, f"Human: {request}"])


@dataclass(frozen=True, slots=True)
class _Option:
    """One side of a comparison: the text shown and the flaws in it."""

    text: str
    flaws: frozenset[str]

    def severity(self, asked: frozenset[str]) -> float:
        return sum(HARM_SEVERITY if flaw in HARMS else 1.0 for flaw in self.flaws & asked)


def _comparison(rng: random.Random, progress: float, split: WorldSplit) -> Document:
    """A pair of responses under one or more principles, answered with a letter."""
    conversation = ""
    if rng.random() < max(0.08, 0.9 - 3.0 * progress):
        first, second = _one_sentence_options(rng)
        if rng.random() < 0.5:
            request = draw_request(rng, None, split)
            conversation = conversation_text((), request.text)
    else:
        brief = rng.random() < max(0.15, 0.9 - 1.2 * progress)
        request, first, second = _pair(rng, split, brief)
        earlier: list[tuple[str, str]] = []
        if rng.random() < 0.08:
            before = draw_request(rng, None, split)
            earlier.append((before.text, sample_response(before, rng).text))
        conversation = conversation_text(earlier, request.text)
    only_first, only_second = first.flaws - second.flaws, second.flaws - first.flaws
    conflict = bool(only_first) and bool(only_second)
    sides = [side for side in (only_first, only_second) if side]
    rng.shuffle(sides)
    turns: Document = []
    count = 3 if conflict else 2
    for index in range(count):
        flaws = sides[index % len(sides)]
        names = [_on_target(flaws, rng, composite=0.2)]
        asked = lexicon.covered_flaws(names)
        if first.severity(asked) == second.severity(asked):
            names = [rng.choice([name for name in BASIC if CONCEPTS[name].flaws & flaws])]
            asked = lexicon.covered_flaws(names)
        letter = "A" if first.severity(asked) < second.severity(asked) else "B"
        question = wording.comparison_question(names, rng)
        reasoned = index == 0 and rng.random() < 0.12
        if index == 0:
            asking = _ask(rng, conversation, question, first, second, asked, reasoned)
        else:
            asking = Turn("user", question + COMPARISON_END, "context")
        turns.append(asking)
        if reasoned:
            reasons = [critic.summary(option.flaws & asked) for option in (first, second)]
            answer = f"(A): {reasons[0]}. (B): {reasons[1]}. The answer is: ({letter})"
            turns.append(Turn("assistant", answer, "reasoning"))
        else:
            turns.append(Turn("assistant", f"({letter})", "verdict"))
    return turns


def _ask(
    rng: random.Random,
    conversation: str,
    question: str,
    first: _Option,
    second: _Option,
    asked: frozenset[str],
    reasoned: bool,
) -> Turn:
    """The user turn that shows both responses, with marks where each of them ends."""
    layout: Layout = rng.choices(("after", "before", "both"), (0.3, 0.35, 0.35))[0]
    if conversation:
        text = comparison_text(conversation, question, first.text, second.text, layout, reasoned)
    else:
        question_end = question + (REASONING_END if reasoned else COMPARISON_END)
        options = f"(A) {first.text}\n(B) {second.text}"
        text = f"{question}\n{options}\n\n{question_end}"
        if layout == "after":
            text = f"{options}\n\n{question_end}"
    marks = []
    start = 0
    for letter, option in (("A", first), ("B", second)):
        start = text.index(f"({letter}) {option.text}", start) + len(f"({letter}) {option.text}")
        violates = None if layout == "after" else bool(option.flaws & asked)
        marks.append(Mark(start, option.flaws, violates))
    return Turn("user", text, "context", tuple(marks))


def _pair(rng: random.Random, split: WorldSplit, brief: bool) -> tuple[Request, _Option, _Option]:
    """Two responses to one request with different flaws; half have one different flaw each."""
    while True:
        request = draw_request(rng, None, split)
        counts = (1, 1)
        if rng.random() < 0.45:
            counts = rng.choice(((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2)))
        first, second = (
            respond_with(request, draw_flaws(request, count, rng), rng, brief) for count in counts
        )
        if first.flaws != second.flaws:
            return (
                request,
                _Option(first.text, first.flaws),
                _Option(second.text, second.flaws),
            )


def _one_sentence_options(rng: random.Random) -> tuple[_Option, _Option]:
    """Two options of a sentence or two, with one different flaw each."""
    flaws = rng.sample((*HARMS, *STYLES, EVASIVE), 2)
    options = []
    for flaw in flaws:
        text = flaw_sentence(flaw, rng)
        if rng.random() < 0.3:
            text = f"{rng.choice(phrases.HELP_OPENERS[:-1])} {text}"
        options.append(_Option(text, frozenset({flaw})))
    return options[0], options[1]


def flaw_sentence(flaw: str, rng: random.Random) -> str:
    """A single sentence with a single flaw."""
    by_style = {
        "rude": phrases.RUDE_FIRST + phrases.RUDE_LAST,
        "overconfident": phrases.OVERCONFIDENT,
        "preachy": phrases.PREACHY,
        EVASIVE: phrases.BARE_REFUSALS,
    }
    if flaw in by_style:
        return rng.choice(by_style[flaw])
    scenario = rng.choice([s for s in SCENARIOS if s.category == flaw and not s.unseen])
    step = rng.choice(scenario.steps)
    return fill(step, {name: rng.choice(SLOTS[name]) for name in slot_names(step)})
