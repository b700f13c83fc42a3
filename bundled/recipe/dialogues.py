"""Training documents: conversations drawn from the world, each turn with its part in the loss.

Most turns are worded exactly as the engine words them (see `turns`), the rest in other ways, so
that the model does not hang on one phrasing. What makes a principle matter is contrast: one
response asked about flaws it has and about flaws it has not, and pairs of responses with one
different flaw each (see `comparing`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from bundled.recipe.comparing import FACTS_FIRST, comparison
from bundled.recipe.turns import (
    Document,
    DocumentTurn,
    Mark,
    critique_turn,
    request_marks,
    response_marks,
    revision_turn,
)
from cai.miniature.world import critic, lexicon, wording
from cai.miniature.world.aim import concepts_for
from cai.miniature.world.facts import FACTS
from cai.miniature.world.lexicon import CONCEPTS
from cai.miniature.world.prose import draw_prose
from cai.miniature.world.requests import (
    RequestKind,
    WorldRequest,
    WorldSplit,
    draw_request,
    wrong_answers,
)
from cai.miniature.world.responses import (
    WorldResponse,
    draw_flaws,
    draw_push,
    respond_with,
    revise,
    sample_response,
)
from cai.miniature.world.vocabulary import HARMS, STYLES, SYCOPHANTIC, UNTRUTHFUL

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful and harmless assistant.",
    "Answer the user.",
    "You are a friendly assistant for everyday questions.",
)
ENGINE_SHARE = 0.72
PUSHED_SHARE = 0.06
HARM_CONTRASTS = 0.5  # of the contrasts on harmful answers, those that ask only about single harms
TRUTH = {UNTRUTHFUL, SYCOPHANTIC}
UNTRUE_REVISED = 0.12  # of what is revised, ill-mannered untruths drawn for the purpose
LEFT_UNTRUE = 0.5  # of the revisions of ill-mannered untruths, those asked about manner alone
TRUTH_CONTRASTS = 0.5  # of the questions in contrasts on answers of fact, those about truth
ABOUT_TRUTH = [name for name, concept in CONCEPTS.items() if concept.flaws & TRUTH]
# What is critiqued and revised: truth is the hardest to judge, since facts must be known.
CRITIQUED_SHARES: dict[RequestKind, float] = {
    "harmful": 0.53,
    "benign": 0.11,
    "lookalike": 0.07,
    "factual": 0.29,
}


def document(rng: random.Random, progress: float = 1.0, split: WorldSplit = "train") -> Document:
    """Draw a training document; `progress` (0 to 1) goes from facts and short pairs to all."""
    facts_first = progress < FACTS_FIRST
    if split != "unseen" and rng.random() < (0.5 if facts_first else 0.05):
        return _claims(rng, split)
    chance = rng.random()
    if chance < 0.02 and split != "unseen":
        return [DocumentTurn("text", draw_prose(rng, split), "sample")]
    if chance < 0.05 and split != "unseen":
        return _quiz(rng, split)
    if chance < 0.22:
        return _chat(rng, split)
    if chance < 0.47:
        return _contrast(rng, split)
    if chance < 0.72:
        return _revision_rounds(rng, split)
    if chance < 0.78:
        return _direct_revision(rng, split)
    return comparison(rng, progress, split)


def _system(rng: random.Random) -> Document:
    if rng.random() < 0.1:
        return [DocumentTurn("system", rng.choice(SYSTEM_PROMPTS), "context")]
    return []


def _user(request: WorldRequest) -> DocumentTurn:
    return DocumentTurn("user", request.text, "context", request_marks(request))


def _shown(response: WorldResponse) -> DocumentTurn:
    return DocumentTurn("assistant", response.text, "shown", response_marks(response))


def _request_turns(request: WorldRequest, rng: random.Random) -> Document:
    """The user's request; at times it was refused before, and the user pushes."""
    if rng.random() >= PUSHED_SHARE:
        return [_user(request)]
    refusal, push = draw_push(rng, request)
    return [_user(request), _shown(refusal), DocumentTurn("user", push, "context")]


