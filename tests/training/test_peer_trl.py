"""SFT, reward model, DPO and KTO compute what TRL 1.16's trainers compute, in float32, to 1e-5.

One random llama, one adapter that is no longer at its start, one head, the same conversations. The
peers are the trainers themselves: they read chat rows, tokenize and batch them as their users have
it, and load our saved adapter through PEFT. Compared are the loss and every gradient on one batch;
then three steps of AdamW (our loop, theirs): losses, gradient norms, and the weights in the end.

Where TRL differs by design, both are told to compute the same thing:

- It computes in bfloat16 with gradient checkpointing and fused AdamW unless told not to; and a
  linear schedule, where here the rate is constant on both sides.
- It learns whatever a template writes behind a response; we stop at the token that ends the turn.
  The template here ends with that token, and marks the assistant's turns, which TRL needs in order
  to learn all of them. Neither adds an end token to chats.
- It shuffles by its own seed: its rows stand in the order in which our loop drew them.
- Its reward model has no bias in the head. It is given one, since a centred score has a use for it.
  It does not know soft labels: they are hard here. Centring is off there by default.
- Its DPO has no soft labels either, but with a negative smoothing −e its `robust` loss is one:
  ((1 + e)·(−log σ(z)) + e·(−log σ(−z))) / (1 + 2e), of probability (1 + e) / (1 + 2e) for all rows.
- Its KTO estimates z0 from responses of the same batch, each moved on by a row; ours are drawn from
  all rows. Both are given ours here. Where a batch is in pieces, it estimates z0 for each of them,
  so a step here is one piece.
- Its NLL term is a mean over a batch's tokens, ours over a response's and then over the pairs: they
  are the same where it reads one pair at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cai.data.training import PairRow
from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.models.load import LoadedModel
from cai.text.encode import Encoder
from cai.training.batches import LossOn, encode_tokens, encode_turns
from cai.training.dpo import DpoObjective
from cai.training.kto import KtoObjective
from cai.training.labelled import EncodedLabel, with_mismatches
from cai.training.loop import Loop, StepReport
from cai.training.micro_batches import TokenBudget
from cai.training.optimizer import Optimizer, Schedule
from cai.training.pairs import EncodedPair, both_sides, encode_pair
from cai.training.reference import LiveReference, StoredReference
from cai.training.reward import RewardObjective
from cai.training.rows import Objective, RowsTrainer, StepPlan
from cai.training.sft import EncodedTurn, SftObjective
from cai.types import Message, Messages
from tests.models.fresh import SMALL, add_trained
from tests.models.tiny import tiny
from tests.text.families import family

pytestmark = pytest.mark.peers
datasets = pytest.importorskip("datasets", reason="needs the peers extra")
trl = pytest.importorskip("trl", reason="needs the peers extra")

BOUND = 1e-5
RATE, CLIP = 5e-4, 1.0
BATCH, STEPS = 4, 3
TEMPLATE = """{{ bos_token }}{% for m in messages %}\
{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}\
{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|eot_id|>' }}\
{% endgeneration %}{% else %}{{ m['content'] + '<|eot_id|>' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}\
{% endif %}"""
"""As of Llama 3, with the marks that TRL needs to learn all of the assistant's turns."""

TALKS: tuple[tuple[str, ...], ...] = (
    ("Hello there.", "Be kind and honest."),
    ("What is bread?", "Here is some text about bread.", "And rivers?", "Gardens; and bicycles."),
    ("Please answer the question.", "12 numbers like 3.14!"),
    ("user system human?", "You are a helpful assistant, and here is some text about rivers."),
    ("Is it 12?", "No.", "Is it 3?", "Yes.", "Why?", "Here is the question, and be honest."),
    ("Tell me.", "kind"),
)
OTHERS = (
    "No.",
    "Bicycles like 12 rivers, please.",
    "Here is some text about gardens; be kind.",
    "naïve café",
    "text text text text text",
    "You are a helpful assistant. Please answer.",
)
"""What was rejected: the last turn of each talk was chosen."""


def messages(texts: Sequence[str]) -> Messages:
    return tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts))


def plain(some: Messages) -> list[dict[str, str]]:
    """Messages as rows of a file hold them."""
    return [{"role": m.role, "content": m.content} for m in some]


