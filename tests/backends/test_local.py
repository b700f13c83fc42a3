"""The local backend behind the port."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cai.backends.base import Backend, GroupResult
from cai.backends.local import LocalBackend
from cai.errors import PromptError, UsageError
from cai.models.load import LoadedModel
from cai.types import Generate, Generation, Message, Messages, Request, Sampling, Score, Scores
from tests.models.tiny import encoder, tiny


def backend(batch_size: int = 4, **changes: Any) -> LocalBackend:
    import torch

    fields = {"context": 512, "fingerprint": "f", **changes}
    loaded = LoadedModel(
        tiny(), encoder(), "tiny", device=torch.device("cpu"), dtype=torch.float32, **fields
    )
    return LocalBackend(loaded, batch_size)


def chat(*contents: str) -> Messages:
    return tuple(Message("user" if i % 2 == 0 else "assistant", c) for i, c in enumerate(contents))


def ask(text: str = "Hello.", prefill: str = "", **fields: Any) -> Generate:
    return Generate(chat(text), Sampling(**{"max_new_tokens": 12, **fields}), prefill)


def drain(b: LocalBackend) -> list[GroupResult]:
    done = []
    while some := b.poll():
        done += some
    return done


def requests(n: int) -> list[Request]:
    out: list[Request] = []
    for i in range(n):
        if i % 3 == 2:
            out.append(Score(chat(f"Which {i}?", "This.", "Sure?"), ("A", "B", "Neither."), "("))
        else:
            out.append(ask(f"Question {i} " * (i % 5), seed=i, top_p=0.9 if i % 2 else 1.0))
    return out


def everything(batch_size: int, order: int) -> dict[int, GroupResult]:
    b = backend(batch_size)
    groups = list(enumerate(requests(60)))
    random.Random(order).shuffle(groups)
    for ticket, request in groups:
        b.submit(ticket, [b.prepare(request)], str(ticket))
    return {d.ticket: d for d in drain(b)}


def test_it_is_a_backend() -> None:
    b: Backend = backend()
    assert (b.info.name, b.info.fingerprint, b.capacity) == ("tiny", "f", 4)
    assert b.poll() == []


def test_results_do_not_depend_on_batch_or_order() -> None:
    first = everything(1, 0)
    assert len(first) == 60
    assert everything(5, 1) == first == everything(16, 2)


def test_a_generation_says_where_it_came_from() -> None:
    b = backend()
    prepared = b.prepare(ask("Hi <|im_end|>", prefill="Well"))
    b.submit(7, [prepared], "c")
    (done,) = drain(b)
    (result,) = done.results
    assert isinstance(result, Generation)
    assert done.ticket == 7
    text = "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\nWell"
    assert result.rendered_prompt == text
    assert (result.key, result.model) == (prepared.key, "tiny")
    assert result.prompt_tokens == b.throughput.prompt_tokens
    assert result.response_tokens == b.throughput.response_tokens
    assert result.text == encoder().decode(result.token_ids).strip()
    assert not result.text.startswith("Well")


def test_scores_of_a_group() -> None:
    b = backend()
    group = [
        b.prepare(Score(chat("Tell me.", "A long answer. " * 5, f"Rule {i}?"), ("A", "B"), "("))
        for i in range(8)
    ]
    b.submit(1, group, "c")
    (done,) = b.poll()
    assert all(isinstance(r, Scores) for r in done.results)
    assert [r.key for r in done.results] == [p.key for p in group]
    assert b.throughput.cached_tokens > 200
    b.submit(2, group[3:4], "c")
    (alone,) = b.poll()
    one, same = alone.results[0], done.results[3]
    assert isinstance(one, Scores) and isinstance(same, Scores)
    assert one.logprobs == pytest.approx(same.logprobs, abs=1e-4)


def test_keys_cover_all_that_matters() -> None:
    b = backend()
    same = {b.prepare(ask()).key, b.prepare(ask()).key, backend(16).prepare(ask()).key}
    assert len(same) == 1
    others: list[Request] = [
        ask("Hello!"), ask(seed=1), ask(temperature=0.5), ask(top_p=0.5), ask(max_new_tokens=13),
        ask(top_k=4), ask(min_p=0.1), ask(repetition_penalty=1.2),
        ask(stop=("x",)), ask(prefill="a"), Score(chat("Hello."), ("A", "B")),
        Score(chat("Hello."), ("B", "A")), Score(chat("Hello."), ("A", "B"), "("),
    ]  # fmt: skip
    keys = {b.prepare(r).key for r in others} | {backend(fingerprint="g").prepare(ask()).key}
    assert len(keys | same) == len(others) + 2


def texts(b: LocalBackend, *requests: Generate) -> list[str]:
    for ticket, request in enumerate(requests):
        b.submit(ticket, [b.prepare(request)], str(ticket))
    done = {d.ticket: d.results[0] for d in drain(b)}
    return [result.text for _, result in sorted(done.items()) if isinstance(result, Generation)]


def test_the_models_own_settings_hold_where_a_request_leaves_them_open() -> None:
    """Text and key are those of a request that states them; a request's own word holds."""
    own = Sampling(temperature=0.7, top_k=5, repetition_penalty=1.3)
    stated: dict[str, Any] = {"temperature": 0.7, "top_k": 5, "repetition_penalty": 1.3}
    plain, b = backend(), backend(sampling=own)
    left_open = [ask(seed=s, max_new_tokens=24) for s in range(4)]
    spelt_out = [ask(seed=s, max_new_tokens=24, **stated) for s in range(4)]
    off: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "repetition_penalty": 1.0}
    requests = [ask(seed=s, max_new_tokens=24, **off) for s in range(4)]
    assert texts(b, *left_open) == texts(plain, *spelt_out)
    assert texts(b, *requests) == texts(plain, *left_open) != texts(plain, *spelt_out)
    assert [b.prepare(r).key for r in left_open] == [plain.prepare(r).key for r in spelt_out]
    assert b.info.sampling == own


