"""Tests of principles made of rejected records, by rule: the text, and what should have been found.

A test is what `cai test` runs, so its prompt is one text. What a test can't hold or can't say is
reported with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cai.authoring.edits.faults import AuditedRecord, PrincipleFault
from cai.constitution.heuristics import stems
from cai.constitution.source import INVISIBLE
from cai.text.parsing import normalise, sentences
from cai.types import Comparison, Principle, PrincipleTest, Trace

_LONGEST, _LONGEST_SOURCE = 8_000, 500
"""Characters of a text of a test, and of its source, in a principle's file."""
_LONGEST_ID = 80  # of a record, in a test's name
_MOST_SENTENCES = 10
"""Sentences of a revision that a test lists."""


@dataclass(frozen=True, slots=True)
class DraftTest:
    """A test for a principle, and the record that it was made of."""

    principle: str
    test: PrincipleTest
    audited: AuditedRecord


@dataclass(frozen=True, slots=True)
class TestsDrafted:
    """Draft tests, and (principle, reason) → how many faults led to no test."""

    __test__ = False  # pytest: not a class of tests

    drafts: tuple[DraftTest, ...]
    left_out: Counter[tuple[str, str]]


def draft_tests(
    faults: Iterable[PrincipleFault], principles: Mapping[str, Principle]
) -> TestsDrafted:
    """A test for each fault: the same text only once, and none that the principle has already.

    Where auditors say opposite things about one text, there is no test of it.
    """
    left_out: Counter[tuple[str, str]] = Counter()
    drafts: dict[tuple[Any, ...], DraftTest] = {}
    opposed: set[tuple[Any, ...]] = set()
    for fault in faults:
        if fault.principle not in principles:
            continue
        made = _made(fault)
        if isinstance(made, str):
            left_out[fault.principle, made] += 1
            continue
        key = (fault.principle, *_inputs(made.test))
        if any(key[1:] == _inputs(own) for own in principles[fault.principle].tests):
            left_out[fault.principle, "the principle has a test of this text"] += 1
        elif key not in drafts:
            drafts[key] = made
        elif drafts[key].test.expect == made.test.expect:
            left_out[fault.principle, "the same text as in another draft"] += 1
        else:
            opposed.add(key)
    for key in opposed:
        del drafts[key]
        left_out[key[0], "auditors contradict each other on this text"] += 1
    return TestsDrafted(tuple(_named(list(drafts.values()), principles)), left_out)


def accepted_test(audited: AuditedRecord, principle: Principle) -> PrincipleTest | None:
    """That a principle finds no problem in an accepted final text where it found none.

    None where the record says nothing of the kind: a critique that named a problem may have been
    right or wrong, whatever became of the text.
    """
    record = audited.record
    if audited.rejected or isinstance(record, Comparison):
        return None
    for number, revision in enumerate(record.revisions):
        same = record.texts[number] == record.final
        if revision.principle_id == principle.id and revision.outcome == "no-problem" and same:
            fault = PrincipleFault(principle.id, "false alarm", audited, number)
            made = _made(fault)
            if isinstance(made, DraftTest):
                return replace(made.test, name=f"accepted in {_short_id(record.id)}")
    return None


def as_values(test: PrincipleTest) -> dict[str, Any]:
    """A test as a principle's file has it."""
    texts = {"response": test.response, "a": test.a, "b": test.b}
    return {
        "name": test.name,
        "prompt": test.prompt,
        **{key: text for key, text in texts.items() if text is not None},
        **({"source": test.source} if test.source else {}),
        "expect": dict(test.expect),
    }


