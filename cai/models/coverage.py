"""Which of a base's weights have an adapter beside them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import nn

_NUMBER = re.compile(r"\.\d+(?=\.|$)")


@dataclass(frozen=True, slots=True)
class AdapterCoverage:
    """How much of a base an adapter is beside.

    adapted: weights that have a part of the adapter beside them; weights: all of the base's.
    without: matrices that have none, with their weights: the largest first, and those of all layers
    as one ("layers.*.mlp.gate"). Vectors, such as norms and biases, are not named.
    """

    adapted: int
    weights: int
    without: tuple[tuple[str, int], ...]

    @property
    def share(self) -> float:
        """The share of the base's weights, 0 to 1."""
        return self.adapted / self.weights if self.weights else 0.0


def coverage(model: nn.Module, name: str) -> AdapterCoverage:
    """What the adapter `name` is beside, on a model that PEFT has put it on."""
    covered = {id(weight) for weight in _adapted(model, name)}
    adapted = weights = 0
    without: Counter[str] = Counter()
    for path, parameter in model.named_parameters():  # a tied weight comes once
        if ".lora_" in path:
            continue
        size = _size(parameter)
        weights += size
        if id(parameter) in covered:
            adapted += size
        elif parameter.dim() > 1 and not path.endswith("bias"):  # of experts, one each
            without[_kind(path)] += size
    ordered = sorted(without.items(), key=lambda item: (-item[1], item[0]))
    return AdapterCoverage(adapted, weights, tuple(ordered))


def _adapted(model: nn.Module, name: str) -> list[Any]:
    """The weights that the adapter's layers stand beside; experts are parameters, not layers."""
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.layer import ParamWrapper

    out = []
    for module in model.modules():
        if isinstance(module, LoraLayer) and name in (*module.lora_A, *module.lora_embedding_A):
            wrapped = isinstance(module, ParamWrapper)
            out.append(module.get_param() if wrapped else module.get_base_layer().weight)
    return out


def _size(parameter: Any) -> int:
    """Weights in a parameter; one of 4 bits holds two in a byte, and knows its shape."""
    state = getattr(parameter, "quant_state", None)
    shape = parameter.shape if state is None else state.shape
    size = 1
    for length in shape:
        size *= int(length)
    return size


def _kind(path: str) -> str:
    """The path of a matrix, with one name for all layers and all experts."""
    path = path.replace(".base_layer", "").removesuffix(".weight").removeprefix("model.")
    return _NUMBER.sub(".*", path)
