"""Load a causal language model, its tokenizer and an optional adapter, from safetensors only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn

from cai.decoding import of_generation_config
from cai.digest import digest
from cai.errors import ModelError
from cai.models.adapters import Adapters
from cai.models.fingerprint import adapter_digest, fingerprint
from cai.models.folders import label, local_folder
from cai.models.libraries import first_line, quiet
from cai.models.names import part_of_run, resolve_model
from cai.models.quantize import quantization
from cai.text.encode import Encoder
from cai.text.template import TemplateOptions
from cai.types import Sampling

_LARGE = 300_000_000
"""Parameters above which bfloat16 is faster on a CPU with hardware support for it."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A loaded model with its encoder, name and fingerprint.

    name: the model's name in results. fingerprint: digest of everything that can change what it
    writes. context: most tokens of a prompt and its response together.
    sampling: the settings in its generation_config.json.
    adapter: the one of `adapters` that its forward uses; None is the base alone. Several loaded
    models may share one `model`; `weights` switches between them.
    """

    model: nn.Module
    encoder: Encoder
    name: str
    fingerprint: str
    device: torch.device
    dtype: torch.dtype
    context: int
    sampling: Sampling = field(default_factory=Sampling)
    adapters: Adapters | None = None
    adapter: MountedAdapter | None = None

    @contextlib.contextmanager
    def weights(self) -> Iterator[None]:
        """Use this adapter's weights in forwards of `model` inside the block."""
        if self.adapters is None:
            yield
            return
        with self.adapters.using(self.adapter.place if self.adapter else None):
            yield

    def with_adapter(self, adapter: str, name: str | None = None) -> LoadedModel:
        """The same base with an unmerged adapter; both can be used, each in its `weights`.

        Merged into bfloat16 weights, a small adapter would lose much of its effect to rounding.
        adapter: a directory or hub id in PEFT's layout, or a training run's folder. name: its name
        in results; the folder's name by default.
        Raises `ModelError` if it does not fit or is of an unsupported kind.
        """
        if self.adapter:
            return self.adapter.base.with_adapter(adapter, name)
        folder = local_folder(part_of_run(adapter, "adapter"))
        adapters = self.adapters or Adapters(self.model, self.name)
        place = f"adapter{len(adapters.names)}"
        adapters.load(place, str(folder))
        mark, name = adapter_digest(folder), name or label(adapter)
        return replace(
            self,
            name=f"{self.name}+{name}",
            fingerprint=_with_adapter(self.fingerprint, mark),
            adapters=adapters,
            adapter=MountedAdapter(name, mark, place, self),
        )


@dataclass(frozen=True, slots=True)
class MountedAdapter:
    """An adapter on a base. digest: of its files. place: its name in the base's `adapters`."""

    name: str
    digest: str
    place: str
    base: LoadedModel


def load_model(
    name: str,
    device: str = "auto",
    dtype: str = "auto",
    adapter: str | None = None,
    quantize: str | None = None,
    template: TemplateOptions | None = None,
) -> LoadedModel:
    """Load a model, frozen.

    name: a directory, a hub id, `miniature`, or the folder of a run that trained all weights.
    device: auto, cpu, cuda, cuda:1, mps.
    dtype: auto, float32, bfloat16 or float16; auto is bfloat16 on CUDA, float32 on MPS and CPU
        (bfloat16 for a large model on a CPU with AMX).
    adapter: an adapter for the base, as in `LoadedModel.with_adapter`.
    quantize: 4bit or 8bit, on a CUDA GPU.
    template: arguments of the chat template.
    Raises `ModelError` for missing files, and for weights that are NaN or infinite. Code from a
    model's repository is never run.
    """
    folder = local_folder(resolve_model(name), name)
    where = _device(device)
    with quiet():
        config = _config(folder, name)
        encoder = _encoder(folder, template)
        number = _dtype(dtype, where, folder)
        bits = quantization(quantize, where, number) if quantize else None
        model = _model(folder, name, number, where, bits)
    model.requires_grad_(False)
    _require_finite(model, name, number)
    try:
        _align((model if bits else model.to(where)).eval())
    except (torch.OutOfMemoryError, RuntimeError) as error:
        raise ModelError(
            f"The model {name} does not fit on {where}: {error}",
            hint="Use a smaller model, --dtype bfloat16, or --device cpu.",
        ) from error
    loaded = LoadedModel(
        model,
        encoder,
        label(name),
        fingerprint(folder, _arithmetic(number, quantize)),
        where,
        number,
        context_of(config),
        _sampling(folder),
        Adapters(model, name),
    )
    return loaded.with_adapter(adapter) if adapter else loaded


def fingerprint_of(
    name: str, device: str = "auto", dtype: str = "auto", adapter: str | None = None
) -> str:
    """The fingerprint that `load_model` would give, from the files alone.

    adapter: a folder in PEFT's layout, or a training run's. Raises `ModelError` as it does.
    """
    folder = local_folder(resolve_model(name), name)
    number = _dtype(dtype, _device(device), folder)
    base = fingerprint(folder, _arithmetic(number))
    if adapter is None:
        return base
    return _with_adapter(base, adapter_digest(local_folder(part_of_run(adapter, "adapter"))))


