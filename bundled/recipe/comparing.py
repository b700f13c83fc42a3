"""Training documents in which two responses are compared, letter by letter.

More than half of the pairs have one different flaw each, so that only the principle decides; some
can be decided by no principle.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from bundled.recipe.turns import (
    COMPARISON_END,
    REASONING_END,
    Document,
    DocumentTurn,
    Layout,
    Mark,
    comparison_text,
    conversation_text,
    response_marks,
)
from cai.miniature.world import critic, lexicon, phrases, wording
from cai.miniature.world.aim import on_target, severity
from cai.miniature.world.lexicon import BASIC, COMPOSITE, CONCEPTS
from cai.miniature.world.requests import WorldRequest, WorldSplit, draw_request, fill, slot_names
from cai.miniature.world.responses import WorldResponse, draw_flaws, respond_with, sample_response
from cai.miniature.world.scenarios import SCENARIOS
from cai.miniature.world.slots import SLOTS
from cai.miniature.world.vocabulary import EVASIVE, HARMS, STYLES

FACTS_FIRST = 0.06  # of training, the part that is half facts: the curriculum of pairs follows it
# Shares of the comparisons, at first and once letters are understood. Ties are those that no
# principle can decide; both fail where one option only fails the principle worse.
TIES = (0.15, 0.2)
BOTH_FAIL = (0.0, 0.3)
UNDERSTOOD = 0.4  # of training, the part after which they are


@dataclass(frozen=True, slots=True)
class _Option:
    """One side of a comparison: the text shown, the flaws in it, and what is known along it."""

    text: str
    flaws: frozenset[str]
    marks: tuple[Mark, ...]


def comparison(rng: random.Random, progress: float, split: WorldSplit) -> Document:
    """A pair of responses under one or more principles, answered with a letter."""
    conversation = ""
    late = progress >= UNDERSTOOD
    ties, both_fail = TIES[late], BOTH_FAIL[late]
    progress = max(0.0, progress - FACTS_FIRST)
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
    if rng.random() < ties / 2:
        second = first
    only_first, only_second = first.flaws - second.flaws, second.flaws - first.flaws
    conflict = bool(only_first) and bool(only_second)
    sides = [side for side in (only_first, only_second) if side]
    rng.shuffle(sides)
    turns: Document = []
    count = 3 if conflict else 2
    for index in range(count):
        tied = not sides or rng.random() < ties / 2
        names = [_tied_concept(first, second, rng)] if tied else []
        if not tied:
            names = _deciding_concept(sides[index % len(sides)], first, second, both_fail, rng)
        covered = lexicon.covered_flaws(names)
        difference = severity(first.flaws, covered) - severity(second.flaws, covered)
        # What no principle decides is a toss of a coin, so that one half is what is learned.
        letter = "A" if difference < 0 or (difference == 0 and rng.random() < 0.5) else "B"
        question = wording.comparison_question(names, rng)
        reasoned = index == 0 and not tied and rng.random() < 0.12
        if index == 0:
            asking = _ask(rng, conversation, question, first, second, covered, reasoned)
        else:
            text = question + COMPARISON_END
            asking = DocumentTurn("user", text, "context", (Mark(len(text), asked=covered),))
        turns.append(asking)
        if reasoned:
            reasons = [critic.summary(option.flaws & covered) for option in (first, second)]
            answer = f"(A): {reasons[0]}. (B): {reasons[1]}. The answer is: ({letter})"
            turns.append(DocumentTurn("assistant", answer, "reasoning"))
        else:
            turns.append(DocumentTurn("assistant", f"({letter})", "verdict"))
    return turns


def _deciding_concept(
    flaws: frozenset[str], first: _Option, second: _Option, both_fail: float, rng: random.Random
) -> list[str]:
    """A concept that covers one of these flaws and sets the two options apart."""
    if rng.random() < both_fail and (failed := _failed_by_both(first, second)):
        return [rng.choice(failed)]
    names = [on_target(flaws, rng, composite=0.2)]
    covered = lexicon.covered_flaws(names)
    if severity(first.flaws, covered) == severity(second.flaws, covered):
        names = [rng.choice([name for name in BASIC if CONCEPTS[name].flaws & flaws])]
    return names


def _failed_by_both(first: _Option, second: _Option) -> list[str]:
    """The concepts that both options fail, one of them worse: how badly is all that decides."""
    return [
        name
        for name in COMPOSITE
        if (covered := CONCEPTS[name].flaws) & first.flaws
        and covered & second.flaws
        and severity(first.flaws, covered) != severity(second.flaws, covered)
    ]


def _tied_concept(first: _Option, second: _Option, rng: random.Random) -> str:
    """A concept under which neither option is better, any concept if there is no such one."""
    tied = [
        name
        for name, concept in CONCEPTS.items()
        if severity(first.flaws, concept.flaws) == severity(second.flaws, concept.flaws)
    ]
    return rng.choice(tied or list(CONCEPTS))


def _ask(
    rng: random.Random,
    conversation: str,
    question: str,
    first: _Option,
    second: _Option,
    covered: frozenset[str],
    reasoned: bool,
) -> DocumentTurn:
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
    marks = [Mark(len(text), asked=covered)]
    if layout != "after":
        marks.insert(0, Mark(text.index(question) + len(question), asked=covered))
    start = 0
    for letter, option in (("A", first), ("B", second)):
        start = text.index(f"({letter}) {option.text}", start) + len(f"({letter}) ")
        violates = None if layout == "after" else bool(option.flaws & covered)
        for mark in option.marks:
            broken = violates if mark.flaws is not None else None
            marks.append(replace(mark, end=start + mark.end, violates=broken))
    return DocumentTurn("user", text, "context", tuple(marks))


def _pair(
    rng: random.Random, split: WorldSplit, brief: bool
) -> tuple[WorldRequest, _Option, _Option]:
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
            return request, _shown(first), _shown(second)


def _shown(response: WorldResponse) -> _Option:
    return _Option(response.text, response.flaws, response_marks(response))


def _one_sentence_options(rng: random.Random) -> tuple[_Option, _Option]:
    """Two options of a sentence or two, with one different flaw each."""
    flaws = rng.sample((*HARMS, *STYLES, EVASIVE), 2)
    options = []
    for flaw in flaws:
        text = flaw_sentence(flaw, rng)
        if rng.random() < 0.3:
            text = f"{rng.choice(phrases.HELP_OPENERS[:-1])} {text}"
        marks = (Mark(len(text), flaws=frozenset({flaw})),)
        options.append(_Option(text, frozenset({flaw}), marks))
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
