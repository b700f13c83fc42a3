"""GGUF files (llama.cpp) as model folders, with dequantised weights, tokenizer and template.

A file is unpacked once, into the cache, under the digest of its content. The result is a plain
folder of safetensors, so building, training and merging know nothing of GGUF.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers

from cai.errors import ModelError, install_hint
from cai.models.fingerprint import cache_folder, cached_digest
from cai.models.libraries import first_line, quiet

SUFFIX = ".gguf"
_FORMAT = 1
"""The version of the conversion; a new one unpacks files again."""


def unpack(file: Path) -> Path:
    """Unpack a GGUF file into the cache in float32; return the model's folder.

    Raises `ModelError` if the package `gguf` is missing, for an architecture that transformers
    does not support, and for a damaged file.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            f"{file} is a GGUF file, and the package that reads them is not installed",
            hint=install_hint("gguf"),
        )
    try:
        name = f"{cached_digest(file)[:32]}-{_FORMAT}"
        folder = cache_folder() / "gguf" / name
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        logging.getLogger(__name__).warning(
            "Unpacking %s into %s; this is done once and can take minutes.", file, folder
        )
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unpacking-"))
        try:
            _convert(file.resolve(), partial)
            partial.replace(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"{file} can't be unpacked: {first_line(error)}") from error
    return folder


def find_gguf(folder: Path) -> Path | None:
    """The GGUF file of a folder without safetensors; None if there is none.

    Raises `ModelError` if there are several.
    """
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if not files or any(folder.glob("*.safetensors")):
        return None
    if len(files) > 1:
        raise ModelError(
            f"{folder} holds {len(files)} GGUF files, {files[0].name} and {files[1].name} among"
            " them",
            hint="Name the file itself.",
        )
    return files[0]


def _convert(file: Path, out: Path) -> None:
    whole = {}
    if hasattr(transformers, "GgufConfig"):  # else weights might stay packed
        whole["quantization_config"] = transformers.GgufConfig(dequantize=True)
    source: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    with quiet():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), **source)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                str(file.parent), dtype=torch.float32, **source, **whole
            )
        except Exception as error:
            raise ModelError(
                f"{file} can't be read as a GGUF model: {first_line(error)}",
                hint="The file may be damaged, or its architecture one that transformers does not"
                " read from GGUF; then give the model's own folder of safetensors.",
            ) from error
        # transformers saves no model that it still takes for a quantised one.
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
