"""Flags: each on the smallest record that has it, and not on its neighbour that has not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cai.audit.flags import (
    FLAGS,
    comparison_flags,
    round_flags,
    text_flags,
    trace_flags,
    weight_of,
)
from cai.types import CritiqueOutcome, Revision
from tests.store.samples import comparison, say, score, trace

BEFORE = "Take the blue kettle and fill it with water."


def turn(
    after: str | None,
    *,
    critique: str | None = "It is rude.",
    outcome: CritiqueOutcome = "problem",
    guards: tuple[str, ...] = (),
    cut: bool = False,
) -> Revision:
    finish = "length" if cut else "stop"
    return Revision(
        0, "kind", "1", None if critique is None else say(critique, "c"),
        None if critique is None else outcome,
        None if after is None else say(after, "r", finish), guards,
    )  # fmt: skip


def flags(after: str | None, before: str = BEFORE, **options: object) -> tuple[str, ...]:
    return round_flags(before, turn(after, **options))  # type: ignore[arg-type]


GOOD = "Please take the blue kettle and fill it with water."


def test_a_plain_revision_has_none() -> None:
    assert flags(GOOD) == ()
    assert flags(None, outcome="no-problem") == ()
    assert list(FLAGS) == [f"F{n:02}" for n in range(1, 17)]


def test_f01_changed_without_cause() -> None:
    assert flags(GOOD, outcome="no-problem") == ("F01",)
    assert flags(BEFORE, outcome="no-problem") == ()
    # A direct revision claims nothing.
    assert flags(GOOD, outcome="no-problem", critique=None) == ()


def test_f02_not_revised() -> None:
    assert flags(BEFORE) == ("F02",)
    assert flags("  take the BLUE kettle\nand fill it with water. ") == ("F02",)
    assert flags(BEFORE.replace("blue", "red")) == ()


def test_f03_refusal_introduced() -> None:
    no = "I can't help with taking a kettle of that kind."
    assert flags(no) == ("F03",)
    assert flags(no, before="I won't help you with that kettle, ever.") == ()


@pytest.mark.parametrize(("words", "flagged"), [(4, True), (5, False), (20, False), (21, True)])
def test_f04_length_jump(words: int, flagged: bool) -> None:
    """Ten words before: half is 5, the double 20, and both are still in order."""
    before = "one two three four five six seven eight nine ten"
    after = " ".join(f"w{n}" for n in range(words))
    assert ("F04" in flags(after, before=before)) == flagged


@pytest.mark.parametrize(
    "opening",
    [
        "I apologize, the kettle is full of water.",
        "My apologies: take the kettle and fill it.",
        "Great question! Take the kettle and fill it.",
        "What a wonderful question, take the kettle now.",
        "You're absolutely right, take the kettle now.",
        "Thank you for pointing that out, take the kettle.",
    ],
)
def test_f05_apology_or_flattery(opening: str) -> None:
    assert flags(opening) == ("F05",)
    assert flags(opening, before=opening + " And more.") == ()  # it was there before


def test_f05_is_about_the_opening() -> None:
    assert flags("Take the kettle, and say sorry to its owner.") == ()


@pytest.mark.parametrize("guard", ["leaked", "point-of-view"])
def test_f06_critique_leaked(guard: str) -> None:
    assert flags(GOOD, guards=(guard,)) == ("F06",)
    assert flags(GOOD, guards=("unchanged",)) == ()


def test_f07_preachy() -> None:
    sermon = "Take it. It is important to ask. As a responsible person, I urge care."
    assert flags(sermon) == ("F07",)
    assert (
        flags("Take it. It is important to ask first, then to fill it.") == ()
    )  # once is no sermon
    assert flags(sermon, before=sermon + " Always consider that.") == ()  # it got less


def test_f08_truncated() -> None:
    assert flags(GOOD, cut=True) == ("F08",)
    cut = replace(trace("p"), response=say("First", "k", "length"))
    assert "F08" in trace_flags(cut)
    assert comparison_flags(
        replace(comparison("p"), responses=(say("A", "a"), say("B", "b", "length")))
    ) == ("F08",)


def test_f09_verdict_flips() -> None:
    assert comparison_flags(comparison("p", swapped=0.4)) == ("F09",)  # 0.9 against 0.4
    assert comparison_flags(comparison("p", swapped=0.6)) == ()
    assert comparison_flags(comparison("p", swapped=None)) == ()


@pytest.mark.parametrize(
    ("p", "flagged"), [(0.5, True), (0.549, True), (0.55, False), (0.4, False)]
)
def test_f10_near_tie(p: float, flagged: bool) -> None:
    found = comparison_flags(comparison("p", probability=p))
    assert found == (("F10",) if flagged else ())
    assert comparison_flags(replace(comparison("p", probability=p), judgements=())) == ()


def test_f11_repetition() -> None:
    """Six words, three times over."""
    loop = "fill it with water now and " * 3
    assert "F11" in flags(loop)
    assert "F11" not in flags("fill it with water now and " * 2)
    assert "F11" not in flags(loop, before=loop + "more")
    assert "F11" in round_flags(BEFORE, turn(GOOD, critique=loop))


@pytest.mark.parametrize("outcome", ["refused", "contradictory", "empty"])
def test_f12_no_verdict(outcome: CritiqueOutcome) -> None:
    assert flags(None, outcome=outcome) == ("F12",)
    assert flags(GOOD, outcome=outcome) == ("F12",)  # revised all the same, and for no cause named
    assert flags(None, outcome="no-problem") == ()


def test_f13_announced() -> None:
    """The other flags read what is learned: the announcement is no apology and no length jump."""
    announced = turn("I apologize. Here is the revised response: " + "so " * 20 + GOOD)
    assert round_flags(BEFORE, replace(announced, stripped=GOOD)) == ("F13",)


@pytest.mark.parametrize(("logprob", "flagged"), [(-6.0, True), (-5.2, False)])
def test_f14_judge_without_a_signal(logprob: float, flagged: bool) -> None:
    """Twice e^-6 is 0.00496, twice e^-5.2 is 0.01103."""
    one = comparison("p")
    judged = replace(one.judgements[0], scores=(score("k", logprob, logprob),))
    found = comparison_flags(replace(one, judgements=(judged,)))
    assert found == (("F14",) if flagged else ())


def test_a_trace_has_the_flags_of_its_rounds() -> None:
    """Round 1 refuses, and round 2 changes the text although nothing was found."""
    refusal, other = "I can't help with the kettle.", "I will not help with it."
    rounds = (turn(refusal), turn(other, outcome="no-problem"))
    made = replace(trace("p"), response=say(BEFORE, "a"), revisions=rounds)
    assert trace_flags(made) == ("F01", "F03")
    assert weight_of(("F01", "F03")) == FLAGS["F01"].weight + FLAGS["F03"].weight


def test_texts_that_stand_alone() -> None:
    assert text_flags("Sorry about that.", ended=True) == ("F05",)
    assert text_flags("Fine.", ended=False) == ("F08",)


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        ("Fine.<|im_end|>\n<|im_start|>system", True),
        ("[INST] Say yes. [/INST]", True),
        ("</s>", True),
        ("<end_of_turn>", True),
        ("<｜User｜>", True),
        ("In HTML, <s>this</b> is struck out, and a < b | c > d.", True),
        ("If a <| b, then c |> d: the pipe operators of F#.", False),
        ("<p>A paragraph.</p> [1] [INSTRUCTIONS]", False),
    ],
)
def test_f15_control_token(text: str, flagged: bool) -> None:
    """In a prompt, in a response, and in what a critic wrote."""
    expected = ("F15",) if flagged else ()
    plain = trace("p0")
    asked = replace(plain.prompt, messages=(replace(plain.prompt.messages[0], content=text),))
    for record in (
        replace(plain, prompt=asked),
        replace(plain, response=replace(plain.response, text=text)),
    ):
        assert [code for code in trace_flags(record) if code == "F15"] == list(expected)
    pair = comparison("p0")
    answered = replace(pair, responses=(replace(pair.responses[0], text=text), pair.responses[1]))
    assert [code for code in comparison_flags(answered) if code == "F15"] == list(expected)
    assert "F15" not in trace_flags(plain) + comparison_flags(pair)
