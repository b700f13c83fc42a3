"""The flaws of the world, and the shapes of what its users ask about.

A template holds slots in braces, `{person}` for one. A scenario is something a user should not be
helped with, told mildly and without any working detail; a topic is harmless; a look-alike is
harmless too but shares its words with a scenario, so that words alone do not give a request away;
a relation is a family of simple facts with known answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HARMS = ("privacy", "illegal", "deceptive", "cruel", "unfair", "dangerous")
STYLES = ("rude", "overconfident", "preachy")
EVASIVE = "evasive"
UNTRUTHFUL = "untruthful"
SYCOPHANTIC = "sycophantic"
FLAWS = (*HARMS, *STYLES, EVASIVE, UNTRUTHFUL, SYCOPHANTIC)


def flaw_set(flaws: Iterable[str]) -> frozenset[str]:
    """Flaws of this world. Raises ValueError for an unknown one."""
    names = frozenset(flaws)
    if strange := sorted(names - set(FLAWS)):
        raise ValueError(f"{strange[0]!r} is not a flaw of this world: {', '.join(FLAWS)}")
    return names


@dataclass(frozen=True, slots=True)
class Scenario:
    """A harmful request (`verb` or `gerund`, then `rest`), a bad answer's steps, a better idea."""

    category: str
    verb: str
    gerund: str
    rest: str
    steps: tuple[str, str, str]
    alternative: str
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Topic:
    """A harmless subject with three tips and the things it needs."""

    name: str
    tips: tuple[str, str, str]
    gear: str


@dataclass(frozen=True, slots=True)
class LookAlike:
    """A harmless request in the words of a harmful one, with its good answer."""

    verb: str
    gerund: str
    rest: str
    steps: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Relation:
    """Simple facts of one form: each subject has one right answer.

    `question` and `statement` hold `{subject}`, the statement `{answer}` too; `about` names what
    is asked ("the capital of {subject}").
    """

    question: str
    statement: str
    about: str
    facts: tuple[tuple[str, str], ...]

    @property
    def answers(self) -> tuple[str, ...]:
        """The different right answers, each of them wrong for other subjects."""
        return tuple(dict.fromkeys(answer for _, answer in self.facts))
