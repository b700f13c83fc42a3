"""Every setting reaches what it is for: optimizer, schedule, plan, adapter, template, rollout.

What a setting does is tested where it is done. Here each is given a value that is not its default,
and looked for at the other end of a stage, on tiny random models and in few steps. What reaches the
loss is in `test_settings`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cai.errors import DataError, UsageError
from cai.models.adapters import LoraSettings
from cai.models.backbone import Backbone
from cai.models.load import LoadedModel
from cai.training import on_policy, rollout
from cai.training.checkpoint import load_tensors
from cai.training.config import (
    DpoConfig,
    KtoConfig,
    PpoConfig,
    RewardConfig,
    SftConfig,
    TrainConfig,
)
from cai.training.dpo import DpoObjective
from cai.training.kto import KtoObjective
from cai.training.loop import StepReport
from cai.training.policy import resolve, save_policy
from cai.training.ppo import PpoTrainer
from cai.training.reference import StoredReference
from cai.training.reward import RewardObjective
from cai.training.rewards import build_reward, reward_parts
from cai.training.rows import RowsTrainer
from cai.training.scoring import FunctionScorer, MixedScorer, ModelScorer
from cai.training.train import Callbacks, make_trainer, train
from cai.training.trainer import StageTrainer, Trainer
from cai.types import Message
from tests.models.tiny import encoder, tiny
from tests.text.families import family
from tests.training.ppo_runs import PROMPTS, trainer

ROWS: list[type[TrainConfig]] = [SftConfig, RewardConfig, DpoConfig, KtoConfig]
SMALL: dict[str, Any] = {"device": "cpu", "dtype": "float32", "lora_r": 4, "test_share": 0.0}
REWARD = "rewards_of_wiring:shorter"
THOUGHT, ANSWER = "They ask for bread.", "Gladly."
OPTIMIZER: dict[str, Any] = {
    "learning_rate": 3e-3, "schedule": "linear", "warmup": 0.5, "weight_decay": 20.0,
    "max_grad_norm": 1e-3,
}  # fmt: skip
RATES = [1e-3, 2e-3, 3e-3, 3e-3, 2e-3, 1e-3]
"""Of six steps: three in which the rate rises, and three down to 0."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random llama whose chat template reasons, has a variable, and writes the date."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = deepcopy(family("qwen3"))
    tokenizer.chat_template = (
        "{{- style | default('plain') }} {{ strftime_now('%d %b %Y') }}\n"
        f"{tokenizer.chat_template}"
    )
    tiny().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight pairs, also read as eight conversations and eight prompts; for KTO eight labelled rows.

    The working directory has a reward function, and one that is its opposite.
    """
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "rewards_of_wiring", raising=False)
    (tmp_path / "rewards_of_wiring.py").write_text(
        "def shorter(prompts, responses):\n    return [-float(len(r)) for r in responses]\n"
        "def longer(prompts, responses):\n    return [float(len(r)) for r in responses]\n"
    )
    thought = {"role": "assistant", "content": ANSWER, "reasoning_content": THOUGHT}
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"id": c, "prompt": [{"role": "user", "content": f"What of {c}?"}], "chosen": [thought],
         "rejected": [{"role": "assistant", "content": "No."}]}
        for c in "abcdefgh"
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labelled = [
        {"id": row["id"], "prompt": row["prompt"], "label": n % 2 == 0,
         "completion": row["chosen" if n % 2 == 0 else "rejected"]}
        for n, row in enumerate(rows)
    ]  # fmt: skip
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(r) + "\n" for r in labelled))
    return file


def built(kind: type[TrainConfig], model: str, data: Path, **changes: Any) -> StageTrainer:
    own = {"reward": REWARD, "max_reasoning_tokens": 8} if kind is PpoConfig else {}
    data = data.with_name("labelled.jsonl") if kind is KtoConfig else data
    run = make_trainer(resolve(kind(model=model, **SMALL | own | changes)), [data])
    run.prepare(lambda done, total: None)
    return run


def rows_trainer(run: StageTrainer) -> RowsTrainer[Any]:
    assert isinstance(run, RowsTrainer)
    return run


def first_layers(run: Trainer) -> Tensor:
    """All weights of the adapter's A, which have no gradient while its B is 0."""
    layers = [p.detach().flatten() for n, p in run.parameters.items() if ".lora_A." in n]
    return torch.cat(layers).clone()