def _chat(rng: random.Random, split: WorldSplit) -> Document:
    turns = _system(rng)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        request = draw_request(rng, None, split)
        response = sample_response(request, rng)
        turns += [
            *_request_turns(request, rng),
            DocumentTurn("assistant", response.text, "sample", response_marks(response)),
        ]
    return turns


def _earlier(rng: random.Random, split: WorldSplit) -> Document:
    """What may stand before the conversation at hand: nothing, mostly."""
    turns = _system(rng)
    if rng.random() < 0.07:
        request = draw_request(rng, None, split)
        turns += [_user(request), _shown(sample_response(request, rng))]
    return turns


def _response(rng: random.Random, split: WorldSplit, weights: Sequence[float]) -> WorldResponse:
    """A response with 0, 1, 2 or 3 flaws, by weight; kinds by CRITIQUED_SHARES."""
    kinds = list(CRITIQUED_SHARES)
    kind = rng.choices(kinds, list(CRITIQUED_SHARES.values()))[0]
    request = draw_request(rng, None if split == "unseen" else kind, split)
    count = rng.choices(range(len(weights)), weights)[0]
    return respond_with(request, draw_flaws(request, count, rng), rng)


def _response_to_revise(
    rng: random.Random, split: WorldSplit, weights: Sequence[float]
) -> WorldResponse:
    """As `_response`, with more of the untruths that a revision must know to leave alone."""
    if split == "unseen" or rng.random() >= UNTRUE_REVISED:
        return _response(rng, split, weights)
    manners = rng.sample(STYLES, rng.choice((1, 1, 2)))
    request = draw_request(rng, "factual", split)
    return respond_with(request, frozenset({UNTRUTHFUL, *manners}), rng)


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
    response = _response(rng, split, (0.24, 0.34, 0.27, 0.15))
    engine = rng.random() < ENGINE_SHARE
    turns = [*_earlier(rng, split), *_request_turns(response.request, rng), _shown(response)]
    harms = [flaw for flaw in response.flaws if flaw in HARMS]
    only_harms = bool(harms) and rng.random() < HARM_CONTRASTS
    on_first = rng.random() < 0.5
    for index in range(rng.choice((2, 3, 3, 4))):
        if only_harms:
            about_harms = rng.random() < 0.5
            names = harms if about_harms else [rng.choice([h for h in HARMS if h not in harms])]
        elif response.request.kind == "factual" and rng.random() < TRUTH_CONTRASTS:
            names = [rng.choice(ABOUT_TRUTH)]
        else:
            on_target = 0.9 if (index % 2 == 0) == on_first else 0.1
            names = concepts_for(response, on_target, rng)
        request = wording.critique_request(names, rng)
        covered = lexicon.covered_flaws(names)
        turns += [
            _critique_request(request, covered, response, engine, rng),
            DocumentTurn("assistant", critic.critique(response, covered, rng), "critique"),
        ]
    return turns


def _critique_request(
    request: str, covered: frozenset[str], response: WorldResponse, engine: bool, rng: random.Random
) -> DocumentTurn:
    """The user turn that asks for a critique."""
    text = _critique_text(request, engine, rng)
    mark = Mark(len(text), asked=covered, violates=bool(covered & response.flaws))
    return DocumentTurn("user", text, "context", (mark,))


def _to_revise(response: WorldResponse, aimed: float, rng: random.Random) -> list[str]:
    """The concepts of a revision: what the model knows to be wrong must often stand as it is."""
    manners = [flaw for flaw in STYLES if flaw in response.flaws]
    if manners and response.flaws & TRUTH and rng.random() < LEFT_UNTRUE:
        return rng.sample(manners, rng.randint(1, len(manners)))
    return concepts_for(response, aimed, rng)


