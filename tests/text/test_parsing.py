"""What responses say."""

from __future__ import annotations

import pytest

from cai.text.parsing import is_refusal, longest_loop


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("I can't help with that.", True),
        ("I’m sorry, but no.", True),
        ("Thank you for asking. I cannot answer this.", True),
        ("I won't do it.", True),
        ("I apologize, but I can't help.", True),
        ("I sincerely apologize, I cannot do that.", True),
        ("Unfortunately, I can't help with this.", True),
        ("As a responsible AI, I won't do this.", True),
        ("I must decline.", True),
        ("I must respectfully decline this.", True),
        ("I'm not comfortable with this topic.", True),
        ("I don’t feel comfortable talking about it.", True),
        ("I'm sorry to hear that. Here is what helps.", False),
        ("I can't wait to hear how it goes.", False),
        ("I apologize for the delay. Here is how.", False),
        ("Unfortunately, tulips need cold.", False),
        ("I must say that this is easy.", False),
        ("I'm comfortable with both.", False),
        ("Sure, here is how.", False),
        ("You can't miss it: turn left.", False),
        ("First knead. Then bake. I can't wait to try it.", False),
    ],
)
def test_is_refusal(text: str, refusal: bool) -> None:
    assert is_refusal(text) is refusal


def test_longest_loop_counts_runs_of_six_words() -> None:
    """ "a b c d e f" three times over is 18 words; its own run occurs three times."""
    assert longest_loop("a b c d e f " * 3) == 3
    assert longest_loop("a b c d e f g") == 1
    assert longest_loop("too short") == 0
