"""Named LoRA adapters on one frozen model, and which of them its forward uses.

PEFT's `set_adapter` also turns gradients on for the adapter it names and off for all others, and
`disable_adapter` turns all off. A policy's forward, a switch to the reference and a backward pass
would then train nothing, without an error. Here, to switch never changes what is trained.

Masters are float32 whatever the base's dtype, and a fresh adapter depends on its seed alone: each
A is drawn from (seed, its place), uniform in ±1/√fan_in, and each B is 0 (Hu et al. 2021, arXiv
2106.09685), so it changes nothing until it is trained.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cai.errors import ModelError, UsageError
from cai.models.adapter_files import MERGE_IT, read_adapter, write_adapter
from cai.models.folders import local_folder
from cai.models.libraries import first_line, quiet
from cai.models.names import part_of_run
from cai.text.seeds import derive

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Settings of a new LoRA adapter.

    r: rank. alpha: the adapter's output is scaled by alpha / r. dropout: on its input, in training.
    targets: names of linear layers ("q_proj"); "all-linear" for all but the head, with the experts
    of a mixture of experts where PEFT takes them for layers; or "all", which always has them.
    Raises `UsageError` for invalid values.
    """

    r: int = 16
    alpha: float = 32
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        if self.r < 1:
            raise UsageError(f"LoRA rank {self.r} is below 1", hint="Common ranks are 8 to 64.")
        if not self.alpha > 0:
            raise UsageError(f"LoRA alpha {self.alpha} is not above 0", hint="Twice r is common.")
        if not 0 <= self.dropout < 1:
            raise UsageError(
                f"LoRA dropout {self.dropout} is not a share", hint="Use 0 up to, not with, 1."
            )
        if self.targets == "all" and self.dropout:
            raise UsageError(
                "LoRA on experts can't have dropout", hint="Use 0, or the targets all-linear."
            )

    def config(self, model: nn.Module | None = None) -> Any:
        """The settings as PEFT's `LoraConfig`. model: whose experts the targets "all" have."""
        from peft import LoraConfig

        targets = self.targets if isinstance(self.targets, str) else list(self.targets)
        experts = expert_weights(model) if model is not None and targets == "all" else []
        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules="all-linear" if targets == "all" else targets,
            target_parameters=experts or None,
            task_type="CAUSAL_LM",
        )


def expert_weights(model: nn.Module) -> list[str]:
    """The fused weights of experts, [experts, in, out] or transposed, as PEFT is to find them."""
    names = {
        ".".join(path.split(".")[-2:])
        for path, parameter in model.named_parameters()
        if parameter.dim() == 3 and ".experts." in path
    }
    return sorted(names)


