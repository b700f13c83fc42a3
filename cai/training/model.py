"""Load a model, with the adapter of a training run on it, as `cai chat` and `build-data` do."""

from __future__ import annotations

from pathlib import Path

from cai.backends.local import LocalBackend
from cai.errors import DataError
from cai.models.names import MINIATURE
from cai.text.template import TemplateOptions
from cai.training.lineage import find_adapter, trained_template


def load_model(
    model: str | None = None,
    *,
    adapter: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int = 16,
    template: TemplateOptions | None = None,
) -> LocalBackend:
    """Load a base model, with the adapter of a training run on it (unmerged) if one is given.

    model: a hub id, a directory, a GGUF file or `miniature`; the adapter's own base by default.
    adapter: a training run's folder, or one in PEFT's layout. template: how the chat template is
    called; by default as in the adapter's training. device: auto, cpu, cuda or mps. dtype: auto,
    float32, bfloat16 or float16. batch_size: most conversations at once. Raises `ModelError` and
    `DataError` for what can't be loaded, and `DataError` where the adapter was trained on another
    base.
    """
    if adapter is None:
        return LocalBackend.load(
            model or MINIATURE, device=device, dtype=dtype, batch_size=batch_size,
            template=template,
        )  # fmt: skip
    trained = find_adapter(str(adapter))
    base = model or trained.base
    if not trained.fits(base):
        raise DataError(
            f"{base} is not the base that {trained.name} was trained on",
            hint="Leave out the model, or merge the adapter into its base: cai merge.",
        )
    if template is None:
        template = trained_template([str(adapter)])
    return LocalBackend.load(
        base, device=device, dtype=dtype, adapter=str(trained.folder), batch_size=batch_size,
        template=template,
    )  # fmt: skip
