"""How principles are worded: critique requests, revision requests and comparison questions.

Many frames, so that a hand-written sentence in the lexicon's words looks familiar. In a frame,
`{r}` is what the response is called, `{a}` adjectives, `{n}` nouns, `{v}` verb phrases, `{g}`
virtues and `{t}` a trailing clause that does not change what is asked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cai.miniature.world.lexicon import CONCEPTS, FILLER

RESPONSE_NAMES = (
    *("the assistant's last response",) * 9,
    *("the response",) * 4,
    *("the assistant's response",) * 2,
    "the answer",
    "the reply",
    "the assistant response",
    "the last response",
    "this response",
    "your last response",
    "your answer",
    "your response",
    "the assistant's answer",
    "what the assistant said",
    "the message of the assistant",
    "the assistant's last message",
)

CRITIQUE_FRAMES: dict[str, tuple[str, ...]] = {
    "adjectives": (
        "Identify specific ways in which {r} is {a}{t}.",
        "Identify specific ways in which {r} is {a}{t}.",
        "Identify any way in which {r} is {a}{t}.",
        "Identify any way in which {r} is {a}{t}.",
        "Identify all ways in which {r} is {a}{t}.",
        "Identify ways in which {r} might be {a}{t}.",
        "Identify anything in {r} that is {a}{t}.",
        "Identify any {a} content in {r}{t}.",
        "Point out anything in {r} that is {a}{t}.",
        "Point out any part of {r} that sounds {a}{t}.",
        "Point out where {r} is {a}{t}.",
        "Point out every sentence of {r} that is {a}{t}.",
        "Explain whether {r} is {a}{t}.",
        "Explain whether {r} could be seen as {a}{t}.",
        "Explain how {r} is {a}{t}.",
        "Discuss whether {r} is {a}{t}.",
        "Say whether {r} sounds {a}{t}.",
        "Describe how {r} is {a}{t}.",
        "Is {r} {a}{t}?",
        "Does {r} come across as {a}{t}?",
        "Would a reasonable person call {r} {a}?",
        "Does any part of {r} sound {a}{t}?",
        "In what ways is {r} {a}{t}?",
        "List everything in {r} that is {a}{t}.",
        "Find anything {a} in {r}{t}.",
        "Name all that is {a} in {r}.",
        "Check whether {r} is {a}{t}.",
        "Judge whether {r} is {a}{t}.",
        "Review {r} for {a} content.",
        "Tell me if {r} is {a}{t}.",
        "Critique {r}: is it {a}{t}?",
        "The response should not be {a}. Critique it.",
        "A response must never be {a}{t}. What is wrong with it?",
    ),
    "nouns": (
        "Identify any {n} in {r}{t}.",
        "Identify ways in which {r} contains {n}.",
        "Does {r} contain {n}?",
        "Is there {n} in {r}?",
        "Check {r} for {n}.",
        "Review {r} with regard to {n}.",
        "Critique {r} in terms of {n}.",
        "Point out {n} in {r}.",
        "Point out any {n} in {r}{t}.",
        "Examine {r} for {n}.",
        "Look for {n} in {r}.",
        "Explain whether {r} contains {n}.",
        "Say whether {r} shows {n}.",
        "List any {n} in {r}.",
        "The response should be free of {n}. Critique it.",
    ),
    "verbs": (
        "Identify specific ways in which {r} {v}.",
        "Identify any way in which {r} {v}.",
        "Identify any way in which {r} {v}{t}.",
        "Identify anything in {r} that {v}.",
        "Explain whether {r} {v}.",
        "Explain how {r} {v}{t}.",
        "Point out where {r} {v}.",
        "Point out any sentence of {r} that {v}.",
        "Say whether {r} {v}.",
        "Discuss whether {r} {v}.",
        "Tell me whether {r} {v}.",
        "Describe any way in which {r} {v}.",
        "Think carefully and say if {r} {v}.",
        "Find out if {r} {v}, and explain the problem.",
        "Do you think that {r} {v}?",
    ),
    "virtues": (
        "A good answer is {g}. Where does {r} fail?",
        "The assistant should be {g}. Point out where {r} fails.",
        "Responses ought to be {g}. Critique {r}.",
        "Identify any way in which {r} is not {g}.",
        "Identify specific ways in which {r} is not {g}.",
        "Explain whether {r} is {g}.",
        "Explain where {r} could be more {g}.",
        "Point out anything in {r} that is not {g}{t}.",
        "Is {r} {g}?",
        "We want {r} to be {g}. Critique it.",
        "Is {r} {g} enough? Point out what goes against this.",
    ),
    "mixed": (
        "Identify any way in which {r} is {a} or {v}.",
        "Identify specific ways in which {r} is {a}, or {v}.",
        "Identify ways in which {r} contains {n} or is {a}.",
        "Explain whether {r} is {a} or {v}.",
        "Point out anything in {r} that is {a} or {v}.",
        "Point out any {n} in {r}, or anything {a}.",
    ),
}
CRITIQUE_TAILS = (
    " to the user",
    " in tone",
    ", even slightly",
    " in any way",
    " towards other people",
    " to anyone",
    " for anyone",
    ", and say why",
    ", and quote the words",
    ", and be specific",
    " and explain why",
    " at any point",
    ", even if it is otherwise good",
    " to somebody",
    ", or that could be read that way",
    " without a good reason",
)
CRITIQUE_AFTER = (
    "Be specific.",
    "Explain briefly.",
    "Give your reasons.",
    "Quote the words.",
    "Say why.",
    "Be brief.",
    "Mention only that.",
    "Consider only this question.",
    "Look at every sentence.",
    "Point it out.",
    "If so, how?",
    "Say what is wrong.",
)
CRITIQUE_BEFORE = (
    "Read the response again.",
    "Look at the last response once more.",
    "Our rule is about {n}.",
    "We want the assistant to be {g}.",
    "Nobody likes {n}.",
    "Users complain about {n}.",
    "The assistant should never be {a}.",
    "Our assistant must be {g}.",
    "Think about {n}.",
)
ANY_CRITIQUES = (
    "Identify any problems or flaws in the response.",
    "Is there any problem with the response?",
    "Name everything that is wrong with the answer.",
    "Identify any problem in the assistant's last response.",
    "Identify specific ways in which the assistant's last response has a problem of any kind.",
    "Point out whatever is wrong with the assistant's last response.",
    "Say what could be improved in this answer.",
    "What is wrong with the assistant's last response?",
)

REVISION_NAMES = (
    *("the assistant's response",) * 4,
    *("the assistant response",) * 3,
    *("the assistant's last response",) * 3,
    *("the response",) * 4,
    "the answer",
    "your response",
    "your answer",
    "the last response",
)
REVISION_FRAMES: dict[str, tuple[str, ...]] = {
    "adjectives": (
        "Please rewrite {r} to remove any and all {a} content{t}.",
        "Please rewrite {r} so that it is not {a}{t}.",
        "Please rewrite {r} so that it is no longer {a}{t}.",
        "Rewrite {r} so that nothing in it is {a}{t}.",
        "Revise {r} to remove everything that is {a}{t}.",
        "Remove anything {a} from {r}{t}.",
        "Please rewrite {r}, removing all {a} parts{t}.",
        "Rewrite {r} without the {a} parts{t}.",
        "Revise {r} to be less {a}{t}.",
    ),
    "nouns": (
        "Rewrite {r} without {n}{t}.",
        "Revise {r} to avoid {n}{t}.",
        "Please rewrite {r} so that it is free of {n}{t}.",
        "Please remove any {n} from {r}{t}.",
        "Please rewrite {r} to remove all {n}{t}.",
    ),
    "virtues": (
        "Please rewrite {r} so that it is {g}{t}.",
        "Please rewrite {r} so that it is {g}{t}.",
        "Please rewrite {r} to be more {g}{t}.",
        "Rewrite {r} to be {g}{t}.",
        "Revise {r} so that it becomes {g}{t}.",
        "Make {r} {g}{t}.",
        "Please rewrite {r} in a {g} way{t}.",
    ),
    "verbs": (
        "Please rewrite {r} so that it no longer {v}{t}.",
        "Rewrite {r} so that nothing in it {v}{t}.",
        "Change whatever in {r} {v}{t}.",
    ),
}
REVISION_TAILS = (
    " and keep everything else",
    " and keeps everything else",
    ", and keep the rest as it is",
    " while staying helpful",
    " without changing anything else",
    ", but leave the rest alone",
    " and still answers the user",
    " while keeping all useful content",
    " and offer a better idea instead",
    " and keeps the useful parts",
    ", but change nothing else",
    " and keep the other sentences",
    " and does not change anything else",
    ", and offer a better idea instead. Keep everything else",
    ". Decline briefly what would do harm, offer a better idea instead, and keep everything else",
    ", while staying helpful. Where it cannot help, let it decline briefly",
)
BY_CRITIQUE = (
    "Please rewrite the response in the light of the critique.",
    "Revise the response to fix the problems you named.",
    "Now write a better version of the response.",
    "Rewrite the assistant response according to the critique.",
    "Please rewrite the assistant's response so that the critique no longer applies.",
)

COMPARISON_FRAMES: dict[str, tuple[str, ...]] = {
    "adjectives": (
        "Which response is less {a}?",
        "Which response is less {a}?",
        "Which of these assistant responses is less {a}?",
        "Which of the two responses is less {a}?",
        "Choose the response that is less {a}.",
        "Please choose the response that is the least {a}.",
    ),
    "virtues": (
        "Which response is more {g}?",
        "Which response is more {g}?",
        "Which of these assistant responses is more {g}?",
        "Choose the response that is more {g}.",
        "Please choose the response that is the most {g}.",
        "Which response is better, if it should be {g}?",
    ),
    "nouns": (
        "Which response contains less {n}?",
        "Which response avoids {n}?",
        "Pick the response that avoids {n}.",
        "Which of these responses is freer of {n}?",
    ),
    "verbs": (
        "Which response is least likely to be one that {v}?",
        "Which response is less likely to be one that {v}?",
    ),
}


def enumerate_words(words: Sequence[str], rng: random.Random, joiner: str | None = None) -> str:
    """List words as "a, b or c", with or without the last comma."""
    if len(words) == 1:
        return words[0]
    word = joiner or rng.choice(("or", "or", "and"))
    comma = "," if len(words) > 2 and rng.random() < 0.5 else ""
    return f"{', '.join(words[:-1])}{comma} {word} {words[-1]}"


def _fill(
    frame: str, names: Sequence[str], response_name: str, tail: str, rng: random.Random
) -> str:
    """Put the words of the named concepts into a frame."""

    def words(field: str, most: int) -> list[str]:
        chosen: list[str] = []
        for name in names:
            options: tuple[str, ...] = getattr(CONCEPTS[name], field)
            count = most if rng.random() < 0.35 else 1
            chosen += rng.sample(options, min(count, len(options)))
        return chosen

    replacements = {
        "{r}": response_name,
        "{t}": tail,
        "{a}": enumerate_words(words("adjectives", 2), rng),
        "{n}": enumerate_words(words("nouns", 2 if len(names) == 1 else 1), rng),
        "{v}": enumerate_words(words("verbs", 1), rng, "or"),
        "{g}": enumerate_words(words("virtues", 2), rng, "and"),
    }
    for slot, text in replacements.items():
        frame = frame.replace(slot, text)
    return frame[0].upper() + frame[1:]


def critique_request(names: Sequence[str], rng: random.Random) -> str:
    """A sentence that asks whether the last response has the flaws of these concepts."""
    if list(names) == ["any"] and rng.random() < 0.35:
        return rng.choice(ANY_CRITIQUES)
    chance = rng.random()
    if chance < 0.1:
        return _loose_request(names, rng)
    kind = rng.choices(
        ("adjectives", "nouns", "verbs", "virtues", "mixed"), (0.5, 0.13, 0.17, 0.1, 0.1)
    )[0]
    response_name = rng.choice(RESPONSE_NAMES)
    tail = rng.choice(CRITIQUE_TAILS) if rng.random() < 0.25 else ""
    text = _fill(rng.choice(CRITIQUE_FRAMES[kind]), names, response_name, tail, rng)
    if rng.random() < 0.12:
        text += " " + rng.choice(CRITIQUE_AFTER)
    if rng.random() < 0.1:
        text = _fill(rng.choice(CRITIQUE_BEFORE), names, response_name, "", rng) + " " + text
    return text


def _loose_request(names: Sequence[str], rng: random.Random) -> str:
    """The concepts' words dropped among filler, so that they steer in any sentence."""

    def filler(least: int, most: int) -> list[str]:
        return [rng.choice(FILLER) for _ in range(rng.randint(least, most))]

    words: list[str] = []
    for name in names:
        concept = CONCEPTS[name]
        options = rng.choice((concept.adjectives, concept.nouns, concept.verbs, concept.virtues))
        words += [*filler(0, 5), rng.choice(options), *filler(0, 4)]
    text = " ".join(words)
    text = text[0].upper() + text[1:] + rng.choice((".", "?", ":"))
    if rng.random() < 0.5:
        text += " " + rng.choice(CRITIQUE_AFTER)
    return text


def revision_request(names: Sequence[str], rng: random.Random, named: bool = False) -> str:
    """A sentence that asks for a revision; `named` insists that it names the concepts."""
    if not named and rng.random() < 0.12:
        return rng.choice(BY_CRITIQUE)
    kind = rng.choices(("adjectives", "nouns", "virtues", "verbs"), (0.4, 0.15, 0.33, 0.12))[0]
    tail = rng.choice(REVISION_TAILS) if rng.random() < 0.45 else ""
    response_name = rng.choice(REVISION_NAMES)
    return _fill(rng.choice(REVISION_FRAMES[kind]), names, response_name, tail, rng)


def comparison_question(names: Sequence[str], rng: random.Random) -> str:
    """A question that asks which of two responses is better under these concepts."""
    kind = rng.choices(("adjectives", "virtues", "nouns", "verbs"), (0.5, 0.3, 0.12, 0.08))[0]
    return _fill(rng.choice(COMPARISON_FRAMES[kind]), names, "the response", "", rng)
