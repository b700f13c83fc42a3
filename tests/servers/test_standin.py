"""The stand-ins accept what is documented, refuse the rest by name, and agree with themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.servers import toy_lm
from tests.servers.sglang_standin import SglangStandIn
from tests.servers.standin import Misuse, StandIn
from tests.servers.vllm_standin import VllmStandIn

MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "May I?"}]
PROMPT = toy_lm.chat_text(MESSAGES)
IDS = toy_lm.encode(PROMPT)
CHAT: dict[str, Any] = {"messages": MESSAGES}


@pytest.fixture(scope="module")
def vllm() -> Iterator[VllmStandIn]:
    with VllmStandIn() as server:
        yield server


@pytest.fixture(scope="module")
def sglang() -> Iterator[SglangStandIn]:
    with SglangStandIn() as server:
        yield server


def post(server: StandIn, path: str, body: dict[str, Any], *, status: int = 200) -> Any:
    response = httpx2.post(f"{server.address}{path}", json=body, timeout=10)
    assert response.status_code == status, response.text
    return json.loads(response.content) if response.content[:1] in (b"{", b"[") else response.text


def get(server: StandIn, path: str) -> Any:
    response = httpx2.get(f"{server.address}{path}")
    assert response.status_code == 200
    return response.json() if response.content else ""


def chat(server: StandIn, **fields: Any) -> Any:
    return post(server, "/v1/chat/completions", CHAT | fields)


def test_every_way_to_a_log_probability_gives_the_same(
    vllm: VllmStandIn, sglang: SglangStandIn
) -> None:
    """Of one answer: generated in a chat, echoed from text and ids, as part of the prompt, and by
    the other server's chat and native endpoint."""
    asked = {"logprobs": True, "top_logprobs": 0, "max_tokens": 6, "seed": 3}
    answer = chat(vllm, **asked, return_token_ids=True, temperature=0.7)
    choice = answer["choices"][0]
    assert answer["prompt_token_ids"] == IDS
    ids, text = choice["token_ids"], choice["message"]["content"]
    expected = [token["logprob"] for token in choice["logprobs"]["content"]]
    assert sum(expected) == pytest.approx(toy_lm.logprob(toy_lm.decode(ids), after=PROMPT))
    start, whole = len(IDS), [*IDS, *ids]

    echo = {"echo": True, "logprobs": 1, "max_tokens": 0}
    for prompt in (PROMPT + toy_lm.decode(ids), whole):
        echoed = post(vllm, "/v1/completions", {"prompt": prompt, **echo})["choices"][0]
        assert echoed["text"] == PROMPT + toy_lm.decode(ids)
        assert echoed["logprobs"]["token_logprobs"][start:] == pytest.approx(expected)
    body = {"prompt": whole, "max_tokens": 1, "prompt_logprobs": 0}
    rows = post(vllm, "/v1/completions", body)["choices"][0]["prompt_logprobs"]
    got = [row[str(id_)]["logprob"] for row, id_ in zip(rows[start:], ids, strict=True)]
    assert rows[0] is None and got == pytest.approx(expected)
    messages = [*MESSAGES, {"role": "assistant", "content": text}]
    settings = {"add_generation_prompt": False, "continue_final_message": True}
    body = {"messages": messages, "prompt_logprobs": 0, "max_tokens": 1, **settings}
    rows = post(vllm, "/v1/chat/completions", body)["prompt_logprobs"]
    assert [next(iter(row.values()))["logprob"] for row in rows[start:]] == pytest.approx(
        expected[: len(rows) - start]
    )

    body = {"input_ids": whole, "return_logprob": True, "logprob_start_len": start - 1}
    meta = post(sglang, "/generate", body | {"sampling_params": {"max_new_tokens": 0}})["meta_info"]
    assert meta["input_token_logprobs"][0] == [None, IDS[-1], None]
    assert [row[0] for row in meta["input_token_logprobs"][1:]] == pytest.approx(expected)
    assert [row[1] for row in meta["input_token_logprobs"][1:]] == ids
    body = {"prompt": whole, "echo": True, "logprobs": 1, "max_tokens": 1}
    echoed = post(sglang, "/v1/completions", body)["choices"][0]["logprobs"]
    assert echoed["token_logprobs"][start : len(whole)] == pytest.approx(expected)
    assert set(echoed["text_offset"]) == {-1}


