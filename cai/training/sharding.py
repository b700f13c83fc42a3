"""FSDP2: the layers' weights sharded over the processes of a run, so that a large base fits.

Every process holds a part of each layer, and gathers a layer when a pass comes to it. What is
outside of the layers stays whole: embeddings, output head and final norm, since log-probabilities
are computed from the head's weights directly. So do adapters, which are small: their gradients are
summed as without sharding. In full training the layers' gradients and AdamW's moments are sharded
with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from cai.errors import UsageError
from cai.models.backbone import Backbone
from cai.training.processes import world


def before_sharding(device: str, dtype: str, full: bool) -> tuple[str, str]:
    """Device and dtype to load a base with.

    A base that is sharded over GPUs may be too large for one: it is loaded into the machine's
    memory, and each layer goes to the GPU when it is sharded.
    """
    if not world().sharded or world().device.type == "cpu":
        return device, dtype
    return "cpu", "bfloat16" if dtype == "auto" and not full else dtype


def shard(backbone: Backbone) -> None:
    """Shard a base's layers over the processes, if the run asks for that.

    Before an optimizer holds its parameters. Raises `UsageError` where the architecture's layers
    are not found.
    """
    if not world().sharded:
        return
    for model in (backbone.model, *backbone.copies):
        _shard(model)
    backbone.device = world().device


def _shard(model: Any) -> None:
    from torch.distributed.fsdp import fully_shard

    layers = getattr(model.base_model, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise UsageError(
            f"--parallel fsdp does not find the layers of {type(model).__name__}",
            hint="Use --parallel ddp.",
        )
    here = world()
    mesh = init_device_mesh(here.device.type, (here.size,))
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=_adapters(layer))
    model.to(here.device)  # what stays whole
    # The buffers that layers are gathered in are made in the first pass. Made under the sampler's
    # inference mode, they could not be trained with.
    ids = torch.zeros(1, 2, dtype=torch.long, device=here.device)
    with torch.no_grad():
        model.base_model(input_ids=ids, use_cache=False)


def _adapters(layer: nn.Module) -> set[nn.Parameter]:
    return {parameter for name, parameter in layer.named_parameters() if ".lora_" in name}


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds a part of a tensor alone."""
    return isinstance(tensor, DTensor)


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds: all of it, unless it is sharded."""
    part: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return part.detach()


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its parts. All processes must call it."""
    complete: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return complete.detach()


def like(source: Tensor, target: Tensor) -> Tensor:
    """A copy of a whole tensor, sharded as the target is."""
    copy = source.to(target.device, copy=True)
    if not isinstance(target, DTensor):
        return copy
    sharded: Tensor = distribute_tensor(
        copy, target.device_mesh, target.placements, src_data_rank=None
    )
    return sharded


@torch.no_grad()
def assign(target: Tensor, source: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded."""
    target.copy_(like(source, target) if isinstance(target, DTensor) else source)


def clip_gradients(parameters: Sequence[nn.Parameter], largest: float) -> Tensor:
    """Clip gradients by their global norm, the parts in other processes included.

    Sharded ones are summed over processes first: FSDP has averaged them.

    Returns the norm before, not yet on the host. All processes must call it.
    """
    sharded = [p for p in parameters if is_sharded(p)]
    if not sharded:
        return nn.utils.clip_grad_norm_(parameters, largest)
    for parameter in sharded:
        if parameter.grad is not None:
            parameter.grad.mul_(world().size)
    others = [p for p in parameters if not is_sharded(p)]
    kinds = [group for group in (others, sharded) if any(p.grad is not None for p in group)]
    norms = [
        whole(nn.utils.get_total_norm([p.grad for p in group if p.grad is not None]))
        for group in kinds
    ]
    norm: Tensor = torch.stack(norms).norm()
    for group in kinds:
        nn.utils.clip_grads_with_norm_(group, largest, norm)
    return norm
