"""Rollouts: what is drawn is kept to the token, and what is scored is what was drawn from."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy

import pytest
import torch

from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.models.response import Job
from cai.models.rows import plain_logits
from cai.models.sampling import Draw, choose
from cai.text.encode import Encoder
from cai.text.seeds import derive
from cai.training.monitors import observe
from cai.training.rollout import (
    EncodedPrompt,
    Response,
    Rollout,
    draw_prompts,
    encode_prompts,
    generate_responses,
    has_ended,
    logprobs_and_values,
    response_mask,
)
from cai.training.scoring import ScoreScale
from cai.types import FinishReason, Message, Prompt, Sampling
from tests.models.tiny import encoder
from tests.text.families import family
from tests.training.ppo_runs import PROMPTS, backbone

HOT = 1.3


def trained(base: Backbone, by: float = 0.2) -> Backbone:
    """The policy away from the base."""
    noise = torch.Generator().manual_seed(7)
    base.train_only("policy")
    with torch.no_grad():
        for parameter in base.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=noise) * by)
    return base


def responses_of(base: Backbone, update: int = 0, temperature: float = HOT) -> list[Response]:
    ready, _ = encode_prompts(base.encoder, PROMPTS, 400)
    prompts = [(prompt, 0) for prompt in ready]
    return generate_responses(base, "policy", prompts, 24, temperature, seed=5, update=update)


@torch.inference_mode()
def test_every_token_comes_from_the_policy_at_its_temperature() -> None:
    """Drawn again one by one from the plain forward, the token that ends a turn included."""
    base = trained(backbone())
    responses = [(update, r) for update in (0, 4) for r in responses_of(base, update)]
    kinds = {(r.ended, r.ids[-1] in encoder().stop_ids) for _, r in responses}
    assert len(kinds) == 3, "an end, another special token, and the limit must be there"
    for update, r in responses:
        seed = derive(5, "rollout", r.prompt.id, update, 0)
        with base.using("policy"):
            for t, token in enumerate(r.ids):
                logits = plain_logits(base.inner, [*r.prompt.ids, *r.ids[:t]])[None]
                (choice,), _ = choose(logits, [Draw(HOT, 1.0, seed, t)], final=True)
                assert choice == token
        stops = [t for t in r.ids if t in encoder().stop_ids]
        assert r.ended == (r.ids[-1] in encoder().eos_ids)
        assert stops == [r.ids[-1]] if stops else len(r.ids) == 24
        assert encoder().decode(r.ids).strip() == r.text


@torch.inference_mode()
def test_the_distribution_that_was_drawn_from_is_scored() -> None:
    """log softmax(logits / T) at every token of the response, by the model's own forward."""
    base = trained(backbone())
    responses = responses_of(base)
    mask = response_mask(responses, base.device)
    head = ScalarHead(base.hidden_size, seed=3)
    for adapter in ("policy", None):
        ours, values = logprobs_and_values(base, adapter, responses, mask.shape[1], HOT, head)
        assert values is not None
        assert ours.shape == values.shape == mask.shape
        assert not ours[~mask].any()
        assert not values[~mask].any()
        for b, r in enumerate(responses):
            ids = torch.tensor([[*r.prompt.ids, *r.ids]])
            before = slice(len(r.prompt.ids) - 1, ids.shape[1] - 1)
            with base.using(adapter):
                logits = base.inner(input_ids=ids).logits[0, before]
                hidden = base.hidden_states(ids)[0, before]
            picked = (logits / HOT).log_softmax(-1).gather(1, torch.tensor(r.ids)[:, None])[:, 0]
            assert torch.allclose(ours[b, : len(r.ids)], picked, atol=1e-4)
            assert torch.allclose(values[b, : len(r.ids)], head(hidden), atol=1e-4)


def test_draws_depend_on_seed_prompt_and_update_alone() -> None:
    base = backbone()
    first = responses_of(base)
    torch.manual_seed(99)
    assert responses_of(base) == first
    assert [r.ids for r in responses_of(base, update=1)] != [r.ids for r in first]
    alone = generate_responses(base, "policy", [(first[3].prompt, 0)], 24, HOT, seed=5, update=0)
    assert alone == [first[3]]


def test_a_policy_that_moved_is_read_anew() -> None:
    """Nothing of the older policy is left in a cache: the same as from a policy made so."""
    base = backbone()
    before = responses_of(base)
    after = responses_of(trained(base))
    assert after == responses_of(trained(backbone())) != before


