"""The sampler: what it writes depends on each request alone; nothing is lost, nothing kept back."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from cai.models import cache, generate
from cai.models.generate import Sampler
from cai.models.response import Job
from cai.models.rows import plain_logits
from cai.models.sampling import Draw, choose
from cai.text.encode import Encoder
from cai.types import Sampling
from tests.models.tiny import encoder, tiny


def jobs(n: int, seed: int = 0, **fields: Any) -> list[Job]:
    """Requests of many lengths and kinds."""
    rng = random.Random(seed)
    out = []
    for i in range(n):
        prompt = tuple(rng.randrange(6, 450) for _ in range(rng.randint(1, 40)))
        kind = {
            "temperature": rng.choice((0.0, 0.7, 1.0, 1.0)),
            "top_p": rng.choice((1.0, 1.0, 0.9)),
        }
        out.append(
            Job(prompt, Sampling(**{**kind, "seed": i, **fields}), rng.randint(1, 24), f"c{i}")
        )
    return out


def run(sampler: Sampler, work: Sequence[Job]) -> list[Job]:
    """Submit and finish; returns the jobs in the order in which they got finished."""
    for job in work:
        sampler.submit(job)
    done = []
    while sampler.busy:
        done += sampler.step()
    return done


def results_of(work: Sequence[Job]) -> list[tuple[Any, ...]]:
    return [(j.out, j.finish, j.text, j.token_count) for j in work]


@torch.inference_mode()
def by_hand(job: Job, stop_ids: frozenset[int]) -> list[int]:
    """One token after the other from the model's plain forward, with nothing kept."""
    out: list[int] = []
    while len(out) < job.limit:
        s = job.sampling
        assert s.temperature is not None and s.top_p is not None
        logits = plain_logits(tiny(), [*job.prompt, *out])[None]
        (token,), _ = choose(logits, [Draw(s.temperature, s.top_p, s.seed, len(out))], final=True)
        if token in stop_ids:
            break
        out.append(token)
    return out


def test_tokens_do_not_depend_on_the_batch() -> None:
    """120 requests: one by one, 3 at once, 16 at once, shuffled; and by hand."""
    outcomes = []
    for slots, shuffled in ((1, False), (3, True), (16, False), (16, True)):
        work = jobs(120)
        order = list(work)
        if shuffled:
            random.Random(slots).shuffle(order)
        assert len(run(Sampler(tiny(), encoder(), slots), order)) == 120
        outcomes.append(results_of(work))
    assert outcomes[0] == outcomes[1] == outcomes[2] == outcomes[3]
    for job, (out, *_) in list(zip(jobs(120), outcomes[0], strict=True))[:25]:
        assert by_hand(job, encoder().stop_ids) == out


def stages(sampler: Sampler, release: bool) -> list[list[int]]:
    """20 conversations of 3 requests, each prompt extending the last; a few at a time."""
    rng = random.Random(5)
    results: dict[str, list[list[int]]] = {}
    waiting = {}
    for n, first in enumerate(jobs(20, seed=3)):
        waiting[f"k{n}"] = (first, [[rng.randrange(6, 450) for _ in range(9)] for _ in range(2)])
        first.conversation = f"k{n}"
        sampler.submit(first)
    while sampler.busy:
        for job in sampler.step():
            name = job.conversation
            results.setdefault(name, []).append(list(job.out))
            _, more = waiting[name]
            if release:
                sampler.release(name)
                job.conversation = f"{name} again"
            if more:
                ids = (*job.prompt, *job.out, *more.pop(0))
                sampler.submit(Job(ids, job.sampling, 8, name))
    assert all(len(r) == 3 for r in results.values())
    return [results[f"k{n}"][i] for n in range(20) for i in range(3)]


def test_tokens_do_not_depend_on_what_is_cached() -> None:
    kept, dropped = Sampler(tiny(), encoder(), 20), Sampler(tiny(), encoder(), 4)
    dropped.rows.reuses = False
    assert stages(kept, release=False) == stages(dropped, release=True)
    assert kept.cached_tokens > 500
    assert dropped.cached_tokens == 0
    assert kept.prompt_tokens + kept.cached_tokens == dropped.prompt_tokens


def test_an_extended_prompt_is_read_from_where_it_is_new() -> None:
    """20 + 5 tokens read and written, then 6 more: the cache lacks the last one written."""
    sampler = Sampler(tiny(), encoder(), 2)
    job = Job(tuple(range(10, 30)), Sampling(temperature=0.0), 5, "a")
    run(sampler, [job])
    assert job.finish == "length"
    assert (sampler.prompt_tokens, sampler.cached_tokens) == (20, 0)
    run(sampler, [Job((*job.prompt, *job.out, *range(40, 46)), Sampling(), 1, "a")])
    assert (sampler.prompt_tokens, sampler.cached_tokens) == (20 + 7, 24)