def words() -> Any:
    """A tokenizer for one trainer, which may change it."""
    tokenizer = deepcopy(family("llama3"))
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture
def bone() -> Backbone:
    """A backbone whose adapter "policy" is in training already; "reference" is a copy of it."""
    device, dtype = torch.device("cpu"), torch.float32
    model = LoadedModel(
        deepcopy(tiny()), Encoder(words()), "llama", "0" * 64, device, dtype, 512
    )  # fmt: skip
    base = Backbone(model)
    add_trained(base, "policy", seed=5)
    base.copy_adapter("policy", "reference")
    base.train_only("policy")
    return base


@pytest.fixture
def start(bone: Backbone, tmp_path: Path) -> Path:
    """The adapter in PEFT's layout, as it is before training."""
    bone.save_adapter("policy", tmp_path / "start")
    return tmp_path / "start"


def adapted(model: Any, start: Path) -> Any:
    """A model of the peer with our adapter, to be trained."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(start), is_trainable=True)


def set_weights(model: Any, start: Path, head: ScalarHead | None = None) -> None:
    """Give our adapter's numbers, and our head's, to those that the peer made."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    tensors = load_file(start / "adapter_model.safetensors")
    if head is not None:
        score = "base_model.model.score"
        tensors[f"{score}.weight"] = head.weight.detach().clone()[None]
        tensors[f"{score}.bias"] = head.bias.detach().clone()[None]
    assert not set_peft_model_state_dict(model, tensors).unexpected_keys


def scorer() -> Any:
    """The peer's reward model, without an adapter: our base, and a head with a bias."""
    import transformers

    config = deepcopy(tiny().config)
    config.num_labels = 1
    model = transformers.LlamaForSequenceClassification(config)
    model.model.load_state_dict(tiny().model.state_dict())
    model.score = nn.Linear(config.hidden_size, 1)
    return model


# -- both sides -----------------------------------------------------------------------------------


@dataclass
class Side:
    """Ours: an objective, its examples, and what is trained by name."""

    objective: Objective[Any]
    examples: Sequence[Any]
    parameters: Mapping[str, nn.Parameter]
    bone: Backbone

    def batch(self) -> tuple[float, dict[str, Tensor]]:
        """Loss and gradients of all examples in one batch."""
        total = sum(map(self.objective.weight, self.examples))
        if isinstance(self.objective, KtoObjective):
            with torch.no_grad():
                self.objective.look(self.examples, TokenBudget(64))
        loss, _ = self.objective.loss(self.examples, total)
        loss.backward()
        return loss.item(), gradients(self.parameters)

    def train(self, folder: Path) -> tuple[list[int], list[tuple[float, float]]]:
        """Three steps of the loop; the order of the rows, and each step's loss and norm."""
        rows, reports = Noted(self.examples), list[StepReport]()
        plan = StepPlan(BATCH, BATCH * STEPS / len(rows), micro_tokens=64, seed=3, save_every=99)
        updates = Optimizer(self.parameters, Schedule("constant", RATE, STEPS, 0.0), 0.0, CLIP)
        trainer = RowsTrainer(
            self.bone.train, self.objective, updates, rows, (), plan, self.bone.device,
            before_batch=getattr(self.objective, "look", None),
        )  # fmt: skip
        Loop(trainer, folder, 99, self.bone.device, reports.append).run()
        return rows.order, [(r.metrics["loss"], r.metrics["gradient_norm"]) for r in reports]


class Noted(Sequence[Any]):
    """Rows that note the order in which they are taken."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = rows
        self.order: list[int] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        self.order.append(place)
        return self.rows[place]


def settings(kind: Any, folder: Path, **more: Any) -> Any:
    """A configuration of the peer that says what our defaults say."""
    return kind(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        optim="adamw_torch",
        lr_scheduler_type="constant",
        learning_rate=RATE,
        weight_decay=0.0,
        max_grad_norm=CLIP,
        max_steps=STEPS,
        train_sampling_strategy="sequential",
        max_length=512,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **more,
    )


WHOLE = {"per_device_train_batch_size": len(TALKS)}
PIECES = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": BATCH // 2}


def trained_by(trainer: Any) -> dict[str, nn.Parameter]:
    """The peer's parameters by our names."""
    names = {}
    for path, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            name = path.removeprefix("base_model.model.").replace(".default", "")
            head = name.startswith("score.modules_to_save.")
            names[f"head.{name.split('.')[-1]}" if head else f"policy.{name}"] = parameter
    return names


