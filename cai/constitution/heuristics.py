"""Lint heuristics on the wording of principles, each alone and in pairs.

Words are compared by their first letters, so `harmless` and `harmful`, `rude` and `rudely` count as
equal. The heuristics match words and do not understand them: none fires on the shipped content, and
none stops a build.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cai.constitution.plans import eligible_members
from cai.constitution.source import KeyPath, Source
from cai.errors import Problem
from cai.types import Member, Plan, Principle

STEM = 4
"""First letters by which two words count as equal."""
ALIKE = 0.85
"""Share of words in common from which two critiques count as duplicates."""
_WORD = re.compile(r"[a-z0-9]+")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """
        a about all also an and any are as assistant at be been being both but by can could did do
        does each else even every everything for from give given has have here his how identify if
        in into is it its keep last least less like make may more most much must name no not of on
        one only or other out please point problem problems remove response responses rest rewrite
        revise same say should so some specific such than that the their them then there these they
        this those to too under up use user was way ways what when where whether which while who why
        will with without would you your text part parts answer answers asked ask request better
        best stays still
        """,
    )
)
_UNCLEAR = re.compile(
    r"\b(not|no|never|less|lack\w*|miss\w*|could|should|needs?|how|enough|too|more|absent|omits?"
    r"|fails?|without|little|few)\b|n't\b"
)
"""Words by which a critique may ask for more of something: then its question is not judged."""
_SOFTENED = frozenset((
    "less", "least", "fewer", "fewest", "not", "no", "never", "without", "free", "avoids", "t",
    "if", "even", "though", "although", "while",
))  # fmt: skip
"""Words before a fault that ask for less of it, or only mention it."""
_IS = re.compile(r"\b(?:is|are|be|sounds?|seems?|being)\b([^.;:?!]*)")
"""The words before what a critique calls a fault: `is rude or impolite`."""
_WHICH = r"\bwhich(?: (?:response|answer|reply|one|text|of (?:the|these) \w+))?"
_DOES = re.compile(
    rf"{_WHICH} (?:(?:better|best|(?:(?:more|most) )?[a-z]+ly) )?(?P<verb>[a-z]+s)\b"
    r"(?P<object>[^.,;:?!]*)"
)
"""A question that asks what a response does: `which response reveals more private information`."""
_HAS = frozenset((
    "contains", "includes", "has", "gives", "shows", "uses", "offers", "makes", "provides", "does",
    "causes", "holds", "tells", "adds",
))  # fmt: skip
"""Verbs that say only that a fault is present."""
_LOOK_FOR = (
    r"\b(?:identify|name|list|find|quote|say|describe|point out|point to|look for|mention|note)\b"
)
"""The words before what a critique should look for: `Identify insults`."""
_ITEM = re.compile(r",|\b(?:and|or|in which|in that|that|which|where|when)\b")
"""Separators of list items, and of the relative clauses after them."""
_OWNERS = re.compile(r"\b[a-z]+(?:['’]s|s['’])(?!\w)")
"""Possessives, which are ignored: `somebody's privacy`, `other people's privacy`."""
_HOW_IT = re.compile(r"\bhow (?:the|it|this|that)\b")
"""`Say how the response reveals …` does not ask for more of it; `how helpful …` may."""
_WORSE = re.compile(r"\b(worse|worst)\b")
_MERITS = (
    r"(?:respect|respectful|respectfully|care|caring|careful|carefully|polite|politely|politeness"
    r"|honest|honestly|honesty|truth|truthful|truthfully|accurate|accuracy|fair|fairness"
    r"|kind(?! of)|kindness|considerate|consideration|mindful|thoughtful|decent|safe|safer|safety"
    r"|ethical|harmless|helpful|protect|protects|protection)"
)
_LESS_MERIT = re.compile(
    rf"{_WHICH} (?:(?:is|does|shows?|has|sounds?|seems|gives?|takes?|uses) )?(?:the )?"
    r"(?:less|least|lacks?|(?:fails|neglects|refuses|forgets) to|(?:does|is) not|(?:is|does)n['’]t"
    rf"|without|no|little) (?:any |to )?(?P<merit>{_MERITS})\b"
)
"""Less of what is good: `shows less respect`, `fails to protect`, `is less honest`."""
_EXPOSES = frozenset(("reveals", "discloses", "exposes", "leaks", "betrays", "publishes"))
_WRONGS = frozenset((
    "invades", "violates", "breaches", "infringes", "disrespects", "disregards", "endangers",
    "undermines", "abuses", "exploits", "ignores", "neglects", "harms", "hurts", "damages",
))  # fmt: skip
_PRIVATE = re.compile(r"\b(?:privacy|private|personal|confidential|secrets?|spy)\b")
_PRECIOUS = re.compile(
    r"\b(?:privacy|safety|dignity|feelings|rights|consent|health|law|laws|trust|permission)\b"
)
"""Values that a response should not ignore or violate."""
_SPARED = re.compile(r"\b(?:nobody|no one|none|nothing|little)\b")
_DEED = re.compile(r"\b(?:response|or|and|that) ([a-z]{5,}s)\b")
"""A verb for what a response does: `invades`, to match `more invasive`."""
_NEUTRAL = frozenset((
    "help", "tell", "give", "stat", "supp", "agre", "clai", "pres", "prom", "enco", "answ", "addr",
))  # fmt: skip
"""Stems of verbs that are no fault by themselves."""
_MORE_SO = re.compile(r"\b(?:more|most) (?:[a-z]+ly )?([a-z]+(?:ive|ing|ful|ous|ory|ent|ant))\b")
_PLACEHOLDER = re.compile(r"\{\{|\{%|\{#")


def principle_problems(source: Source, principle: Principle) -> Iterator[Problem]:
    """An unrelated revision, an inverted comparison, a placeholder."""
    for place, text in _wordings(principle):
        match = _PLACEHOLDER.search(text)
        if match:
            what = (
                f"a principle is not a template: the model would read `{match.group()}` literally"
            )
            hint = "Write the text out, or move the variable to a template."
            yield source.problem(place, "C058", what, hint)
    topic = stems(f"{principle.critique_request} {principle.comparison_question} {principle.title}")
    if topic and not topic & stems(principle.revision_request):
        what = "the revision shares no word with the critique, the comparison or the title"
        hint = "Name what `critique` looks for in `revise`, too."
        yield source.problem(("stages", "revise"), "C056", what, hint)
    yield from _inverted_comparison(source, principle)


def _inverted_comparison(source: Source, principle: Principle) -> Iterator[Problem]:
    critique = principle.critique_request.lower()
    question = principle.comparison_question.lower().replace(critique, "")  # where it quotes it
    worse = _WORSE.search(question)
    if worse:
        what = f"the question asks for the {worse.group()} response"
        yield source.problem(("compare",), "C057", what, "Ask which one is better.")
        return
    part = _asks_for_fault(critique, question)
    if part:
        what = f"the question asks for what the critique looks for: `{part}`"
        yield source.problem(
            ("compare",), "C057", what, "Ask which response does so less, or not at all."
        )
        return
    wrong = _asks_for_worse(critique, question)
    if wrong:
        what = f"the question asks for the response that does harm: `{wrong}`"
        yield source.problem(
            ("compare",), "C057", what, "Ask which response does so less, or not at all."
        )
        return
    if _UNCLEAR.search(critique):  # "not helpful enough": more of it is better
        return
    faults = {word for part in _IS.findall(critique) for word in _words(part)}
    word = _asks_for_more(faults, _WORD.findall(question))
    if word:
        what = f"the question asks for what the critique calls a fault: `{word}`"
        yield source.problem(("compare",), "C057", what, "Ask which one is less so.")


def _asks_for_fault(critique: str, question: str) -> str | None:
    """The part of a question that asks for more of what the critique looks for, in the same words.

    `reveals more private information`, where the critique says `reveals private information`;
    `contains insults`, where it says `Identify insults`.
    """
    if _UNCLEAR.search(_HOW_IT.sub("", critique)):
        return None
    for match in _DOES.finditer(question):
        verb, part = match["verb"], match["object"]
        if _SOFTENED & set(_WORD.findall(f"{question[: match.start()]} {part}")):
            continue
        if {"better", "best"} & set(_WORD.findall(part)):
            continue
        targets = _phrases(rf"\b{verb.removesuffix('s').removesuffix('e')}\w*", critique)
        if verb in _HAS:
            targets += _phrases(_LOOK_FOR, critique)
        items = _items(part)
        if items:
            same = any(i[0] == n[0] and set(i) <= set(n) for i in items for n in targets)
        else:  # "Which reveals more?"
            same = part.split() in (["more"], ["most"]) and bool(targets) and verb not in _HAS
        if same:
            return f"{verb}{part}".strip()
    return None


def _asks_for_worse(critique: str, question: str) -> str | None:
    """The part of a question that asks for less of a merit, or for harm, in other words.

    `shows less respect`, unless the critique itself is about respect, such as too much of it;
    `ignores the user's safety`; if the critique is about privacy, `reveals more about privacy`; if
    it says `invades`, `more invasive`.
    """
    less = _LESS_MERIT.search(question)
    if less and less["merit"][:STEM] not in {word[:STEM] for word in _words(critique)}:
        return less.group()
    unclear = _UNCLEAR.search(critique)
    for match in _DOES.finditer(question):
        verb, part = match["verb"], match["object"]
        words = set(_WORD.findall(f"{question[: match.start()]} {part}"))
        if _SOFTENED & words or _SPARED.search(part):
            continue
        private = _PRIVATE.search(part) and _PRIVATE.search(critique) and not unclear
        if (verb in _EXPOSES and private) or (verb in _WRONGS and _PRECIOUS.search(part)):
            return f"{verb}{part}".strip()
    deeds = {verb[:STEM] for verb in _DEED.findall(critique)} - _NEUTRAL
    for match in _MORE_SO.finditer(question):
        before = set(_WORD.findall(question[: match.start()])[-5:])
        if match[1][:STEM] in deeds and not unclear and not _SOFTENED & before:
            return match.group()
    return None


def _phrases(opening: str, text: str) -> list[list[str]]:
    """The items after an opening phrase, as in `_items`."""
    return [item for part in re.findall(rf"{opening}([^.;:?!]*)", text) for item in _items(part)]


def _items(text: str) -> list[list[str]]:
    """The items of a list in a text: the stems of each one's content words, if it has any."""
    bare = _OWNERS.sub("", text)
    items = ([word[:STEM] for word in _words(item)] for item in _ITEM.split(bare))
    return [item for item in items if item]