def test_a_released_row_serves_whoever_begins_alike() -> None:
    sampler = Sampler(tiny(), encoder(), 2)
    run(sampler, [Job(tuple(range(10, 30)), Sampling(), 2, "a")])
    sampler.release("a")
    run(sampler, [Job((*range(10, 25), 99, 98), Sampling(), 2, "b")])
    assert sampler.cached_tokens == 15


def test_close_draws_are_made_again_from_canonical_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every draw called close, all come from the plain forward: the tokens by hand."""
    real = choose

    def always_close(logits: Any, rows: Any, *, final: bool = False) -> Any:
        tokens, close = real(logits, rows, final=final)
        return (tokens, close) if final else ([0] * len(rows), [True] * len(rows))

    monkeypatch.setattr(generate, "choose", always_close)
    sampler, work = Sampler(tiny(), encoder(), 4), jobs(8)
    run(sampler, work)
    assert [j.out for j in work] == [by_hand(j, encoder().stop_ids) for j in jobs(8)]
    assert sampler.redraws == sum(j.token_count for j in work)


def test_rounding_of_the_slots_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slot logits shaken by a third of the margin: the same tokens, by way of draws made again.

    Shaken harder, and without the second draw, they differ: the test can fail.
    """
    plain = jobs(60, temperature=1.0)
    run(Sampler(tiny(), encoder(), 8), plain)

    def shaken(size: float, exact: bool) -> list[Any]:
        sampler, work = Sampler(tiny(), encoder(), 8), jobs(60, temperature=1.0)
        generator = torch.Generator().manual_seed(0)
        for name in ("prefill", "decode"):
            method = getattr(sampler.rows, name)

            def shake(*args: Any, method: Any = method) -> Any:
                logits = method(*args)
                return logits + size * (torch.rand(logits.shape, generator=generator) - 0.5)

            monkeypatch.setattr(sampler.rows, name, shake)
        sampler.exact = exact
        run(sampler, work)
        return results_of(work)

    assert shaken(6e-4, exact=True) == results_of(plain)
    assert shaken(3e-2, exact=False) != results_of(plain)


class Rigged(Sampler):
    """A sampler whose model says what it is told to, whatever the prompt."""

    def __init__(self, say: Sequence[int], slots: int = 1, name: str = "chatml") -> None:
        super().__init__(tiny(), encoder(name), slots)
        self.say = say
        self.exact = False

    def _draw(self, slots: Any, logits: torch.Tensor) -> None:
        logits = torch.zeros_like(logits)
        for row, slot in enumerate(slots):
            logits[row, self.say[len(slot.job.out)]] = 100.0
        super()._draw(slots, logits)


def say(text: str, *ids: int, name: str = "chatml", **fields: Any) -> Job:
    """What becomes of a response that says `text`, then `ids`."""
    spoken = [*encoder(name).tokenizer(text, add_special_tokens=False)["input_ids"], *ids]
    limit = fields.pop("limit", len(spoken))
    job = Job((9, 10), Sampling(temperature=0.0, **fields), limit)
    run(Rigged(spoken, name=name), [job])
    return job


def test_an_end_token_ends_the_turn() -> None:
    for end in ("<|im_end|>", "<|endoftext|>", "<|im_start|>"):
        job = say(" Hello. \n", encoder().tokenizer.convert_tokens_to_ids(end), 50, 51)
        assert (job.text, job.finish) == ("Hello.", "stop")
        assert job.token_count == len(job.out) + 1


def test_an_added_token_that_is_text_stays_text() -> None:
    """`<think>` is no control token of the template: it is written out, and the turn goes on."""
    think = encoder().tokenizer.convert_tokens_to_ids("<think>")
    job = say("a", think, *encoder().tokenizer("b")["input_ids"])
    assert (job.text, job.finish) == ("a<think>b", "length")


def spell(text: str, name: str) -> list[int]:
    ids: list[int] = encoder(name).tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def token(text: str, name: str) -> int:
    token_id: int = encoder(name).tokenizer.convert_tokens_to_ids(text)
    return token_id


@pytest.mark.parametrize(("room", "closes"), [(50, True), (3, False)])
def test_reasoning_has_a_limit_of_its_own(room: int, closes: bool) -> None:
    """The answer's limit of 2 tokens counts from the end of the reasoning; 3 end in the midst."""
    thought = [token("<think>", "qwen3"), *spell("a b c", "qwen3"), token("</think>", "qwen3")]
    assert len(thought) > 3
    job = Job((9, 10), Sampling(temperature=0.0), 2, reasoning_limit=room)
    run(Rigged([*thought, *spell("yes, yes, yes", "qwen3")], name="qwen3"), [job])
    assert job.finish == "length"
    assert len(job.out) == (len(thought) + 2 if closes else 3)
    if closes:
        assert job.reasoning == "a b c"
        assert job.text == encoder("qwen3").decode(job.out[len(thought) :]).strip() != ""
    else:
        assert job.text == "" and job.reasoning == encoder("qwen3").decode(job.out[1:]).strip()


