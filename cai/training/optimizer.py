"""The optimizer: AdamW, a learning rate by schedule, clipped gradients, its state as tensors.

Where a run has several processes, gradients are summed over them before they are clipped, so each
takes the same step. That is all that `DistributedDataParallel` would do: gradients are those of an
adapter, a few megabytes, and there is one sum a step, after the micro-batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cai.training.processes import world
from cai.training.sharding import assign, clip_gradients, is_sharded, like, whole


@dataclass(frozen=True, slots=True)
class Schedule:
    """A learning rate as a function of the step: linear warm-up, then down to 0, or flat.

    kind: cosine, linear or constant. peak: the highest rate. steps: of the whole run. warmup: share
    of the steps in which the rate rises.
    """

    kind: str
    peak: float
    steps: int
    warmup: float

    def rate(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        rising = math.ceil(self.warmup * self.steps)
        if step < rising:
            return self.peak * (step + 1) / rising
        if self.kind == "constant":
            return self.peak
        done = (step - rising) / max(1, self.steps - rising)
        return self.peak * (
            1 - done if self.kind == "linear" else (1 + math.cos(math.pi * done)) / 2
        )


class Optimizer:
    """Takes AdamW steps on named parameters."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        schedule: Schedule,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
    ) -> None:
        self.parameters = dict(parameters)
        self.schedule = schedule
        self.max_grad_norm = max_grad_norm
        # Apart, since AdamW steps on all parameters of a group at once, and can't on both kinds.
        groups = [
            {"params": group}
            for kind in (False, True)
            if (group := [p for p in self.parameters.values() if is_sharded(p) == kind])
        ]
        self._adam = torch.optim.AdamW(groups, lr=schedule.peak, weight_decay=weight_decay)

    def clear(self) -> None:
        """Zero the gradients."""
        self._adam.zero_grad(set_to_none=True)

    def clip(self) -> Tensor:
        """Clip the gradients by their global norm; returns the norm before, not yet on the host.

        Before that they are summed over processes, each of which has those of its rows.
        """
        parameters = list(self.parameters.values())
        world().sum_gradients(p for p in parameters if not is_sharded(p))
        return clip_gradients(parameters, self.max_grad_norm)

    def step(self, number: int) -> None:
        """Take step `number` (from 0) with the current gradients, then zero them."""
        for group in self._adam.param_groups:
            group["lr"] = self.schedule.rate(number)
        self._adam.step()
        self.clear()

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and AdamW's moments by name."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"parameter/{name}"] = whole(parameter)
            for key, value in self._adam.state.get(parameter, {}).items():
                tensors[f"adam/{key}/{name}"] = whole(torch.as_tensor(value))
        return tensors

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `tensors` returned."""
        for name, parameter in self.parameters.items():
            assign(parameter, tensors[f"parameter/{name}"])
            if f"adam/step/{name}" in tensors:
                self._adam.state[parameter] = {
                    "step": tensors[f"adam/step/{name}"].to("cpu", copy=True),
                    "exp_avg": like(tensors[f"adam/exp_avg/{name}"], parameter),
                    "exp_avg_sq": like(tensors[f"adam/exp_avg_sq/{name}"], parameter),
                }
