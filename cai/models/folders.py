"""The local folder of a model: a given folder, a download from the hub, an unpacked GGUF file."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from cai.errors import ModelError
from cai.models.gguf import SUFFIX, find_gguf, unpack
from cai.models.libraries import first_line, quiet
from cai.models.names import MINIATURE

_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
_CLOSE = 0.8
"""How similar a name must be to `miniature` to be taken for it, from 0 to 1 (`difflib`)."""
_PATTERNS = ["*.json", "*.jinja", "*.safetensors", "*.model", "*.txt"]


def local_folder(name: str, user_name: str | None = None, *, weights: bool = True) -> Path:
    """The local folder of a model, which is downloaded from the hub if it is not a directory.

    A GGUF file, or a folder with one and no safetensors, is unpacked into the cache.

    user_name: the name as the user wrote it. weights: False needs only the small files.
    Raises `ModelError` for missing models, and for pickled weights.
    """
    path = Path(name).expanduser()
    if path.suffix in _PICKLES:
        raise ModelError(
            f"{name} is not a safetensors model: files of this kind can run code",
            hint="Give a folder with config.json, tokenizer.json and *.safetensors.",
        )
    packed = path if path.suffix == SUFFIX and path.is_file() else None
    if path.is_dir():
        packed = find_gguf(path)
    if packed is not None:
        return unpack(packed)
    if path.is_dir():
        if weights:
            _weights(path)
        return path
    if path.suffix == SUFFIX:
        raise ModelError(f"There is no file {name}", hint="Check the path of the GGUF file.")
    beside = "/" in name and path.parent.is_dir()  # there are such folders here, but not this one
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or beside or user_name == MINIATURE:
        raise ModelError(
            f"There is no folder {name}",
            hint="Give a directory, a hub id (owner/name) or miniature; `cai models` lists runs.",
        )
    if "/" not in name and get_close_matches(name, [MINIATURE], cutoff=_CLOSE):
        raise ModelError(f"There is no model {name}", hint=f"Did you mean {MINIATURE}?")
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            patterns = _PATTERNS if weights else [p for p in _PATTERNS if "safetensors" not in p]
            path = Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:
        reason = first_line(error)
        if reason.startswith("Got: "):  # of the library's retries: the class of a network error
            reason = "the Hugging Face hub can't be reached"
        raise ModelError(
            f"The model {name} is not on this machine and can't be fetched: {reason}",
            hint="Check the name and the network, or give a directory.",
        ) from error
    if weights:
        _weights(path)
    return path


def label(name: str) -> str:
    """The name of a model in results: a hub id, or the last part of a path."""
    path = Path(name).expanduser()
    return path.resolve().name if path.exists() else name


def _weights(folder: Path) -> None:
    """Raise `ModelError` if a folder has no safetensors, or only pickled weights."""
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