def _arithmetic(number: torch.dtype, quantize: str | None = None) -> str:
    return "+".join(filter(None, (str(number).removeprefix("torch."), quantize)))


def _with_adapter(base: str, mark: str) -> str:
    return digest({"base": base, "adapter": mark})


def load_encoder(name: str | Path, template: TemplateOptions | None = None) -> Encoder:
    """The encoder of a model's tokenizer, with the EOS tokens of its generation config.

    name, template: as in `load_model`. From the hub only the tokenizer is downloaded.
    """
    return _encoder(local_folder(resolve_model(str(name)), str(name), weights=False), template)


def load_config(
    name: str | Path, *, device: str = "auto", dtype: str = "auto"
) -> tuple[Any, torch.dtype]:
    """A model's config, and the dtype that `load_model` would use; no weights are read."""
    folder = local_folder(resolve_model(str(name)), str(name), weights=False)
    return _config(folder, str(name)), _dtype(dtype, _device(device), folder)


def load_sampling(name: str | Path) -> Sampling:
    """The sampling settings in a model's `generation_config.json`."""
    return _sampling(local_folder(resolve_model(str(name)), str(name), weights=False))


def _sampling(folder: Path) -> Sampling:
    file = folder / "generation_config.json"
    if not file.is_file():
        return Sampling()
    try:
        return of_generation_config(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{file} can't be used: {first_line(error)}", hint="Correct the file, or remove it."
        ) from error


def _encoder(folder: Path, template: TemplateOptions | None = None) -> Encoder:
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True
            )
    except Exception as error:
        raise ModelError(
            f"No usable tokenizer in {folder}: {first_line(error)}",
            hint="The folder needs tokenizer.json and tokenizer_config.json.",
        ) from error
    return Encoder(tokenizer, _end_ids(folder), template)


def _end_ids(folder: Path) -> list[int]:
    """The EOS tokens in a model's generation config and config."""
    ids: list[int] = []
    for name in ("generation_config.json", "config.json"):
        try:
            eos = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
        except (OSError, ValueError):
            continue
        ids += eos if isinstance(eos, list) else [] if eos is None else [eos]
    return ids


def _config(folder: Path, name: str) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    except Exception as error:
        raise ModelError(
            f"The config of {name} can't be read: {first_line(error)}",
            hint="Models that need code of their own repository are not supported.",
        ) from error


def _model(folder: Path, name: str, dtype: torch.dtype, where: torch.device, bits: Any) -> Any:
    quantized = {"quantization_config": bits, "device_map": {"": where}} if bits else {}
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **quantized,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelError(
            f"The model {name} can't be loaded: {first_line(error)}",
            hint=f"Looked in {folder} for a causal language model.",
        ) from error
    missing = sorted(report.get("missing_keys") or ())
    if missing:
        raise ModelError(
            f"The weights of {name} lack {len(missing)} tensors, {missing[0]} among them",
            hint="The folder holds another kind of model, or an incomplete download.",
        )
    return model


def _require_finite(model: nn.Module, name: str, dtype: torch.dtype) -> None:
    """Raise `ModelError` where a weight is NaN or infinite, naming the first such tensor."""
    for key, tensor in model.named_parameters():
        if not tensor.is_floating_point() or tensor.isfinite().all():
            continue
        count = int((~tensor.isfinite()).sum())
        kind = str(dtype).removeprefix("torch.")
        wider = (
            f" Or they are too large for {kind}: try --dtype float32."
            if dtype == torch.float16
            else ""
        )
        raise ModelError(
            f"The weights of {name} hold {count:,} values that are not finite numbers (NaN or"
            f" infinite), the first of them in {key}",
            hint=f"The model is damaged: get its files again.{wider}",
        )


def _align(model: nn.Module) -> None:
    """Copy memory-mapped weights that are not aligned to 64 bytes.

    CPU kernels add in another order there, so the same weights would give other last bits.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu" and tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        if reason.startswith("Expected one of"):  # torch's list of all its backends
            reason = "no such device"
        raise ModelError(
            f"The device {name} can't be used: {reason}",
            hint="Use --device auto, cpu, cuda or mps.",
        ) from error
    return device


def _dtype(name: str, device: torch.device, folder: Path) -> torch.dtype:
    if name != "auto":
        dtype: torch.dtype | None = getattr(torch, name, None)
        if dtype is None or dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ModelError(
                f"Unknown dtype {name!r}", hint="Use auto, float32, bfloat16 or float16."
            )
        return dtype
    if device.type == "cuda":
        return torch.bfloat16
    large = sum(p.stat().st_size for p in folder.glob("*.safetensors")) > 2 * _LARGE
    return torch.bfloat16 if device.type == "cpu" and large and _has_amx() else torch.float32


def _has_amx() -> bool:
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def context_of(config: Any) -> int:
    """The context length of a model with this config, in tokens."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        if isinstance(value := getattr(text, name, None), int):
            return value
    return 1 << 20
