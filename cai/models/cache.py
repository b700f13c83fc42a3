"""The KV cache of many conversations, one preallocated row each, and their attention masks.

A transformers model calls `SlotCache` in place of its own cache: it has `update` and
`get_seq_length`, and tracks the rows and positions that the current forward writes to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

ROOM = 256
"""Initial capacity of a row in tokens; doubled whenever a conversation exceeds it."""


class SlotCache:
    """The KV cache: keys and values of each layer, [slots, heads, room, head size].

    A forward works on neighbouring rows; `aim` sets which ones, and the positions of their tokens.
    """

    is_compileable = False

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.room = ROOM
        self._layers: dict[int, list[Tensor]] = {}
        self._first = 0
        self._positions = torch.zeros(0, 0, dtype=torch.long)
        self._start: int | None = None
        self._length = 0

    def aim(self, first: int, starts: Sequence[int], width: int, device: torch.device) -> Tensor:
        """Prepare a forward of `width` tokens a row, at `starts` in the rows from `first` on.

        Returns the positions, int64 [rows, width].
        """
        self._first = first
        self._start = starts[0] if len(set(starts)) == 1 else None
        self._length = max(starts) + width
        while self.room < self._length:
            self.room *= 2
        begin = torch.tensor(starts, device=device)[:, None]
        self._positions = begin + torch.arange(width, device=device)
        return self._positions

    @property
    def length(self) -> int:
        """The number of keys that the current forward sees, in the longest row."""
        return self._length

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values [rows, heads, width, size]; return all up to `length`."""
        layer = self._layers.get(layer_idx)
        if layer is None:
            layer = self._layers[layer_idx] = [
                t.new_zeros(self.slots, t.shape[1], self.room, t.shape[3]) for t in (keys, values)
            ]
        if layer[0].shape[2] < self.room:  # a layer as a whole, so that a failure leaves none torn
            layer[:] = [_grow(buffer, self.room) for buffer in layer]
        last = self._first + keys.shape[0]
        for buffer, new in zip(layer, (keys, values), strict=True):
            if self._start is not None:
                buffer[self._first : last, :, self._start : self._length] = new
            else:
                rows = torch.arange(self._first, last, device=new.device)[:, None]
                buffer[rows, :, self._positions] = new.transpose(1, 2)
        k, v = (buffer[self._first : last, :, : self._length] for buffer in layer)
        return k, v

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Zero: positions and masks are always given explicitly."""
        return 0

    def swap(self, a: int, b: int) -> None:
        """Exchange two rows."""
        for layer in self._layers.values():
            for buffer in layer:
                buffer[[a, b]] = buffer[[b, a]]

    def resize(self, slots: int) -> None:
        """Keep the first `slots` rows."""
        self.slots = slots
        for layer in self._layers.values():
            for i, buffer in enumerate(layer):
                layer[i] = buffer[:slots].clone()

    def clear(self) -> None:
        """Clear all rows and free their memory."""
        self._layers.clear()
        self.room = ROOM


def _grow(buffer: Tensor, room: int) -> Tensor:
    """A copy with room for more tokens: [slots, heads, room, size]."""
    wide = buffer.new_zeros(*buffer.shape[:2], room, buffer.shape[3])
    wide[:, :, : buffer.shape[2]] = buffer
    return wide


def causal_mask(positions: Tensor, length: int, window: int | None = None) -> Tensor:
    """The causal attention mask: boolean [rows, 1, width, length], True where a query sees a key.

    positions: of the queries [rows, width]. A query at p sees keys 0 … p, with a sliding window
    the last `window` of them: p - window + 1 … p.
    """
    keys = torch.arange(length, device=positions.device)
    mask = keys <= positions[:, :, None]
    if window is not None:
        mask &= keys > positions[:, :, None] - window
    return mask[:, None]


class Masks:
    """Makes attention masks in the form that a model needs.

    by_type: a model with several types of layers needs a dict of masks by the type's name; other
    models need one mask.
    """

    def __init__(self, config: Any, dtype: torch.dtype, by_type: bool) -> None:
        window = getattr(config, "sliding_window", None)
        if getattr(config, "use_sliding_window", True) is False:
            window = None
        self.window: int | None = window
        self.types = sorted(set(getattr(config, "layer_types", None) or ())) if by_type else []
        self.additive = getattr(config, "_attn_implementation", "sdpa") != "sdpa"
        self.dtype = dtype

    def __call__(self, positions: Tensor, length: int) -> Any:
        """positions: of the queries [rows, width]; length: how many keys there are."""
        if not self.types:
            return self._form(causal_mask(positions, length, self.window))
        masks = {}
        for kind in self.types:
            window = self.window if "sliding" in kind else None
            masks[kind] = self._form(causal_mask(positions, length, window))
        return masks

    def _form(self, mask: Tensor) -> Tensor:
        if not self.additive:
            return mask
        out = torch.zeros(mask.shape, dtype=self.dtype, device=mask.device)
        return out.masked_fill_(~mask, torch.finfo(self.dtype).min)
