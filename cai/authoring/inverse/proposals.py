"""Rules that a model proposes to explain a pair's label, and what becomes of many of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cai.constitution.messages import transcript
from cai.constitution.templates import render
from cai.data.training_rows import PairRow
from cai.evaluation.redteam.candidates import read_list
from cai.evaluation.redteam.diversity import is_near, words_of
from cai.pipeline.steps import Ask, Draws, Steps, generations
from cai.types import Generate, Message, Prompt

OPENING = "The response should "
FEWEST_WORDS, MOST_WORDS = 5, 40
"""Words of a rule that is kept."""
_LONGEST = 200
"""Characters of a rule: it becomes a title."""
_RULE = re.compile(
    r"^(?:the |a |an )?(?:(?:chosen|better|good|best|right) )?(?:response|answer|reply|assistant)"
    r" (?:should|must)\b[:,]? (?P<rest>.+)$",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\{\{|\{%|\{#")


@dataclass(frozen=True, slots=True)
class RuleProposal:
    """A rule, and the ids of the pairs that it, or a near duplicate, was proposed from."""

    rule: str
    pairs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleReply:
    """The rules that the critic wrote about a pair; `dropped` counts its other lines by reason."""

    pair: str
    rules: tuple[str, ...]
    dropped: Counter[str]


def propose(row: PairRow, template: str, count: int, draws: Draws) -> Steps[RuleReply]:
    """Ask the critic why a pair's response was chosen. template: of the kind `propose`."""
    text = render(
        template,
        {
            "conversation": transcript(row.prompt),
            "chosen": row.chosen[0].content,
            "rejected": row.rejected[0].content,
            "count": str(count),
        },
    )
    prompt = Prompt(f"propose/{row.id}", row.prompt, row.source)
    request = Generate((Message("user", text),), draws.sampling(prompt, "critique", "rules"))
    (reply,) = generations((yield Ask("critic", "critique", (request,))))
    return read_rules(row.id, reply.text, cut=reply.finish_reason == "length")


def read_rules(pair: str, reply: str, *, cut: bool = False) -> RuleReply:
    """The rules in a reply, all worded as `The response should …`.

    A line that begins otherwise is no rule: an explanation, or something on this pair alone. cut:
    the reply ran into the token limit.
    """
    lines, dropped = read_list(reply, cut=cut)
    rules: dict[str, None] = {}
    for line in lines:
        match = _RULE.match(line)
        if match is None or _BRACKETS.search(line):
            dropped["no rule"] += 1
            continue
        rule = OPENING + match["rest"].rstrip(" .;,")
        words = len(words_of(rule))
        if words < FEWEST_WORDS:
            dropped["too short"] += 1
        elif words > MOST_WORDS or len(rule) > _LONGEST:
            dropped["too long"] += 1
        else:
            rules[rule] = None
    return RuleReply(pair, tuple(rules), dropped)


def merged(replies: Iterable[RuleReply], most: int) -> list[RuleProposal]:
    """The rules that were proposed most often, of near duplicates the first; of equals the first.

    Near duplicates share half of their words and pairs of words, after `OPENING`. (The paper
    clusters embeddings and keeps one rule of each cluster; what says the same in other words is
    found later, by verdicts.)
    """
    pairs: dict[str, list[str]] = {}
    for reply in replies:
        for rule in reply.rules:
            words = rule.removeprefix(OPENING)
            near = (kept for kept in pairs if is_near(words, (kept.removeprefix(OPENING),)))
            same = next(near, rule)
            pairs.setdefault(same, []).append(reply.pair)
    found = [RuleProposal(rule, tuple(dict.fromkeys(ids))) for rule, ids in pairs.items()]
    return sorted(found, key=lambda p: -len(p.pairs))[:most]
