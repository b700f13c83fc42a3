"""LoRA adapters: fresh, saved, loaded, copied, refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from cai.errors import ModelError, UsageError
from cai.models.backbone import Backbone, LoraSettings
from tests.models.fresh import (
    SMALL,
    adapter_state,
    add_trained,
    backbone,
    load_adapter_state,
    token_ids,
)
from tests.models.tiny import tiny

IDS = token_ids(2, 9)


def outputs(bone: Backbone, name: str | None) -> torch.Tensor:
    with torch.no_grad(), bone.using(name):
        return bone.hidden_states(IDS)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The folder of a trained adapter."""
    bone = backbone()
    add_trained(bone, "policy", 1)
    bone.save_adapter("policy", tmp_path / "policy")
    return tmp_path / "policy"


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("name", ["llama", "phi", "gpt2", "gpt-neox"])
def test_a_fresh_adapter_changes_nothing(name: str) -> None:
    """It stands on all linear layers but the head, GPT-2's transposed ones too."""
    bone = backbone(name)
    before = outputs(bone, None)
    bone.add_adapter("policy", SMALL, 1)
    assert torch.equal(outputs(bone, "policy"), before)
    state = adapter_state(bone, "policy")
    layers = {"llama": 21, "phi": 18, "gpt2": 12, "gpt-neox": 12}[name]
    assert len(state) == 2 * layers
    assert not any("lm_head" in key or "policy" in key for key in state)
    for key, tensor in state.items():
        assert tensor.any() == (".lora_A." in key)
        if ".lora_A." in key:  # uniform in ±1 / √fan_in
            bound = tensor.shape[1] ** -0.5
            assert 0.9 * bound < tensor.abs().max() <= bound


def test_an_adapter_depends_on_its_seed_alone() -> None:
    bone, other = backbone(), backbone()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    bone.add_adapter("a", SMALL, 1)
    assert torch.equal(torch.rand(1), expected), "the global state is left alone"
    bone.add_adapter("b", SMALL, 1)
    bone.add_adapter("c", SMALL, 2)
    other.add_adapter("x", SMALL, 2)
    a, b, c = (adapter_state(bone, name) for name in "abc")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not any(torch.equal(a[k], c[k]) for k in a if ".lora_A." in k)
    assert all(torch.equal(t, c[k]) for k, t in adapter_state(other, "x").items())
    assert len({t.flatten()[0].item() for k, t in a.items() if ".lora_A." in k}) == 21


def test_targets_by_name() -> None:
    bone = backbone()
    bone.add_adapter("policy", LoraSettings(targets=("q_proj", "v_proj")), 1)
    assert len(adapter_state(bone, "policy")) == 12
    assert adapter_state(bone, "policy")["model.layers.0.self_attn.q_proj.lora_A.weight"].shape == (
        16,
        48,
    )


