"""Training on chat templates whose finished turn is not the generation prompt and the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cai.cli.roles import template_options
from cai.data.training_run import read_run
from cai.errors import UsageError
from cai.models.backbone import Backbone
from cai.training.config import DpoConfig, PpoConfig, RewardConfig, SftConfig
from cai.training.rewards import build_reward
from cai.training.rollout import encode_prompts, generate_responses
from cai.training.scoring import ModelScorer
from cai.training.train import Callbacks, train
from cai.types import Message, Prompt
from tests.models.tiny import tiny
from tests.text.families import family

TALK = [("user", "Hello?"), ("assistant", "Yes."), ("user", "And?"), ("assistant", "No.")]
SMALL: dict[str, Any] = {
    "device": "cpu", "lora_r": 2, "max_steps": 1, "batch_size": 4, "test_share": 0.0,
}  # fmt: skip


def model_of(name: str, folder: Path) -> str:
    tiny().save_pretrained(folder)
    family(name).save_pretrained(folder)
    return str(folder)


def messages(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["qwen3", "qwen35", "r1", "phi", "harmony", "no_end", "alpaca"])
def test_no_row_is_set_aside_for_its_template(name: str, tmp_path: Path) -> None:
    """Single and multi-turn rows, all turns learned; where no end is written, that is told once."""
    model = model_of(name, tmp_path / "model")
    rows = [{"messages": messages(TALK[:n])} for n in (2, 4, 2)]
    data = lines(tmp_path / "sft.jsonl", *rows)
    notes: list[str] = []
    config = SftConfig(model=model, loss_on="all", **SMALL)
    train(config, [data], tmp_path / "sft", Callbacks(note=notes.append))
    counts = read_run(tmp_path / "sft")["counts"]
    apart = name != "phi"  # the others read an earlier turn otherwise once one follows
    assert counts == {"trained": 4 if apart else 3, "held out": 0, "set aside": 0}
    warnings = [n for n in notes if "writes no token behind a response" in n]
    assert len(warnings) == (name == "no_end")
    assert all("<|endoftext|> is learned as the end" in n for n in warnings)


@pytest.mark.parametrize(
    ("name", "thinking", "why"),
    [("phi", "auto", "no place for it"), ("qwen3", "off", "--thinking off"), ("qwen3", "auto", "")],
)
def test_reasoning_that_is_left_out_is_told(
    name: str, thinking: str, why: str, tmp_path: Path
) -> None:
    """Rows with reasoning on a template that has no place for it, or is told to leave it out."""
    model = model_of(name, tmp_path / "model")
    thought = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    inline = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."}
    rows = [{"messages": [*messages(TALK[:1]), t]} for t in (thought, inline)]
    rows += [{"messages": messages(TALK[:2])}]
    pair = {"prompt": messages(TALK[:1]), "chosen": [thought], "rejected": messages(TALK[3:])}
    sft = lines(tmp_path / "sft.jsonl", *rows)
    pairs = lines(tmp_path / "pairs.jsonl", pair)
    own: dict[str, Any] = {"model": model, "thinking": thinking, **SMALL}
    for config, data, all_rows in (
        (SftConfig(**own), sft, 3),
        (DpoConfig(**own), pairs, 1),
        (SftConfig(**own, reasoning="drop"), sft, 3),
        (RewardConfig(**own), pairs, 1),
    ):
        out = tmp_path / f"{config.stage}-{getattr(config, 'reasoning', '')}"
        notes: list[str] = []
        train(config, [data], out, Callbacks(note=notes.append))
        expected = bool(why) and config.stage != "reward" and out.name != "sft-drop"
        some = all_rows // 2 + all_rows % 2
        warnings = [
            n for n in notes if n.startswith(f"reasoning: {some} of {all_rows} rows have some")
        ]
        assert len(warnings) == expected and all(why in n for n in warnings)
        assert read_run(out)["counts"].get("without their reasoning") == (
            some if expected else None
        )


def test_an_adapter_keeps_the_prompts_that_it_was_trained_on(tmp_path: Path) -> None:
    """Thinking turned off and a variable of the template, in the next training and when asked."""
    model = model_of("qwen3", tmp_path / "model")
    data = lines(tmp_path / "sft.jsonl", {"messages": messages(TALK[:2])})
    pairs = lines(
        tmp_path / "p.jsonl",
        {
            "prompt": messages(TALK[:1]),
            "chosen": messages(TALK[1:2]),
            "rejected": messages(TALK[3:]),
        },
    )
    sft, plain, dpo = (tmp_path / name for name in ("sft", "plain", "dpo"))
    own = SMALL | {"model": model}
    train(SftConfig(**own, thinking="off", template_arg="enable_thinking=false"), [data], sft)
    train(SftConfig(**own), [data], plain)
    started = {k: v for k, v in own.items() if k != "lora_r"}
    train(DpoConfig(**started, adapter=str(sft)), [pairs], dpo)
    settings = read_run(dpo)["settings"]
    assert (settings["thinking"], settings["template_arg"]) == ("off", "enable_thinking=false")
    options = {"thinking": "auto", "template_args": (), "date": None}
    options_of_both = template_options(options, [str(dpo), None])
    assert (options_of_both.thinking, options_of_both.arguments) == (
        "off",
        (("enable_thinking", False),),
    )
    assert template_options(options | {"thinking": "on"}, [str(dpo)]).thinking == "on"
    with pytest.raises(UsageError, match="trained with different template settings"):
        template_options(options, [str(sft), str(plain)])


def test_pairs_that_differ_in_reasoning_alone(tmp_path: Path) -> None:
    """DPO learns which reasoning is better; a reward model, which reads none, has them aside."""
    model = model_of("qwen3", tmp_path / "model")
    right, wrong = (
        {"role": "assistant", "content": "No.", "reasoning_content": text} for text in ("A.", "B.")
    )
    prompt = messages(TALK[:1])
    good = {"prompt": prompt, "chosen": messages(TALK[1:2]), "rejected": messages(TALK[3:])}
    pairs = lines(
        tmp_path / "p.jsonl", {"prompt": prompt, "chosen": [right], "rejected": [wrong]}, good
    )
    for config, trained in ((DpoConfig, 2), (RewardConfig, 1)):
        out = tmp_path / config.stage
        train(config(model=model, **SMALL), [pairs], out)
        counts = read_run(out)["counts"]
        assert (counts["trained"], counts["set aside"]) == (trained, 2 - trained)
    assert "same tokens" in (tmp_path / "reward" / "set_aside.jsonl").read_text()


@pytest.mark.parametrize("name", ["phi", "qwen3", "harmony"])
def test_a_reward_model_reads_in_ppo_what_it_was_trained_on(name: str, tmp_path: Path) -> None:
    """The score of a response is a plain loop's over the training row with its text.

    PPO loads the model from its run, as `--reward` does; responses are the policy's own.
    """
    model = model_of(name, tmp_path / "model")
    thought = {"role": "assistant", "content": "No.", "reasoning_content": "They ask again."}
    pair = {"prompt": messages(TALK[:3]), "chosen": [thought],
            "rejected": messages([("assistant", "Go away.")]), "probability": 0.9}  # fmt: skip
    data = lines(tmp_path / "pairs.jsonl", pair, pair | {"prompt": messages(TALK[:1])})
    train(RewardConfig(model=model, **SMALL), [data], tmp_path / "reward")
    train(DpoConfig(model=model, **SMALL), [data], tmp_path / "dpo")
    assert read_run(tmp_path / "dpo")["counts"]["set aside"] == 0
    backbone = Backbone.load(model, device="cpu", dtype="float32")
    config = PpoConfig(model=model, reward=str(tmp_path / "reward"), gate=False, device="cpu")
    scorer = build_reward(config.reward, backbone, config, "reward").scorer
    assert isinstance(scorer, ModelScorer) and scorer.backbone is backbone
    prompt = Prompt("p", tuple(Message(role, text) for role, text in TALK[:3]))  # type: ignore[arg-type]
    canary = json.loads((tmp_path / "reward" / "canary.json").read_text())[0]
    trained_on = {backbone.encoder.turn(prompt.messages[:n], "No.").ids for n in (1, 3)}
    assert tuple(canary["ids"]) in trained_on  # of the answer alone, as responses are scored
    ready, _ = encode_prompts(backbone.encoder, [prompt], 400)
    responses = generate_responses(
        backbone, None, [(ready[0], n) for n in range(4)], 12, 1.0, 0, 0, 12
    )
    assert len({r.text for r in responses}) > 1
    for response, score in zip(responses, scorer(responses), strict=True):
        turn = backbone.encoder.turn(prompt.messages, response.text)
        with torch.no_grad(), backbone.using(scorer.adapter):
            hidden = backbone.hidden_states(torch.tensor([turn.ids]))[0, -1]
            assert score == pytest.approx(scorer.head(hidden[None]).item(), abs=1e-5)
        assert turn.ids[: len(ready[0].ids)] == ready[0].ids
