"""One base for all parts: whose weights a forward uses, and what a step trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cai.errors import ModelError
from cai.models.backbone import Backbone, LoraSettings
from cai.models.generate import Sampler
from cai.models.logprobs import token_logprobs
from cai.models.response import Job
from cai.types import Sampling
from tests.models.fresh import (
    SMALL,
    adapter_state,
    add_trained,
    assert_close,
    backbone,
    gradients,
    load_adapter_state,
    loaded,
    token_ids,
)
from tests.models.tiny import tiny
from tests.text.families import family

IDS = token_ids(2, 9)


def logprobs(bone: Backbone, name: str | None, ids: Tensor = IDS) -> Tensor:
    with bone.using(name):
        hidden = bone.hidden_states(ids)[:, :-1].flatten(0, 1)
        return token_logprobs(hidden, bone.head, ids[:, 1:].flatten())


def every_weight(bone: Backbone) -> dict[str, Tensor]:
    return {k: p.detach().clone() for k, p in bone.model.named_parameters()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {key for key, tensor in before.items() if not torch.equal(tensor, after[key])}


def step(bone: Backbone, loss: Tensor, rate: float = 0.1) -> None:
    loss.backward()
    torch.optim.SGD(bone.trainable().values(), lr=rate).step()


# -- the two traps ------------------------------------------------------------------------------


def test_a_step_trains_the_policy_and_nothing_else() -> None:
    """Policy's forward, a switch to the reference, backward: PEFT alone would train nothing."""
    bone = backbone()
    add_trained(bone, "policy", 1)
    bone.copy_adapter("policy", "reference")
    add_trained(bone, "reward", 2)
    bone.train_only("policy")
    before = every_weight(bone)
    policy = logprobs(bone, "policy")
    with bone.using("reference"):
        with torch.no_grad():
            reference = logprobs(bone, "reference")
            logprobs(bone, None)
        step(bone, ((policy - reference) ** 2 - policy).mean())
    parts = changed(before, every_weight(bone))
    assert parts == {key for key in before if ".policy." in key}


def test_two_adapters_are_trained_in_one_step() -> None:
    bone = backbone()
    for name, seed in (("policy", 1), ("value", 2), ("reward", 3)):
        add_trained(bone, name, seed)
    bone.train_only("policy", "value")
    before = every_weight(bone)
    step(bone, logprobs(bone, "policy").sum() + logprobs(bone, "value").sum(), 0.01)
    parts = changed(before, every_weight(bone))
    assert parts == {key for key in before if ".policy." in key or ".value." in key}


def test_the_reference_is_the_frozen_adapter_not_the_base() -> None:
    """KL at step 0, as the mean of policy − reference over tokens, is 0; not with adapters off."""
    bone = backbone()
    add_trained(bone, "sft", 1)
    bone.copy_adapter("sft", "policy")
    bone.copy_adapter("sft", "reference")
    bone.train_only("policy")
    policy = logprobs(bone, "policy").detach()
    assert torch.equal(policy, logprobs(bone, "reference"))
    assert (policy - logprobs(bone, None)).abs().mean() > 0.01


def test_a_layer_computed_again_uses_its_own_adapter() -> None:
    """Gradient checkpointing runs layers in the backward pass, when another adapter is active."""
    results = []
    for checkpointing in (False, True):
        bone = backbone(gradient_checkpointing=checkpointing)
        add_trained(bone, "policy", 1)
        add_trained(bone, "other", 2)
        bone.train_only("policy")
        bone.train()
        with bone.using("other"):
            loss = logprobs(bone, "policy").sum()
            loss.backward()
            assert bone.active == "other"
        results.append(gradients(bone))
    assert_close(results[1], results[0])