def test_tokens_of_vllm(vllm: VllmStandIn) -> None:
    body = {"messages": MESSAGES, "return_token_strs": True}
    tokens = post(vllm, "/tokenize", body)
    assert tokens["tokens"] == IDS and tokens["count"] == len(IDS)
    assert "".join(tokens["token_strs"]) == PROMPT
    assert post(vllm, "/tokenize", {"prompt": PROMPT})["tokens"] == IDS
    assert post(vllm, "/detokenize", {"tokens": IDS})["prompt"] == PROMPT
    quiet = {"messages": MESSAGES, "chat_template_kwargs": {"enable_thinking": False}}
    assert post(vllm, "/tokenize", quiet)["tokens"] == toy_lm.encode(
        PROMPT + "<think>\n\n</think>\n\n"
    )
    plain = {"messages": MESSAGES, "add_generation_prompt": False}
    assert post(vllm, "/tokenize", plain)["tokens"] == toy_lm.encode(
        PROMPT.removesuffix("<|im_start|>assistant\n")
    )


def test_what_servers_say_of_themselves(vllm: VllmStandIn, sglang: SglangStandIn) -> None:
    assert get(vllm, "/version") == {"version": "0.32.0"} and get(vllm, "/health") == ""
    (model,) = get(vllm, "/v1/models")["data"]
    assert model["id"] == model["root"] == "org/toy-lm" and model["max_model_len"] == 4096
    assert get(sglang, "/get_model_info") == get(sglang, "/model_info")
    assert get(sglang, "/server_info")["version"] and get(sglang, "/health") == ""
    assert get(sglang, "/v1/models")["data"][0]["owned_by"] == "sglang"


def test_top_logprobs_of_vllm_have_the_sampled_token_first(vllm: VllmStandIn) -> None:
    asked = {"logprobs": True, "top_logprobs": 3, "max_tokens": 9, "seed": 1}
    content = chat(vllm, **asked)["choices"][0]["logprobs"]["content"]
    for token in content:
        assert len(token["top_logprobs"]) == 3
        assert token["top_logprobs"][0]["token"] == token["token"]
    assert any(  # so that the list isn't always the best three
        token["top_logprobs"][0]["logprob"] < token["top_logprobs"][1]["logprob"]
        for token in content
    )
    letters = toy_lm.encode("AB")
    by_id = {"logprob_token_ids": letters, "return_tokens_as_token_ids": True}
    token = chat(vllm, **asked | {"top_logprobs": 0} | by_id)["choices"][0]["logprobs"]["content"][
        0
    ]
    assert [one["token"] for one in token["top_logprobs"][1:]] == [
        f"token_id:{id_}" for id_ in letters
    ]


def test_answers_follow_seeds(vllm: VllmStandIn, sglang: SglangStandIn) -> None:
    for server in (vllm, sglang):
        first, second = chat(server, seed=4, n=2)["choices"]
        assert first["message"]["content"] != second["message"]["content"]
        assert chat(server, seed=4)["choices"][0]["message"] == first["message"]
        texts = {chat(server)["choices"][0]["message"]["content"] for _ in range(4)}
        assert len(texts) > 1  # without a seed
        greedy = [chat(server, temperature=0)["choices"][0]["message"] for _ in range(2)]
        assert greedy[0] == greedy[1]


