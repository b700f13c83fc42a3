"""Out-of-memory errors, recognised on any device."""

from __future__ import annotations

import torch

_SIGNS = ("out of memory", "not enough memory", "DefaultCPUAllocator", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a smaller batch may succeed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def free_cached(device: torch.device) -> None:
    """Return the allocator's cached memory to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