class Adapters:
    """The adapters of one model. `active` is the one that its forward uses; None is the base."""

    def __init__(self, model: nn.Module, base: str) -> None:
        self.model = model
        self.base = base
        """What `adapter_config.json` names as the base model."""
        self.active: str | None = None
        self._peft: Any = None
        self._layers: list[Any] = []

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapters, in the order in which they were added."""
        return tuple(self._peft.peft_config) if self._peft is not None else ()

    def require(self, name: str) -> None:
        """Raise `ModelError` if there is no adapter with this name."""
        if name not in self.names:
            names = ", ".join(self.names) or "none yet"
            raise ModelError(f"There is no adapter called {name!r}", hint=f"There are: {names}.")

    # -- making ---------------------------------------------------------------------------------

    def add(self, name: str, config: Any, seed: int, label: str = "") -> None:
        """Add a new, frozen adapter to the model. The first one becomes active.

        label: the name of a saved adapter in errors.
        """
        if name in self.names:
            raise ModelError(f"There is an adapter called {name!r} already", hint="Name it anew.")
        if not _NAME.fullmatch(name):
            raise ModelError(
                f"{name!r} can't be an adapter's name", hint="Use letters, digits, - and _."
            )
        if (place := self._outside_layers(config)) is not None:
            tied = " (tied to the embeddings)" if self._tied() else ""
            raise ModelError(
                f"The adapter {label or name} changes {place}{tied}, and only layers between the"
                " embeddings and the head may be changed",
                hint=MERGE_IT if label else "Leave it out of the targets.",
            )
        try:
            # PEFT draws from the global state, which nobody may notice.
            with (
                quiet(),
                torch.random.fork_rng(devices=[]),
                same_training(self.model.parameters()),
            ):
                self._inject(name, self._without_routers(deepcopy(config)))
        except (ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
            raise ModelError(
                f"The adapter {label or name} can't be put on {self.base}: {first_line(error)}",
                hint="Its targets must name linear layers of this model; all-linear always does.",
            ) from error
        if len(self.names) == 1:
            self.active = name
        self.activate(self.active)
        self._draw(name, seed)

    def _outside_layers(self, config: Any) -> str | None:
        """The first embedding or output layer among the config's targets; None without one."""
        from peft.tuners.tuners_utils import check_target_module_exists

        if config.target_modules == "all-linear":
            return None
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        for place, module in self.model.named_modules():
            outside = module is head or isinstance(module, nn.Embedding)
            if outside and check_target_module_exists(config, place):
                return str(place)
        return None

    def _without_routers(self, config: Any) -> Any:
        """The config without linear layers that compute more than a product.

        Routers of Llama 4 and Phi MoE are such layers: they return their choice of experts, too,
        and an adapter beside them breaks the forward.
        """
        if config.target_modules == "all-linear":
            others = {
                place
                for place, module in self.model.named_modules()
                if isinstance(module, nn.Linear) and type(module).forward is not nn.Linear.forward
            }
            if others:
                config.exclude_modules = sorted(others.union(config.exclude_modules or ()))
        return config

    def _tied(self) -> bool:
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        embeddings = self.model.get_input_embeddings()  # type: ignore[operator]
        return head is not None and head.weight is embeddings.weight

    def _inject(self, name: str, config: Any) -> None:
        from peft import get_peft_model
        from peft.tuners.tuners_utils import BaseTunerLayer

        if self._peft is None:
            self._peft = get_peft_model(self.model, config, adapter_name=name)
        else:
            self._peft.add_adapter(name, config)
        self._layers = [m for m in self.model.modules() if isinstance(m, BaseTunerLayer)]

    def _remove(self, name: str) -> None:
        with quiet(), same_training(self.model.parameters()):
            self._peft.delete_adapter(name)
        self.activate(None if self.active == name else self.active)

    @torch.no_grad()
    def _draw(self, name: str, seed: int) -> None:
        for key, parameter in self.parameters(name).items():
            parameter.requires_grad_(False)
            if ".lora_A." in key:
                generator = torch.Generator().manual_seed(derive(seed, key))
                bound = parameter[0].numel() ** -0.5
                values = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                parameter.copy_(values)

    def copy(self, source: str, target: str) -> None:
        """Add a frozen copy of an adapter under the name `target`."""
        self.require(source)
        self.add(target, self._peft.peft_config[source], seed=0)
        self.load_state(target, self.state(source))

    # -- switching ------------------------------------------------------------------------------

    def activate(self, name: str | None) -> None:
        """Let the model's forward use this adapter, or none. `requires_grad` does not change."""
        if name is not None:
            self.require(name)
        own = (p for layer in self._layers for p in layer.parameters())
        with same_training(own):
            for layer in self._layers:
                if name is not None:
                    layer.set_adapter(name)
                layer.enable_adapters(name is not None)
        self.active = name

    @contextlib.contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Use this adapter, or none, in forwards inside the block; then the previous one again."""
        before = self.active
        if name != before:
            self.activate(name)
        try:
            yield
        finally:
            if name != before:
                self.activate(before)

    def merge(self, name: str) -> Any:
        """Merge an adapter into the base's weights; return the model without adapters.

        W + (alpha / r)·BA, computed in the base's dtype. No adapter is left on the model.
        Raises `ModelError` where the adapter can't be merged.
        """
        self.require(name)
        try:
            with quiet():
                merged = self._peft.merge_and_unload(safe_merge=True, adapter_names=[name])
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise ModelError(
                f"The adapter can't be merged into {self.base}: {first_line(error)}",
                hint="It can be used as it is, with --adapter.",
            ) from error
        self._peft, self._layers, self.active = None, [], None
        return merged

    # -- content --------------------------------------------------------------------------------

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """An adapter's parameters by their path in the model, without the adapter's name."""
        self.require(name)
        out = {}
        for path, parameter in self.model.named_parameters():
            parts = path.split(".")
            for at in range(1, len(parts)):
                if parts[at] == name and parts[at - 1].startswith("lora_"):
                    out[".".join(parts[:at] + parts[at + 1 :])] = parameter
        return out

    def state(self, name: str) -> dict[str, Tensor]:
        """Copies of an adapter's tensors, on the CPU."""
        return {k: p.detach().to("cpu", copy=True) for k, p in self.parameters(name).items()}

    def load_state(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite an adapter's tensors. Raises `ModelError` where names or shapes differ."""
        overwrite(self.parameters(name), tensors, f"the adapter {name}")

    def save(self, name: str, folder: Path) -> None:
        """Write `adapter_config.json` and `adapter_model.safetensors`, as PEFT reads them.

        Equal adapters give equal bytes. Raises `ModelError` for an unknown name.
        """
        tensors = self.state(name)
        write_adapter(folder, self._peft.peft_config[name], tensors, self.base)

    def no_dropout(self, name: str) -> None:
        """Turn an adapter's dropout off for good, in what is saved too."""
        self._peft.peft_config[name].lora_dropout = 0.0
        for place, module in self.model.named_modules():
            if place.endswith(f".lora_dropout.{name}") and isinstance(module, nn.Dropout):
                module.p = 0.0

    def load(self, name: str, folder: str) -> None:
        """Add a saved LoRA adapter in PEFT's layout to the model, frozen.

        folder: a directory, a hub id or a training run's folder. Raises `ModelError` for pickles,
        for other kinds of adapter, and where it does not fit this model.
        """
        config, tensors = read_adapter(local_folder(part_of_run(folder, "adapter")))
        self.add(name, config, seed=0, label=folder)
        try:
            overwrite(self.parameters(name), tensors, f"the adapter {folder}")
        except ModelError:
            self._remove(name)
            raise


@contextlib.contextmanager
def same_training(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Restore each parameter's `requires_grad` after the block, whatever happened inside."""
    before = [(p, p.requires_grad) for p in parameters]
    try:
        yield
    finally:
        for parameter, requires_grad in before:
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)


@torch.no_grad()
def overwrite(
    parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor], what: str
) -> None:
    """Copy tensors into parameters of the same names and shapes. Raises `ModelError`."""
    for key in sorted(parameters.keys() | tensors.keys()):
        here, there = parameters.get(key), tensors.get(key)
        if here is None or there is None or here.shape != there.shape:
            shapes = [str(tuple(t.shape)) if t is not None else "none" for t in (here, there)]
            raise ModelError(
                f"{what[0].upper()}{what[1:]} does not fit: {key} is {shapes[0]} in the model and "
                f"{shapes[1]} in the file",
                hint="Weights fit the base model and the settings that they were trained with.",
            )
    for key, parameter in parameters.items():
        parameter.copy_(tensors[key])