def test_constraints(vllm: VllmStandIn, sglang: SglangStandIn) -> None:
    for constraint in ({"choice": ["(A)", "(B)"]}, {"regex": r"\((A|B)\)"}):
        answer = chat(vllm, structured_outputs=constraint, logprobs=True)["choices"][0]
        assert answer["message"]["content"] in ("(A)", "(B)")
        for token in answer["logprobs"]["content"]:  # raw: not renormalised by the constraint
            assert token["logprob"] < -0.5
    assert chat(sglang, regex=r"[0-9]{3}")["choices"][0]["message"]["content"].isdecimal()
    with VllmStandIn(version="0.10.0") as old:
        answer = chat(old, guided_choice=["yes", "no"])["choices"][0]
        assert answer["message"]["content"] in ("yes", "no") and old.misuses == []


UNKNOWN = "Extra inputs are not permitted"
VLLM_MISUSES = [
    ({"top_logprob": 5}, "top_logprob", UNKNOWN),
    ({"guided_choice": ["A"]}, "guided_choice", UNKNOWN),
    ({"temperature": -0.1}, "temperature", "greater than or equal to 0"),
    ({"temperature": "1"}, "temperature", "valid number"),
    ({"temperature": True}, "temperature", "valid number"),
    ({"top_p": 0}, "top_p", "greater than 0"),
    ({"top_p": 1.01}, "top_p", "less than or equal to 1"),
    ({"top_k": -2}, "top_k", "greater than or equal to -1"),
    ({"min_p": 2}, "min_p", "less than or equal to 1"),
    ({"repetition_penalty": 0}, "repetition_penalty", "greater than 0"),
    ({"presence_penalty": 3}, "presence_penalty", "less than or equal to 2"),
    ({"n": 0}, "n", "greater than or equal to 1"),
    ({"n": 2, "temperature": 0}, "", "n must be 1 when using greedy sampling"),
    ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
    ({"max_tokens": 1.5}, "max_tokens", "valid integer"),
    ({"seed": 2**63}, "seed", "less than or equal"),
    ({"stop": ""}, "stop.constrained-str", "at least 1 character"),
    ({"top_logprobs": 2}, "", "`logprobs` must be set to true"),
    ({"logprobs": True, "top_logprobs": 21}, "", "greater than max allowed: 20"),
    ({"logprobs": 5}, "logprobs", "valid boolean"),
    ({"prompt_logprobs": -2}, "prompt_logprobs", "greater than or equal to -1"),
    ({"continue_final_message": True}, "", "Cannot set both"),
    ({"continue_final_message": True, "add_generation_prompt": True}, "", "Cannot set both"),
    ({"structured_outputs": {"choices": ["A"]}}, "structured_outputs.choices", UNKNOWN),
    ({"structured_outputs": {"choice": ["A"], "regex": "A"}}, "structured_outputs", "one kind"),
    ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex", "Invalid regex"),
    ({"logprob_token_ids": [1]}, "", "`logprobs` must be set to true"),
    ({"messages": []}, "messages", "at least 1 item"),
    ({"messages": [{"role": "human", "content": ""}]}, "messages.0.role", "Input should be"),
    ({"messages": [{"role": "user"}]}, "messages.0.content", "Field required"),
    ({"messages": [{"role": "user", "content": "", "text": ""}]}, "messages.0.text", UNKNOWN),
    ({"tools": []}, "tools", "no model of it"),
    ({"stream": True}, "stream", "Input should be"),
]