def _made(fault: PrincipleFault) -> DraftTest | str:
    """The test of a fault, or why there is none."""
    audited = fault.audited
    if audited.prompt is None:
        return "the prompt is a conversation"
    if isinstance(audited.record, Comparison):
        expected = _of_pair(fault, audited.record)
    else:
        expected = _of_round(fault, audited.record)
    if isinstance(expected, str):
        return expected
    texts, expect = expected
    texts = {key: clean(text) for key, text in {"prompt": audited.prompt, **texts}.items()}
    if not all(texts.values()):
        return "a text is empty"
    if any(len(text) > _LONGEST for text in texts.values()):
        return f"a text has more than {_LONGEST:,} characters"
    place = f"{audited.id}{_round_of(fault)}"
    source = " ".join(clean(f"{place}, {audited.told}").split())
    test = PrincipleTest(
        name=f"{fault.kind} in {_short_id(audited.id)}{_round_of(fault)}",
        prompt=texts.pop("prompt"),
        expect=expect,
        source=source if len(source) <= _LONGEST_SOURCE else f"{source[: _LONGEST_SOURCE - 1]}…",
        **texts,
    )
    return DraftTest(fault.principle, test, audited)


def _of_round(fault: PrincipleFault, trace: Trace) -> tuple[dict[str, str], dict[str, Any]] | str:
    """The text that a round began with, and what its critique or revision should have been."""
    assert fault.round is not None
    before, revision = trace.texts[fault.round], trace.revisions[fault.round]
    texts = {"response": before}
    if fault.kind == "false alarm":
        return texts, {"critique_flags": "none"}
    if fault.kind == "missed flaw":
        return texts, {"critique_flags": "problem"}
    if revision.text is None or normalise(revision.text) == normalise(before):
        return texts, {"revision": "changed"}
    unwanted = _unwanted(before, revision.text, fault.audited.words)
    if not unwanted:
        return "the revision added no sentence that a test could name"
    return texts, {"not_contains": unwanted}


def _unwanted(before: str, after: str, words: str) -> list[str]:
    """What a revision should not write again: the sentences that it added and that an auditor
    speaks of; where there are none, the one that it added, or all that it wrote."""
    kept = normalise(before)
    added = [s for s in sentences(after) if normalise(s) and normalise(s) not in kept]
    spoken_of = [s for s in added if stems(s) & stems(words)]
    chosen = spoken_of or (added if len(added) < 2 else [after])
    return list(dict.fromkeys(text for s in chosen if (text := clean(s))))[:_MOST_SENTENCES]


def _of_pair(
    fault: PrincipleFault, pair: Comparison
) -> tuple[dict[str, str], dict[str, Any]] | str:
    if fault.better is None:
        return "the auditor does not say which response is better"
    first, second = (response.text for response in pair.responses)
    if normalise(first) == normalise(second):
        return "both responses are the same"
    return {"a": first, "b": second}, {"prefers": "ab"[fault.better]}


def _round_of(fault: PrincipleFault) -> str:
    """Which round of several."""
    record = fault.audited.record
    several = isinstance(record, Trace) and len(record.revisions) > 1
    return f", round {fault.round + 1}" if several and fault.round is not None else ""


def _short_id(record: str) -> str:
    return " ".join(clean(record).split())[:_LONGEST_ID]


def clean(text: str) -> str:
    """A text as a content file can hold it: without invisible characters."""
    lines = INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    return lines.encode(errors="ignore").decode()


def _inputs(test: PrincipleTest) -> tuple[str, ...]:
    """The texts of a test, by which it is the same as another."""
    return tuple(normalise(text or "") for text in (test.prompt, test.response, test.a, test.b))


def _named(drafts: Sequence[DraftTest], principles: Mapping[str, Principle]) -> Iterable[DraftTest]:
    """The drafts with names that no other test of their principle has."""
    taken = {name: {test.name for test in p.tests} for name, p in principles.items()}
    for draft in drafts:
        name, number = draft.test.name, 2
        while name in taken[draft.principle]:
            name, number = f"{draft.test.name} ({number})", number + 1
        taken[draft.principle].add(name)
        yield replace(draft, test=replace(draft.test, name=name))
