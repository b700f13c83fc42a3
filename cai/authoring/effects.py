"""What an edit does: the same prompts under both constitutions, counted in pairs.

A prompt counts where both sides have a trace of it. Of a principle only those prompts count for
which both sides asked it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cai.audit.flags import FLAGS, round_flags, trace_flags
from cai.authoring.words import likeness
from cai.stats import Paired, Proportion, Ratio
from cai.text.parsing import is_refusal
from cai.types import Comparison, Prompt, Trace


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """What is counted of one trace.

    found: by principle, whether a critique under it named a problem; None where the response was
    revised without a critique. flagged: by principle, whether a round under it has a flag.
    """

    trace_id: str
    first: str
    final: str
    flags: tuple[str, ...]
    found: Mapping[str, bool | None]
    flagged: Mapping[str, bool]

    @classmethod
    def of(cls, trace: Trace) -> TraceSummary:
        """All that is counted of a trace."""
        found: dict[str, bool | None] = {}
        flagged: dict[str, bool] = {}
        for before, revision in zip(trace.texts, trace.revisions, strict=False):
            name = revision.principle_id
            said = {"problem": True, "no-problem": False}.get(revision.outcome or "")
            found[name] = found.get(name) if said is None else bool(found.get(name)) or said
            flagged[name] = flagged.get(name, False) or bool(round_flags(before, revision))
        first, final = trace.response.text, trace.final
        return cls(trace.id, first, final, trace_flags(trace), found, flagged)

    @property
    def finds(self) -> bool | None:
        """Whether any critique named a problem; None where there was no critique."""
        said = [found for found in self.found.values() if found is not None]
        return any(said) if said else None


@dataclass(frozen=True, slots=True)
class PromptDiff:
    """One prompt before and after. likeness: of the final responses' words, 1 for the same."""

    prompt: Prompt
    before: TraceSummary
    after: TraceSummary
    likeness: float

    @property
    def same(self) -> bool:
        """Whether the final response is the same text."""
        return self.before.final == self.after.final


@dataclass(frozen=True, slots=True)
class Effect:
    """Paired figures over some prompts.

    found: a critique named a problem. flagged: any flag of `cai.audit.flags`. refused: the final
    response declines. words: of the final response. changed: final responses that differ.
    """

    prompts: int
    changed: int
    found: Paired
    flagged: Paired
    refused: Paired
    words: Ratio


def rows(before: Iterable[Trace], after: Iterable[Trace]) -> list[PromptDiff]:
    """The prompts that both have, in the order of their ids, which is also that of the traces."""
    out = []
    for one, two in _joined(before, after):
        old, new = TraceSummary.of(one), TraceSummary.of(two)
        out.append(PromptDiff(two.prompt, old, new, likeness(old.final, new.final)))
    return out


def effect(over: Sequence[PromptDiff], principle: str | None = None) -> Effect:
    """The figures of all rows, or of those in which both sides asked a principle."""
    if principle is not None:
        over = [r for r in over if principle in r.before.found and principle in r.after.found]
    found = [(_finds(r.before, principle), _finds(r.after, principle)) for r in over]
    flagged = [(_flagged(r.before, principle), _flagged(r.after, principle)) for r in over]
    return Effect(
        prompts=len(over),
        changed=sum(not row.same for row in over),
        found=Paired.of((a, b) for a, b in found if a is not None and b is not None),
        flagged=Paired.of(flagged),
        refused=Paired.of((is_refusal(r.before.final), is_refusal(r.after.final)) for r in over),
        words=Ratio.of([(len(r.before.final.split()), len(r.after.final.split())) for r in over]),
    )  # fmt: skip


def flags(over: Sequence[PromptDiff]) -> dict[str, Paired]:
    """Flag → on how many traces it stands before and after; those on none are left out."""
    counted = {
        code: Paired.of((code in r.before.flags, code in r.after.flags) for r in over)
        for code in FLAGS
    }
    return {code: seen for code, seen in counted.items() if seen.both or seen.went or seen.came}


def asked(over: Sequence[PromptDiff]) -> tuple[Counter[str], Counter[str]]:
    """How many prompts each principle was asked of, before and after."""
    return (
        Counter(name for row in over for name in row.before.found),
        Counter(name for row in over for name in row.after.found),
    )


def turned(before: Iterable[Comparison], after: Iterable[Comparison]) -> Proportion:
    """Of the pairs with the same two responses, how many had the other one preferred after."""
    old = {(c.prompt.id, c.pair): (_texts(c), c.probability) for c in before}
    hits = n = 0
    for comparison in after:
        texts, probability = old.get((comparison.prompt.id, comparison.pair), ((), 0.5))
        if texts == _texts(comparison):
            n += 1
            hits += (probability - 0.5) * (comparison.probability - 0.5) < 0
    return Proportion(hits, n)


def _joined(before: Iterable[Trace], after: Iterable[Trace]) -> Iterator[tuple[Trace, Trace]]:
    """Traces of the same prompt, from two streams in the order of prompt ids."""
    later = iter(after)
    two = next(later, None)
    for one in before:
        while two is not None and two.prompt.id < one.prompt.id:
            two = next(later, None)
        if two is None or two.prompt.id != one.prompt.id:
            continue
        if two.prompt.messages == one.prompt.messages:
            yield one, two


def _finds(summary: TraceSummary, principle: str | None) -> bool | None:
    return summary.finds if principle is None else summary.found[principle]


def _flagged(summary: TraceSummary, principle: str | None) -> bool:
    return bool(summary.flags) if principle is None else summary.flagged[principle]


def _texts(comparison: Comparison) -> tuple[str, str]:
    first, second = comparison.responses
    return first.text, second.text