@pytest.mark.parametrize(("fields", "field", "message"), VLLM_MISUSES)
def test_misuses_of_vllm(
    vllm: VllmStandIn, fields: dict[str, Any], field: str, message: str
) -> None:
    path = "/v1/chat/completions"
    error = post(vllm, path, CHAT | fields, status=400)["error"]
    assert error["type"] == "BadRequestError" and error["code"] == 400
    assert message in error["message"] and (field in error["message"] or error["param"] == field)
    last = vllm.misuses[-1]
    assert last.path == path and last.field == field and message in last.message


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/completions", {"prompt": "a", "max_tokens": 0}, ""),
        ("/v1/completions", {"prompt": ""}, "prompt.constrained-str"),
        ("/v1/completions", {"prompt": "a", "logprobs": True}, "logprobs"),
        ("/v1/completions", {"prompt": "a", "logprobs": 21}, ""),
        ("/v1/completions", {"prompt": [9999], "max_tokens": 1}, "prompt"),
        ("/v1/completions", {"prompt": "a", "max_completion_tokens": 1}, "max_completion_tokens"),
        ("/tokenize", {"messages": MESSAGES, "prompt": "a"}, "prompt"),
        ("/tokenize", {"prompt": "a", "add_generation_prompt": True}, "add_generation_prompt"),
        ("/detokenize", {"tokens": [-1]}, "tokens.0"),
        ("/v1/load_lora_adapter", {"lora_name": "a", "path": "b"}, "path"),
    ],
)
def test_misuses_elsewhere(vllm: VllmStandIn, path: str, body: dict[str, Any], field: str) -> None:
    post(vllm, path, body, status=400)
    assert (vllm.misuses[-1].path, vllm.misuses[-1].field) == (path, field)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/chat/completions", CHAT | {"add_generation_prompt": True}, "add_generation_prompt"),
        ("/v1/chat/completions", CHAT | {"structured_outputs": {}}, "structured_outputs"),
        ("/v1/chat/completions", CHAT | {"repetition_penalty": 2.5}, "repetition_penalty"),
        ("/v1/chat/completions", CHAT | {"top_k": 0}, ""),
        ("/v1/completions", {"prompt": "a", "max_tokens": 0}, ""),
        ("/v1/completions", {"prompt": "a", "prompt_logprobs": 1}, "prompt_logprobs"),
        ("/generate", {"text": "a", "sampling_params": {"seed": 1}}, "seed"),
        ("/generate", {"text": "a", "sampling_params": {"max_tokens": 1}}, "max_tokens"),
        ("/generate", {"text": "a", "input_ids": [5]}, ""),
        ("/generate", {}, ""),
        ("/generate", {"prompt": "a"}, "prompt"),
        ("/generate", {"input_ids": [5], "logprob_start_len": 1}, "logprob_start_len"),
        ("/generate", {"text": "a", "token_ids_logprob": [9999]}, "token_ids_logprob"),
        ("/load_lora_adapter", {"lora_name": "a", "lora_path": "/nowhere"}, "lora_path"),
    ],
)
def test_misuses_of_sglang(
    sglang: SglangStandIn, path: str, body: dict[str, Any], field: str
) -> None:
    post(sglang, path, body, status=400)
    assert (sglang.misuses[-1].path, sglang.misuses[-1].field) == (path, field)


def test_what_is_no_misuse_is_not_recorded() -> None:
    with VllmStandIn(context=len(IDS) + 5) as server:
        error = post(server, "/v1/chat/completions", CHAT | {"max_tokens": 6}, status=400)["error"]
        assert f"your prompt contains at least {len(IDS)} input tokens" in error["message"]
        assert chat(server, max_tokens=5)["usage"]["prompt_tokens"] == len(IDS)
        assert chat(server)["usage"]["completion_tokens"] <= 5
        assert server.misuses == [] and len(server.requests) == 3
    with SglangStandIn(context=len(IDS) + 5) as other:
        answer = post(other, "/v1/chat/completions", CHAT | {"max_tokens": 6}, status=400)
        assert answer["object"] == "error" and "maximum context length" in answer["message"]
        assert other.misuses == []


def test_a_server_that_ignores_what_it_does_not_know() -> None:
    """As the real ones: the answer is that without the field. It is a misuse all the same."""
    with VllmStandIn(strict=False) as server:
        plain = chat(server, seed=1)["choices"]
        assert chat(server, seed=1, guided_choice=["yes"])["choices"] == plain
        assert server.misuses == [Misuse("/v1/chat/completions", "guided_choice", UNKNOWN)]
        post(server, "/v1/chat/completions", CHAT | {"top_p": 3}, status=400)


