"""One base model for all models of a trainer: policy, reference model, reward and value model.

Each of them is a LoRA adapter on one frozen base, and `with backbone.using("policy"):` selects the
weights that a forward uses. In full training (`full`) the base is the policy, and the reference
model is a frozen copy of it.

Only `train_only` decides which parameters are trained; switching adapters does not change that. A
backward pass that recomputes a layer (gradient checkpointing) uses the adapter of its forward.

The base's own dropout is always off, so that log-probabilities of one text can be compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from cai.errors import ModelError
from cai.models.adapters import Adapters, LoraSettings, same_training
from cai.models.hidden import head_fits, hidden_states, rows_pack
from cai.models.libraries import quiet
from cai.models.load import LoadedModel, load_model
from cai.models.logprobs import Head, head_of
from cai.models.rows import text_config
from cai.text.template import TemplateOptions

__all__ = ["POLICY", "REFERENCE", "Backbone", "LoraSettings"]

POLICY = "policy"
"""The name of the weights in full training."""
REFERENCE = "reference"
"""The name of their frozen copy."""


@dataclass(frozen=True)
class _InTraining(LoadedModel):
    """A backbone's weights as a loaded model; place: the adapter that its forwards use."""

    backbone: Any = None
    place: str | None = None

    @contextlib.contextmanager
    def weights(self) -> Iterator[None]:
        """As in `LoadedModel`."""
        with self.backbone.using(self.place):
            yield


