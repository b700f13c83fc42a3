"""From traces and comparisons to rows: which texts, which labels, what is left out and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cai.data.preferences import comparison_preference, revision_preference
from cai.data.rows import Row, Sides
from cai.data.sft import LeftOut, sft_examples, standings
from cai.data.split import side_of, split_of
from cai.types import Message, Revision, SftExample, Trace
from tests.store.samples import comparison, family_of, run, say, trace


def revision(number: int, text: str | None, *guards: str, principle: str = "") -> Revision:
    return Revision(
        number,
        principle or f"p{number}",
        "1.0.0",
        say("critique", f"c{number}"),
        text is not None,
        None if text is None else say(text, f"r{number}"),
        guards,
    )


def with_rounds(*revisions: Revision, first: str = "First", finish: str = "stop") -> Trace:
    whole = trace("p")
    return replace(whole, response=say(first, "x", finish), revisions=revisions)


def test_the_last_text_is_the_row() -> None:
    (row,) = sft_examples(trace("p"), "train")
    assert row == SftExample(
        messages=(Message("user", "Question p?"), Message("assistant", "Better p")),
        prompt_id="p",
        trace_id="t-p",
        principle_ids=("kind", "safe"),  # the second found nothing, and so had its say
        round=1,
        split="train",
    )


def test_standings_follow_the_texts() -> None:
    whole = with_rounds(revision(0, "Second"), revision(1, None), revision(2, "Third"))
    assert [(s.text, s.round, s.principle_ids) for s in standings(whole)] == [
        ("First", 0, ()),
        ("Second", 1, ("p0", "p1")),
        ("Third", 3, ("p0", "p1", "p2")),
    ]


def test_all_revisions_or_the_untouched_response() -> None:
    whole = with_rounds(revision(0, "Second"), revision(1, "Third", "leaked"))
    first, second = sft_examples(whole, "train", "all")
    assert isinstance(first, SftExample) and first.messages[-1].content == "Second"
    assert second == LeftOut("guarded: leaked")
    assert sft_examples(whole, "train", "last") == [LeftOut("guarded: leaked")]
    untouched = with_rounds(revision(0, None))
    (row,) = sft_examples(untouched, "test", "all")
    assert isinstance(row, SftExample)
    assert (row.messages[-1].content, row.round, row.split) == ("First", 0, "test")


def test_a_guard_holds_for_its_text_alone() -> None:
    """A leak in round 1 that round 2 rewrote is gone; a text that stands keeps its guard."""
    mended = with_rounds(revision(0, "Here is it", "leaked"), revision(1, "Third"))
    (row,) = sft_examples(mended, "train")
    assert isinstance(row, SftExample) and row.messages[-1].content == "Third"
    stands = with_rounds(revision(0, "First", "unchanged"), revision(1, None))
    assert sft_examples(stands, "train") == [LeftOut("guarded: unchanged")]


@pytest.mark.parametrize(
    "first,finish,reason",
    [
        (" \n", "stop", "empty"),
        ("And then", "length", "truncated"),
        ("", "length", "empty, truncated"),
    ],
)
def test_a_bad_first_response_that_stands_is_left_out(first: str, finish: str, reason: str) -> None:
    whole = with_rounds(revision(0, None), first=first, finish=finish)
    assert sft_examples(whole, "train") == [LeftOut(f"guarded: {reason}")]


def test_the_preferred_side_is_chosen() -> None:
    row = comparison_preference(comparison("p", probability=0.8, swapped=0.6), "train")
    assert not isinstance(row, LeftOut)
    assert (row.chosen, row.rejected, row.probability) == ("A p", "B p 👍", 0.8)
    assert (row.p_ab, row.p_ba) == (0.9, 0.6)
    assert (row.origin, row.origin_id, row.principle_ids) == ("comparison", "c-p-0", ("kind",))


def test_the_second_side_turns_the_label_over() -> None:
    """Second chosen: it was shown first where the order was swapped, so p_ab = 1 − 0.6."""
    row = comparison_preference(comparison("p", probability=0.25, swapped=0.6), "train")
    assert not isinstance(row, LeftOut)
    assert (row.chosen, row.rejected, row.probability) == ("B p 👍", "A p", 0.75)
    assert row.p_ab == pytest.approx(0.4)
    assert row.p_ba == pytest.approx(0.1)


def test_one_half_goes_to_the_first_and_missing_orders_are_none() -> None:
    row = comparison_preference(comparison("p", probability=0.5, swapped=None), "train")
    assert not isinstance(row, LeftOut)
    assert (row.chosen, row.p_ab, row.p_ba) == ("A p", 0.9, None)


def test_a_cut_off_response_is_never_chosen() -> None:
    one = comparison("p", probability=0.8)
    cut = replace(one.responses[0], finish_reason="length")
    assert comparison_preference(
        replace(one, responses=(cut, one.responses[1])), "train"
    ) == LeftOut("guarded: truncated")
    rejected = replace(one, responses=(one.responses[0], replace(cut, text="B")))
    assert not isinstance(comparison_preference(rejected, "train"), LeftOut)


def test_identical_responses_make_no_row() -> None:
    one = comparison("p")
    same = replace(one, responses=(one.responses[0], replace(one.responses[0], key="z")))
    assert comparison_preference(same, "train") == LeftOut("identical responses")
    spaced = replace(one, responses=(say("Yes,\n sir.", "a"), say("Yes, sir. ", "b")))
    assert comparison_preference(spaced, "train") == LeftOut(
        "responses that differ in white space alone"
    )
    empty = replace(one, responses=(say("", "a"), one.responses[1]))
    assert comparison_preference(empty, "train") == LeftOut("guarded: empty")


def test_the_last_revision_over_the_first_response() -> None:
    row = revision_preference(trace("p"), "test")
    assert not isinstance(row, LeftOut)
    assert (row.chosen, row.rejected, row.probability) == ("Better p", "First p", 1.0)
    assert (row.origin, row.origin_id, row.principle_ids) == ("revision", "t-p", ("kind",))
    assert (row.p_ab, row.p_ba, row.split) == (None, None, "test")


@pytest.mark.parametrize(
    "whole,reason",
    [
        (with_rounds(revision(0, None)), "not revised"),
        (with_rounds(revision(0, "First")), "not revised"),
        (with_rounds(revision(0, "Second", "loop", "leaked")), "guarded: loop, leaked"),
        (with_rounds(revision(0, "B"), revision(1, "First")), "revised back to the first response"),
        (with_rounds(revision(0, " First\n")), "revised back to the first response"),
    ],
)
def test_traces_without_a_preference(whole: Trace, reason: str) -> None:
    assert revision_preference(whole, "train") == LeftOut(reason)


def test_sides_follow_the_configuration() -> None:
    sides = Sides.of(run(sft_share=0.5, test_share=0.5))
    seen = set()
    for n in range(40):
        name = f"p{n}"
        (row,) = sides.rows(trace(name))
        assert isinstance(row, Row)
        table = "sft" if side_of(family_of(name), 7, 0.5) == "sft" else "preferences"
        split = split_of(family_of(name), 7, 0.5)
        assert row.file == (table if split == "train" else f"{table}.test")
        assert row.values["split"] == split
        seen.add(row.file)
    assert len(seen) == 4
    everything = Sides.of(run(pairs=0, revision_pairs=False, sft_share=0.0))
    assert all(everything.rows(trace(f"p{n}"))[0].table == "sft" for n in range(20))  # type: ignore[union-attr]
    none = Sides.of(run(revision_pairs=False, sft_share=0.0))
    assert none.rows(trace("p")) == []


def test_values_of_rows() -> None:
    sides = Sides.of(run(sft_share=1.0, test_share=0.0))
    (row,) = sides.rows(trace("p"))
    assert isinstance(row, Row)
    assert row.values == {
        "id": "t-p.1",
        "messages": [
            {"role": "user", "content": "Question p?"},
            {"role": "assistant", "content": "Better p"},
        ],
        "prompt_id": "p",
        "trace_id": "t-p",
        "principle_ids": ["kind", "safe"],
        "round": 1,
        "split": "train",
    }
    assert sides.rows(comparison("p")) == [LeftOut("a pair for a prompt on the SFT side")]
    (row,) = Sides.of(run(sft_share=0.0, test_share=0.0)).rows(comparison("p"))
    assert isinstance(row, Row)
    assert row.values == {
        "id": "c-p-0",
        "prompt": [{"role": "user", "content": "Question p?"}],
        "chosen": [{"role": "assistant", "content": "A p"}],
        "rejected": [{"role": "assistant", "content": "B p 👍"}],
        "probability": 0.8,
        "p_ab": 0.9,
        "p_ba": 0.6,
        "origin": "comparison",
        "principle_ids": ["kind"],
        "trace_id": None,
        "comparison_id": "c-p-0",
        "prompt_id": "p",
        "split": "train",
    }
