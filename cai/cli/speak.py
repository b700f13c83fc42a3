"""What `merge`, `chat` and `compare` share: trained adapters, and a base that answers as each."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from cai.errors import CaiError, PromptError
from cai.text.terminal import visible
from cai.train.config import FORMATS

if TYPE_CHECKING:
    from cai.backends.local import LocalBackend
    from cai.models.backbone import Backbone
    from cai.train.lineage import Adapter
    from cai.types import Generation, Messages, Sampling

BASE = "base"
"""What the base alone is called, with no adapter on it."""


def nearest(wanted: str, known: Sequence[str]) -> str:
    """`Did you mean 'sft'?` where one of the known names is near, else all of them."""
    close = get_close_matches(wanted, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(known)}."


class Voices:
    """One base model that answers as itself and as each adapter put on it, loaded once.

    Each voice has a cache of its own, since what one has read is of no use to another.
    """

    def __init__(self, backbone: Backbone, model: str, at_once: int) -> None:
        self._backbone = backbone
        self._model = model
        self._at_once = at_once
        self._inside: dict[str, str | None] = {BASE: None}
        self._backends: dict[str, LocalBackend] = {}

    @classmethod
    def load(
        cls,
        model: str | None,
        adapters: Sequence[str],
        *,
        device: str,
        dtype: str,
        at_once: int,
    ) -> Voices:
        """Load a base and adapters; without a model, the base that the first adapter names.

        at_once: answers written together.
        Raises `CaiError` for what can't be loaded.
        """
        from cai.models.backbone import Backbone
        from cai.train.lineage import find_adapter

        found = [find_adapter(adapter) for adapter in adapters]
        base = model or (found[0].base if found else "") or "miniature"
        voices = cls(Backbone.load(base, device=device, dtype=dtype), base, at_once)
        for adapter in found:
            voices.put(adapter)
        return voices

    @property
    def names(self) -> tuple[str, ...]:
        """The base first, then the adapters in the order in which they came."""
        return tuple(self._inside)

    @property
    def title(self) -> str:
        """The base's own name."""
        return self._backbone.name

    def put(self, adapter: Adapter) -> str:
        """Put an adapter beside the others; returns the name under which it answers."""
        if not adapter.fits(self._model):
            tell(f"{adapter.name} was trained on another base than {self.title}; it may not fit.")
        inside = f"voice{len(self._inside)}"
        self._backbone.load_adapter(inside, adapter.folder)
        name, number = adapter.name, 2
        while name in self._inside:
            name, number = f"{adapter.name}-{number}", number + 1
        self._inside[name] = inside
        return name

    def answer(self, name: str, messages: Messages, sampling: Sampling) -> Generation:
        """One answer to a conversation that goes on. Raises `CaiError` where there is none."""
        answer = self.answers(name, [(messages, sampling)])[0]
        if isinstance(answer, CaiError):
            raise answer
        return answer

    def answers(
        self, name: str, asked: Sequence[tuple[Messages, Sampling]]
    ) -> list[Generation | CaiError]:
        """As one voice, an answer to each conversation, or the reason why there is none."""
        from cai.types import Generate, Generation

        out: dict[int, Generation | CaiError] = {}
        with self._backbone.using(self._inside[name]):
            backend = self._backend(name)
            for place, (messages, sampling) in enumerate(asked):
                try:
                    prepared = backend.prepare(Generate(messages, sampling))
                    backend.submit(place, [prepared], f"conversation {place}")
                except PromptError as error:
                    out[place] = error
            while done := backend.poll():
                for one in done:
                    result = one.error or one.results[0]
                    assert isinstance(result, Generation | CaiError)
                    out[one.ticket] = result
        return [out[place] for place in range(len(asked))]

    def _backend(self, name: str) -> LocalBackend:
        """The sampler of a voice; made while its weights are in use, which it tries out."""
        from cai.backends.local import LocalBackend
        from cai.models.load import LoadedModel

        if name not in self._backends:
            b = self._backbone
            loaded = LoadedModel(
                b.inner, b.encoder, name, b.fingerprint, b.device, b.dtype, b.context
            )
            self._backends[name] = LocalBackend(loaded, self._at_once)
        return self._backends[name]


def speaking(function: Any) -> Any:
    """The options of a command that loads a base with adapters and samples from them."""
    for option in reversed((
        click.option(
            "--model", "-m", default=None,
            help="The base: a hub id, a directory, `miniature`, or the folder of a run that"
            " trained all weights.  [default: what the first adapter was trained on]",
        ),
        click.option(
            "--adapter", "-a", "adapters", multiple=True,
            help="A training run's folder, or a LoRA adapter; may be given several times.",
        ),
        click.option(
            "--temperature", type=click.FloatRange(min=0), default=1.0, show_default=True,
            help="0 always takes the likeliest token.",
        ),
        click.option(
            "--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True
        ),
        click.option(
            "--max-new-tokens", type=click.IntRange(min=1), default=256, show_default=True
        ),
        click.option("--seed", type=int, default=0, show_default=True, help="Fixes every draw."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."),
        click.option(
            "--dtype", type=click.Choice(["auto", *FORMATS]), default="auto", show_default=True,
            help="auto: bfloat16 where it pays, else float32.",
        ),
    )):  # fmt: skip
        function = option(function)
    return function


def tell(text: str) -> None:
    """A warning on stderr."""
    click.echo(f"cai: {visible(text)}", err=True)