def gradients(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    out = {}
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        out[name] = parameter.grad
    return out


def peer_batch(trainer: Any) -> tuple[float, dict[str, Tensor]]:
    """The peer's loss and gradients on its first batch."""
    inputs = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.item(), gradients(trained_by(trainer))


def peer_steps(trainer: Any) -> list[tuple[float, float]]:
    """Train; each step's loss and gradient norm."""
    trainer.train()
    return [(r["loss"], r["grad_norm"]) for r in trainer.state.log_history if "grad_norm" in r]


def agree(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], relative: bool) -> None:
    """The same names; each tensor within 1e-5, or within that share of its own largest number.

    The bias of a head without centering has a gradient of nothing but rounding: never below 1e-5.
    """
    assert ours.keys() == theirs.keys()
    assert sum(".lora_" in name for name in ours) == 2 * 7 * 3, "7 layers in 3 blocks, A and B"
    for name, tensor in theirs.items():
        size = float(tensor.detach().abs().max()) if relative and name != "head.bias" else 1.0
        assert size > 0, name
        apart = float((ours[name].flatten() - tensor.flatten()).detach().abs().max())
        assert apart <= BOUND * size, f"{name}: {apart / size:.2g}"


def one_batch_agrees(side: Side, trainer: Any) -> None:
    (ours, our_gradients), (theirs, their_gradients) = side.batch(), peer_batch(trainer)
    assert ours == pytest.approx(theirs, rel=BOUND, abs=BOUND)
    agree(our_gradients, their_gradients, relative=True)


def steps_agree(side: Side, trainer: Any, ours: list[tuple[float, float]]) -> None:
    """After both have trained; the weights moved by a hundred times the bound at least."""
    before = {n: p.detach().clone() for n, p in trained_by(trainer).items()}
    theirs = peer_steps(trainer)
    assert len(ours) == len(theirs) == STEPS
    for our_step, their_step in zip(ours, theirs, strict=True):
        assert our_step == pytest.approx(their_step, rel=BOUND, abs=BOUND)
    after = trained_by(trainer)
    for name, parameter in after.items():
        if name != "head.bias":
            assert float((parameter.detach() - before[name]).abs().max()) > 100 * BOUND, name
    agree(side.parameters, after, relative=False)


# -- SFT ------------------------------------------------------------------------------------------


def sft_side(bone: Backbone, learned: LossOn, capacity: int = 0) -> Side:
    examples = [
        EncodedTurn(str(i), tokens)
        for i, talk in enumerate(TALKS)
        for tokens in encode_turns(bone.encoder, messages(talk), 512, learned)
    ]
    return Side(SftObjective(bone, capacity), examples, bone.trainable(), bone)