def test_an_empty_response_is_its_end_token() -> None:
    """A mask is never guessed from ids: padding's id 0 inside a response counts."""
    prompt = EncodedPrompt("p", (), (5, 6))
    responses = [
        Response(prompt, (9,), "", True),
        Response(prompt, (0, 0, 0), "x", False),
    ]
    assert response_mask(responses, torch.device("cpu")).tolist() == [
        [True, False, False],
        [True, True, True],
    ]
    assert responses[0].tokens.response == (False, False, True)
    assert responses[1].tokens.ids == (5, 6, 0, 0, 0)


@pytest.mark.parametrize(
    ("last", "finish", "ended"),
    [
        ("<|im_end|>", "stop", True),
        ("<|im_start|>", "stop", False),  # stops the drawing, but ends no turn
        ("<|endoftext|>", "stop", False),  # the padding token, which no end is called
        ("a", "length", False),
    ],
)
def test_only_the_end_of_a_turn_ends_a_response(
    last: str, finish: FinishReason, ended: bool
) -> None:
    """What has no end pays the penalty of 0.5, and is counted by the monitors."""
    token = encoder().tokenizer.convert_tokens_to_ids(last)
    job = Job((5, 6), Sampling(), 3, tokens=[9, token], out=[9], finish=finish)
    assert has_ended(job, encoder()) == ended
    response = Response(EncodedPrompt("p", (), (5, 6)), (9, token), "x", ended)
    assert ScoreScale(False, None, 0.5)([1.0], [response]) == [1.0 if ended else 0.5]
    assert observe([response], 0.0, [1.0]).missing_eos == (not ended)


def test_without_a_template_the_next_turn_s_heading_ends_a_response() -> None:
    """The plain format has no end token that a base knows: `\n\nHuman:` is where it ends."""
    tokenizer = deepcopy(family("chatml"))
    tokenizer.chat_template = None
    plain = Encoder(tokenizer)
    heading = tokenizer.encode("\n\nHuman:", add_special_tokens=False)
    job = Job((5, 6), Sampling(), 30, tokens=[9, *heading], out=[9], finish="stop")
    assert plain.stop_texts and has_ended(job, plain)
    job = Job((5, 6), Sampling(), 30, tokens=[9, plain.tokenizer.eos_token_id], finish="stop")
    assert has_ended(job, plain)


def test_kl_sums_over_a_response() -> None:
    """(-1 + 3) + (-2 + 2.5) = 2.5; -1 + 1 = 0."""
    mask = torch.tensor([[True, True], [True, False]])
    rollout = Rollout(
        mask,
        torch.tensor([[-1.0, -2.0], [-1.0, 0.0]]),
        torch.tensor([[-3.0, -2.5], [-1.0, 0.0]]),
        torch.zeros(2, 2),
        torch.zeros(2),
    )
    assert rollout.kl.tolist() == [2.5, 0.0]


def test_prompts_come_in_passes() -> None:
    """Three updates of 4 on 6 prompts: every prompt twice, once in each pass, in other orders."""
    prompts = [EncodedPrompt(f"p{i}", (), (i,)) for i in range(6)]
    prompts_drawn = [pair for u in range(3) for pair in draw_prompts(prompts, 4, seed=1, update=u)]
    assert [turn for _, turn in prompts_drawn] == [0] * 6 + [1] * 6
    assert Counter(p.id for p, _ in prompts_drawn) == Counter({p.id: 2 for p in prompts})
    assert [p for p, _ in prompts_drawn[:6]] != [p for p, _ in prompts_drawn[6:]]
    assert draw_prompts(prompts[::-1], 4, seed=1, update=0) == prompts_drawn[:4]
    twice = draw_prompts(prompts[:1], 2, seed=1, update=0)
    assert [turn for _, turn in twice] == [0, 1], "one prompt twice must not be drawn alike"


def test_prompts_that_cant_be_used_are_set_aside() -> None:
    bad = Prompt("bad", (Message("user", "a\0b"),), source="x.jsonl:7")
    long = Prompt("long", (Message("user", "bread " * 50),), source="x.jsonl:8")
    ready, set_aside = encode_prompts(encoder(), [PROMPTS[0], bad, long], 40)
    assert [p.id for p in ready] == ["p0"]
    assert [a.source for a in set_aside] == ["x.jsonl:7", "x.jsonl:8"]
    assert "allows 40" in set_aside[1].reason
