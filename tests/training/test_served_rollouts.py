"""Rollouts from a vLLM server that is handed the adapter: nothing is learned from other weights."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cai.backends.server.lora_server import SampledTokens
from cai.data.training_run import read_run
from cai.errors import ServerError, UsageError
from cai.models.response import Job
from cai.training.config import PpoConfig
from cai.training.metrics_log import ROLLOUTS, read_metrics
from cai.training.rollout import EncodedPrompt, Response
from cai.training.served_sampler import logprob_gap, noise_in, replay, require_agreement
from cai.training.train import Callbacks, train
from cai.types import Message, Sampling
from tests.cli.project import cai
from tests.e2e.helpers import rows
from tests.models.tiny import encoder
from tests.servers.vllm_model_standin import VllmModelStandIn
from tests.servers.vllm_standin import MODEL, VllmStandIn

WEIGHTS = Path(__file__).parents[2] / "cai" / "miniature" / "weights"
SMALL: dict[str, Any] = {
    "device": "cpu", "dtype": "float32", "lora_r": 4, "prompts_per_update": 3, "updates": 3,
    "max_new_tokens": 10, "epochs": 2, "learning_rate": 2e-3, "kl_coef": 0.0, "test_share": 0.3,
    "save_every": 1, "eval_every": 3, "reward": "rewards_of_a_test:short",
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rewards_of_a_test.py").write_text(
        "def short(prompts, responses):\n    return [-float(len(r)) for r in responses]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "rewards_of_a_test", raising=False)
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Tell me about {n}."}) + "\n" for n in "abcdef"))
    return file


def address(server: VllmStandIn) -> str:
    return f"{server.address}/v1#{MODEL}"


def run(server: VllmStandIn, data: Path, out: Path, **changes: Any) -> list[str]:
    """Train on rollouts of a server; returns the notes."""
    notes: list[str] = []
    settings = SMALL | {"rollout_server": address(server)} | changes
    train(PpoConfig(**settings), [data], out, Callbacks(note=notes.append))
    return notes


def test_every_update_is_sampled_with_its_own_adapter(data: Path, tmp_path: Path) -> None:
    """A policy that moves; the server's log-probabilities stay those of its weights."""
    folder = tmp_path / "adapters"
    with VllmModelStandIn(WEIGHTS) as server:
        run(server, data, tmp_path / "ppo", rollout_folder=str(folder))
    assert server.misuses == []
    metrics = [row for row in read_metrics(tmp_path / "ppo") if not row["held_out"]]
    assert [row["step"] for row in metrics] == [1, 2, 3]
    assert all(row["rollout_gap"] < 1e-4 for row in metrics)
    assert abs(metrics[0]["kl"]) < 1e-3 < metrics[-1]["kl"]  # so it moved, and the server with it
    # The test before the run, three updates, and the evaluation of the last weights.
    trained = server.used[-(3 * 3 + 1) :]
    assert len(set(trained[:-1])) == 3
    assert server.adapters == {}, "every adapter is unloaded"
    assert list(folder.iterdir()) == [], "every file that was written for the server is removed"
    record = read_run(tmp_path / "ppo")
    assert record["results"]["sampled_by"] == f"vllm 0.32.0, {MODEL}"
    texts = [row["response"] for row in rows(tmp_path / "ppo" / ROLLOUTS)]
    assert len(texts) == 9
    assert all(texts)


def test_a_response_is_sampled_as_it_would_be_here(data: Path, tmp_path: Path) -> None:
    """What the server is sent: no filters, the prompt's ids, and only the stops of the template."""
    with VllmModelStandIn(WEIGHTS, processed=True) as server:
        run(server, data, tmp_path / "ppo", updates=1, temperature=0.7, seed=3)
    sent = [body for path, body in server.requests if path == "/v1/completions"][-1]
    expected = {
        "temperature": 0.7, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
        "ignore_eos": True, "max_tokens": 10,
    }  # fmt: skip
    assert {name: sent[name] for name in expected} == expected
    seeds = [body["seed"] for path, body in server.requests if path == "/v1/completions"]
    assert len(set(seeds)) > 3
    assert all(isinstance(token, int) for token in sent["prompt"])


@pytest.mark.parametrize(
    ("server", "changes", "said"),
    [
        ({"uses_adapters": False}, {}, "does not sample with the adapter"),
        ({"stale": True}, {}, "does not sample with the adapter|not the policy's"),
        ({}, {"temperature": 0.5}, "samples from another distribution"),
        ({"filters": 3, "processed": True}, {}, "samples from another distribution"),
        ({"names_tokens": False}, {}, "does not say which tokens"),
        ({"runtime_lora": False}, {}, "does not take the adapter: 404"),
        ({"max_rank": 2}, {}, "does not take the adapter: .*max_lora_rank 2"),
        ({"context": 16}, {}, "has a context of 16 tokens"),
    ],
)
def test_a_server_that_can_not_be_trusted(
    server: dict[str, Any], changes: dict[str, Any], said: str, data: Path, tmp_path: Path
) -> None:
    """Refused before the first step; nothing is learned."""
    with (
        VllmModelStandIn(WEIGHTS, **server) as standin,
        pytest.raises(ServerError, match=said) as caught,
    ):
        run(standin, data, tmp_path / "ppo", **changes)
    assert caught.value.hint
    if (tmp_path / "ppo").exists():
        assert read_metrics(tmp_path / "ppo") == []