def test_an_end_token_inside_reasoning_leaves_no_answer() -> None:
    """Reasoning that never closes is no answer, whatever ended it."""
    spoken = [token("<think>", "qwen3"), *spell("a b", "qwen3"), token("<|im_end|>", "qwen3")]
    job = Job((9, 10), Sampling(temperature=0.0), 20, reasoning_limit=20)
    run(Rigged(spoken, name="qwen3"), [job])
    assert (job.text, job.reasoning, job.finish) == ("", "a b", "length")


@pytest.mark.parametrize("end", ["<|return|>", "<|end|>"])
def test_channels_are_told_apart_while_they_are_written(end: str) -> None:
    """Harmony: `<|end|>` ends the analysis and the reply goes on; behind the answer it ends it."""

    def message(channel: str, text: str) -> list[int]:
        head = [token("<|channel|>", "harmony"), *spell(channel, "harmony")]
        return [*head, token("<|message|>", "harmony"), *spell(text, "harmony")]

    between = [token("<|end|>", "harmony"), token("<|start|>", "harmony")]
    spoken = [*message("analysis", "hm"), *between, *spell("assistant", "harmony")]
    spoken += [*message("final", "Yes."), token(end, "harmony"), *spell(" and more", "harmony")]
    job = Job((9, 10), Sampling(temperature=0.0), 20, reasoning_limit=60)
    run(Rigged(spoken, name="harmony"), [job])
    assert (job.text, job.reasoning, job.finish) == ("Yes.", "hm", "stop")
    assert job.tokens[-1] == token(end, "harmony")


def test_the_limit_ends_the_turn() -> None:
    job = say("a b c d e f", limit=3)
    assert (len(job.out), job.token_count, job.finish) == (3, 3, "length")


def test_stop_text_is_cut_off() -> None:
    """Also inside a token, across tokens, and the first of several; `out` says what `text` says."""
    job = say("One two. Stop here, END now", stop=("END", "here"))
    assert (job.text, job.finish) == ("One two. Stop", "stop")
    assert encoder().decode(job.out).strip() == "One two. Stop"[: len(encoder().decode(job.out))]
    assert job.token_count > len(job.out)
    assert say("One two", stop=("absent",)).finish == "length"
    assert say("END", stop=("END",)).out == []


@pytest.mark.parametrize("name", ["qwen3", "alpaca"])
def test_a_stop_text_is_looked_for_in_the_answer_alone(name: str) -> None:
    """Reasoning may say it too; markers are tokens (Qwen3's) or words that the template knows."""
    made = encoder(name)
    if name == "alpaca":  # its tokenizer has no such tokens: give its template the words
        words = copy.deepcopy(made.tokenizer)
        words.chat_template = made.tokenizer.chat_template + "{# <think></think> #}"
        made = Encoder(words)
        assert made.template.markers is not None and not made.marker_ids
    open_, close = (
        ([token("<think>", name)], [token("</think>", name)])
        if name == "qwen3"
        else (spell("<think>", name), spell("</think>", name))
    )
    thought = [*open_, *spell("END it? No END.", name), *close]
    for answer, text, finish in (
        ("Go. END it now", "Go.", "stop"), ("Go", "Go", "length"),
    ):  # fmt: skip
        results_of = spell(answer, name)
        limit = len(results_of) if name == "qwen3" else len(thought) + len(results_of)
        job = Job((9, 10), Sampling(temperature=0.0, stop=("END",)), limit, reasoning_limit=90)
        sampler = Rigged([*thought, *results_of], name=name)
        sampler.encoder = made
        run(sampler, [job])
        assert (job.text, job.reasoning, job.finish) == (text, "END it? No END.", finish)


def test_a_plain_model_stops_before_the_next_human_turn() -> None:
    job = say(" Yes.\n\nHuman: And?", name="plain")
    assert (job.text, job.finish) == ("Yes.", "stop")


def test_text_of_several_bytes() -> None:
    assert say("naïve 你好 🙂 END", stop=("END",)).text == "naïve 你好 🙂"


def limited(
    sampler: Sampler, most: int, monkeypatch: pytest.MonkeyPatch, message: str
) -> list[int]:
    """Let forwards of more than `most` rows run out of memory; returns the sizes tried."""
    sizes: list[int] = []
    for name in ("prefill", "decode"):
        method = getattr(sampler.rows, name)

        def forward(*args: Any, method: Any = method, name: str = name) -> Any:
            rows = len(args[1] if name == "prefill" else args[0])
            sizes.append(rows)
            if rows > most:
                raise RuntimeError(message)
            return method(*args)

        monkeypatch.setattr(sampler.rows, name, forward)
    return sizes


