"""Loading: what is taken, what is refused and how it is told, and what a fingerprint covers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from cai.digest import file_digest
from cai.errors import ModelError
from cai.models.fingerprint import fingerprint
from cai.models.load import fingerprint_of, load_encoder, load_model, load_sampling
from cai.models.names import resolve_model
from cai.models.rows import plain_logits
from cai.types import Sampling
from tests.models.tiny import tiny
from tests.text.families import family


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model with its tokenizer."""
    path = tmp_path / "model"
    tiny().save_pretrained(path)
    family("chatml").save_pretrained(path)
    return path


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(value: float, folder: Path) -> None:
    """Two values of one tensor; the same in float16, whose range is smaller, is told apart."""
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    name = next(key for key in tensors if key.endswith("o_proj.weight"))
    tensors[name].view(-1)[:2] = value
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="hold 2 values that are not finite numbers") as error:
        load_model(str(folder))
    assert error.value.message.endswith(f"the first of them in {name}")
    tensors[name].view(-1)[:2] = 1e6
    save_file(tensors, file, metadata={"format": "pt"})
    load_model(str(folder))
    with pytest.raises(ModelError, match=name) as error:
        load_model(str(folder), dtype="float16")
    assert "--dtype float32" in error.value.hint


def test_a_folder_is_loaded(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    loaded = load_model(str(folder), device="cpu")
    assert capfd.readouterr() == ("", "")
    assert (loaded.name, loaded.dtype, loaded.context) == (folder.name, torch.float32, 512)
    assert len(loaded.fingerprint) == 64
    assert torch.equal(plain_logits(loaded.model, [5, 6]), plain_logits(tiny(), [5, 6]))
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert load_model(str(folder), dtype="bfloat16", device="cpu").dtype == torch.bfloat16


def test_names() -> None:
    assert resolve_model("owner/name") == "owner/name"
    assert resolve_model("miniature").endswith("cai/miniature/weights")


def test_end_tokens_come_from_the_generation_config(folder: Path) -> None:
    path = folder / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": [7, 8]}))
    assert load_encoder(folder).eos_ids >= {7, 8}


def test_sampling_settings_come_from_the_generation_config(folder: Path) -> None:
    assert load_model(str(folder), device="cpu").sampling == Sampling()
    path = folder / "generation_config.json"
    path.write_text(json.dumps({"do_sample": True, "temperature": 0.6, "top_k": 20}))
    assert load_model(str(folder), device="cpu").sampling == Sampling(temperature=0.6, top_k=20)
    assert load_sampling(folder) == Sampling(temperature=0.6, top_k=20)
    for text in ('{"top_p": 7}', "[]", "not JSON"):
        path.write_text(text)
        with pytest.raises(ModelError, match=r"generation_config\.json can't be used"):
            load_sampling(folder)
    path.unlink()
    assert load_sampling(folder) == Sampling()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_pickled_weights_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ModelError, match=f"{name}: such files can run code"):
        load_model(str(folder))
    with pytest.raises(ModelError, match="not a safetensors model"):
        load_model(str(folder / name))


def test_pickled_weights_beside_safetensors_are_not_read(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not a pickle at all")
    load_model(str(folder), device="cpu")


def test_code_of_a_repository_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.MyConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match=r"config of .* can't be read"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "config of .* can't be read"),
        ("tokenizer.json", "No usable tokenizer"),
        ("model.safetensors", r"holds no \*.safetensors"),
    ],
)
def test_what_is_missing_is_told(folder: Path, missing: str, message: str) -> None:
    (folder / missing).unlink()
    if missing == "tokenizer.json":
        (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=message):
        load_model(str(folder), device="cpu")


def test_broken_and_incomplete_weights_are_told(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:5000])
    with pytest.raises(ModelError, match="can't be loaded"):
        load_model(str(folder), device="cpu")
    from safetensors.torch import load, save_file

    tensors = load(whole)
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors, model\.layers\.1\.mlp\.up_proj"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./here", "a/b/c"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(ModelError, match="There is no folder"):
        load_model(name)


@pytest.mark.parametrize("name", ["minature", "miniture", "Miniature"])
def test_a_misspelled_miniature_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match=f"There is no model {name}") as error:
        load_model(name)
    assert error.value.hint == "Did you mean miniature?"