def sft_peer(start: Path, learned: LossOn, order: Sequence[int], **more: Any) -> Any:
    talks = [plain(messages(TALKS[i])) for i in order]
    rows = (
        [{"messages": talk} for talk in talks]
        if learned == "all"
        else [{"prompt": talk[:-1], "completion": talk[-1:]} for talk in talks]
    )
    return trl.SFTTrainer(
        adapted(deepcopy(tiny()), start),
        args=settings(
            trl.SFTConfig, start.parent, assistant_only_loss=learned == "all", **more
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=words(),
    )  # fmt: skip


@pytest.mark.parametrize("capacity", [0, 512], ids=["padded", "packed"])
@pytest.mark.parametrize("learned", ["all", "last"])
def test_sft_on_one_batch(bone: Backbone, start: Path, learned: LossOn, capacity: int) -> None:
    """The tokens are the same, and so are those that count."""
    side = sft_side(bone, learned, capacity)
    trainer = sft_peer(start, learned, range(len(TALKS)), **WHOLE)
    for example, row in zip(side.examples, trainer.train_dataset, strict=True):
        assert list(example.tokens.ids) == row["input_ids"]
        assert list(example.tokens.response) == [label != -100 for label in row["labels"]]
    one_batch_agrees(side, trainer)


def test_sft_trajectory(bone: Backbone, start: Path) -> None:
    """Batches in pieces: either side's loss is a mean over the tokens of the whole batch."""
    side = sft_side(bone, "all")
    order, ours = side.train(start.parent)
    steps_agree(side, sft_peer(start, "all", order, **PIECES), ours)


# -- pairs ----------------------------------------------------------------------------------------


def pairs(
    bone: Backbone, probability: float | None = None, margin: bool = False
) -> list[EncodedPair]:
    return [
        encode_pair(
            bone.encoder,
            PairRow(
                str(i),
                messages(talk[:-1]),
                (Message("assistant", talk[-1]),),
                (Message("assistant", other),),
                probability,
                0.3 * i if margin else None,
                "given",
                (),
                "rows",
            ),
            512,
        )
        for i, (talk, other) in enumerate(zip(TALKS, OTHERS, strict=True))
    ]


def pair_rows(order: Sequence[int], margin: bool = False) -> Any:
    rows = [
        {
            "prompt": plain(messages(TALKS[i][:-1])),
            "chosen": [{"role": "assistant", "content": TALKS[i][-1]}],
            "rejected": [{"role": "assistant", "content": OTHERS[i]}],
            **({"margin": 0.3 * i} if margin else {}),
        }
        for i in order
    ]
    return datasets.Dataset.from_list(rows)


def reward_side(bone: Backbone, centering: float, margin: bool) -> tuple[Side, ScalarHead]:
    head = ScalarHead(bone.hidden_size, seed=2)
    parameters = {**bone.trainable(), **{f"head.{n}": p for n, p in head.named_parameters()}}
    objective = RewardObjective(bone, head, soft=False, centering=centering)
    return Side(objective, pairs(bone, margin=margin), parameters, bone), head


def reward_peer(
    start: Path, head: ScalarHead, centering: float, margin: bool, order: Sequence[int], **more: Any
) -> Any:
    config = SMALL.config()
    config.task_type = "SEQ_CLS"  # PEFT then trains the head too
    trainer = trl.RewardTrainer(
        scorer(),
        args=settings(
            trl.RewardConfig, start.parent, center_rewards_coefficient=centering or None, **more
        ),
        train_dataset=pair_rows(order, margin),
        processing_class=words(),
        peft_config=config,
    )  # fmt: skip
    set_weights(trainer.model, start, head)
    return trainer


@pytest.mark.parametrize("margin", [False, True], ids=["no margin", "margin"])
@pytest.mark.parametrize("centering", [0.0, 0.01])
def test_reward_on_one_batch(bone: Backbone, start: Path, centering: float, margin: bool) -> None:
    side, head = reward_side(bone, centering, margin)
    trainer = reward_peer(start, head, centering, margin, range(len(TALKS)), **WHOLE)
    for pair, row in zip(side.examples, trainer.train_dataset, strict=True):
        assert list(pair.chosen.ids) == row["chosen_ids"]
        assert list(pair.rejected.ids) == row["rejected_ids"]
    one_batch_agrees(side, trainer)


def test_reward_trajectory(bone: Backbone, start: Path) -> None:
    side, head = reward_side(bone, 0.01, margin=False)
    first = deepcopy(head)
    order, ours = side.train(start.parent)
    steps_agree(side, reward_peer(start, first, 0.01, False, order, **PIECES), ours)


def dpo_side(
    bone: Backbone,
    folder: Path,
    reference: str | None,
    probability: float | None = None,
    nll: float = 0.0,
    beta: float = 0.1,
    **more: Any,
) -> Side:
    rows = pairs(bone, probability)
    stored = StoredReference(bone, reference, "start", 512, folder / f"cache-{reference}")
    stored.prepare(both_sides(rows), lambda done, total: None)
    objective = DpoObjective(bone, stored, beta, nll=nll, **more)
    return Side(objective, rows, bone.trainable(), bone)


def dpo_peer(start: Path, reference: str | None, order: Sequence[int], **more: Any) -> Any:
    """Its reference: a frozen copy of the adapter that it is given, or the base that it is given
    bare, to which it adds an adapter by itself (it is then set to ours)."""
    own = {} if reference else {"peft_config": SMALL.config()}
    model = deepcopy(tiny())
    trainer = trl.DPOTrainer(
        adapted(model, start) if reference else model,
        args=settings(trl.DPOConfig, start.parent, **({"beta": 0.1} | more)),
        train_dataset=pair_rows(order),
        processing_class=words(),
        **own,
    )
    if not reference:
        set_weights(trainer.model, start)
    return trainer


@pytest.mark.parametrize("probability", [None, 0.8])
@pytest.mark.parametrize("reference", [None, "reference"])
def test_dpo_on_one_batch(
    bone: Backbone, start: Path, reference: str | None, probability: float | None
) -> None:
    """e = 1/3 makes a probability of (4/3) / (5/3) = 0.8."""
    side = dpo_side(bone, start.parent, reference, probability)
    soft = {"loss_type": ["robust"], "label_smoothing": -1 / 3} if probability else {}
    trainer = dpo_peer(start, reference, range(len(TALKS)), **soft, **WHOLE)
    for example, row in zip(side.examples, trainer.train_dataset, strict=True):
        for ours, theirs in ((example.chosen, "chosen"), (example.rejected, "rejected")):
            assert list(ours.ids) == row["prompt_ids"] + row[f"{theirs}_ids"]
            assert ours.counted == len(row[f"{theirs}_ids"])
    one_batch_agrees(side, trainer)


@pytest.mark.parametrize("reference", [None, "reference"])
def test_dpo_trajectory(bone: Backbone, start: Path, reference: str | None) -> None:
    side = dpo_side(bone, start.parent, reference)
    order, ours = side.train(start.parent)
    steps_agree(side, dpo_peer(start, reference, order, **PIECES), ours)


def test_dpo_trajectory_with_nll(bone: Backbone, start: Path) -> None:
    """The peer reads one pair at a time, so that its mean over tokens is one response's."""
    side = dpo_side(bone, start.parent, None, nll=0.2)
    order, ours = side.train(start.parent)
    mixed = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]}
    singly = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": BATCH}
    steps_agree(side, dpo_peer(start, None, order, **mixed, **singly), ours)


