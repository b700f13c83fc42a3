"""From traces and comparisons to rows: which texts, which labels, what is left out and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cai.data.preferences import comparison_preference, revision_preference
from cai.data.rows import ExportedRow, ExportSettings
from cai.data.sft import LeftOut, candidates, sft_examples
from cai.data.split import side_of, split_of
from cai.types import Label, Message, Prompt, Revision, SftExample, Trace
from tests.store.samples import comparison, contrast, family_of, run, say, trace


def revision(number: int, text: str | None, *guards: str, principle: str = "") -> Revision:
    return Revision(
        number,
        principle or f"p{number}",
        "1.0.0",
        say("critique", f"c{number}"),
        "no-problem" if text is None else "problem",
        None if text is None else say(text, f"r{number}"),
        guards,
    )


def with_rounds(*revisions: Revision, first: str = "First", finish: str = "stop") -> Trace:
    whole = trace("p")
    return replace(whole, response=say(first, "x", finish), revisions=revisions)


def test_reasoning_of_earlier_turns_is_exported_where_it_is_asked_for() -> None:
    """In rows of every kind: what came with the prompt, and what was thought for the row."""
    talk = (
        Message("user", "Hi?"),
        Message("assistant", "Yes.", "Hm."),
        Message("user", "Why?"),
    )
    question = Prompt("p", talk)
    records = replace(trace("p"), prompt=question), replace(comparison("p"), prompt=question)
    for keep in (False, True):
        tables = set()
        for share in (0.0, 1.0):
            sides = ExportSettings.of(run(export_reasoning=keep, sft_share=share))
            for row in (row for record in records for row in sides.rows(record)):
                if isinstance(row, LeftOut):
                    continue
                tables.add((row.table, row.values.get("origin")))
                earlier = (row.values.get("messages") or row.values["prompt"])[1]
                assert earlier["content"] == "Yes."
                assert earlier.get("reasoning_content") == ("Hm." if keep else None)
        assert tables == {
            ("sft", None), ("preferences", "revision"), ("preferences", "comparison"),
            ("labels", "final"),
        }  # fmt: skip


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


def test_candidates_follow_the_texts() -> None:
    whole = with_rounds(revision(0, "Second"), revision(1, None), revision(2, "Third"))
    assert [(s.text, s.round, s.principle_ids) for s in candidates(whole)] == [
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


def test_a_contrast_pair_is_certain_by_construction() -> None:
    row = comparison_preference(contrast("p"), "train")
    assert not isinstance(row, LeftOut)
    assert (row.chosen, row.rejected, row.probability) == ("Kind p", "Unkind p", 1.0)
    assert (row.origin, row.origin_id, row.principle_ids) == ("contrast", "c-p-0", ("kind",))
    assert (row.p_ab, row.p_ba, row.judge_mass, row.judge_method) == (None, None, None, "")
    assert row.prompt == (Message("user", "Question p?"),)
    guarded = contrast("p", guards=("leaked", "not-opposed"))
    assert comparison_preference(guarded, "train") == LeftOut("guarded: leaked, not-opposed")


def test_the_second_side_turns_the_label_over() -> None:
    """Second chosen: it was shown first where the order was swapped, so p_ab = 1 − 0.6."""
    row = comparison_preference(comparison("p", probability=0.25, swapped=0.6), "train")
    assert not isinstance(row, LeftOut)
    assert (row.chosen, row.rejected, row.probability) == ("B p 👍", "A p", 0.75)
    assert row.p_ab == pytest.approx(0.4)
    assert row.p_ba == pytest.approx(0.1)


def test_one_half_goes_to_the_first_and_missing_orders_are_none() -> None:
    row = comparison_preference(comparison("p", probability=0.5, swapped=None), "train", ties=True)
    assert not isinstance(row, LeftOut)
    assert (row.chosen, row.p_ab, row.p_ba) == ("A p", 0.9, None)


@pytest.mark.parametrize("probability", [0.8, 0.2])
@pytest.mark.parametrize("side", [0, 1])
def test_a_pair_with_a_faulty_side_is_left_out_whichever_it_is(
    probability: float, side: int
) -> None:
    for fault, reason in (({"finish_reason": "length"}, "truncated"), ({"text": " …"}, "empty")):
        one = comparison("p", probability=probability)
        responses = list(one.responses)
        responses[side] = replace(responses[side], **fault)  # type: ignore[arg-type]
        row = comparison_preference(replace(one, responses=tuple(responses)), "train")  # type: ignore[arg-type]
        assert row == LeftOut(f"guarded: {reason}")
    first = say("First", "x", "length")
    whole = replace(with_rounds(revision(0, "Second")), response=first)
    assert revision_preference(whole, "train") == LeftOut("guarded: truncated")


@pytest.mark.parametrize(("probability", "tie"), [(0.5, True), (0.549, True), (0.451, True),
                                                  (0.551, False), (0.44, False)])  # fmt: skip
def test_near_ties_are_rows_on_request(probability: float, tie: bool) -> None:
    one = comparison("p", probability=probability)
    assert (comparison_preference(one, "train") == LeftOut("near tie")) is tie
    assert not isinstance(comparison_preference(one, "train", ties=True), LeftOut)
    run_of: dict[str, Any] = {"sft_share": 0.0, "test_share": 0.0}
    (row_with_ties,) = ExportSettings.of(run(**run_of)).rows(one)
    assert isinstance(row_with_ties, ExportedRow), "a run of before there was a choice"
    (row,) = ExportSettings.of(run(**run_of, ties=False)).rows(one)
    assert isinstance(row, LeftOut) is tie


@pytest.mark.parametrize(
    ("probability", "outcome"),
    [
        (0.9, 0.9),
        (0.54, "near tie"),
        (0.46, "near tie"),
        (0.3, "the judge prefers the first response to its revision"),
    ],
)
def test_a_judged_revision_has_the_judge_s_probability(
    probability: float, outcome: float | str
) -> None:
    label = Label(probability, comparison("q").judgements, 0.8, 0.7)
    row = revision_preference(replace(trace("p"), label=label), "train")
    if isinstance(outcome, str):
        assert row == LeftOut(outcome)
    else:
        assert not isinstance(row, LeftOut)
        assert (row.probability, row.p_ab, row.p_ba) == (0.9, 0.8, 0.7)
        assert row.judge_mass == pytest.approx(0.893035)
        assert row.chosen == "Better p"
    tie = revision_preference(replace(trace("p"), label=replace(label, probability=0.54)), "train",
                              ties=True)  # fmt: skip
    assert not isinstance(tie, LeftOut) and tie.probability == 0.54


def test_an_unreviewed_text_is_no_row_until_it_is_rewritten() -> None:
    """The critic refused in round 1. What stands is left out; a later revision is not."""
    refused = replace(revision(0, None, "unreviewed"), outcome="refused")
    assert sft_examples(with_rounds(refused, revision(1, None)), "train") == [
        LeftOut("guarded: unreviewed")
    ]
    rewritten = with_rounds(refused, revision(1, "Second"))
    (row,) = sft_examples(rewritten, "train")
    assert isinstance(row, SftExample) and row.messages[-1].content == "Second"
    assert not isinstance(revision_preference(rewritten, "train"), LeftOut)
    after = with_rounds(revision(0, "Second"), replace(refused, round=1))
    assert revision_preference(after, "train") == LeftOut("guarded: unreviewed")


def test_what_is_learnt_has_no_announcement() -> None:
    announced = replace(revision(0, "Revised response: Second"), stripped="Second")
    (row,) = sft_examples(with_rounds(announced), "train")
    assert isinstance(row, SftExample) and row.messages[-1].content == "Second"
    pair = revision_preference(with_rounds(announced), "train")
    assert not isinstance(pair, LeftOut) and pair.chosen == "Second"


def test_the_last_check_can_gate_rows() -> None:
    """The check of `trace` gives e^-0.1 = 0.9048 to one of two options, the other is impossible."""
    for gate, passes in ((None, True), (0.9, True), (0.91, False)):
        (row,) = sft_examples(trace("p"), "train", "last", gate)
        assert isinstance(row, SftExample) is passes
        pair = revision_preference(trace("p"), "train", check_gate=gate)
        assert isinstance(pair, LeftOut) is not passes
    assert row == LeftOut("the last check finds a problem")
    whole = replace(with_rounds(revision(0, "Second"), revision(1, "Third")),
                    checks=trace("p").checks)  # fmt: skip
    first, last = sft_examples(whole, "train", "all", 0.91)
    assert isinstance(first, SftExample) and last == row


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
    sides = ExportSettings.of(run(sft_share=0.5, test_share=0.5))
    files = set()
    for n in range(40):
        name = f"p{n}"
        row, label = sides.rows(trace(name))
        assert isinstance(row, ExportedRow) and isinstance(label, ExportedRow)
        table = "sft" if side_of(family_of(name), 7, 0.5) == "sft" else "preferences"
        split = split_of(family_of(name), 7, 0.5)
        assert row.file == (table if split == "train" else f"{table}.test")
        assert row.values["split"] == label.values["split"] == split
        assert label.file == ("labels" if split == "train" else "labels.test")
        files.add(row.file)
    assert len(files) == 4
    everything = ExportSettings.of(run(pairs=0, revision_pairs=False, sft_share=0.0))
    assert all(everything.rows(trace(f"p{n}"))[0].table == "sft" for n in range(20))  # type: ignore[union-attr]
    none = ExportSettings.of(run(revision_pairs=False, sft_share=0.0))
    assert [row.table for row in none.rows(trace("p"))] == ["labels"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("mode", "parts"),
    [("pointwise", ["final", "first"]), ("contrast", ["final", "first"]), ("letters", ["final"])],
)
def test_a_judged_trace_labels_its_first_response_where_the_judge_went_by_single_ones(
    mode: str, parts: list[str]
) -> None:
    """Where pairs are made by contrast, revisions are judged pointwise."""
    settings = run()
    settings.constitution["feedback"] = {"mode": mode}
    (verdict,) = comparison("j").judgements
    verdict = replace(verdict, scores=(verdict.scores[0], verdict.scores[0]))
    judged = replace(trace("p"), label=Label(0.8, (verdict,)))
    rows = ExportSettings.of(settings).rows(judged)
    labels = [r for r in rows if isinstance(r, ExportedRow) and r.table == "labels"]
    assert [row.values["origin"] for row in labels] == parts


def test_values_of_rows() -> None:
    sides = ExportSettings.of(run(sft_share=1.0, test_share=0.0))
    row, label = sides.rows(trace("p"))
    assert isinstance(row, ExportedRow) and isinstance(label, ExportedRow)
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
    assert label.values == {
        "id": "t-p.final",
        "prompt": [{"role": "user", "content": "Question p?"}],
        "completion": [{"role": "assistant", "content": "Better p"}],
        "label": True,
        "probability": pytest.approx(0.904837),  # e^-0.1
        "no_problem": [{"principle_id": "kind", "probability": pytest.approx(0.904837)}],
        "origin": "final",
        "principle_ids": ["kind"],
        "trace_id": "t-p",
        "comparison_id": None,
        "prompt_id": "p",
        "split": "train",
    }
    assert sides.rows(comparison("p")) == [LeftOut("a pair for a prompt on the SFT side")]
    (row,) = ExportSettings.of(run(sft_share=0.0, test_share=0.0)).rows(comparison("p"))
    assert isinstance(row, ExportedRow)
    assert row.values == {
        "id": "c-p-0",
        "prompt": [{"role": "user", "content": "Question p?"}],
        "chosen": [{"role": "assistant", "content": "A p"}],
        "rejected": [{"role": "assistant", "content": "B p 👍"}],
        "probability": 0.8,
        "p_ab": 0.9,
        "p_ba": 0.6,
        "judge_mass": pytest.approx(0.893035),  # e^-0.5 + e^-1.25
        "origin": "comparison",
        "principle_ids": ["kind"],
        "trace_id": None,
        "comparison_id": "c-p-0",
        "prompt_id": "p",
        "split": "train",
    }