@pytest.mark.parametrize("values", [{"r": 0}, {"alpha": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_settings_that_make_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="LoRA"):
        LoraSettings(**values)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    """Equal outputs and equal bytes, beside an adapter of another shape."""
    bone = backbone(name)
    add_trained(bone, "policy", 1)
    bone.save_adapter("policy", tmp_path / "one")
    other = backbone(name)
    other.add_adapter("value", LoraSettings(r=2), 5)
    other.load_adapter("policy", tmp_path / "one")
    assert torch.equal(outputs(other, "policy"), outputs(bone, "policy"))
    assert not torch.equal(outputs(other, "policy"), outputs(other, None))
    other.save_adapter("policy", tmp_path / "two")
    files = {p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()}
    assert files.keys() == {"adapter_config.json", "adapter_model.safetensors"}
    assert files == {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()}


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_peft_loads_what_is_saved(name: str, tmp_path: Path) -> None:
    bone = backbone(name)
    add_trained(bone, "policy", 1)
    bone.save_adapter("policy", tmp_path)
    theirs = PeftModel.from_pretrained(copy.deepcopy(tiny(name)), str(tmp_path))
    logits = theirs(input_ids=IDS).logits
    with torch.no_grad(), bone.using("policy"):
        torch.testing.assert_close(logits, bone.inner(input_ids=IDS).logits, rtol=0, atol=1e-6)
    assert theirs.peft_config["default"].base_model_name_or_path == name


def test_what_peft_saved_is_loaded(tmp_path: Path) -> None:
    config = peft.LoraConfig(r=3, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    theirs = peft.get_peft_model(copy.deepcopy(tiny()), config)
    theirs.save_pretrained(tmp_path)
    bone = backbone()
    bone.load_adapter("policy", tmp_path)
    with torch.no_grad(), bone.using("policy"):
        logits = bone.inner(input_ids=IDS).logits
    torch.testing.assert_close(logits, theirs(input_ids=IDS).logits, rtol=0, atol=1e-6)


def test_a_copy_is_equal_and_apart() -> None:
    bone = backbone()
    add_trained(bone, "policy", 1)
    bone.copy_adapter("policy", "reference")
    assert bone.adapters == ("policy", "reference")
    before = outputs(bone, "reference")
    assert torch.equal(before, outputs(bone, "policy"))
    state = {k: 2 * t for k, t in adapter_state(bone, "policy").items()}
    load_adapter_state(bone, "policy", state)
    assert torch.equal(before, outputs(bone, "reference"))
    assert not torch.equal(before, outputs(bone, "policy"))


def test_a_state_is_a_copy_and_must_fit() -> None:
    bone = backbone()
    bone.add_adapter("policy", SMALL, 1)
    state = adapter_state(bone, "policy")
    key = "model.layers.1.mlp.up_proj.lora_A.weight"
    state[key].zero_()
    assert adapter_state(bone, "policy")[key].any()
    with pytest.raises(ModelError, match=r"up_proj.lora_A.weight is \(4, 48\) in the model and no"):
        load_adapter_state(bone, "policy", {k: t for k, t in state.items() if k != key})
    with pytest.raises(ModelError, match=r"is \(4, 48\) in the model and \(4, 4\) in the file"):
        load_adapter_state(bone, "policy", state | {key: torch.zeros(4, 4)})
    with pytest.raises(ModelError, match="more is none in the model"):
        load_adapter_state(bone, "policy", state | {"more": torch.zeros(1)})
    assert adapter_state(bone, "policy")[key].any(), "nothing was half loaded"


def test_a_pickle_is_refused(saved: Path) -> None:
    tensors = load_file(saved / "adapter_model.safetensors")
    (saved / "adapter_model.safetensors").unlink()
    torch.save(tensors, saved / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter_model\.bin: such files can run code"):
        backbone().load_adapter("policy", saved)


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_what_is_missing_is_told(saved: Path, missing: str) -> None:
    (saved / missing).rename(saved / f"other.{missing.split('.')[1]}")
    with pytest.raises(ModelError, match=f"holds no {missing}"):
        backbone().load_adapter("policy", saved)
    with pytest.raises(ModelError, match="There is no folder"):
        backbone().load_adapter("policy", saved / "nothing")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "IA3"}, "is of the kind IA3"),
        ({"bias": "all"}, "trains biases of the base"),
        ({"modules_to_save": ["lm_head"]}, "uses modules_to_save"),
        ({"init_lora_weights": "pissa"}, "was started by pissa"),
        ({"target_modules": ["lm_head"]}, "changes lm_head"),
        ({"target_modules": ["embed_tokens"]}, "changes model.embed_tokens"),
        ({"target_modules": ["nowhere"]}, "can't be put on llama: .*nowhere"),
    ],
)
def test_adapters_that_would_change_the_base_are_refused(
    saved: Path, values: dict[str, Any], message: str
) -> None:
    """Afterwards the backbone is as it was."""
    change_config(saved, **values)
    bone = backbone()
    before = outputs(bone, None)
    with pytest.raises(ModelError, match=message):
        bone.load_adapter("policy", saved)
    assert bone.adapters == () and bone.active is None
    assert torch.equal(outputs(bone, None), before)
    add_trained(bone, "policy", 1)
    assert not torch.equal(outputs(bone, "policy"), before)
    assert bone.head.weight.shape == (520, 48)


def test_an_adapter_of_another_shape_is_refused(saved: Path) -> None:
    path = saved / "adapter_model.safetensors"
    tensors = load_file(path)
    first = min(tensors)
    save_file({k: t for k, t in tensors.items() if k != first}, path)
    bone = backbone()
    add_trained(bone, "value", 2)
    expected = outputs(bone, "value")
    with pytest.raises(ModelError, match=r"policy does not fit: .* none in the file"):
        bone.load_adapter("policy", saved)
    assert bone.adapters == ("value",) and bone.active == "value"
    assert torch.equal(outputs(bone, "value"), expected)
    load_adapter_state(bone, "value", adapter_state(bone, "value"))
    path.write_bytes(b"broken")
    with pytest.raises(ModelError, match="can't be read"):
        bone.load_adapter("policy", saved)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "-x"])
def test_names(name: str) -> None:
    bone = backbone()
    with pytest.raises(ModelError, match="can't be an adapter's name"):
        bone.add_adapter(name, SMALL, 1)
    bone.add_adapter("policy", SMALL, 1)
    with pytest.raises(ModelError, match="an adapter called 'policy' already"):
        bone.add_adapter("policy", SMALL, 1)


@pytest.mark.parametrize("call", ["using", "train_only", "save", "copy"])
def test_an_unknown_name_is_told_with_those_that_exist(call: str, tmp_path: Path) -> None:
    bone = backbone()
    calls = {
        "using": lambda: bone.using("polcy").__enter__(),
        "train_only": lambda: bone.train_only("polcy"),
        "save": lambda: bone.save_adapter("polcy", tmp_path),
        "copy": lambda: bone.copy_adapter("polcy", "reference"),
    }
    with pytest.raises(ModelError, match=r"no adapter called 'polcy'\n  There are: none yet"):
        calls[call]()
    bone.add_adapter("policy", SMALL, 1)
    bone.add_adapter("value", SMALL, 1)
    with pytest.raises(ModelError, match=r"no adapter called 'polcy'\n  There are: policy, value"):
        calls[call]()