def test_a_hub_id_is_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only files that are read are asked for; no network is a clear message."""
    names: list[str] = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        names.extend(allow_patterns)
        if name == "owner/gone":
            raise OSError("404: no such thing\nand a long explanation")
        if name == "owner/offline":
            raise OSError("Got: ConnectError: [Errno -2] Name or service not known")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert load_model("owner/name", device="cpu").name == "owner/name"
    assert load_model("old-name", device="cpu").name == "old-name"
    assert "*.safetensors" in names
    names.clear()
    load_encoder("owner/name")
    assert names and not any("safetensors" in p for p in names)
    assert not any(p.endswith((".bin", ".py", ".pt")) for p in names)
    with pytest.raises(ModelError, match=r"owner/gone .* can't be fetched: 404: no such thing\n"):
        load_model("owner/gone")
    with pytest.raises(ModelError, match=r"fetched: the Hugging Face hub can't be reached\n"):
        load_model("owner/offline")


def test_devices_and_dtypes_are_checked(folder: Path) -> None:
    with pytest.raises(ModelError, match="device nonsense can't be used: no such device"):
        load_model(str(folder), device="nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="device cuda"):
            load_model(str(folder), device="cuda")
    with pytest.raises(ModelError, match="Unknown dtype 'int8'"):
        load_model(str(folder), device="cpu", dtype="int8")


def adapter(path: Path, seed: int = 1) -> Path:
    base = transformers.AutoModelForCausalLM.from_config(tiny().config)
    base.load_state_dict(tiny().state_dict())
    torch.manual_seed(seed)
    config = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(path)
    return path


def test_an_adapter_is_put_on_unmerged(folder: Path, tmp_path: Path) -> None:
    path = adapter(tmp_path / "adapter")
    plain, adapted = load_model(str(folder)), load_model(str(folder), adapter=str(path))
    assert adapted.fingerprint != plain.fingerprint
    assert adapted.name == f"{folder.name}+adapter"
    ids = [5, 6, 7]
    assert not torch.allclose(plain_logits(adapted.model, ids), plain_logits(plain.model, ids))
    assert adapted.adapter is not None
    with adapted.adapter.base.weights():
        assert torch.equal(plain_logits(adapted.model, ids), plain_logits(plain.model, ids))
    assert not any(p.requires_grad for p in adapted.model.parameters())


def test_a_fingerprint_is_had_without_weights(folder: Path, tmp_path: Path) -> None:
    path = str(adapter(tmp_path / "adapter"))
    for dtype in ("auto", "bfloat16"):
        for on in (None, path):
            loaded = load_model(str(folder), device="cpu", dtype=dtype, adapter=on)
            assert fingerprint_of(str(folder), "cpu", dtype, on) == loaded.fingerprint


def test_two_adapters_share_a_base(folder: Path, tmp_path: Path) -> None:
    """Each speaks as one that has the base for itself, in whatever order they are used."""
    paths = [adapter(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2))]
    alone = [load_model(str(folder), adapter=str(path)) for path in paths]
    base = load_model(str(folder))
    shared = [base, *(base.with_adapter(str(path)) for path in paths)]
    assert [s.fingerprint for s in shared[1:]] == [a.fingerprint for a in alone]
    assert len({s.fingerprint for s in shared}) == 3
    assert shared[1].with_adapter(str(paths[1]), "mine").name == f"{folder.name}+mine"
    ids = [5, 6, 7]
    expected = [plain_logits(m.model, ids) for m in (load_model(str(folder)), *alone)]
    for turn in (1, 0, 2, 1, 0):
        with shared[turn].weights():
            assert torch.equal(plain_logits(base.model, ids), expected[turn])
    assert not any(p.requires_grad for p in base.model.parameters())


def test_an_adapter_of_another_model_is_told(folder: Path, tmp_path: Path) -> None:
    path = adapter(tmp_path / "adapter")
    config = json.loads((path / "adapter_config.json").read_text())
    config["target_modules"] = ["no_such_layer"]
    (path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"can't be put on .*no_such_layer"):
        load_model(str(folder), adapter=str(path))


def test_a_fingerprint_covers_content_not_place(folder: Path, tmp_path: Path) -> None:
    first = fingerprint(folder, "float32")
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert fingerprint(moved, "float32") == first
    (moved / "README.md").write_text("words")
    assert fingerprint(moved, "float32") == first
    assert fingerprint(moved, "bfloat16") != first
    fingerprints = {first}
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"):
        with (moved / name).open("a") as file:
            file.write(" ")
        fingerprints.add(fingerprint(moved, "float32"))
    assert len(fingerprints) == 5


def test_digests_of_large_files_are_remembered(
    tmp_path: Path, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cai.models import fingerprint as module

    path = tmp_path / "m"
    path.mkdir()
    file = path / "model.safetensors"
    file.write_bytes(bytes(2 << 20))
    first = fingerprint(path, "float32")
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_digest(path)

    monkeypatch.setattr(module, "file_digest", counted)
    assert fingerprint(path, "float32") == first
    assert not read
    data = bytearray(2 << 20)
    data[-1] = 1
    file.write_bytes(data)
    os.utime(file, ns=(1, 1))
    assert fingerprint(path, "float32") != first
    assert read
    (caches / "digests.json").write_text("not JSON")
    assert fingerprint(path, "float32") != first