def momentum(run: Trainer) -> float:
    """Norm of AdamW's first moments: after one step a tenth of the clipped gradient's."""
    moments = [t.flatten() for n, t in run.state()[0].items() if n.startswith("adam/exp_avg/")]
    norm: float = torch.cat(moments).norm().item()
    return norm


# -- the optimizer ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ROWS)
def test_the_optimizer_of_rows(kind: type[TrainConfig], model: str, data: Path) -> None:
    """Rate, schedule, warm-up, decay and clipping, of six steps."""
    run = built(kind, model, data, batch_size=2, epochs=1.5, **OPTIMIZER)
    before = first_layers(run)
    figures = [run.train_step().metrics or {}]
    assert torch.allclose(first_layers(run), before * (1 - RATES[0] * 20.0), rtol=1e-5)
    assert figures[0]["gradient_norm"] > 1e-2
    assert momentum(run) == pytest.approx(0.1 * 1e-3, rel=1e-3)
    while not run.done:
        figures.append(run.train_step().metrics or {})
    assert [f["learning_rate"] for f in figures] == pytest.approx(RATES)


def test_the_optimizer_of_ppo() -> None:
    """The same, told by the decay: where all scores are one, there is no gradient at all."""
    flat = FunctionScorer(lambda prompts, texts: [1.0] * len(texts), "flat")
    run = trainer(
        scorer=flat, updates=6, epochs=1, minibatches=1, max_new_tokens=2, kl_coef=0.0,
        missing_eos_penalty=0.0, **OPTIMIZER,
    )  # fmt: skip
    for rate in RATES:
        before = first_layers(run)
        run.update()
        assert torch.allclose(first_layers(run), before * (1 - rate * 20.0), rtol=1e-5)
    run = trainer(epochs=1, minibatches=1, max_new_tokens=4, **OPTIMIZER)
    assert run.update()["gradient_norm"] > 1e-2
    assert momentum(run) == pytest.approx(0.1 * 1e-3, rel=1e-3)


# -- rows: plan, adapter, template ------------------------------------------------------------


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize(
    ("change", "sizes"),
    [
        ({"batch_size": 3}, [3, 3, 2]),
        ({"batch_size": 3, "epochs": 1.5}, [3, 3, 3, 3]),
        ({"batch_size": 3, "max_steps": 2}, [3, 3]),
        ({"batch_size": 3, "limit": 4}, [3, 1]),
        ({"batch_size": 3, "test_share": 0.999}, [1]),
    ],
    ids=str,
)
def test_the_plan_of_rows(
    kind: type[TrainConfig], change: dict[str, Any], sizes: list[int], model: str, data: Path
) -> None:
    """How many steps there are, and how many rows each has."""
    if kind is KtoConfig and "test_share" in change:
        change, sizes = change | {"test_share": 0.5}, [3, 2]  # it needs rows of both kinds
    stage = built(kind, model, data, **change)
    run = rows_trainer(stage)
    assert stage.workload.steps == run.steps == len(sizes)
    assert [len(run._batch(step)) for step in range(run.steps)] == sizes
    assert (
        stage.workload.held_out
        == len(run.test)
        == (8 - sum(sizes) if "test_share" in change else 0)
    )


@pytest.mark.parametrize("kind", ROWS)
def test_the_longest_row(kind: type[TrainConfig], model: str, data: Path) -> None:
    with pytest.raises(DataError, match=r"No row is left to train on; 8 .*, over 9\)"):
        built(kind, model, data, max_length=9)


@pytest.mark.parametrize("kind", ROWS)
def test_memory_bounds_what_is_read_at_once(
    kind: type[TrainConfig], model: str, data: Path
) -> None:
    """One token: every example by itself, in training and where DPO's reference reads."""
    run = rows_trainer(built(kind, model, data, micro_tokens=1, save_every=7))
    assert [
        len(some) for some in run.budget.split(list(map(run.objective.tokens, run._batch(0))))
    ] == [1] * 8
    assert run.plan.save_every == 7  # before a save, a GPU's figures are looked at
    if isinstance(run.objective, DpoObjective | KtoObjective):
        assert isinstance(run.objective.reference, StoredReference)
        assert run.objective.reference.micro_tokens == 1


