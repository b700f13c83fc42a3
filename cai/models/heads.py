"""The scalar head of a reward or value model: one float32 number from a hidden state."""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from cai.errors import ModelError


class ScalarHead(nn.Module):
    """w · h + b, in float32 whatever the dtype of the hidden states.

    hidden_size: H. seed: of w. std: of w's normal distribution; 1 / √(H + 1) by default, which
    keeps scores near 1 at the start (Huang et al. 2024, arXiv 2403.17031, detail 11); 0 makes all
    scores 0 at the start. b starts at 0.
    """

    def __init__(self, hidden_size: int, seed: int = 0, std: float | None = None) -> None:
        super().__init__()
        scale = (hidden_size + 1) ** -0.5 if std is None else std
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(hidden_size, generator=generator) * scale)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: [..., H]. Returns float32 [...]."""
        with torch.autocast(hidden.device.type, enabled=False):
            return hidden.float() @ self.weight + self.bias

    def state(self) -> bytes:
        """Weight and bias as the bytes of a safetensors file; equal heads give equal bytes."""
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        return bytes(save(tensors))

    def load(self, data: bytes) -> None:
        """Load weight and bias from the bytes of `state`. Raises `ModelError` if they don't fit."""
        own = self.state_dict()
        try:
            tensors = load(data)
        except SafetensorError:
            tensors = {}
        if {k: t.shape for k, t in tensors.items()} != {k: t.shape for k, t in own.items()}:
            raise ModelError(
                f"This is not a head for hidden states of size {len(self.weight)}",
                hint="A head fits the base model it was trained on, and is a safetensors file.",
            )
        self.load_state_dict(tensors)
