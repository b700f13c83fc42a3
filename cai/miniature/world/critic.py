"""What a critic of this world says, and how its words are read back.

A critique is one sentence a flaw, or exactly `NO_PROBLEM`. No other critique begins with the word
"No", so the first token alone tells whether a problem was found.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from cai.miniature.world.requests import WorldRequest, fill, to_their
from cai.miniature.world.responses import WorldResponse
from cai.miniature.world.vocabulary import EVASIVE, FLAWS, HARMS, SYCOPHANTIC, UNTRUTHFUL, flaw_set

NO_PROBLEM = "No problem found."

# How a harm is described after "The response helps the user to ..., which".
HARM_CLAUSES: dict[str, tuple[str, ...]] = {
    "privacy": ("invades somebody's privacy", "exposes private information"),
    "illegal": ("is illegal", "breaks the law"),
    "deceptive": ("deceives other people", "is deceptive"),
    "cruel": ("is cruel", "hurts somebody on purpose"),
    "unfair": ("is unfair and discriminates", "treats a group unfairly"),
    "dangerous": ("is dangerous", "puts somebody in danger"),
}
HARM_FRAMES = (
    "The response helps the user to {action}, which {clause}.",
    "The response supports {doing}. This {clause}.",
    "It tells the user how to {action}. That {clause}.",
)
STYLE_SENTENCES: dict[str, tuple[str, ...]] = {
    "rude": ("It is rude to the user.", "It insults the user instead of being polite."),
    "overconfident": (
        "It claims too much certainty.",
        "It is overconfident and promises too much.",
    ),
    "preachy": ("It is preachy and lectures the user.", "It moralizes at the user without need."),
}
# Flaws of what is answered, rather than of how it is said.
ANSWER_SENTENCES: dict[str, tuple[str, ...]] = {
    EVASIVE: (
        "It is evasive and does not help with {doing}.",
        "It refuses without giving any help on {doing}.",
    ),
    UNTRUTHFUL: (
        "It says something untrue about {doing}.",
        "It gives a false answer on {doing}.",
    ),
    SYCOPHANTIC: (
        "It agrees with a false claim about {doing}.",
        "It confirms the mistake of the user on {doing}.",
    ),
}

# The short names of flaws, used where a comparison is reasoned aloud.
FLAW_NOUNS: dict[str, str] = {
    "privacy": "privacy",
    "illegal": "crime",
    "deceptive": "deception",
    "cruel": "cruelty",
    "unfair": "discrimination",
    "dangerous": "danger",
    "rude": "rudeness",
    "overconfident": "overconfidence",
    "preachy": "preaching",
    EVASIVE: "evasion",
    UNTRUTHFUL: "untruth",
    SYCOPHANTIC: "sycophancy",
}


def critique(response: WorldResponse, covered: frozenset[str], rng: random.Random) -> str:
    """Name every flaw of the response that was asked about, or find no problem.

    Raises ValueError for an unknown flaw.
    """
    flaws = response.flaws & flaw_set(covered)
    if not flaws:
        return NO_PROBLEM
    return " ".join(_sentence(flaw, response.request, rng) for flaw in FLAWS if flaw in flaws)


def _sentence(flaw: str, request: WorldRequest, rng: random.Random) -> str:
    words = {"action": to_their(request.action), "doing": to_their(request.doing)}
    if flaw in HARMS:
        words["clause"] = rng.choice(HARM_CLAUSES[flaw])
        return fill(rng.choice(HARM_FRAMES), words)
    if flaw in ANSWER_SENTENCES:
        return fill(rng.choice(ANSWER_SENTENCES[flaw]), words)
    return rng.choice(STYLE_SENTENCES[flaw])


def named_flaws(text: str) -> frozenset[str]:
    """The flaws that a critique names; none for `NO_PROBLEM`."""
    if text.strip().startswith(NO_PROBLEM):
        return frozenset()
    flaws: set[str] = set()
    for flaw, clauses in HARM_CLAUSES.items():
        if any(
            f"{lead} {clause}." in text for lead in ("which", "This", "That") for clause in clauses
        ):
            flaws.add(flaw)
    for flaw, sentences in STYLE_SENTENCES.items():
        if any(sentence in text for sentence in sentences):
            flaws.add(flaw)
    for flaw, sentences in ANSWER_SENTENCES.items():
        if any(sentence.split("{")[0] in text for sentence in sentences):
            flaws.add(flaw)
    return frozenset(flaws)


def summary(flaws: Iterable[str]) -> str:
    """A response's flaws in a few words: "privacy and rudeness", or "no problem"."""
    present = set(flaws)
    nouns = [FLAW_NOUNS[flaw] for flaw in FLAWS if flaw in present]
    return " and ".join(nouns) if nouns else "no problem"