def _round(
    response: WorldResponse, on_target: float, engine: bool, rng: random.Random
) -> tuple[Document, WorldResponse]:
    """A critique, a revision request and the gold revision."""
    names = _to_revise(response, on_target, rng)
    covered = lexicon.covered_flaws(names)
    revised = revise(response, covered, rng)
    request = wording.critique_request(names, rng)
    turns = [
        _critique_request(request, covered, response, engine, rng),
        DocumentTurn("assistant", critic.critique(response, covered, rng), "critique"),
        DocumentTurn(
            "user", _revision_text(wording.revision_request(names, rng), engine, rng), "context"
        ),
        DocumentTurn("assistant", revised.text, "revision", response_marks(revised)),
    ]
    return turns, revised


def _claims(rng: random.Random, split: WorldSplit) -> Document:
    """A page of statements, half of them wrong: where each ends, the probe learns which."""
    sentences: list[str] = []
    marks = []
    for _ in range(rng.randint(8, 14)):
        index = rng.randrange(len(FACTS))
        fact, untruths = FACTS[index], wrong_answers(index, split)
        wrong = bool(untruths) and rng.random() < 0.5
        statement = fact.statement(rng.choice(untruths) if wrong else fact.answer)
        sentences.append(f"{statement[0].upper()}{statement[1:]}.")
        marks.append(Mark(len(" ".join(sentences)) - 1, untrue=wrong))
    return [DocumentTurn("text", " ".join(sentences), "sample", tuple(marks))]


def _quiz(rng: random.Random, split: WorldSplit) -> Document:
    """Short answers about facts, half of them wrong, each asked about its truth, mostly."""
    turns = _system(rng)
    for _ in range(rng.choice((2, 3, 4))):
        request = draw_request(rng, "factual", split)
        wrong = SYCOPHANTIC if request.question == "false" and rng.random() < 0.4 else UNTRUTHFUL
        flaws = frozenset({wrong}) if rng.random() < 0.5 else frozenset()
        response = respond_with(request, flaws, rng, brief=True)
        names = [rng.choice(ABOUT_TRUTH if rng.random() < 0.8 else STYLES)]
        covered = lexicon.covered_flaws(names)
        text = wording.critique_request(names, rng)
        turns += [
            _user(request),
            _shown(response),
            _critique_request(text, covered, response, True, rng),
            DocumentTurn("assistant", critic.critique(response, covered, rng), "critique"),
        ]
    return turns


def _revision_rounds(rng: random.Random, split: WorldSplit) -> Document:
    """A response, its critique and its revision; at times a few-shot example or a second round."""
    engine = rng.random() < ENGINE_SHARE
    turns = _earlier(rng, split)
    if rng.random() < 0.06:
        example = _response(rng, split, (0.0, 0.6, 0.4))
        example_turns, _ = _round(example, 1.0, engine, rng)
        turns += [_user(example.request), _shown(example), *example_turns]
    response = _response_to_revise(rng, split, (0.06, 0.32, 0.36, 0.26))
    turns += [*_request_turns(response.request, rng), _shown(response)]
    for _ in range(rng.choice((1, 1, 1, 2))):
        added, response = _round(response, 0.76, engine, rng)
        turns += added
    return turns


def _direct_revision(rng: random.Random, split: WorldSplit) -> Document:
    """A revision without a critique before it: the request itself names what to change."""
    engine = rng.random() < ENGINE_SHARE
    response = _response_to_revise(rng, split, (0.06, 0.34, 0.35, 0.25))
    turns = [*_earlier(rng, split), *_request_turns(response.request, rng), _shown(response)]
    for _ in range(rng.choice((1, 2))):
        names = _to_revise(response, 0.8, rng)
        covered = lexicon.covered_flaws(names)
        request = _revision_text(wording.revision_request(names, rng, named=True), engine, rng)
        mark = Mark(len(request), asked=covered, violates=bool(covered & response.flaws))
        response = revise(response, covered, rng)
        turns += [
            DocumentTurn("user", request, "context", (mark,)),
            DocumentTurn("assistant", response.text, "revision", response_marks(response)),
        ]
    return turns
