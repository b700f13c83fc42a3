"""One base with several adapters, loaded once, for `chat` and `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from cai.cli.roles import (
    chat_template_options,
    connect,
    device_options,
    named_model,
    need_adapter,
    sampling_options,
    together,
    warn_of_another_base,
)
from cai.errors import CaiError, UsageError

if TYPE_CHECKING:
    from cai.backends.base import Backend
    from cai.models.load import LoadedModel
    from cai.text.template import TemplateOptions
    from cai.training.lineage import Adapter
    from cai.types import Generation, Messages, Sampling

_NO_ADAPTERS = "A model server loads its own adapters."
_LOAD_THERE = "Load the adapter at the server, and name it as the model: http://host:port/v1#NAME."

BASE = "base"
"""What the base alone is called, with no adapter on it."""


def nearest(name: str, names: Sequence[str]) -> str:
    """`Did you mean 'sft'?` where one of the known names is near, else all of them."""
    close = get_close_matches(name, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names)}."


class LoadedModels:
    """One base model that answers as itself and as each adapter put on it, loaded once.

    Each speaker has a cache of its own, since what one has read is of no use to another. A base
    that a server answers for takes no adapters.
    """

    def __init__(self, model: str, base: LoadedModel | None, served: Backend | None, at_once: int):
        """base: the base, loaded here; or `served`, the backend of a served one."""
        self._model = model
        self._at_once = at_once
        self._loaded: dict[str, LoadedModel] = {BASE: base} if base is not None else {}
        self._backends: dict[str, Backend] = {BASE: served} if served is not None else {}
        self._title = base.name if base is not None else served.info.name if served else ""

    @classmethod
    def load(
        cls,
        model: str | None,
        adapters: Sequence[str],
        *,
        device: str,
        dtype: str,
        at_once: int,
        template: TemplateOptions | None = None,
    ) -> LoadedModels:
        """Load a base and adapters; without a model, the base that the first adapter names.

        at_once: answers written together. template: how the chat template is called.
        Raises `CaiError` for what can't be loaded.
        """
        named = named_model(model) if model else None
        if named is not None and named.is_served:
            if adapters:
                raise UsageError(_NO_ADAPTERS, hint=_LOAD_THERE)
            return cls(named.shown, None, connect(named, template, None), at_once)
        from cai.models.load import load_model

        if named is not None:
            model, adapters = named.model, [*([named.adapter] if named.adapter else []), *adapters]
        trained = [need_adapter(adapter) for adapter in adapters]
        base = model or (trained[0].base if trained else "") or "miniature"
        loaded = load_model(base, device, dtype, template=template)
        models = cls(base, loaded, None, at_once)
        for adapter in trained:
            models.put(adapter)
        return models

    @property
    def names(self) -> tuple[str, ...]:
        """The base first, then the adapters in the order in which they came."""
        return tuple(self._loaded) or (BASE,)

    @property
    def title(self) -> str:
        """The base's own name."""
        return self._title

    def put(self, adapter: Adapter) -> str:
        """Put an adapter beside the others; returns the name under which it answers.

        Raises `UsageError` for a served base.
        """
        if BASE not in self._loaded:
            raise UsageError(_NO_ADAPTERS, hint=_LOAD_THERE)
        warn_of_another_base(adapter, self._model)
        loaded = self._loaded[BASE].with_adapter(str(adapter.folder), adapter.name)
        name, number = adapter.name, 2
        while name in self._loaded:
            name, number = f"{adapter.name}-{number}", number + 1
        self._loaded[name] = loaded
        return name

    def answer(self, name: str, messages: Messages, sampling: Sampling) -> Generation:
        """The answer to a conversation. Raises `CaiError` if there is none."""
        answer = self.answers(name, [(messages, sampling)])[0]
        if isinstance(answer, CaiError):
            raise answer
        return answer

    def answers(
        self, name: str, requests: Sequence[tuple[Messages, Sampling]]
    ) -> list[Generation | CaiError]:
        """An answer to each conversation, or the error, by the model of this name."""
        from cai.backends.respond import respond_all

        return respond_all(self.backend(name), requests)

    def backend(self, name: str) -> Backend:
        """The sampler of a speaker, with its cache; made when it first speaks."""
        from cai.backends.local import LocalBackend

        if name not in self._backends:
            self._backends[name] = LocalBackend(self._loaded[name], self._at_once)
        return self._backends[name]


chat_options = together(
    click.option(
        "--model", "-m", default=None,
        help="The base: a hub id, a directory, `miniature`, the folder of a run that trained all"
        " weights, a model of cai.yaml, or the address of a model server."
        "  [default: what the first adapter was trained on]",
    ),
    click.option(
        "--adapter", "-a", "adapters", multiple=True,
        help="A training run's folder, or a LoRA adapter; may be given several times.",
    ),
    sampling_options,
    click.option("--seed", type=int, default=0, show_default=True, help="Random seed."),
    device_options,
    chat_template_options,
)  # fmt: skip
"""The options of a command that loads a base with adapters and samples from them."""
