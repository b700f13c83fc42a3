"""Checks of arguments that torch would silently accept: broadcasting shapes, non-boolean masks."""

from __future__ import annotations

import torch
from torch import Tensor


def validate_shapes(**tensors: Tensor) -> None:
    """Raise `ValueError` unless all tensors have one shape; the names are for the message."""
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(f"shapes differ: {listed}")


def validate_dimensions(count: int, **tensors: Tensor) -> None:
    """Raise `ValueError` unless all tensors have one shape, of `count` dimensions."""
    validate_shapes(**tensors)
    for name, tensor in tensors.items():
        if tensor.ndim != count:
            raise ValueError(f"{name} is {list(tensor.shape)}: it must have {count} dimension(s)")


def validate_mask(mask: Tensor) -> None:
    """Raise `ValueError` unless a mask is of booleans."""
    if mask.dtype != torch.bool:
        raise ValueError(f"the mask is of {mask.dtype}: it must be of torch.bool, True counts")


def validate_positive(name: str, value: float) -> None:
    """Raise `ValueError` unless a number is above 0."""
    if not value > 0:
        raise ValueError(f"{name} is {value}: it must be above 0")
