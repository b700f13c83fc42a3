"""What a model is called: the bundled one, a training run, its best or a part of it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

from cai.errors import ModelError

MINIATURE = "miniature"
"""The name of the bundled model."""


def resolve_model(name: str) -> str:
    """The bundled model's folder for `miniature`, and the model inside a training run's folder.

    A directory or a hub id stands as it is. Raises `ModelError` for a run that made no model.
    """
    if name == MINIATURE:
        return str(resources.files("cai") / "miniature" / "weights")
    return part_of_run(name, "model")


def part_of_run(name: str, part: Literal["model", "adapter"]) -> str:
    """What a training run made, by its folder or its `best`; any other name stands as it is.

    Raises `ModelError` where the run made another part, or none yet.
    """
    given = Path(name).expanduser()
    folder = or_last(given)
    home = folder.parent if folder.name == "best" else folder
    if not (home / "run.json").is_file():
        return name if folder == given else str(folder)
    if (folder / part).is_dir():
        return str(folder / part)
    if (folder / "model").is_dir():
        raise ModelError(
            f"The training run {name} trained all weights: it has no adapter",
            hint=f"Give it as the model: --model {name}",
        )
    if (folder / "adapter").is_dir():
        raise ModelError(
            f"The training run {name} trained an adapter, not a model of its own",
            hint=f"Give it as the adapter of its base, or merge it: cai merge {name} --out FOLDER",
        )
    raise ModelError(
        f"The training run {name} has no {part} yet", hint="Run its command again to finish it."
    )


def or_last(folder: Path) -> Path:
    """RUN for a RUN/best that is not there: the last weights are the best, and stand in RUN."""
    for best in (folder, folder.parent):
        home = best.parent
        if best.name == "best" and not best.exists() and (home / "run.json").is_file():
            return home / folder.relative_to(best)
    return folder


def on_this_machine(name: str) -> bool:
    """Whether a model's weights can be read without a download."""
    path = Path(resolve_model(name)).expanduser()
    if path.exists():
        return True
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)