def test_a_server_that_goes_on_with_an_old_adapter(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the test at the start: found as soon as the policy has moved."""
    monkeypatch.setattr("cai.training.served_sampler.ServedSampler.test", lambda *_: None)
    with (
        VllmModelStandIn(WEIGHTS, stale=True) as server,
        pytest.raises(ServerError, match=r"In update 2 .*nats a token apart"),
    ):
        run(server, data, tmp_path / "ppo", rollout_tolerance=0.005)
    assert len(read_metrics(tmp_path / "ppo")) == 1


@pytest.mark.slow
def test_an_interrupted_run_resumes_on_another_server(data: Path, tmp_path: Path) -> None:
    def stop(report: Any) -> None:
        if report.step == 1:
            raise KeyboardInterrupt

    with VllmModelStandIn(WEIGHTS) as server:
        config = PpoConfig(**SMALL | {"rollout_server": address(server)})
        with pytest.raises(KeyboardInterrupt):
            train(config, [data], tmp_path / "ppo", Callbacks(report=stop))
        assert server.adapters == {}
    with VllmModelStandIn(WEIGHTS) as server:
        run(server, data, tmp_path / "ppo")
    steps = [row["step"] for row in read_metrics(tmp_path / "ppo") if not row["held_out"]]
    assert steps == [1, 2, 3]


def test_refusals_before_anything_is_loaded(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="holds a key"):
        PpoConfig(rollout_server="http://secret@127.0.0.1:8000/v1#m")
    with pytest.raises(UsageError, match="--full and --rollout-server"):
        PpoConfig(rollout_server="http://127.0.0.1:8000/v1", full=True)
    with pytest.raises(UsageError, match="not valid"):
        PpoConfig(rollout_server="http://127.0.0.1:port/v1")
    cai(
        "train", "ppo", "--data", str(data), "--out", str(tmp_path / "ppo"), "--reward",
        "rewards_of_a_test:short", "--rollout-server", "http://127.0.0.1:9/v1#m", exit_code=8,
    )  # fmt: skip
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "Traceback" not in said


def test_a_server_that_is_not_vllm(data: Path, tmp_path: Path) -> None:
    from tests.servers.sglang_standin import SglangStandIn

    with SglangStandIn() as server, pytest.raises(ServerError, match="sglang, not vLLM"):
        config = PpoConfig(**SMALL | {"rollout_server": f"{server.address}/v1"})
        train(config, [data], tmp_path / "ppo")


# -- the parts ----------------------------------------------------------------------------------


def response(ids: tuple[int, ...], logprobs: tuple[float, ...]) -> Response:
    prompt = EncodedPrompt("p", (Message("user", "Hello."),), (1, 2))
    return Response(prompt, ids, "text", True, sampler_logprobs=logprobs)


def test_the_gap_is_a_mean_over_tokens() -> None:
    """Differences 0.1, 0.3 and 0 of three tokens; the padding of the second row does not count."""
    responses = [response((5, 6), (-1.0, -2.0)), response((7,), (-3.0,))]
    here = torch.tensor([[-1.1, -2.3], [-3.0, 0.0]])
    assert logprob_gap(responses, here) == pytest.approx(0.4 / 3, abs=1e-6)
    assert require_agreement(responses, here, 0.14, 1) == {
        "rollout_gap": pytest.approx(0.4 / 3, abs=1e-6)
    }
    with pytest.raises(ServerError, match=r"In update 4 .* 0\.133 nats"):
        require_agreement(responses, here, 0.13, 4)
    endless = [response((5,), (-math.inf,))]
    with pytest.raises(ServerError):
        require_agreement(endless, torch.tensor([[-1.0]]), 0.1, 1)
    assert require_agreement([response((5,), ())], here, 0.1, 1) == {}


def test_noise_is_taken_back() -> None:
    parameters = {"a": torch.nn.Parameter(torch.zeros(50)), "b": torch.nn.Parameter(torch.ones(3))}
    with noise_in(parameters, 0.1):
        assert parameters["a"].std().item() == pytest.approx(0.1, rel=0.5)
        assert parameters["b"].mean().item() != 1.0
    assert parameters["a"].abs().max() == 0
    assert parameters["b"].tolist() == [1.0, 1.0, 1.0]


def test_what_a_server_sampled_ends_where_it_would_end_here() -> None:
    words = encoder()
    ids = words.tokenizer.encode("one two three four five", add_special_tokens=False)
    assert len(ids) > 3
    prompt = words.encode((Message("user", "Count."),)).ids

    def job(limit: int) -> Job:
        return Job(prompt, Sampling(max_new_tokens=limit), limit)

    logprobs = tuple(-0.1 * n for n in range(1, len(ids) + 1))
    short = job(2)
    assert replay(short, SampledTokens(tuple(ids), logprobs), words) == logprobs[:2]
    assert (short.finish, short.tokens) == ("length", ids[:2])
    assert words.turn_end_id is not None
    ended = job(50)
    taken = replay(ended, SampledTokens((*ids[:2], words.turn_end_id), (-1.0, -2.0, -3.0)), words)
    assert (ended.finish, taken) == ("stop", (-1.0, -2.0, -3.0))
    with pytest.raises(ServerError, match="ended a response after 3 tokens"):
        replay(job(50), SampledTokens(tuple(ids[:3]), logprobs[:3]), words)
