"""The toy model is a proper one: a distribution at each position, and the chain rule."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.servers import toy_lm
from tests.servers.toy_lm import END_ID, START_ID, Choices, Decoding

CHAT = toy_lm.chat_text([{"role": "user", "content": "May I? Ünï\x00 \u2028"}])
PROMPT = toy_lm.encode(CHAT)


def test_texts_survive_tokens() -> None:
    assert toy_lm.decode(PROMPT) == CHAT
    assert PROMPT[0] == START_ID and PROMPT.count(END_ID) == 1
    assert toy_lm.decode(PROMPT, control=False) == CHAT.replace("<|im_start|>", "").replace(
        "<|im_end|>", ""
    )


def test_each_position_is_a_distribution_of_its_prefix() -> None:
    rows = toy_lm.score(PROMPT)
    assert rows[0] is None
    for position, row in enumerate(rows[1:], 1):
        assert row is not None and np.exp(row).sum() == pytest.approx(1, abs=1e-12)
        assert np.array_equal(row, toy_lm.Prefix(PROMPT[:position]).scores())
    other = toy_lm.Prefix([START_ID, *PROMPT[:-1]]).scores()
    last = rows[-1]
    assert last is not None and not np.array_equal(
        other, last
    )  # one token earlier in the prompt matters


def test_generated_tokens_have_the_scores_of_their_text() -> None:
    answer = toy_lm.generate(PROMPT, Decoding(seed=3))
    rows = toy_lm.score([*PROMPT, *answer.ids])[len(PROMPT) :]
    for row, expected in zip(answer.scores, rows, strict=True):
        assert expected is not None and np.array_equal(row, expected)
    assert answer.ids[-1] == END_ID and answer.text == toy_lm.decode(answer.ids[:-1])


def test_log_probabilities_add_up_by_the_chain_rule() -> None:
    """log P(" yes" + ". " | prompt) = log P(" yes" | prompt) + log P(". " | prompt + " yes")."""
    whole = toy_lm.logprob(" yes. ", after=CHAT)
    parts = toy_lm.logprob(" yes", after=CHAT) + toy_lm.logprob(". ", after=CHAT + " yes")
    assert whole == pytest.approx(parts, abs=1e-12)


def test_samples_follow_the_distribution() -> None:
    """4,000 first tokens at temperature 1: each share within 4 standard errors of its chance."""
    count = 4000
    draws = Counter(
        toy_lm.generate(PROMPT, Decoding(seed=seed, max_tokens=1)).ids[0] for seed in range(count)
    )
    chances = np.exp(toy_lm.Prefix(PROMPT).scores())
    for id_ in (-chances).argsort()[:30]:
        error = (chances[id_] * (1 - chances[id_]) / count) ** 0.5
        assert abs(draws[int(id_)] / count - chances[id_]) < 4 * error


def test_settings_of_decoding() -> None:
    greedy = toy_lm.generate(PROMPT, Decoding(temperature=0))
    assert greedy.ids == [int(row.argmax()) for row in greedy.scores]
    assert toy_lm.generate(PROMPT, Decoding(top_k=1, seed=9)).ids == greedy.ids
    assert toy_lm.generate(PROMPT, Decoding(top_p=1e-6, seed=9)).ids == greedy.ids
    assert toy_lm.generate(PROMPT, Decoding(min_p=1.0, seed=9)).ids == greedy.ids
    assert (
        toy_lm.generate(PROMPT, Decoding(seed=1)).ids
        == toy_lm.generate(PROMPT, Decoding(seed=1)).ids
    )
    cut = toy_lm.generate(PROMPT, Decoding(ignore_end=True, max_tokens=7, seed=1))
    assert cut.finish_reason == "length" and len(cut.ids) == 7 and END_ID not in cut.ids
    word = cut.text.split()[1]
    stopped = toy_lm.generate(PROMPT, Decoding(ignore_end=True, seed=1, stop=[word]))
    assert stopped.text == cut.text.partition(word)[0] and stopped.stop == word
    assert (
        toy_lm.generate(PROMPT, Decoding(seed=1), variant="adapter").ids
        != toy_lm.generate(PROMPT, Decoding(seed=1)).ids
    )


def test_a_constraint_leaves_no_other_answer() -> None:
    choices = Choices(["(A)", "(B)", "neither of them"])
    answers = {
        toy_lm.generate(PROMPT, Decoding(seed=seed, constraint=choices)).text for seed in range(60)
    }
    assert answers <= set(choices.texts) and len(answers) > 1


def test_a_given_text_is_scored_as_it_stands() -> None:
    answer = toy_lm.spoken(PROMPT, "No problem found.")
    total = sum(row[id_] for row, id_ in zip(answer.scores, answer.ids, strict=True))
    assert total == pytest.approx(toy_lm.logprob("No problem found.<|im_end|>", after=CHAT))