def _asks_for_more(faults: set[str], question: list[str]) -> str | None:
    """The first fault that a question asks for more of: `more rude`, `ruder`, `is rude`."""
    for at, word in enumerate(question):
        before = question[max(0, at - 5) : at]
        if _SOFTENED & set(before):
            continue
        comparative = next(
            (f for f in faults if word in (f"{f}r", f"{f}er", f"{f}st", f"{f}est")), None
        )
        plain = {word, word.removesuffix("s"), f"{word}s"} & faults
        more = {"more", "most"} & set(before) or before[-1:] == ["is"] or before[-2:-1] == ["is"]
        if comparative or (plain and more):
            return word
    return None


def near_duplicates(principles: Sequence[tuple[Path, Source, Principle]]) -> Iterator[Problem]:
    """Pairs of principles in one project whose critiques are nearly the same.

    principles: (the project's root, file, principle).
    """
    words = [frozenset(_words(principle.critique_request)) for _, _, principle in principles]
    for (a, one), (b, other) in itertools.combinations(enumerate(principles), 2):
        if one[0] != other[0] or one[2].id == other[2].id or not words[a] | words[b]:
            continue
        share = len(words[a] & words[b]) / len(words[a] | words[b])
        if share >= ALIKE:
            what = f"the critique is nearly the same as that of `{one[2].id}` ({one[1].file})"
            hint = "Merge the two, or say what distinguishes them."
            yield other[1].problem(("stages", "critique"), "C055", what, hint)