def test_checkpointing_keeps_less() -> None:
    totals = []
    for checkpointing in (False, True):
        bone = backbone(gradient_checkpointing=checkpointing)
        bone.add_adapter("policy", SMALL, 1)
        bone.train_only("policy")
        bone.train()
        sizes: list[int] = []

        def pack(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            bone.hidden_states(IDS)
        totals.append(sum(sizes))
    assert totals[1] < totals[0] / 4


# -- switching ----------------------------------------------------------------------------------


def test_using_nests_and_restores() -> None:
    bone = backbone()
    add_trained(bone, "policy", 1)
    add_trained(bone, "reward", 2)
    assert bone.active == "policy", "the first one"
    assert not bone.trainable()
    bone.train_only("policy")
    names = set(bone.trainable())
    outside = {name: logprobs(bone, name).detach() for name in ("policy", "reward", None)}
    with bone.using("reward"):
        assert bone.active == "reward"
        with bone.using(None):
            assert bone.active is None
            with bone.using("policy"):
                assert torch.equal(logprobs(bone, bone.active), outside["policy"])
            assert torch.equal(logprobs(bone, bone.active), outside[None])
            bone.train_only("reward")
        assert torch.equal(logprobs(bone, bone.active), outside["reward"])
        assert set(bone.trainable()) == names
    assert bone.active == "policy" and set(bone.trainable()) == names


def test_using_restores_after_an_error() -> None:
    bone = backbone()
    add_trained(bone, "policy", 1)
    add_trained(bone, "reward", 2)
    bone.train_only("reward")
    names = set(bone.trainable())
    with pytest.raises(KeyError, match="inside"), bone.using(None):
        bone.train_only("policy", "reward")
        raise KeyError("inside")
    assert bone.active == "policy" and set(bone.trainable()) == names
    with pytest.raises(ModelError, match="no adapter"), bone.using("nobody"):
        pass
    assert bone.active == "policy" and set(bone.trainable()) == names


def test_a_base_without_adapters() -> None:
    bone = backbone()
    assert bone.adapters == () and bone.active is None
    with torch.no_grad(), bone.using(None):
        theirs = tiny()(input_ids=IDS).logits
        torch.testing.assert_close(bone.inner(input_ids=IDS).logits, theirs)
    assert not any(p.requires_grad for p in bone.model.parameters())


def test_names_of_what_is_trained() -> None:
    bone = backbone()
    bone.add_adapter("policy", LoraSettings(r=4, targets=("q_proj",)), 1)
    bone.add_adapter("value", LoraSettings(r=4, targets=("v_proj",)), 1)
    bone.train_only("value")
    places = [f"value.model.layers.{i}.self_attn.v_proj.lora_{ab}.weight" for i in range(3)
              for ab in "AB"]  # fmt: skip
    assert list(bone.trainable()) == places
    bone.train_only()
    assert not bone.trainable()


def test_the_sampler_writes_with_the_active_adapter() -> None:
    bone = backbone()
    add_trained(bone, "policy", 1)

    def output_of(name: str | None) -> list[int]:
        job = Job((5, 6, 7), Sampling(temperature=0.0, max_new_tokens=12), 12)
        with bone.using(name):
            sampler = Sampler(bone.inner, bone.encoder, 2)
            sampler.submit(job)
            while sampler.busy:
                sampler.step()
        assert job.error is None
        return job.out

    def greedy(name: str | None, count: int) -> list[int]:
        ids = [5, 6, 7]
        with torch.no_grad(), bone.using(name):
            for _ in range(count):
                ids.append(int(bone.inner(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        return ids[3:]

    for name in ("policy", None):
        out = output_of(name)
        assert len(out) > 2 and out == greedy(name, len(out))
    assert output_of("policy") != output_of(None)


def test_dropout_is_of_trained_adapters_in_training_alone() -> None:
    """Never of the reference, a copy with the same settings, nor the base's own (GPT-2's)."""
    bone = backbone("gpt2")
    add_trained(bone, "policy", 1, LoraSettings(r=4, dropout=0.5))
    bone.train_only("policy")
    plain, base = logprobs(bone, "policy").detach(), logprobs(bone, None)
    bone.train()
    bone.copy_adapter("policy", "reference")
    assert not torch.equal(logprobs(bone, "policy"), plain)
    assert torch.equal(logprobs(bone, "reference"), plain)
    assert torch.equal(logprobs(bone, None), base)
    assert bone.packs, "tried without dropout"
    with bone.using("policy"):
        bone.train_only("reference")
        assert torch.equal(logprobs(bone, "policy"), plain)
    assert not torch.equal(logprobs(bone, "policy"), plain)
    bone.train(False)
    assert torch.equal(logprobs(bone, "policy"), plain)


# -- precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_a_bfloat16_base_has_float32_masters(name: str) -> None:
    bone = backbone(name, torch.bfloat16)
    bone.add_adapter("policy", SMALL, 1)
    bone.train_only("policy")
    assert bone.dtype == torch.bfloat16
    exact = backbone(name)
    exact.add_adapter("policy", SMALL, 1)
    ours, theirs = adapter_state(bone, "policy"), adapter_state(exact, "policy")
    assert all(torch.equal(ours[k], t) and t.dtype == torch.float32 for k, t in theirs.items())

    step(bone, -logprobs(bone, "policy").mean())
    out = logprobs(bone, "policy")
    assert out.isfinite().all() and out.dtype == torch.float32
    assert bone.hidden_states(IDS).dtype == torch.bfloat16
    for key, parameter in bone.trainable().items():
        assert parameter.dtype == torch.float32, key
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()
    others = (p for k, p in bone.model.named_parameters() if ".lora_" not in k)
    assert {p.dtype for p in others} == {torch.bfloat16}
    assert bone.packs


# -- all weights --------------------------------------------------------------------------------


def test_full_training_with_a_frozen_reference() -> None:
    bone = backbone(full=True)
    assert bone.adapters == ("policy",) and bone.active == "policy" and not bone.trainable()
    with pytest.raises(ModelError, match=r"no weights called 'reference'\n.*freeze_reference"):
        logprobs(bone, "reference")
    bone.train_only("policy")
    bone.freeze_reference()
    assert list(bone.adapters) == ["policy", "reference"]
    assert len(bone.trainable()) == len(list(tiny().named_parameters()))
    with torch.no_grad():  # some CPUs add in another order where gradients are wanted
        start = logprobs(bone, "policy")
    assert torch.equal(logprobs(bone, "reference"), start)

    policy = logprobs(bone, "policy")
    assert torch.allclose(policy, start, atol=1e-5)
    with torch.no_grad():
        reference = logprobs(bone, "reference")
    before = every_weight(bone)
    step(bone, ((policy - reference) ** 2 - policy).mean(), 0.01)
    assert changed(before, every_weight(bone)) == set(before)
    assert torch.equal(logprobs(bone, "reference"), start)
    assert not torch.equal(logprobs(bone, "policy"), start)
    assert bone.active == "policy" and len(bone.trainable()) == len(before)
    with bone.using("reference"):
        assert bone.inner is not bone.model and not bone.head.trained


def test_full_training_gives_the_gradients_of_plain_autograd() -> None:
    """Embeddings that are tied to the head take both gradients; with checkpointing too."""
    targets = IDS[:, 1:].flatten()
    for checkpointing in (False, True):
        bone = backbone("gemma", full=True, gradient_checkpointing=checkpointing)
        bone.train_only("policy")
        bone.train()
        logprobs(bone, "policy").sum().backward()
        ours = gradients(bone)
        scores = torch.log_softmax(bone.model(input_ids=IDS).logits[:, :-1].flatten(0, 1), -1)
        scores.gather(1, targets[:, None]).sum().backward()
        assert_close(ours, gradients(bone))


def test_what_full_training_has_not() -> None:
    bone = backbone(full=True)
    with pytest.raises(ModelError, match=r"add_adapter: .* has no adapters"):
        bone.add_adapter("policy", SMALL, 1)
    with pytest.raises(ModelError, match="no weights called None"):
        logprobs(bone, None)
    bone.freeze_reference()
    with pytest.raises(ModelError, match="reference can't be trained"):
        bone.train_only("reference")
    with pytest.raises(ModelError, match="in full has a copy"):
        backbone().freeze_reference()


def test_full_weights_are_saved_as_a_model(tmp_path: Path) -> None:
    bone = backbone(full=True)
    load_adapter_state(
        bone, "policy", {k: 1.1 * t for k, t in adapter_state(bone, "policy").items()}
    )
    bone.save_adapter("policy", tmp_path)
    again = Backbone.load(str(tmp_path), device="cpu", full=True)
    assert torch.equal(logprobs(again, "policy"), logprobs(bone, "policy"))
    assert not list(tmp_path.glob("*.bin"))


def test_a_copy_of_a_checkpointed_model_is_a_model_alone() -> None:
    bone = backbone(full=True, gradient_checkpointing=True)
    bone.freeze_reference()
    bone.train()
    with bone.using("reference"), torch.no_grad():
        assert torch.equal(bone.hidden_states(IDS), backbone().hidden_states(IDS))


# -- loading ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    tiny().save_pretrained(tmp_path / "model")
    family("chatml").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_is_loaded(folder: Path, tmp_path: Path) -> None:
    bone = Backbone.load(str(folder), device="cpu", dtype="bfloat16")
    assert (bone.name, bone.dtype, bone.context) == ("model", torch.bfloat16, 512)
    assert (bone.hidden_size, bone.full) == (48, False)
    assert len(bone.fingerprint) == 64
    assert bone.encoder.eos_ids
    bone.add_adapter("policy", SMALL, 1)
    bone.save_adapter("policy", tmp_path / "adapter")
    assert f'"{folder}"' in (tmp_path / "adapter" / "adapter_config.json").read_text()
    assert Backbone.load(str(folder), device="cpu", full=True).dtype == torch.float32


def test_the_miniature_is_a_base() -> None:
    bone = Backbone.load("miniature", device="cpu")
    bone.add_adapter("policy", SMALL, 1)
    bone.train_only("policy")
    assert bone.packs
    logprobs(bone, "policy", IDS % 200).sum().backward()
    assert all(p.grad is not None for p in bone.trainable().values())


@pytest.mark.parametrize("width", ["4bit", "8bit"])
def test_quantisation_needs_a_gpu_and_bitsandbytes(
    folder: Path, width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match=f"base in {width} needs a CUDA GPU, and this is cpu"):
        Backbone.load(str(folder), device="cpu", quantize=width)
    with pytest.raises(ModelError, match="can't be trained in full"):
        Backbone.load(str(folder), device="cpu", quantize=width, full=True)
    from cai.models.quantize import quantization

    with monkeypatch.context() as patched:
        patched.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(ModelError, match=r"bitsandbytes.*\n.*pip install -e '\.\[quantize\]'"):
            quantization(width, torch.device("cuda"), torch.bfloat16)


def test_an_unknown_quantisation_is_told(folder: Path) -> None:
    with pytest.raises(ModelError, match="Unknown quantisation '3bit'"):
        Backbone.load(str(folder), device="cpu", quantize="3bit")


def test_a_model_without_checkpointing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = backbone().model

    def refuse(*_: object) -> None:
        raise ValueError("LlamaForCausalLM is not compatible with gradient checkpointing")

    monkeypatch.setattr(model, "_set_gradient_checkpointing", refuse)
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(ModelError, match="has no gradient checkpointing"):
        Backbone(loaded(model), gradient_checkpointing=True)
