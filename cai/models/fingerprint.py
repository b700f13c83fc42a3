"""A model's fingerprint: a digest of all files that can change what it writes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from cai.digest import digest, file_digest

_MODEL_SUFFIXES = {".json", ".jinja", ".safetensors", ".model", ".txt"}
"""Endings of the files that a model is loaded from: weights, config, tokenizer, chat template."""

_IGNORED_NAMES = {"README.txt", "LICENSE.txt", "trainer_state.json", "all_results.json"}


ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def fingerprint(folder: Path, dtype: str) -> str:
    """Digest of a model folder's content and the number format.

    File names count, the path of the folder does not. Digests of large files are cached by path,
    size and modification time, so only a changed file is read again.
    """
    cache = _DigestCache()
    parts = {
        "model": {p.name: cache.of(p) for p in _files(folder)},
        "adapter": {},  # always: steps that are kept in stores are named by this digest
        "dtype": dtype,
    }
    cache.save()
    return digest(parts)


def cached_digest(file: Path) -> str:
    """A file's digest, cached for a large file as in `fingerprint`."""
    cache = _DigestCache()
    out = cache.of(file)
    cache.save()
    return out


def adapter_digest(folder: Path) -> str:
    """Digest of a LoRA adapter's files in PEFT's layout."""
    return digest([file_digest(folder / name) for name in ADAPTER_FILES])


def cache_folder() -> Path:
    """The folder of small reusable files: `$CAI_CACHE`, else `cai` in the user's cache folder."""
    if override := os.environ.get("CAI_CACHE"):
        return Path(override)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cai"


def _files(folder: Path) -> list[Path]:
    files = (
        p for p in folder.iterdir() if p.suffix in _MODEL_SUFFIXES and p.name not in _IGNORED_NAMES
    )
    return sorted(p for p in files if p.is_file())


class _DigestCache:
    """A cache of large files' digests in one JSON file; losing it costs only time."""

    LARGE = 1 << 20

    def __init__(self) -> None:
        self._path = cache_folder() / "digests.json"
        self._fresh = False
        self._by_file: dict[str, str] = {}
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(values, dict):
            self._by_file = {str(k): str(v) for k, v in values.items()}

    def of(self, path: Path) -> str:
        real = path.resolve()
        stat = real.stat()
        if stat.st_size < self.LARGE:
            return file_digest(real)
        name = f"{real}\t{stat.st_size}\t{stat.st_mtime_ns}"
        if name not in self._by_file:
            self._by_file[name] = file_digest(real)
            self._fresh = True
        return self._by_file[name]

    def save(self) -> None:
        """Write new digests; a folder that can't be written to is not an error."""
        if not self._fresh:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self._path.parent, delete=False, encoding="utf-8"
            ) as file:
                json.dump(self._by_file, file)
            Path(file.name).replace(self._path)
        except OSError:
            return