def never_drawn(source: Source, members: Sequence[Member], plan: Plan) -> Iterator[Problem]:
    """Members of the phase `sl` that no round can draw, or whose rounds are beyond the plan's."""
    eligible = [m for m in members if "sl" in m.phases]
    ends = f"the plan has {plan.rounds} round{'s' if plan.rounds > 1 else ''}"
    if plan.draw == "fixed":
        reasons = {
            m.principle.id: f"the order is fixed, and {ends}" for m in eligible[plan.rounds :]
        }
    elif plan.draw == "all":
        return
    else:
        rounds = range(1, plan.rounds + 1)
        drawable = {m.principle.id for number in rounds for m in eligible_members(members, number)}
        reasons = {
            m.principle.id: f"it is reserved for round {min(m.rounds)}, and {ends}"
            for m in eligible
            if m.rounds and (min(m.rounds) > plan.rounds or m.principle.id not in drawable)
        }
    entries = source.value.get("principles") or []
    for name, why in reasons.items():
        hint = "Give it a round of the plan, or `phases: [rl]` alone."
        what = f"`{name}` is never drawn for critique and revision: {why}"
        yield source.problem(_entry_path(entries, name), "C059", what, hint)


def _entry_path(entries: Sequence[object], name: str) -> KeyPath:
    """Where a constitution lists a principle: by the file's name, the id's last part."""
    for index, item in enumerate(entries):
        ref = item.get("ref") if isinstance(item, dict) else None
        if isinstance(ref, str) and Path(ref).stem == name.rpartition(".")[2]:
            return ("principles", index)
    return ("principles",)


def _wordings(principle: Principle) -> Iterator[tuple[KeyPath, str]]:
    yield ("stages", "critique"), principle.critique_request
    yield ("stages", "revise"), principle.revision_request
    yield ("compare",), principle.comparison_question
    if principle.contrast is not None:
        yield ("contrast", "follow"), principle.contrast.follow
        yield ("contrast", "oppose"), principle.contrast.oppose


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in _COMMON]


def stems(text: str) -> frozenset[str]:
    """The stems of content words; for a word with a negative prefix, also the stem without it."""
    out: set[str] = set()
    for word in _words(text):
        out.add(word[:STEM])
        if word[:2] in ("un", "im", "in", "ir", "il") and len(word) > 5:
            out.add(word[2:][:STEM])
        if word[:3] in ("dis", "mis") and len(word) > 6:
            out.add(word[3:][:STEM])
    return frozenset(out)