def test_paths_and_bodies_that_are_none(vllm: VllmStandIn) -> None:
    assert httpx2.get(f"{vllm.address}/v1/adapters").status_code == 404
    url = f"{vllm.address}/v1/completions"
    assert httpx2.post(url, content=b"{}").status_code == 400
    headers = {"content-type": "application/json"}
    assert httpx2.post(url, content=b"{", headers=headers).status_code == 400
    assert httpx2.post(url, content=b"[]", headers=headers).status_code == 400
    answer = post(vllm, "/v1/chat/completions", CHAT | {"model": "another"}, status=404)
    assert answer["error"]["type"] == "NotFoundError"


def test_a_turn_goes_on(vllm: VllmStandIn, sglang: SglangStandIn) -> None:
    """`continue_final_message`: the prompt ends in the words that the assistant began with."""
    messages = [*MESSAGES, {"role": "assistant", "content": " I think"}]
    going_on = {"messages": messages, "continue_final_message": True, "seed": 2}
    answer = chat(vllm, **going_on, add_generation_prompt=False, return_token_ids=True, echo=True)
    assert toy_lm.decode(answer["prompt_token_ids"]) == PROMPT + " I think"
    content = answer["choices"][0]["message"]["content"]
    assert content.startswith(" I think")
    other = chat(sglang, **going_on)["choices"][0]["message"]["content"]
    assert " I think" + other == content


def adapter(folder: Path, weights: bytes) -> str:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return str(folder)


def test_adapters_of_vllm(tmp_path: Path) -> None:
    """Other weights, another distribution; equal weights, an equal one."""
    load, unload = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
    one, two = (adapter(tmp_path / name, name.encode()) for name in ("one", "two"))
    with VllmStandIn() as server:
        post(server, "/v1/chat/completions", CHAT | {"model": "policy"}, status=404)
        text = post(server, load, {"lora_name": "policy", "lora_path": one})
        assert text == "Success: LoRA adapter 'policy' added successfully."
        listed = get(server, "/v1/models")["data"][1]
        assert listed["id"] == "policy" and listed["parent"] == "org/toy-lm"
        asked = {"temperature": 0, "prompt_logprobs": 0, "max_tokens": 8}
        base, first = chat(server, **asked), chat(server, **asked, model="policy")
        assert base["prompt_logprobs"] != first["prompt_logprobs"]
        error = post(server, load, {"lora_name": "policy", "lora_path": two}, status=400)["error"]
        assert "already been loaded" in error["message"]
        post(server, load, {"lora_name": "policy", "lora_path": two, "load_inplace": True})
        second = chat(server, **asked, model="policy")
        assert second["prompt_logprobs"] != first["prompt_logprobs"]
        post(server, unload, {"lora_name": "policy"})
        post(server, load, {"lora_name": "again", "lora_path": one})
        third = chat(server, **asked, model="again")
        assert third["prompt_logprobs"] == first["prompt_logprobs"]
        assert third["choices"] == first["choices"]
        post(server, unload, {"lora_name": "policy"}, status=404)
        post(server, load, {"lora_name": "b", "lora_path": str(tmp_path)}, status=404)
    with VllmStandIn(runtime_lora=False) as server:
        post(server, load, {"lora_name": "policy", "lora_path": one}, status=404)


def test_adapters_of_sglang(tmp_path: Path) -> None:
    path = adapter(tmp_path / "one", b"1")
    with SglangStandIn() as server:
        answer = post(server, "/load_lora_adapter", {"lora_name": "policy", "lora_path": path})
        assert answer["success"] and answer["loaded_adapters"] == {"policy": path}
        base = chat(server, temperature=0)["choices"][0]["message"]["content"]
        named = chat(server, temperature=0, model="org/toy-lm:policy")["choices"][0]["message"]
        given = chat(server, temperature=0, lora_path="policy")["choices"][0]["message"]
        assert named == given and named["content"] != base
        body = {"text": PROMPT, "lora_path": "policy", "sampling_params": {"temperature": 0}}
        assert post(server, "/generate", body)["text"] == named["content"]
        post(server, "/unload_lora_adapter", {"lora_name": "policy"})
        post(server, "/v1/chat/completions", CHAT | {"lora_path": "policy"}, status=400)


