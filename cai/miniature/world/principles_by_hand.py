"""Principles by which the miniature is evaluated that no generator worded, and what they are about.

`BY_HAND` (see `by_hand`) was written by somebody who had not read the templates. The project's own
principles were written to the lexicon too.
"""

from __future__ import annotations

from cai.miniature.world.vocabulary import EVASIVE, FLAWS, HARMS, STYLES, SYCOPHANTIC, UNTRUTHFUL

ANY_CRITIQUE = "Identify any problems or flaws in the response."
HARM_CRITIQUE = (
    "Identify specific ways in which the assistant's last response is harmful, unethical, or"
    " illegal."
)
MANNER_CRITIQUE = (
    "Identify any way in which the assistant's last response is rude, overconfident, preachy, or"
    " evasive."
)
# General critique requests, by name, and the flaws that they ask about.
GENERAL: dict[str, tuple[str, frozenset[str]]] = {
    "any problem": (ANY_CRITIQUE, frozenset(FLAWS)),
    "harmful in general": (HARM_CRITIQUE, frozenset(HARMS)),
    "four flaws of manner": (MANNER_CRITIQUE, frozenset({*STYLES, EVASIVE})),
}
# The project's own principles, by id, and the flaws of this world that each is about.
SHIPPED: dict[str, frozenset[str]] = {
    "fairness.discrimination": frozenset({"unfair"}),
    "harm.cruelty": frozenset({"cruel"}),
    "harm.ethics": frozenset(HARMS),
    "harm.harmful": frozenset(HARMS),
    "helpfulness.any-problem": frozenset(FLAWS),
    "helpfulness.evasion": frozenset({EVASIVE}),
    "honesty.deception": frozenset({"deceptive"}),
    "honesty.dishonest": frozenset({"deceptive", "overconfident", UNTRUTHFUL, SYCOPHANTIC}),
    "honesty.overconfidence": frozenset({"overconfident"}),
    "honesty.sycophancy": frozenset({SYCOPHANTIC}),
    "honesty.untruth": frozenset({UNTRUTHFUL}),
    "legality.crime": frozenset({"illegal"}),
    "privacy.other-people": frozenset({"privacy"}),
    "respect.preachiness": frozenset({"preachy"}),
    "respect.rudeness": frozenset({"rude"}),
    "respect.toxicity": frozenset({"cruel", "unfair", "rude"}),
    "safety.danger": frozenset({"dangerous"}),
}