@pytest.mark.parametrize("reference", [None, "reference"])
@pytest.mark.parametrize(
    ("loss", "beta", "epsilon"), [("ipo", 0.1, 0.0), ("ipo", 0.7, 0.0), ("robust", 0.3, 0.2)]
)
def test_ipo_and_robust_dpo_on_one_batch(
    bone: Backbone, start: Path, reference: str | None, loss: str, beta: float, epsilon: float
) -> None:
    side = dpo_side(
        bone, start.parent, reference, beta=beta, loss_type=loss, label_smoothing=epsilon
    )
    theirs = {"loss_type": [loss], "label_smoothing": epsilon, "beta": beta}
    one_batch_agrees(side, dpo_peer(start, reference, range(len(TALKS)), **theirs, **WHOLE))


def test_trajectories_of_ipo_and_robust_dpo(bone: Backbone, start: Path) -> None:
    side = dpo_side(bone, start.parent, "reference", loss_type="ipo")
    order, ours = side.train(start.parent)
    steps_agree(side, dpo_peer(start, "reference", order, loss_type=["ipo"], **PIECES), ours)


@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 0.0), (2.5, 1.4)])
def test_simpo_on_one_batch(bone: Backbone, start: Path, beta: float, gamma: float) -> None:
    """Its trainer, of an earlier make, reads chats as text; its end token is the template's, or
    it would add one."""
    cpo = pytest.importorskip("trl.experimental.cpo")
    tokenizer = words()
    tokenizer.eos_token = tokenizer.pad_token = "<|eot_id|>"
    trainer = cpo.CPOTrainer(
        adapted(deepcopy(tiny()), start),
        args=settings(
            cpo.CPOConfig, start.parent, loss_type="simpo", cpo_alpha=0.0, beta=beta,
            simpo_gamma=gamma, remove_unused_columns=False, **WHOLE,
        ),
        train_dataset=pair_rows(range(len(TALKS))),
        processing_class=tokenizer,
    )  # fmt: skip
    objective = DpoObjective(bone, None, beta, loss_type="simpo", margin=gamma)
    side = Side(objective, pairs(bone), bone.trainable(), bone)
    for pair, row in zip(side.examples, trainer.train_dataset, strict=True):
        for ours, name in ((pair.chosen, "chosen"), (pair.rejected, "rejected")):
            assert list(ours.ids) == row[f"{name}_input_ids"]
            assert list(ours.response) == [label != -100 for label in row[f"{name}_labels"]]
    one_batch_agrees(side, trainer)