@pytest.mark.parametrize(
    "message",
    ["CUDA out of memory.", "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate"],
)
def test_out_of_memory_halves_the_slots(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    """16 → 8 → 4: every request is finished once, with the tokens it would have had."""
    plain = jobs(40)
    run(Sampler(tiny(), encoder(), 16), plain)
    sampler, work = Sampler(tiny(), encoder(), 16), jobs(40)
    sizes = limited(sampler, 4, monkeypatch, message)
    assert len(run(sampler, work)) == 40
    assert results_of(work) == results_of(plain)
    assert sampler.slots == 4
    assert max(sizes) > 4


def test_out_of_memory_in_the_second_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = jobs(12)
    run(Sampler(tiny(), encoder(), 8), plain)
    failures = iter([True, False, False, True])
    real, redo = choose, plain_logits

    def close(logits: Any, rows: Any, *, final: bool = False) -> Any:
        tokens, _ = real(logits, rows, final=final)
        return tokens, [not final] * len(rows)

    def logits(*args: Any) -> Any:
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return redo(*args)

    monkeypatch.setattr(generate, "choose", close)
    monkeypatch.setattr(generate, "plain_logits", logits)
    sampler, work = Sampler(tiny(), encoder(), 8), jobs(12)
    assert len(run(sampler, work)) == 12
    assert results_of(work) == results_of(plain)
    assert sampler.slots == 2


def test_out_of_memory_while_the_cache_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Growing fails in the middle of the layers: nothing is torn, and the tokens are the same."""
    plain = jobs(12)
    run(Sampler(tiny(), encoder(), 8), plain)
    failures = iter([False, False, True, False, False, False, True])
    widened = cache._grow

    def tight(buffer: torch.Tensor, room: int) -> torch.Tensor:
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return widened(buffer, room)

    monkeypatch.setattr(cache, "ROOM", 8)
    sampler, work = Sampler(tiny(), encoder(), 8), jobs(12)
    monkeypatch.setattr(cache, "_grow", tight)
    run(sampler, [Job((9, 10), Sampling(), 1)])  # the cache begins small
    assert len(run(sampler, work)) == 12
    assert results_of(work) == results_of(plain)
    assert sampler.slots == 2


def test_out_of_memory_with_one_slot_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, work = Sampler(tiny(), encoder(), 2), jobs(3)
    limited(sampler, 0, monkeypatch, "not enough memory: you tried to allocate 1 bytes")
    assert len(run(sampler, work)) == 3
    assert all("Out of memory on cpu" in str(job.error) for job in work)


def test_other_errors_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(tiny(), encoder(), 2)
    limited(sampler, 0, monkeypatch, "a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        run(sampler, jobs(1))


def test_a_row_that_is_no_number_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = jobs(6)
    run(Sampler(tiny(), encoder(), 6), plain)
    sampler, work = Sampler(tiny(), encoder(), 6), jobs(6)
    prefill = sampler.rows.prefill

    def broken(first: int, suffixes: Any, starts: Any) -> Any:
        logits = prefill(first, suffixes, starts)
        for row, ids in enumerate(suffixes):
            if tuple(ids) == work[2].prompt:
                logits[row, 3] = torch.nan
        return logits

    monkeypatch.setattr(sampler.rows, "prefill", broken)
    run(sampler, work)
    assert "not a number" in str(work[2].error)
    assert [w for i, w in enumerate(results_of(work)) if i != 2] == [
        w for i, w in enumerate(results_of(plain)) if i != 2
    ]


@pytest.mark.parametrize("name", ["gemma3", "gpt2", "mamba"])
def test_other_architectures_write_alike(name: str) -> None:
    """4 at once or one at a time: the same tokens."""
    many, one = jobs(6), jobs(6)
    run(Sampler(tiny(name), encoder(), 4), many)
    run(Sampler(tiny(name), encoder(), 1), one)
    assert results_of(many) == results_of(one)


def test_long_prompts_are_read_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "PREFILL_TOKENS", 64)
    sampler, work = Sampler(tiny(), encoder(), 16), jobs(30)
    sizes = limited(sampler, 99, monkeypatch, "")
    run(sampler, work)
    plain = jobs(30)
    run(Sampler(tiny(), encoder(), 16), plain)
    assert results_of(work) == results_of(plain)
    assert len(sizes) > 10


def test_half_precision_runs() -> None:
    """In bfloat16 draws are not repaired; the sampler says so."""
    model = tiny().__class__(tiny().config).to(torch.bfloat16).eval()
    sampler, work = Sampler(model, encoder(), 4), jobs(6)
    assert not sampler.exact
    run(sampler, work)
    assert sampler.redraws == 0
    assert all(j.is_finished for j in work)
