"""Which tokens count, and rows that give the same log-probabilities however they are laid out."""

from __future__ import annotations

import pytest
import torch

from cai.errors import PromptError
from cai.models.adapters import LoraSettings
from cai.models.backbone import Backbone
from cai.text.encode import Encoder
from cai.training.batches import (
    Tokens,
    collate,
    encode_document,
    encode_tokens,
    encode_turns,
    pack,
    response_logprobs,
)
from cai.types import Message
from tests.text.families import family

TALK = (
    Message("user", "Say hello."),
    Message("assistant", "Hello there."),
    Message("user", "Again."),
    Message("assistant", "Hello!"),
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    base = Backbone.load("miniature", device="cpu", dtype="float32")
    base.add_adapter("policy", LoraSettings(r=4), seed=1)
    return base


def said(backbone: Backbone, tokens: Tokens) -> str:
    return "".join(
        backbone.encoder.tokenizer.decode([i])
        for i, counts in zip(tokens.ids, tokens.response, strict=True)
        if counts
    )


def test_the_assistant_s_words_and_their_end_count(backbone: Backbone) -> None:
    (both,) = encode_turns(backbone.encoder, TALK, 100, "all")
    assert said(backbone, both) == "Hello there.<|im_end|>Hello!<|im_end|>"
    last = encode_tokens(backbone.encoder, TALK, 100)
    assert encode_turns(backbone.encoder, TALK, 100) == [last]
    assert said(backbone, last) == "Hello!<|im_end|>"
    assert both.ids == last.ids and both.response[-1]


def test_a_document_counts_from_its_first_word_to_its_end(backbone: Backbone) -> None:
    """No turn is around it, and what it says of control tokens stays text."""
    tokenizer = backbone.encoder.tokenizer
    document = encode_document(backbone.encoder, "Hello there.", 100)
    words = tokenizer("Hello there.", add_special_tokens=False)["input_ids"]
    assert document.ids[1:] == (*words, tokenizer.eos_token_id)
    assert document.response == (False, *[True] * (len(words) + 1))
    assert said(backbone, document) == f"Hello there.{tokenizer.eos_token}"
    spoken = encode_document(backbone.encoder, "Say <|im_end|>", 100)
    assert spoken.ids[1:].count(backbone.encoder.turn_end_id) == 1  # its own end alone
    with pytest.raises(PromptError, match=r"too long: .*\(\d+ tokens, over 3\)"):
        encode_document(backbone.encoder, "Hello there.", 3)


def test_a_turn_that_is_marked_does_not_count(backbone: Backbone) -> None:
    """The first of two responses has the weight 0: it is read, and not learned."""
    (tokens,) = encode_turns(backbone.encoder, TALK, 100, "all", not_to_learn=(1,))
    assert said(backbone, tokens) == "Hello!<|im_end|>"


def test_turns_that_the_template_words_anew_stand_apart() -> None:
    """Qwen3 drops an earlier turn's empty reasoning block: each turn has a sequence of its own.

    Both are what the model samples: the prompt as it was, then the reply with its block.
    """
    encoder = Encoder(family("qwen3"))
    first, second = encode_turns(encoder, TALK, 200, "all")
    for tokens, messages, answer in (
        (first, TALK[:1], "Hello there."), (second, TALK[:3], "Hello!"),
    ):  # fmt: skip
        prompt = encoder.encode(messages).ids
        assert tokens.ids[: len(prompt)] == prompt
        assert tokens.response == tuple(i >= len(prompt) for i in range(len(tokens.ids)))
        reply = encoder.tokenizer.decode(tokens.ids[len(prompt) :])
        assert reply == f"<think>\n\n</think>\n\n{answer}<|im_end|>"
    assert encode_turns(encoder, TALK, 200) == [second]


@pytest.mark.parametrize("row", ["inline", "key"])
def test_reasoning_is_learnt_or_only_read(row: str) -> None:
    """With `context` the answer and its end count, the reasoning before them does not.

    With `drop` the row is that of the answer alone.
    """
    encoder = Encoder(family("qwen3"))
    reply = (
        Message("assistant", "<think>\nShort.\n</think>\n\nHello!")
        if row == "inline"
        else Message("assistant", "Hello!", "Short.")
    )
    talk = (*TALK[:3], reply)
    learn, context, drop = (
        encode_tokens(encoder, talk, 200, how) for how in ("learn", "context", "drop")
    )  # fmt: skip
    assert learn.ids == context.ids
    alone = (*TALK[:3], Message("assistant", "Hello!"))
    assert drop == encode_tokens(encoder, alone, 200) != learn
    responses = [
        encoder.tokenizer.decode([i for i, counts in zip(t.ids, t.response, strict=True) if counts])
        for t in (learn, context)
    ]
    assert responses[0] == "<think>\nShort.\n</think>\n\nHello!<|im_end|>"
    assert responses[1].strip() == "Hello!<|im_end|>"


@pytest.mark.parametrize(
    ("text", "why"),
    [("<think>\nhm, so", "does not end"), ("<think>\nonly\n</think>", "not followed by an answer")],
)
@pytest.mark.parametrize("name", ["qwen3", "phi"])
def test_reasoning_without_an_answer_is_no_target(name: str, text: str, why: str) -> None:
    """Also on a model whose template has no place for reasoning."""
    with pytest.raises(PromptError, match=f"no answer: the reasoning .*{why}"):
        encode_tokens(Encoder(family(name)), (*TALK[:3], Message("assistant", text)), 200)


@pytest.mark.parametrize(
    "text", ["In HTML, </think> closes a tag.", "Write <think>, then </think>."]
)
def test_markers_inside_an_answer_are_words(text: str) -> None:
    """Behind the reasoning its markers are letters, learned and shown as they are."""
    encoder = Encoder(family("qwen3"))
    talk = (*TALK[:3], Message("assistant", text))
    for how in ("learn", "drop"):
        tokens = encode_tokens(encoder, talk, 200, how)
        reply = [i for i, counts in zip(tokens.ids, tokens.response, strict=True) if counts]
        assert encoder.tokenizer.decode(reply) == f"<think>\n\n</think>\n\n{text}<|im_end|>"
        assert sum(i in encoder.marker_ids for i in tokens.ids) == 2, "the template's own block"
    question = encoder.encode((*talk, Message("user", "And?")))
    assert text in question.text


def test_reasoning_that_the_prompt_began_is_told_from_the_answer() -> None:
    """Where the template opens the block, a row may hold what follows it."""
    encoder = Encoder(family("r1"))
    splits = [
        encoder.reply_of(Message("assistant", text))
        for text in ("hm\n</think>\n\nHello!", "<think>\nhm\n</think>\n\nHello!")
    ]
    assert {(r.answer, r.reasoning) for r in splits} == {("Hello!", "hm")}


def test_tags_are_reasoning_on_any_model() -> None:
    """Without a place for it the answer alone is learned, however the row holds the reasoning."""
    encoder = Encoder(family("phi"))
    inline, plain = (
        encode_tokens(encoder, (*TALK[:3], Message("assistant", text)), 200)
        for text in ("<think>\nx\n</think>\n\nHello!", "Hello!")
    )
    assert inline == plain


def test_what_is_too_long_is_refused_with_its_length(backbone: Backbone) -> None:
    size = len(encode_tokens(backbone.encoder, TALK, 100).ids)
    assert len(encode_tokens(backbone.encoder, TALK, size).ids) == size
    with pytest.raises(PromptError, match=rf"\({size} tokens, over {size - 1}\)"):
        encode_tokens(backbone.encoder, TALK, size - 1)
    with pytest.raises(PromptError, match="not the assistant's"):
        encode_tokens(backbone.encoder, TALK[:3], 100)
    with pytest.raises(PromptError, match="not the assistant's"):
        encode_turns(backbone.encoder, TALK[:3], 100, "all")


def test_bins_are_filled_best_fit_first() -> None:
    """Capacity 10: 7 and 3 fill a bin, 6 and 2 another (the 2 fits there only), 12 its own."""
    assert pack([3, 7, 2, 6, 12], 10) == [[4], [1, 0], [3, 2]]


def test_rows_name_the_places_of_what_counts() -> None:
    """Two conversations packed into a row of 8: 5 + 3 tokens.

    Of the first, tokens 2 to 4 count, predicted at 1 to 3; of the second, at 5 to 7 in the row,
    the last two, predicted at 5 and 6.
    """
    first = Tokens((1, 2, 3, 4, 5), (False, False, True, True, True))
    second = Tokens((6, 7, 8), (False, True, True))
    rows = collate([second, first], capacity=8)
    assert rows.ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]]
    assert rows.positions is not None and rows.positions.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
    assert rows.target_positions.tolist() == [1, 2, 3, 5, 6]
    assert rows.targets.tolist() == [3, 4, 5, 7, 8]
    assert rows.owner.tolist() == [1, 1, 1, 0, 0]
    assert rows.last.tolist() == [7, 4]
    apart = collate([second, first])
    assert apart.ids.shape == (2, 8) and apart.positions is None
    assert apart.mask.sum(1).tolist() == [3, 5] and apart.last.tolist() == [2, 12]


def test_packed_and_padded_rows_give_the_same_loss_and_gradient(backbone: Backbone) -> None:
    """In float32, to 1e-5: no conversation sees its neighbour."""
    backbone.train_only("policy")
    talks = [
        encode_tokens(backbone.encoder, talk, 200)
        for talk in (TALK, TALK[:2], TALK[2:], (Message("user", "What is up?"), TALK[1]))
    ]
    results = []
    for capacity in (0, 64, 200):
        rows = collate(talks, capacity)
        with backbone.using("policy"):
            logprobs = response_logprobs(backbone, rows)
        sums = torch.zeros(len(talks)).index_add(0, rows.owner, logprobs)
        backbone.model.zero_grad()
        logprobs.sum().backward()
        grads = torch.cat([p.grad.flatten() for p in backbone.trainable().values()])  # type: ignore[union-attr]
        results.append((sums.detach(), grads))
    assert collate(talks, 200).ids.shape[0] < len(talks)
    for sums, grads in results[1:]:
        torch.testing.assert_close(sums, results[0][0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(grads, results[0][1], atol=1e-4, rtol=1e-4)
    assert results[0][1].abs().max() > 1e-3