@pytest.mark.parametrize("kind", ROWS)
def test_the_seed_decides_rows_and_weights(kind: type[TrainConfig], model: str, data: Path) -> None:
    """What is held out, the order of the rest, the adapter and the reward model's head."""
    calls: list[dict[str, Any]] = []
    for seed in (3, 4):
        run = rows_trainer(built(kind, model, data, seed=seed))
        rest = built(kind, model, data, seed=seed, test_share=0.5)
        head = run.objective.head.weight if isinstance(run.objective, RewardObjective) else None
        calls.append(
            {
                "order": [str(example.id) for example in run._batch(0)],
                "held out": [str(example.id) for example in rows_trainer(rest).test],
                "adapter": first_layers(run).tolist(),
                **({} if head is None else {"head": head.tolist()}),
            }
        )
    assert all(calls[0][name] != calls[1][name] for name in calls[0])


@pytest.mark.parametrize("kind", [*ROWS, PpoConfig])
def test_the_adapter_s_shape(
    kind: type[TrainConfig], model: str, data: Path, tmp_path: Path
) -> None:
    """Rank, scale, layers and dropout, as PEFT's file has them."""
    own: dict[str, Any] = {} if kind is PpoConfig else {"lora_dropout": 0.25}
    shape: dict[str, Any] = {"lora_r": 3, "lora_alpha": 5.0, "lora_targets": "q_proj,down_proj"}
    stage = built(kind, model, data, **shape, **own)
    save_policy(stage.backbone, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (3, 5.0)
    assert set(config["target_modules"]) == {"q_proj", "down_proj"}
    assert config["lora_dropout"] == (0.0 if kind is PpoConfig else 0.25)


@pytest.mark.parametrize("kind", [*ROWS, PpoConfig])
def test_how_the_base_is_held(kind: type[TrainConfig], model: str, data: Path) -> None:
    stage = built(kind, model, data, dtype="bfloat16", gradient_checkpointing=True)
    assert stage.backbone.dtype == torch.bfloat16
    modules = stage.backbone.model.modules()
    assert any(getattr(module, "gradient_checkpointing", False) for module in modules)


@pytest.mark.parametrize("kind", [*ROWS, PpoConfig])
def test_how_the_chat_template_is_called(kind: type[TrainConfig], model: str, data: Path) -> None:
    """The date, a variable and the switch for reasoning are in what is trained on."""
    stage = built(kind, model, data, thinking="off", template_arg="style=kind", date="2024-02-29")
    run = stage
    if isinstance(run, PpoTrainer):
        ids = run.prompts[0].ids
    else:
        assert isinstance(run, RowsTrainer)
        example = run.train[0]
        ids = (example.tokens if hasattr(example, "tokens") else example.chosen).ids
    text = stage.backbone.encoder.decode(ids)
    assert text.startswith("kind 29 Feb 2024")
    assert "assistant\n<think>\n\n</think>\n\n" in text


@pytest.mark.parametrize(
    ("config", "read", "learned"),
    [
        (SftConfig(reasoning="learn"), True, True),
        (SftConfig(reasoning="context"), True, False),
        (SftConfig(reasoning="drop"), False, False),
        (SftConfig(reasoning="context", loss_on="all"), True, False),
        (SftConfig(reasoning="drop", loss_on="all"), False, False),
        (RewardConfig(), False, False),
        (DpoConfig(), True, True),
        (KtoConfig(), True, True),
    ],
    ids=lambda value: (
        f"{value.stage}-{getattr(value, 'reasoning', '')}"
        if isinstance(value, TrainConfig)
        else str(value)
    ),
)
def test_what_of_the_reasoning_is_learnt(
    config: TrainConfig, read: bool, learned: bool, model: str, data: Path
) -> None:
    """A reward model reads the answer alone; DPO learns all of a response."""
    own = {n: getattr(config, n) for n in ("reasoning", "loss_on") if hasattr(config, n)}
    stage = built(type(config), model, data, **own)
    example = rows_trainer(stage).train[0]
    tokens = example.tokens if hasattr(example, "tokens") else example.chosen
    counted = [i for i, counts in zip(tokens.ids, tokens.response, strict=True) if counts]
    whole, part = (stage.backbone.encoder.decode(ids) for ids in (tokens.ids, counted))
    assert (THOUGHT in whole, THOUGHT in part) == (read, learned)
    assert ANSWER in part


def test_when_a_run_is_saved_and_looked_at(model: str, data: Path, tmp_path: Path) -> None:
    """Five steps, of which every second is saved, and every third looked at, and the last."""
    saved: list[int] = []
    evaluations: list[int] = []
    out = tmp_path / "run"

    def report(step_report: StepReport) -> None:
        if step_report.held_out:
            evaluations.append(step_report.step)
        else:
            file = out / "checkpoint.safetensors"
            saved.append(load_tensors(file)[1]["trainer"]["step"] if file.exists() else 0)

    plan: dict[str, Any] = {"batch_size": 1, "max_steps": 5, "save_every": 2, "eval_every": 3}
    config = SftConfig(model=model, **SMALL | {"test_share": 0.2}, **plan)
    train(config, [data], out, Callbacks(report=report))
    assert saved == [0, 0, 2, 2, 4]  # as it was when each step was told
    assert evaluations == [3, 5]


# -- PPO --------------------------------------------------------------------------------------


def hundreds(prompts: Any, responses: Sequence[str]) -> list[float]:
    """Eight scores, 0 to 700, whose mean is 350 and whose variance is 60 000."""
    return [100.0 * i for i in range(len(responses))]


PLAIN: dict[str, Any] = {"normalise_scores": False, "missing_eos_penalty": 0.0}


@pytest.mark.parametrize(
    ("change", "paid"),
    [
        (PLAIN, 350.0),
        (PLAIN | {"score_clip": 150.0}, (0 + 100 + 6 * 150) / 8),
        (PLAIN | {"normalise_scores": True}, 0.0),
        (PLAIN | {"normalise_scores": True, "score_clip": 0.25}, 0.0),
        (PLAIN | {"missing_eos_penalty": 16.0}, 350.0 - 16.0),
    ],
    ids=str,
)
def test_what_ppo_pays(change: dict[str, Any], paid: float) -> None:
    """Before the first step the KL is 0; no response of one token comes to an end."""
    run = trainer(scorer=FunctionScorer(hundreds, "hundreds"), epochs=1, max_new_tokens=1, **change)
    figures = run.update()
    assert figures["missing_eos"] == 1.0
    assert figures["reward"] == pytest.approx(paid, abs=1e-3)


def test_how_many_steps_an_update_has() -> None:
    """Five epochs of four minibatches."""
    run = trainer(epochs=5, minibatches=4, max_new_tokens=2, updates=7, max_steps=3)
    run.update()
    counts = {t.item() for n, t in run.state()[0].items() if n.startswith("adam/step/")}
    assert counts == {20.0} and run.steps == 3


def test_memory_bounds_what_ppo_reads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One token: every response by itself, in reading and in learning."""
    sizes: list[int] = []
    real = rollout.logprobs_and_values

    def counted(base: Backbone, adapter: Any, responses: Any, *rest: Any) -> Any:
        sizes.append(len(responses))
        return real(base, adapter, responses, *rest)

    monkeypatch.setattr(on_policy, "logprobs_and_values", counted)
    trainer(max_new_tokens=2, micro_tokens=1, epochs=1).update()
    assert sizes == [1] * (8 * (2 + 2 + 1))  # policy and reference, both again for noise; learning


def test_how_ppo_draws() -> None:
    """Number, length, heat and seed. The first four prompts and the last four say the same."""

    def drawn(**changes: Any) -> list[tuple[int, ...]]:
        responses = trainer(**{"max_new_tokens": 6} | changes).sample_responses()
        return [r.ids for r in sorted(responses, key=lambda r: r.prompt.id)]

    hot, cold = drawn(), drawn(temperature=1e-3)
    assert hot[:4] != hot[4:] and cold[:4] == cold[4:]
    assert max(map(len, hot)) == 6 and max(map(len, drawn(max_new_tokens=3))) == 3
    assert len(drawn(prompts_per_update=5)) == 5
    assert drawn(seed=5) == drawn(seed=5) != hot
    orders = [
        [r.prompt.id for r in trainer(seed=n, max_new_tokens=1).sample_responses()] for n in (5, 6)
    ]
    assert orders[0] != orders[1]


def test_ppo_s_bound_on_the_kl() -> None:
    """Far below the default: the second update beyond it stops the run."""
    run = trainer(max_kl=1e-3, learning_rate=3e-2, epochs=2, max_new_tokens=4)
    while not run.done:
        run.update()
    assert run.step == 3
    assert run.stopped is not None and "the bound is 0.001" in run.stopped


def test_ppo_s_price_of_the_kl() -> None:
    assert trainer(kl_coef=0.7).kl.coef == 0.7
    assert trainer(kl_coef=0.7, max_new_tokens=2, epochs=1).update()["kl_coef"] == 0.7


@pytest.mark.parametrize("budget", [0, 16])
def test_ppo_s_reasoning_has_a_budget_of_its_own(budget: int) -> None:
    """Three tokens for an answer, and as many more as the reasoning may have."""
    loaded = LoadedModel(
        deepcopy(tiny()), encoder("qwen35"), "tiny", "0" * 64, torch.device("cpu"), torch.float32,
        512,
    )  # fmt: skip
    base = Backbone(loaded)
    base.add_adapter("policy", LoraSettings(r=4, alpha=8), seed=1)
    run = trainer(base, max_new_tokens=3, max_reasoning_tokens=budget, held_out=PROMPTS[:3])
    lengths = [len(response.ids) for response in run.sample_responses()]
    assert (max(lengths) > 12) == (budget > 0), lengths
    run.update()
    assert (run.evaluate()["length"] > 6) == (budget > 0)


def test_what_ppo_is_given(model: str, data: Path) -> None:
    """The reward and the second reward, each its own, and which prompts are held out."""
    changes: dict[str, Any] = {
        "prompts_per_update": 4, "max_new_tokens": 6, "epochs": 1,
        "second_reward": "rewards_of_wiring:longer",
    }  # fmt: skip
    run = built(PpoConfig, model, data, limit=5, **changes)
    assert isinstance(run, PpoTrainer) and len(run.prompts) == 5 and not run.held_out
    figures = run.update()
    assert figures["score"] < 0 and figures["second_reward"] == -figures["score"]
    run = built(PpoConfig, model, data, test_share=0.999, **changes)
    assert isinstance(run, PpoTrainer) and len(run.prompts) == 1 and len(run.held_out) == 7


def test_ppo_s_reference_is_its_start(model: str, data: Path, tmp_path: Path) -> None:
    """A trained adapter: it is the adapter, not the base, that the policy is compared with."""
    start = tmp_path / "sft"
    fast: dict[str, Any] = {"learning_rate": 2e-2, "max_steps": 2, "batch_size": 4, "warmup": 0.0}
    train(SftConfig(model=model, **SMALL, **fast), [data], start)
    changes: dict[str, Any] = {"lora_r": None, "adapter": str(start), "max_new_tokens": 6}
    run = built(PpoConfig, model, data, prompts_per_update=4, epochs=1, **changes)
    assert isinstance(run, PpoTrainer)
    assert run.update()["kl"] == pytest.approx(0.0, abs=1e-4)


def test_a_reward_model_is_called_as_it_was_trained(model: str, data: Path, tmp_path: Path) -> None:
    """Its own template options, whatever the policy's; and the gate asks for rows held out."""
    own: dict[str, Any] = {"thinking": "off", "template_arg": "style=kind", "date": "2024-02-29"}
    train(RewardConfig(model=model, **SMALL, **own, max_steps=1), [data], tmp_path / "reward")
    spec = str(tmp_path / "reward")
    with pytest.raises(UsageError, match="Nothing shows that the reward model"):
        reward_parts(spec, PpoConfig(reward=spec))
    config = PpoConfig(
        model=model, reward=spec, gate=False, device="cpu", date="2025-01-01", micro_tokens=300
    )
    backbone = Backbone.load(model, device="cpu", dtype="float32", template=config.template)
    scorer = build_reward(spec, backbone, config, "reward").scorer
    assert isinstance(scorer, ModelScorer) and scorer.micro_tokens == 300
    assert scorer.adapter in backbone.adapters
    prompt = (Message("user", "What of bread?"),)
    theirs, ours = (
        encoder.decode(encoder.encode(prompt).ids) for encoder in (scorer.encoder, backbone.encoder)
    )
    assert theirs.startswith("kind 29 Feb 2024") and theirs.endswith("</think>\n\n")
    assert ours.startswith("plain 01 Jan 2025") and "think" not in ours


def test_a_mixed_reward_s_units(data: Path) -> None:
    """By default each part is measured in its own spread."""
    backbone = Backbone.load("miniature", device="cpu", dtype="float32")
    for normalise in (True, False):
        config = PpoConfig(normalise_scores=normalise)
        scorer = build_reward(f"{REWARD}, 3*{REWARD}", backbone, config, "reward").scorer
        assert isinstance(scorer, MixedScorer) and scorer.sum.normalise is normalise
        assert math.isclose(sum(weight for weight, _ in scorer.parts), 4.0)
