"""What tells the run of a guard, which answers users, from that of a build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cai.store.lock import is_locked

LOCK = ".serving.lock"
"""In a run's folder: held by the process that serves it."""


def is_served(config: Mapping[str, Any]) -> bool:
    """Whether a run's configuration is that of a guard."""
    return "guard" in config


def is_serving(folder: Path) -> bool:
    """Whether a process serves a run's folder now."""
    return is_locked(folder / LOCK)
