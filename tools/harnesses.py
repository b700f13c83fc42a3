"""Install Inspect and lm-eval for `make test-peers`: `python tools/harnesses.py --out DIR`.

A virtual environment of their own, since they ask for other versions of what we pin (fsspec,
python-dateutil). torch, transformers and everything else that the calling environment has are read
from there; cai, which may be an editable installation, is found by PYTHONPATH.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from servers import make_environment, pip

HARNESSES = ("inspect-ai==0.3.285", "lm-eval==0.4.13")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the environment")
    try:
        pip(make_environment(parser.parse_args().out), "install", *HARNESSES)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"failed: {' '.join(error.cmd)}") from None


if __name__ == "__main__":
    main()
