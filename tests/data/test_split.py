"""Splits by hash."""

from __future__ import annotations

from cai.data.prompts import default_id
from cai.data.split import family, side_of, split_of
from cai.types import Message, Prompt

IDS = [f"p-{n}" for n in range(4000)]


def test_shares_and_extremes() -> None:
    # 4000 draws at 0.25: 1000 expected, standard deviation sqrt(4000 · .25 · .75) = 27
    assert abs(sum(split_of(i, 1, 0.25) == "test" for i in IDS) - 1000) < 110
    assert abs(sum(side_of(i, 1, 0.25) == "sft" for i in IDS) - 1000) < 110
    assert {split_of(i, 1, 0.0) for i in IDS} == {"train"}
    assert {side_of(i, 1, 1.0) for i in IDS} == {"sft"}


def test_the_two_are_independent_and_a_larger_share_keeps_its_prompts() -> None:
    both = sum(split_of(i, 1, 0.5) == "test" and side_of(i, 1, 0.5) == "sft" for i in IDS)
    assert abs(both - 1000) < 110
    small = {i for i in IDS if split_of(i, 1, 0.1) == "test"}
    assert small < {i for i in IDS if split_of(i, 1, 0.2) == "test"}
    assert small != {i for i in IDS if split_of(i, 2, 0.1) == "test"}


def test_known_values() -> None:
    """Released splits never move. Draws of seed 7 for p-0 to p-3, three digits:

    split: 0.035 0.806 0.648 0.071; side: 0.243 0.826 0.277 0.944
    """
    assert [split_of(f"p-{n}", 7, 0.5) for n in range(4)] == ["test", "train", "train", "test"]
    assert [side_of(f"p-{n}", 7, 0.3) for n in range(4)] == [
        "sft",
        "preference",
        "sft",
        "preference",
    ]


def test_dialogues_that_begin_alike_stay_together() -> None:
    """One may be a part of the other; so may a prompt that is their first turn alone."""
    first = Message("user", "Hello?")
    more = (first, Message("assistant", "Yes?"), Message("user", "Bye."))
    alone = Prompt(default_id((first,)), (first,))
    assert family(Prompt("a", more)) == family(Prompt("b", more[:1] + more)) == family(alone)
    assert family(Prompt("mine", (first,))) == "mine"