class Backbone:
    """A base model with its adapters, made by `load`. All is frozen until `train_only`."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        base: str | None = None,
        full: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        """base: what a saved adapter names as its base model; the model's name by default.

        Raises `ModelError` where the architecture's head is not understood.
        """
        self.model: Any = loaded.model.requires_grad_(False).eval()
        self.encoder = loaded.encoder
        self.name = loaded.name
        self.fingerprint = loaded.fingerprint
        self.device = loaded.device
        self.dtype = loaded.dtype
        self.context = loaded.context
        self.hidden_size: int = text_config(self.model).hidden_size
        self.full = full
        self._adapters = Adapters(self.model, base or loaded.name)
        self._copy: Any = None
        self._on_copy = False
        self._trained: tuple[str, ...] = ()
        self._training = False
        if not head_fits(self.model):
            raise ModelError(
                f"{type(self.model).__name__} computes its logits in a way that is not understood",
                hint="Train another base model.",
            )
        if gradient_checkpointing:
            self._checkpoint()

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        full: bool = False,
        quantize: str | None = None,
        gradient_checkpointing: bool = False,
        template: TemplateOptions | None = None,
    ) -> Backbone:
        """Load a base model.

        name, device, dtype, template: as in `load_model`; with `full`, dtype auto is float32,
        since small updates are lost in bfloat16 weights. quantize: 4bit or 8bit (bitsandbytes,
        CUDA).
        gradient_checkpointing: compute layers again in the backward pass, for less memory.
        Raises `ModelError`.
        """
        if full and quantize:
            raise ModelError(
                f"A base in {quantize} can't be trained in full", hint="Use one or the other."
            )
        dtype = "float32" if full and dtype == "auto" else dtype
        loaded = load_model(name, device, dtype, quantize=quantize, template=template)
        return cls(loaded, base=name, full=full, gradient_checkpointing=gradient_checkpointing)

    # -- adapters -------------------------------------------------------------------------------

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names for `using`, in the order in which they were added."""
        if self.full:
            return (POLICY,) if self._copy is None else (POLICY, REFERENCE)
        return self._adapters.names

    @property
    def active(self) -> str | None:
        """The adapter that forwards use now; None is the base alone."""
        if self.full:
            return REFERENCE if self._on_copy else POLICY
        return self._adapters.active

    def add_adapter(self, name: str, settings: LoraSettings, seed: int) -> None:
        """Add a fresh adapter, which changes nothing until it is trained.

        It is frozen, and the first one becomes active. Equal seeds give equal adapters.
        Raises `ModelError` where the name is taken or no layer fits the targets.
        """
        self._lora("add_adapter")
        self._adapters.add(name, settings.config(self.model), seed)
        self._set_modes()

    def load_adapter(self, name: str, folder: Path | str) -> None:
        """Add a saved LoRA adapter, frozen.

        folder: of PEFT's layout, a training run's, or a hub id. Raises `ModelError` for pickles,
        for other kinds of adapter, and where it does not fit this base.
        """
        self._lora("load_adapter")
        self._adapters.load(name, str(folder))
        self._set_modes()

    def copy_adapter(self, source: str, target: str) -> None:
        """Add a frozen copy of an adapter: the reference of a policy that starts from it."""
        self._lora("copy_adapter")
        self._adapters.copy(source, target)
        self._set_modes()

    def no_dropout(self, name: str) -> None:
        """Turn an adapter's dropout off permanently: PPO needs the same logits in every pass."""
        self._lora("no_dropout")
        self._adapters.no_dropout(name)

    def save_adapter(
        self, name: str, folder: Path | str, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Save an adapter in PEFT's layout; in full training, the whole model and its tokenizer.

        weights: those to save in full training, where the model holds a part of each alone.
        """
        if not self.full:
            self._adapters.save(name, Path(folder))
            return
        with quiet():
            self._owner(name).save_pretrained(
                folder, **({"state_dict": weights} if weights else {})
            )
            self.encoder.save_tokenizer(folder)

    def freeze_reference(self) -> None:
        """In full training: keep a frozen copy of all weights as the reference model."""
        if not self.full:
            raise ModelError(
                "Only a model that is trained in full has a copy as its reference",
                hint="Use copy_adapter, or the base alone.",
            )
        copy = deepcopy(self.model)
        self._copy = copy.requires_grad_(False).eval()

    @property
    def copies(self) -> tuple[nn.Module, ...]:
        """Other whole models in memory: in full training, the frozen reference model."""
        return () if self._copy is None else (self._copy,)

    def _lora(self, what: str) -> None:
        if self.full:
            raise ModelError(
                f"{what}: a model that is trained in full has no adapters",
                hint="Leave out --full, or use the whole weights, called policy.",
            )

    # -- switching ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Use this adapter in forwards inside the block; None is the base alone.

        After the block, whatever happened inside, the previous adapter is active and the same
        parameters are trained as before. Blocks nest. Raises `ModelError` for an unknown name.
        """
        if name is not None or self.full:
            self._require(name)
        before, trained = self.active, self._trained
        with same_training(self.model.parameters()):
            self._activate(name)
            try:
                yield
            finally:
                self._activate(before)
                if self._trained != trained:
                    self._trained = trained
                    self._set_modes()

    def _activate(self, name: str | None) -> None:
        if name == self.active:
            return
        if self.full:
            self._on_copy = name == REFERENCE
        else:
            self._adapters.activate(name)

    def _require(self, name: str | None) -> None:
        if not self.full:
            self._adapters.require(name or "")
        elif name not in self.adapters:
            hint = "freeze_reference() keeps the weights as they are, for using('reference')."
            raise ModelError(f"Trained in full, there are no weights called {name!r}", hint=hint)

    # -- training -------------------------------------------------------------------------------

    def train_only(self, *names: str) -> None:
        """Train exactly these adapters' parameters ("policy": all weights, in full training)."""
        for name in names:
            self._require(name)
        if self.full and REFERENCE in names:
            raise ModelError("The frozen reference can't be trained", hint="Train policy.")
        for name in (POLICY,) if self.full else self.adapters:
            for parameter in self._parameters(name).values():
                parameter.requires_grad_(name in names)
        self._trained = names
        self._set_modes()

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by adapter and path; names and order are stable."""
        return {
            f"{name}.{key}": parameter
            for name in self.adapters
            for key, parameter in self._parameters(name).items()
            if parameter.requires_grad
        }

    def train(self, mode: bool = True) -> None:
        """Turn dropout of the trained adapters and gradient checkpointing on or off.

        Both are off at the start, and must be off to evaluate and to sample from `inner`.
        """
        self._training = mode
        self._set_modes()

    @property
    def training(self) -> bool:
        """Whether dropout and gradient checkpointing are on."""
        return self._training

    def as_model(self, name: str | None) -> LoadedModel:
        """The base with this adapter (None: alone) as a model that answers, while it is trained.

        It shares the weights, so it changes with them; its fingerprint does not.
        """
        return _InTraining(
            self.inner, self.encoder, self.name, self.fingerprint, self.device, self.dtype,
            self.context, backbone=self, place=name,
        )  # fmt: skip

    def _set_modes(self) -> None:
        for name, module in self.model.named_modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = self._training
            elif ".lora_dropout." in name:
                module.training = self._training and name.rpartition(".")[2] in self._trained

    def _parameters(self, name: str) -> dict[str, nn.Parameter]:
        self._require(name)
        return (
            dict(self._owner(name).named_parameters())
            if self.full
            else self._adapters.parameters(name)
        )

    def _owner(self, name: str) -> Any:
        self._require(name)
        return self._copy if name == REFERENCE else self.model

    def _checkpoint(self) -> None:
        # A function, not a bound method: a deep copy of the model must not copy this backbone.
        arguments = {"use_reentrant": False, "context_fn": lambda: self._recompute()}
        enable = getattr(self.model, "activation_checkpointing_enable", None)
        try:
            with quiet():
                (enable or self.model.gradient_checkpointing_enable)(arguments)
        except ValueError as error:
            raise ModelError(
                f"{type(self.model).__name__} has no gradient checkpointing", hint="Turn it off."
            ) from error

    def _recompute(
        self,
    ) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        """The contexts of a layer's forward and of its recomputation."""
        return contextlib.nullcontext(), self.using(self.active)

    # -- forward --------------------------------------------------------------------------------

    @property
    def inner(self) -> Any:
        """The transformers model whose forward uses the active weights."""
        return self._copy if self._on_copy else self.model

    @property
    def head(self) -> Head:
        """The output layer of the active weights, for `token_logprobs`."""
        return head_of(self.inner)

    @cached_property
    def packs(self) -> bool:
        """Whether this model supports packing: several texts in a row, tested on the model."""
        with self.using(POLICY if self.full else None):
            return rows_pack(self.model)

    def hidden_states(
        self, ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Hidden states after the final norm, under the active weights.

        ids: int64 [B, T]. mask: bool [B, T], padding on the right. positions: int64 [B, T] instead
        of a mask, starting at 0 again where another text begins, padding too.
        Returns [B, T, H] in the base's dtype. Raises `ModelError` where rows are packed and the
        architecture can't keep their texts apart (`packs`).
        """
        if positions is not None and not self.packs:
            raise ModelError(
                f"{type(self.model).__name__} can't read several texts in one row",
                hint="Turn packing off.",
            )
        return hidden_states(self.inner, ids, mask, positions)