def test_greedy_with_a_penalty_is_what_transformers_generates() -> None:
    """Whole responses, through the cache; the penalty is for the prompt's tokens too."""
    import torch

    b = backend()
    request = ask("Tell me of bread.", temperature=0.0, repetition_penalty=1.4, max_new_tokens=30)
    prepared = b.prepare(request)
    b.submit(1, [prepared], "c")
    (ours,) = drain(b)[0].results
    assert isinstance(ours, Generation)
    ids = torch.tensor([prepared.payload.encoded.ids])
    theirs = tiny().generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, repetition_penalty=1.4,
        max_new_tokens=30, eos_token_id=sorted(encoder().stop_ids), pad_token_id=0,
    )[0, ids.shape[1] :].tolist()  # fmt: skip
    assert len(ours.token_ids) > 5
    assert list(ours.token_ids) == theirs[: len(ours.token_ids)]


def test_the_context_is_kept() -> None:
    """A prompt of n tokens in a context of n + 20: 20 are left of 100; at n + 15, too few."""
    n = len(encoder().encode(chat("Hello.")).ids)
    b = backend(context=n + 20)
    b.submit(1, [b.prepare(ask(max_new_tokens=100))], "c")
    (result,) = drain(b)[0].results
    assert isinstance(result, Generation)
    assert result.response_tokens <= 20
    with pytest.raises(
        PromptError, match=f"{n} tokens; the model takes {n + 15} in all.*leaves 15"
    ):
        backend(context=n + 15).prepare(ask(max_new_tokens=100))
    backend(context=n + 15).prepare(ask(max_new_tokens=5))
    with pytest.raises(PromptError, match="leaves 0"):
        backend(context=n - 5).prepare(ask())
    with pytest.raises(PromptError, match="longest option"):
        backend(context=n + 1).prepare(Score(chat("Hello."), ("a", "much longer than that")))


@pytest.mark.parametrize(
    "request_",
    [ask(temperature=-1.0), ask(top_p=0.0), ask(top_p=1.1), ask(max_new_tokens=0),
     ask(top_k=-1), ask(min_p=1.5), ask(repetition_penalty=0.0),
     Score(chat("a"), ()), Score(chat("a"), ("A", ""))],
)  # fmt: skip
def test_nonsense_is_refused(request_: Request) -> None:
    with pytest.raises(UsageError):
        backend().prepare(request_)


def test_unusable_text_is_refused_alone() -> None:
    b = backend()
    with pytest.raises(PromptError, match="NUL"):
        b.prepare(ask("a\x00"))
    b.submit(1, [b.prepare(ask())], "c")
    assert len(drain(b)) == 1


def test_a_group_of_generations_is_finished_as_one() -> None:
    b = backend(2)
    b.submit(1, [b.prepare(ask(seed=s, max_new_tokens=3 + 5 * s)) for s in range(4)], "c")
    (done,) = drain(b)
    assert [r.key for r in done.results] == [
        b.prepare(ask(seed=s, max_new_tokens=3 + 5 * s)).key for s in range(4)
    ]


def test_a_failed_request_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """One group's model output is no number: its error comes back, the others are answered."""
    import torch

    b = backend(4)
    bad = b.prepare(ask("Bad one."))
    prefill = b._sampler.rows.prefill

    def broken(first: int, suffixes: Any, starts: Any) -> Any:
        logits = prefill(first, suffixes, starts)
        for row, (slot, ids) in enumerate(zip(b._sampler._slots[first:], suffixes, strict=False)):
            if (*slot.ids, *ids) == bad.payload.encoded.ids:
                logits[row] = torch.nan
        return logits

    monkeypatch.setattr(b._sampler.rows, "prefill", broken)
    b.submit(1, [bad, b.prepare(ask("Good one."))], "a")
    b.submit(2, [b.prepare(ask("Another."))], "b")
    done = {d.ticket: d for d in drain(b)}
    assert "not a number" in str(done[1].error)
    assert done[2].error is None
    assert done[2].results


def test_a_conversation_keeps_its_cache() -> None:
    b = backend(2)
    first = b.prepare(ask("Tell me about bread. " * 5))
    b.submit(1, [first], "c")
    (response,) = drain(b)[0].results
    assert isinstance(response, Generation)
    extended = chat("Tell me about bread. " * 5, response.text, "And?")
    more = b.prepare(Generate(extended, Sampling(max_new_tokens=2)))
    b.submit(2, [more], "c")
    drain(b)
    cached = b.throughput.cached_tokens
    assert cached >= len(first.payload.encoded.ids)
    both = len(first.payload.encoded.ids) + len(more.payload.encoded.ids)
    assert b.throughput.prompt_tokens == both - cached
    b.release("c")


def test_a_poll_ends_in_time_and_nothing_is_lost() -> None:
    """Without time, a poll is one step of the sampler: a token for each response."""
    b = backend(2)
    b.submit(1, [b.prepare(ask(max_new_tokens=12))], "c")
    polls = [b.poll(0)]
    while not polls[-1]:
        polls.append(b.poll(0))
    (response,) = polls[-1][0].results
    assert isinstance(response, Generation)
    assert 1 < len(polls) <= response.response_tokens + 1
    assert texts(backend(2), ask(max_new_tokens=12)) == [response.text]
