"""The backend against servers on loopback: identity, probes, reasoning, keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from cai.backends.respond import respond, respond_all
from cai.backends.server import ServerBackend
from cai.constitution.model_registry import ModelEntry, Price
from cai.errors import PromptError, ServerError, UsageError
from cai.text.template import TemplateOptions
from cai.types import Generate, Generation, Message, Sampling, Score, Scores
from tests.servers.faulty import FaultyServer
from tests.servers.refusals import Refusal

LETTERS = Score((Message("user", "Which is better, (A) or (B)?"),), ("A", "B"), "(")
SENTENCE = Score((Message("user", "Is anything wrong?"),), ("No problem found.",))
SAMPLING = Sampling(temperature=0.0, max_new_tokens=8)


def entry(server: FaultyServer, **settings: Any) -> ModelEntry:
    return ModelEntry(url=[server.url], model=server.model, **settings)


def score(backend: ServerBackend, request: Score) -> Scores:
    backend.submit(0, [backend.prepare(request)], "one")
    (group,) = backend.poll()
    if group.error is not None:
        raise group.error
    (result,) = group.results
    assert isinstance(result, Scores)
    return result


def texts(backend: ServerBackend, questions: Sequence[str]) -> list[str]:
    requests = [((Message("user", q),), SAMPLING) for q in questions]
    results = respond_all(backend, requests)
    assert all(isinstance(r, Generation) for r in results), results
    return [r.text for r in results if isinstance(r, Generation)]


def test_what_a_server_is_stands_in_the_models_identity() -> None:
    with (
        FaultyServer(share=0.0) as one,
        FaultyServer(share=0.0) as other,
        ServerBackend.connect(one.url) as backend,
        ServerBackend.connect(other.url) as second,
    ):
        assert backend.info.name == one.model
        assert backend.info.server["software"] == "tests"
        assert backend.info.server["address"] == [one.url]
        assert backend.info.fingerprint != second.info.fingerprint
        named = [ServerBackend.connect(entry(s, identity="mine")) for s in (one, other)]
        assert named[0].info.fingerprint == named[1].info.fingerprint
        priced = ServerBackend.connect(
            entry(one, identity="mine", price=Price(prompt=1, response=2), concurrency=3)
        )
        assert priced.info.fingerprint == named[0].info.fingerprint  # not what it costs
        thinking = ServerBackend.connect(
            entry(one, identity="mine"), template=TemplateOptions(thinking="on")
        )
        assert thinking.info.fingerprint != named[0].info.fingerprint
        for connected in (*named, priced, thinking):
            connected.close()


def test_the_key_of_a_step_covers_what_changes_it() -> None:
    with FaultyServer(share=0.0) as server, ServerBackend.connect(entry(server)) as backend:
        messages = (Message("user", "Hello."),)
        keys = {
            backend.prepare(Generate(messages, sampling)).key
            for sampling in (
                Sampling(), Sampling(seed=1), Sampling(temperature=1.0), Sampling(stop=("x",)),
                Sampling(max_new_tokens=9), Sampling(top_k=3),
            )
        }  # fmt: skip
        assert len(keys) == 6


@pytest.mark.slow
def test_results_do_not_depend_on_concurrency_or_faults() -> None:
    questions = [f"Question {n}." for n in range(40)]
    with (
        FaultyServer(5, share=0.0) as server,
        ServerBackend.connect(entry(server, concurrency=1)) as backend,
    ):
        expected = texts(backend, questions)
        assert backend.request_counts.peak == 1
    with (
        FaultyServer(5, share=0.3, hang_seconds=2) as server,
        ServerBackend.connect(entry(server, concurrency=8, timeout=0.7)) as backend,
    ):
        assert texts(backend, questions) == expected
        assert backend.request_counts.retried > 5
        assert 1 < server.record.peak <= 8


@pytest.mark.parametrize("mode", ["ignored", "empty", "null"])
def test_a_server_without_logprobs_is_refused_before_the_run(
    mode: Literal["ignored", "empty", "null"],
) -> None:
    server = FaultyServer(share=0.0)
    server = server.ignores_logprobs() if mode == "ignored" else server.lies(mode)
    with server, ServerBackend.connect(entry(server)) as backend:
        backend.verify([Generate(LETTERS.messages, Sampling(temperature=1.0))])
        with pytest.raises(ServerError, match="the server ignores the fields without a word"):
            backend.verify([LETTERS])
        with pytest.raises(ServerError):
            backend.prepare(LETTERS)


def test_letters_are_scored_by_the_likeliest_tokens_and_sentences_are_refused() -> None:
    with FaultyServer(share=0.0) as server, ServerBackend.connect(entry(server)) as backend:
        result = score(backend, LETTERS)
        assert result.method == "top-logprobs"
        assert all(p < 0 for p in result.logprobs)
        with pytest.raises(ServerError, match="does not continue a message"):
            backend.verify([SENTENCE])


def test_sampling_is_an_estimate_that_says_so() -> None:
    """16 samples, all "A": (16 + 1/2) / (16 + 3/2)."""
    with (
        FaultyServer(share=0.0).says("(A)").ignores_logprobs() as server,
        ServerBackend.connect(entry(server, scoring="sampling")) as backend,
    ):
        before = server.record.requests
        result = score(backend, LETTERS)
        assert server.record.requests - before == 16
    assert result.method == "sampling"
    assert math.exp(result.logprobs[0]) == pytest.approx(16.5 / 17.5)
    assert math.exp(result.logprobs[1]) == pytest.approx(0.5 / 17.5)


@pytest.mark.parametrize("where", ["reasoning_content", "reasoning", "inline"])
def test_reasoning_is_read_apart_from_the_answer(
    where: Literal["reasoning_content", "reasoning", "inline"],
) -> None:
    with (
        FaultyServer(share=0.0).says("Bread.").reasons(where) as server,
        ServerBackend.connect(entry(server)) as backend,
    ):
        assert backend.info.reasons
        answer = respond(backend, "What is baked?", SAMPLING)
    assert answer.text == "Bread."
    assert answer.reasoning
    assert "<think>" not in answer.text + answer.reasoning


def test_reasoning_that_does_not_end_is_no_answer() -> None:
    with (
        FaultyServer(share=0.0).reasons("unclosed") as server,
        ServerBackend.connect(entry(server)) as backend,
    ):
        answer = respond(backend, "What is baked?", SAMPLING)
    assert answer.text == ""
    assert answer.reasoning


def test_thinking_can_be_turned_off_where_the_server_has_the_switch() -> None:
    with FaultyServer(share=0.0).reasons("inline") as server:
        off = TemplateOptions(thinking="off")
        with ServerBackend.connect(entry(server), template=off) as backend:
            assert not backend.info.reasons
            assert respond(backend, "What is baked?", SAMPLING).reasoning == ""


def test_a_prompt_that_is_too_long_is_that_prompts_fault() -> None:
    with (
        FaultyServer(share=0.0).context(60) as server,
        ServerBackend.connect(entry(server)) as backend,
    ):
        short, long = respond_all(
            backend,
            [
                ((Message("user", "Hi."),), SAMPLING),
                ((Message("user", "Hi. " * 200),), SAMPLING),
            ],
        )
    assert isinstance(short, Generation)
    assert isinstance(long, PromptError)
    assert "context" in long.message


def test_stop_texts_are_cut_off_even_where_the_server_leaves_them_in() -> None:
    with (
        FaultyServer(share=0.0).says("One. STOP two.") as server,
        ServerBackend.connect(entry(server)) as backend,
    ):
        answer = respond(backend, "Count.", Sampling(temperature=0.0, stop=("STOP",)))
    assert answer.text == "One."


def test_cost_is_counted_by_the_price_table() -> None:
    """Prices of a million tokens: 3 a prompt token and 5 a response token, here in millionths."""
    with FaultyServer(share=0.0) as server:
        price = Price(prompt=3, response=5)
        with ServerBackend.connect(entry(server, price=price)) as backend:
            before = backend.throughput
            answer = respond(backend, "Hello.", SAMPLING)
            used = backend.throughput
    expected = 3 * answer.prompt_tokens + 5 * answer.response_tokens
    assert (used.cost - before.cost) * 1e6 == pytest.approx(expected)
    assert Price(prompt=4, response=1, cached=1).cost(10, 2, 6) * 1e6 == pytest.approx(
        4 * 4 + 6 * 1 + 2 * 1
    )


def test_errors_before_a_run_say_what_to_do() -> None:
    with FaultyServer(share=0.0) as server:
        url = server.url
        with pytest.raises(ServerError, match="404") as caught:
            ServerBackend.connect(f"{url}#toy-ml")
        assert "Did you mean 'toy-lm'?" in caught.value.hint
    with pytest.raises(ServerError, match="does not answer"):
        ServerBackend.connect(url)
    with (
        FaultyServer(share=0.0).requires_key("right") as server,
        pytest.raises(ServerError, match="401") as caught,
    ):
        ServerBackend.connect(server.url)
        assert "CAI_API_KEY" in caught.value.hint
    refusal = Refusal.of(400, "no such field", "invalid_request_error")
    with (
        FaultyServer(share=0.0).refuse(refusal) as server,
        pytest.raises(ServerError, match="no such field"),
    ):
        ServerBackend.connect(server.url)
    with pytest.raises(UsageError):
        ServerBackend.connect("ftp://host")


def test_two_endpoints_share_the_work_and_must_be_equal() -> None:
    with FaultyServer(share=0.0, delay=0.02) as one, FaultyServer(share=0.0, delay=0.02) as two:
        address = f"{one.url},{two.url}#{one.model}"
        with ServerBackend.connect(address) as backend:
            texts(backend, [f"Question {n}." for n in range(30)])
        assert min(one.record.answered, two.record.answered) > 5


def test_a_response_that_ends_at_once_says_nothing_of_logprobs() -> None:
    def words(asked: dict[str, Any]) -> str:
        return "" if asked.get("seed") == 0 and asked.get("logprobs") else "Cat, dog, cow."

    with (
        FaultyServer(share=0.0).says(words) as server,
        ServerBackend.connect(entry(server)) as backend,
    ):
        backend.verify([LETTERS])
