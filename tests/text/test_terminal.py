"""Nothing that a model writes can steer a terminal, and nothing is dropped."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.text.terminal import visible


@pytest.mark.parametrize(
    "text,shown",
    [
        ("plain, ünïcode 漢字 👍", "plain, ünïcode 漢字 👍"),
        ("\x1b[31mred\x07", "␛[31mred␇"),
        ("a\nb\tc\r\0\x7f", "a␊b␉c␍␀␡"),
        ("\x85\x9b", "<U+0085><U+009B>"),
        ("\u202eabc\u2066\u200b\u200d\ufeff", "<U+202E>abc<U+2066><U+200B><U+200D><U+FEFF>"),
        ("\u2028\u2029\xad", "<U+2028><U+2029><U+00AD>"),
        ("\ud800 \U000e0041 \u3164", "<U+D800> <U+E0041> <U+3164>"),
    ],
)
def test_known_marks(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_are_kept_on_request() -> None:
    assert visible("a\n\tb\r\n\x1b", lines=True) == "a\n\tb␍\n␛"


@given(st.text())
def test_no_control_comes_through(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown
    assert len(shown) >= len(text)
