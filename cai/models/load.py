"""Load a causal language model, its tokenizer and, if wanted, an adapter. Safetensors only."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn

from cai.errors import ModelError
from cai.models.fingerprint import fingerprint
from cai.models.names import MINIATURE, part_of_run, resolve_model
from cai.models.quantize import quantization
from cai.text.encode import Encoder
from cai.text.template import TemplateOptions

_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
_PATTERNS = ["*.json", "*.jinja", "*.safetensors", "*.model", "*.txt"]
_LARGE = 300_000_000
"""Parameters above which bfloat16 pays on a CPU that multiplies it in hardware."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to read and write, its tokenizer's encoder, and who it is.

    name: as people know it. fingerprint: digest of everything that can change what it writes.
    context: the most tokens that a prompt and its response may have together.
    """

    model: nn.Module
    encoder: Encoder
    name: str
    fingerprint: str
    device: torch.device
    dtype: torch.dtype
    context: int


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
    adapter: directory or hub id of a PEFT adapter, or a training run's folder; merged into the
        weights.
    quantize: 4bit or 8bit, on a CUDA GPU.
    template: how the chat template is called.
    Raises `ModelError` with what is missing. Code from a model's repository is never run.
    """
    folder = local_folder(resolve_model(name), name)
    adapter_folder = local_folder(part_of_run(adapter, "adapter")) if adapter else None
    where = _device(device)
    with quiet():
        config = _config(folder, name)
        encoder = _encoder(folder, template)
        number = _dtype(dtype, where, folder)
        bits = quantization(quantize, where, number) if quantize else None
        model = _model(folder, name, number, where, bits)
        if adapter_folder:
            model = _merge(model, adapter_folder)
    model.requires_grad_(False)
    try:
        _align((model if bits else model.to(where)).eval())
    except (torch.OutOfMemoryError, RuntimeError) as error:
        raise ModelError(
            f"The model {name} does not fit on {where}: {error}",
            hint="Use a smaller model, --dtype bfloat16, or --device cpu.",
        ) from error
    label = f"{_label(name)}+{_label(adapter)}" if adapter else _label(name)
    arithmetic = "+".join(filter(None, (str(number).removeprefix("torch."), quantize)))
    mark = fingerprint(folder, arithmetic, adapter_folder)
    return LoadedModel(model, encoder, label, mark, where, number, context_of(config))


def load_encoder(name: str | Path, template: TemplateOptions | None = None) -> Encoder:
    """The encoder of a model's tokenizer; the generation config adds end tokens.

    name, template: as in `load_model`. Of a model on the hub only the tokenizer is fetched.
    """
    return _encoder(local_folder(resolve_model(str(name)), str(name), weights=False), template)


def load_config(
    name: str | Path, *, device: str = "auto", dtype: str = "auto"
) -> tuple[Any, torch.dtype]:
    """A model's config, and the type that `load_model` would hold it in; no weights are read."""
    folder = local_folder(resolve_model(str(name)), str(name), weights=False)
    return _config(folder, str(name)), _dtype(dtype, _device(device), folder)


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
    ids: list[int] = []
    for name in ("generation_config.json", "config.json"):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
        except (OSError, ValueError):
            continue
        ids += found if isinstance(found, list) else [] if found is None else [found]
    return ids


def local_folder(name: str, asked: str | None = None, *, weights: bool = True) -> Path:
    """The local folder of a model, fetched from the hub where it is no directory.

    asked: what the user wrote. weights: False fetches and wants the small files alone.
    Raises `ModelError` for what is not there, and for pickles.
    """
    path = Path(name).expanduser()
    if path.suffix in _PICKLES or path.suffix == ".gguf":
        raise ModelError(
            f"{name} is not a safetensors model: files of this kind can run code or are not read",
            hint="Give a folder with config.json, tokenizer.json and *.safetensors.",
        )
    if path.is_dir():
        if weights:
            _weights(path)
        return path
    beside = "/" in name and path.parent.is_dir()  # there are such folders here, but not this one
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or beside or asked == MINIATURE:
        raise ModelError(
            f"There is no folder {name}",
            hint="Give a directory, a hub id (owner/name) or miniature; `cai models` lists runs.",
        )
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            patterns = _PATTERNS if weights else [p for p in _PATTERNS if "safetensors" not in p]
            path = Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:
        raise ModelError(
            f"The model {name} is not on this machine and can't be fetched: {first_line(error)}",
            hint="Check the name and the network, or give a directory.",
        ) from error
    if weights:
        _weights(path)
    return path


def _label(name: str) -> str:
    """What a model is called in results: a hub id, or the last part of a folder's path."""
    path = Path(name).expanduser()
    return path.resolve().name if path.is_dir() else name


def _weights(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
    if pickles:
        raise ModelError(
            f"{folder} holds its weights as {pickles[0]}: such files can run code, and are refused",
            hint="Convert it: load it where you trust it and save with safe_serialization=True.",
        )
    raise ModelError(
        f"{folder} holds no *.safetensors", hint="A model folder has config.json and weights."
    )


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


def _merge(model: Any, adapter: Path) -> Any:
    if not (adapter / "adapter_config.json").is_file():
        raise ModelError(
            f"{adapter} holds no adapter_config.json", hint="Give the folder of a PEFT adapter."
        )
    from peft import PeftModel

    try:
        wrapped = PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
        return wrapped.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"The adapter {adapter} can't be put on this model: {first_line(error)}",
            hint="An adapter fits the base model it was trained on (adapter_config.json names it).",
        ) from error


def _align(model: nn.Module) -> None:
    """Copy weights that a file mapping left at odd addresses.

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
        raise ModelError(
            f"The device {name} can't be used: {first_line(error)}",
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
    """The most positions that a model of this config was made for."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        if isinstance(value := getattr(text, name, None), int):
            return value
    return 1 << 20


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' own progress bars and warnings; restored afterwards."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """The first line of an error's text, short enough to quote."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
