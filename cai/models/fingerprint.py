"""A model's fingerprint: a digest of everything on disk that can change what it writes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from cai.digest import digest, file_digest

_READ = {".json", ".jinja", ".safetensors", ".model", ".txt"}
"""What a model folder is loaded from: weights, config, tokenizer and chat template."""

_NOT_READ = {"README.txt", "LICENSE.txt", "trainer_state.json", "all_results.json"}


ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def fingerprint(folder: Path, dtype: str) -> str:
    """Digest of a model folder's content and the number format.

    Names inside the folder count, the folder's own place does not. Digests of large files are
    remembered by path, size and time of change, so only a changed file is read again.
    """
    cache = _Digests()
    parts = {
        "model": {p.name: cache.of(p) for p in _files(folder)},
        "adapter": {},  # always: steps that are kept in stores are named by this digest
        "dtype": dtype,
    }
    cache.save()
    return digest(parts)


def remembered_digest(file: Path) -> str:
    """A file's digest, which for a large one is remembered as in `fingerprint`."""
    cache = _Digests()
    out = cache.of(file)
    cache.save()
    return out


def adapter_digest(folder: Path) -> str:
    """Digest of a LoRA adapter's files in PEFT's layout."""
    return digest([file_digest(folder / name) for name in ADAPTER_FILES])


def cache_folder() -> Path:
    """Where small reusable files live: `$CAI_CACHE`, else `cai` in the user's cache folder."""
    if given := os.environ.get("CAI_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cai"


def _files(folder: Path) -> list[Path]:
    found = (p for p in folder.iterdir() if p.suffix in _READ and p.name not in _NOT_READ)
    return sorted(p for p in found if p.is_file())


class _Digests:
    """Remembered digests of large files, kept in one JSON file; losing it costs only time."""

    LARGE = 1 << 20

    def __init__(self) -> None:
        self._path = cache_folder() / "digests.json"
        self._fresh = False
        self._known: dict[str, str] = {}
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(known, dict):
            self._known = {str(k): str(v) for k, v in known.items()}

    def of(self, path: Path) -> str:
        real = path.resolve()
        stat = real.stat()
        if stat.st_size < self.LARGE:
            return file_digest(real)
        name = f"{real}\t{stat.st_size}\t{stat.st_mtime_ns}"
        if name not in self._known:
            self._known[name] = file_digest(real)
            self._fresh = True
        return self._known[name]

    def save(self) -> None:
        """Write what is new; a folder that can't be written to is no error."""
        if not self._fresh:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self._path.parent, delete=False, encoding="utf-8"
            ) as file:
                json.dump(self._known, file)
            Path(file.name).replace(self._path)
        except OSError:
            return