# -- KTO ------------------------------------------------------------------------------------------


LABELS = (True, False, False, True, False, False)
"""Of the talks' last turns."""


def labelled(bone: Backbone) -> list[EncodedLabel]:
    """The talks, each with a response to another one."""
    rows = [
        EncodedLabel(str(i), tokens, tokens, label)
        for i, (talk, label) in enumerate(zip(TALKS, LABELS, strict=True))
        for tokens in [encode_tokens(bone.encoder, messages(talk), 512)]
    ]
    return with_mismatches(rows, rows, seed=0, limit=512)


def kto_side(bone: Backbone, beta: float, weights: tuple[float, float], capacity: int = 0) -> Side:
    objective = KtoObjective(bone, LiveReference(bone, "reference"), beta, *weights, capacity)
    return Side(objective, labelled(bone), bone.trainable(), bone)


def kto_peer(
    start: Path, side: Side, beta: float, weights: tuple[float, float], order: Sequence[int],
    **more: Any,
) -> Any:  # fmt: skip
    """The peer with our mismatched responses in place of its own."""
    talks = [plain(messages(TALKS[i])) for i in order]
    rows = [
        {"prompt": talk[:-1], "completion": talk[-1:], "label": LABELS[i]}
        for i, talk in zip(order, talks, strict=True)
    ]
    trainer = trl.KTOTrainer(
        adapted(deepcopy(tiny()), start),
        args=settings(
            trl.KTOConfig, start.parent, beta=beta, desirable_weight=weights[0],
            undesirable_weight=weights[1], **more,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=words(),
    )  # fmt: skip
    ours = [side.examples[i] for i in order]
    for row, theirs in zip(ours, trainer.train_dataset, strict=True):
        assert list(row.tokens.ids) == theirs["prompt_ids"] + theirs["completion_ids"]
    responses = [list(row.mismatched.ids[-row.mismatched.counted :]) for row in ours]
    plain_rows = trainer.train_dataset.remove_columns("KL_completion_ids")
    trainer.train_dataset = plain_rows.add_column("KL_completion_ids", responses)
    return trainer


@pytest.mark.parametrize("capacity", [0, 512], ids=["padded", "packed"])
@pytest.mark.parametrize(
    ("beta", "weights"), [(0.1, (1.0, 1.0)), (0.5, (1.5, 0.7))], ids=["plain", "weighted"]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_kto_on_one_batch(
    bone: Backbone,
    start: Path,
    beta: float,
    weights: tuple[float, float],
    capacity: int,
    sign: int,
) -> None:
    """Both have moved away from their reference, the start, to either side of z0 = 0."""
    side = kto_side(bone, beta, weights, capacity)
    trainer = kto_peer(start, side, beta, weights, range(len(TALKS)), **WHOLE)
    moved = trained_by(trainer)
    noise = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, parameter in side.parameters.items():
            step = sign * 0.005 * torch.randn(parameter.shape, generator=noise)
            parameter.add_(step)
            moved[name].add_(step)
    one_batch_agrees(side, trainer)
    kl = float(side.objective.batch.kl)  # type: ignore[attr-defined]
    assert (kl > 0.01) == (sign < 0), kl
    assert kl == pytest.approx(trainer._metrics["train"]["kl"][0], rel=BOUND, abs=BOUND)


def test_kto_trajectory(bone: Backbone, start: Path) -> None:
    side, weights = kto_side(bone, 0.5, (1.5, 0.7)), (1.5, 0.7)
    order, ours = side.train(start.parent)
    whole = {"per_device_train_batch_size": BATCH}
    steps_agree(side, kto_peer(start, side, 0.5, weights, order, **whole), ours)
