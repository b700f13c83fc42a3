"""Install what `make test-servers` starts: `python tools/servers.py --out .venv/servers`.

A virtual environment with two model servers, and a folder `gguf` for their models:

- llama-cpp-python with its server. It has no wheel for Linux on PyPI, so one is built, without a
  GPU, which takes ten minutes and a C++ compiler. The wheel is kept in `$CAI_WHEELS`, by default
  ~/.cache/cai/wheels, and built once.
- The packages that `transformers serve` asks for.

torch, transformers and everything else that the calling environment has are read from there, by a
.pth file, rather than downloaded again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

LLAMA = "llama-cpp-python==0.3.36"
SERVER = (
    "diskcache==5.6.3", "fastapi==0.165.0", "openai==3.57.0", "pydantic-settings==2.16.3",
    "sse-starlette==3.7.0", "starlette-context==0.3.6",
)  # fmt: skip
"""What llama-cpp-python, its server and `transformers serve` need beyond the calling environment.

openai is not called by cai: `transformers serve` takes the types of its answers from it.
"""
BUILD = {"CMAKE_ARGS": "-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF"}
"""For any x86-64 CPU with AVX2, since the wheel may be kept on another machine; without images."""
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def wheels() -> Path:
    """The folder that keeps built wheels."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("CAI_WHEELS") or cache / "cai" / "wheels")


def run(*command: str | Path, **environment: str) -> None:
    subprocess.run([str(part) for part in command], check=True, env=os.environ | environment)


def pip(python: Path, *command: str | Path, **environment: str) -> None:
    run(python, "-m", "pip", *command, "--quiet", "--disable-pip-version-check", **environment)


def install_llama(python: Path) -> None:
    """Install llama-cpp-python from the kept wheel; build that where none fits."""
    kept = wheels()
    kept.mkdir(parents=True, exist_ok=True)
    install = ("install", "--no-index", "--no-deps", "--find-links", kept, LLAMA)
    attempt = [str(part) for part in (python, "-m", "pip", *install)]
    if subprocess.run(attempt, capture_output=True).returncode == 0:
        return
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise SystemExit(f"{LLAMA} is built from source, which needs a C++ compiler")
    print(f"building {LLAMA}, ten minutes on two cores, to be kept in {kept}", flush=True)
    pip(python, "wheel", "--no-deps", "--wheel-dir", kept, LLAMA, **BUILD)
    pip(python, *install)


def make_environment(folder: Path) -> Path:
    """A virtual environment that also reads the packages of the calling one. Returns its Python."""
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = folder / "lib" / version / "site-packages"
    (own / "calling.pth").write_text("\n".join(site.getsitepackages()) + "\n", "utf-8")
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the environment")
    folder = parser.parse_args().out
    try:
        python = make_environment(folder)
        pip(python, "install", "--constraint", CONSTRAINTS, *SERVER)
        install_llama(python)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"failed: {' '.join(error.cmd)}") from None
    (folder / "gguf").mkdir(exist_ok=True)


if __name__ == "__main__":
    main()
