"""The backend against stand-ins of vLLM and SGLang, which validate every field that is sent.

Their model is a toy whose log-probabilities follow the chain rule, so that each way of scoring must
give the same numbers. No vLLM and no SGLang was run.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cai.backends.respond import respond
from cai.backends.server import ServerBackend
from cai.backends.server.scoring import ScoringMethod
from cai.constitution.model_registry import ModelEntry
from cai.types import Generate, Message, Sampling, Score, Scores
from tests.servers.sglang_standin import SglangStandIn
from tests.servers.vllm_standin import VllmStandIn

LETTERS = Score((Message("user", "Which is better, (A) or (B)?"),), ("A", "B"), "(")
SENTENCES = Score(
    (Message("user", "Is anything wrong?"),), ("No problem found.", "No problem found")
)
PROBED = {"/version", "/props", "/openapi.json", "/server_info", "/get_server_info"}
"""Where servers may say what they are; a 404 there is an answer."""


def misuses(server: VllmStandIn | SglangStandIn) -> list[object]:
    return [m for m in server.misuses if m.path not in PROBED]


def score(backend: ServerBackend, request: Score) -> Scores:
    backend.submit(0, [backend.prepare(request)], "one")
    (group,) = backend.poll()
    assert group.error is None, group.error
    (result,) = group.results
    assert isinstance(result, Scores)
    return result


@pytest.mark.parametrize(
    ("server", "software", "method"),
    [(VllmStandIn, "vllm", "prompt-logprobs"), (SglangStandIn, "sglang", "constrained")],
)
def test_a_server_is_known_and_sent_only_what_it_documents(
    server: Callable[[], VllmStandIn | SglangStandIn], software: str, method: ScoringMethod
) -> None:
    with server() as running, ServerBackend.connect(f"{running.address}/v1") as backend:
        assert backend.info.server["software"] == software
        assert backend.info.server["version"]
        sampling = Sampling(
            temperature=0.7, top_p=0.9, top_k=5, min_p=0.01, repetition_penalty=1.1, stop=("x",)
        )
        backend.verify([Generate(LETTERS.messages, sampling), LETTERS, SENTENCES])
        answer = respond(backend, "Hello.", Sampling(temperature=0.0, max_new_tokens=8))
        assert answer.text and answer.prompt_tokens > 5
        respond(backend, "Hello.", sampling)
        assert score(backend, LETTERS).method == method
        assert score(backend, SENTENCES).method == method
        assert misuses(running) == []


@pytest.mark.parametrize("request_", [LETTERS, SENTENCES], ids=["letters", "sentences"])
def test_all_ways_of_scoring_agree(request_: Score) -> None:
    """The exact ones to rounding; a letter that is not among the likeliest gets an upper bound."""
    values: dict[str, tuple[float, ...]] = {}
    for server, methods in (
        (VllmStandIn, ("prompt-logprobs", "constrained", "top-logprobs")),
        (SglangStandIn, ("constrained", "top-logprobs")),
    ):
        with server() as running:
            for method in methods:
                entry = ModelEntry(url=[f"{running.address}/v1"], scoring=method)  # type: ignore[arg-type]
                with ServerBackend.connect(entry) as backend:
                    result = score(backend, request_)
                    assert result.method == method
                    values[f"{running} {method}"] = result.logprobs
            assert misuses(running) == []
    first, *others = (v for k, v in values.items() if "top-logprobs" not in k)
    for other in others:
        assert other == pytest.approx(first, abs=1e-4)
    for logprobs in values.values():
        for value, exact in zip(logprobs, first, strict=True):
            assert value == pytest.approx(exact, abs=1e-4) or value > exact


def test_reasoning_before_an_answer() -> None:
    with VllmStandIn(reasons=True) as running:
        with ServerBackend.connect(f"{running.address}/v1") as backend:
            assert backend.info.reasons
            answer = respond(backend, "Hello.", Sampling(temperature=0.0, max_new_tokens=8))
            assert answer.reasoning
        assert misuses(running) == []
