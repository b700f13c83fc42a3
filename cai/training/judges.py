"""The models that judge what a policy writes while it trains: frozen, and not the policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from cai.backends.base import Backend
from cai.backends.local import LocalBackend
from cai.errors import UsageError
from cai.models.backbone import Backbone
from cai.models.fingerprint import ADAPTER_FILES, adapter_digest
from cai.models.load import load_config, load_model
from cai.models.names import part_of_run
from cai.text.addresses import is_address
from cai.training.config import TrainConfig
from cai.training.lineage import Adapter, base_facts, find_adapter, trained_template

BATCH = 16


@dataclass(frozen=True, slots=True)
class FrozenJudge:
    """A judge that training does not move.

    make: makes a backend of it. models: the weights that are held for it, beside the policy's.
    """

    make: Callable[[], Backend]
    models: Sequence[nn.Module] = ()


def base_judge(backbone: Backbone) -> FrozenJudge:
    """The policy's base alone, adapters off."""
    return FrozenJudge(lambda: LocalBackend(backbone.as_model(None), BATCH))


def require_judge(name: str | None, config: TrainConfig) -> None:
    """Raise `CaiError` if a judge can't be used; None names none.

    That much shows before weights are loaded; a server is not asked.
    """
    if name and not is_address(name):
        base, _ = _judge_parts(name)
        base_facts(base)  # a base whose run did not come to its end is refused
        load_config(base, device=config.device)


def require_other_adapter(name: str | None, config: TrainConfig) -> None:
    """Raise `UsageError` for a --judge that is the adapter that the policy starts from."""
    if not name or not config.adapter or is_address(name):
        return
    _, adapter = _judge_parts(name)
    start = find_adapter(config.adapter, "start")
    if adapter and adapter_digest(adapter.folder) == adapter_digest(start.folder):
        raise UsageError(
            f"--judge {name} is the adapter that the policy starts from: it would judge"
            " its own habits",
            hint="Leave out --judge: the base alone judges, without any adapter. Or name another"
            " model.",
        )


def load_judge(name: str, config: TrainConfig) -> FrozenJudge:
    """A judge by its name: a model, a run's adapter, or a server.

    Raises `ServerError` where a server does not answer, `ModelError` and `DataError` for a model or
    an adapter that can't be loaded.
    """
    if is_address(name):
        from cai.backends.server import ServerBackend  # slow to import

        served = ServerBackend.connect(name)
        return FrozenJudge(lambda: served)
    base, adapter = _judge_parts(name)
    template = trained_template([name] if adapter else [])
    model = load_model(base, config.device, config.dtype, template=template)
    if adapter:
        model = model.with_adapter(str(adapter.folder), adapter.name)
    return FrozenJudge(lambda: LocalBackend(model, BATCH), [model.model])


def _judge_parts(name: str) -> tuple[str, Adapter | None]:
    """The base of a judge that is no server's, and the adapter on it."""
    place = Path(part_of_run(name, "adapter")).expanduser()
    if not (place / ADAPTER_FILES[0]).is_file():
        return name, None
    adapter = find_adapter(name)
    if not adapter.base:
        raise UsageError(f"{name} does not say which base it was trained on")
    return adapter.base, adapter