def test_generate_of_sglang(sglang: SglangStandIn) -> None:
    letters = toy_lm.encode("AB")
    asked = {
        "input_ids": IDS,
        "sampling_params": {"max_new_tokens": 4, "temperature": 0.5, "sampling_seed": 1},
        "return_logprob": True,
        "top_logprobs_num": 2,
        "token_ids_logprob": letters,
        "return_text_in_logprobs": True,
        "rid": "r1",
    }
    answer = post(sglang, "/generate", asked)
    meta = answer["meta_info"]
    assert answer["text"] == toy_lm.decode(answer["output_ids"]) and meta["id"] == "r1"
    assert meta["finish_reason"] == {"type": "length", "length": 4}
    assert meta["prompt_tokens"] == len(IDS) and meta["completion_tokens"] == 4
    assert meta["input_token_logprobs"] == [[None, IDS[-1], toy_lm.decode(IDS[-1:])]]
    row = toy_lm.Prefix(IDS).scores() / 0.5  # after the temperature, which is SGLang's default
    row -= np.log(np.exp(row).sum())
    assert meta["output_token_logprobs"][0][0] == pytest.approx(row[answer["output_ids"][0]])
    assert [pair[1] for pair in meta["output_token_ids_logprobs"][0]] == letters
    assert meta["output_token_ids_logprobs"][0][1][0] == pytest.approx(row[letters[1]])
    assert [pair[1] for pair in meta["output_top_logprobs"][0]] == list(np.argsort(-row)[:2])

    asked["sampling_params"] = {"max_new_tokens": 0}
    scored = post(sglang, "/generate", asked)
    assert scored["output_ids"] == [] and scored["meta_info"]["completion_tokens"] == 0
    raw = toy_lm.Prefix(IDS).scores()
    (choices,) = scored["meta_info"]["output_token_ids_logprobs"]
    assert [pair[0] for pair in choices] == pytest.approx([raw[id_] for id_ in letters])
    batch = post(sglang, "/generate", {"text": ["a", "b"], "sampling_params": {"n": 2}})
    assert len(batch) == 4
    with SglangStandIn(original_logprobs=True) as other:
        asked["sampling_params"] = {"max_new_tokens": 4, "temperature": 0.5, "sampling_seed": 1}
        original = post(other, "/generate", asked)
        assert original["output_ids"] == answer["output_ids"]
        assert original["meta_info"]["output_token_logprobs"][0][0] == pytest.approx(
            raw[answer["output_ids"][0]]
        )


def test_reasoning_of_both() -> None:
    quiet = {"chat_template_kwargs": {"enable_thinking": False}}
    with VllmStandIn(reasons=True) as server:
        answer = chat(server, seed=1, logprobs=True, return_token_ids=True)["choices"][0]
        message = answer["message"]
        text = f"<think>\n{message['reasoning']}\n</think>\n\n{message['content']}"
        assert toy_lm.decode(answer["token_ids"], control=False) == text
        assert len(answer["logprobs"]["content"]) == len(answer["token_ids"])
        hidden = chat(server, seed=1, include_reasoning=False)["choices"][0]["message"]
        assert hidden["reasoning"] is None and hidden["content"] == message["content"]
        assert chat(server, **quiet)["choices"][0]["message"]["reasoning"] is None
    with SglangStandIn(reasons=True) as other:
        apart = chat(other, seed=1)["choices"][0]["message"]
        inline = chat(other, seed=1, separate_reasoning=False)["choices"][0]["message"]
        thought, content = apart["reasoning_content"], apart["content"]
        assert inline["content"] == f"<think>\n{thought}\n</think>\n\n{content}"
        assert chat(other, **quiet)["choices"][0]["message"]["reasoning_content"] is None
