"""The results file of a script of this folder: what was run, when, on what, and its tables."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cai.data.run_log import versions


def publish(title: str, command: str, lines: Iterable[str], result: Path | None) -> None:
    """Print the results, and write them where a file is named.

    command: what makes them again. lines: of Markdown. Raises `OSError` where the file can't be
    written.
    """
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    text = "\n".join([
        f"# {title}, {datetime.now(UTC):%Y-%m-%d}\n",
        f"`{command}`, {platform.machine()}, {software}.\n",
        *lines,
    ])  # fmt: skip
    print(text)
    if result is not None:
        result.write_text(text + "\n", encoding="utf-8")
