"""Keys and values of many conversations: one preallocated row a conversation, and masks for them.

`SlotCache` is what a transformers model calls in place of its own cache: it knows `update` and
`get_seq_length`, and which rows and positions the running forward writes to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

ROOM = 256
"""Tokens that a row has room for at first; doubled whenever a conversation outgrows it."""


class SlotCache:
    """Rows of keys and values, each layer [slots, heads, room, head size].

    A forward works on neighbouring rows: `aim` says which, and where their tokens go.
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
        """Keys that the running forward sees, the longest row's."""
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
            layer[:] = [_widened(held, self.room) for held in layer]
        last = self._first + keys.shape[0]
        for held, new in zip(layer, (keys, values), strict=True):
            if self._start is not None:
                held[self._first : last, :, self._start : self._length] = new
            else:
                rows = torch.arange(self._first, last, device=new.device)[:, None]
                held[rows, :, self._positions] = new.transpose(1, 2)
        k, v = (held[self._first : last, :, : self._length] for held in layer)
        return k, v

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Zero: positions and masks are always given explicitly."""
        return 0

    def swap(self, a: int, b: int) -> None:
        """Exchange two rows."""
        for layer in self._layers.values():
            for held in layer:
                held[[a, b]] = held[[b, a]]

    def resize(self, slots: int) -> None:
        """Keep the first `slots` rows."""
        self.slots = slots
        for layer in self._layers.values():
            for i, held in enumerate(layer):
                layer[i] = held[:slots].clone()

    def clear(self) -> None:
        """Forget all rows and give their memory back."""
        self._layers.clear()
        self.room = ROOM


def _widened(held: Tensor, room: int) -> Tensor:
    """A copy with more room: [slots, heads, room, size]."""
    wide = held.new_zeros(*held.shape[:2], room, held.shape[3])
    wide[:, :, : held.shape[2]] = held
    return wide


def causal_mask(positions: Tensor, length: int, window: int | None = None) -> Tensor:
    """Which keys a query sees: boolean [rows, 1, width, length], True means seen.

    positions: of the queries [rows, width]. A query at p sees keys 0 … p, with a sliding window
    the last `window` of them: p - window + 1 … p.
    """
    keys = torch.arange(length, device=positions.device)
    mask = keys <= positions[:, :, None]
    if window is not None:
        mask &= keys > positions[:, :, None] - window
    return mask[:, None]


class Masks:
    """Builds the attention mask in the form that a model takes.

    by_type: a model whose layers differ in kind takes a dict of masks by the kind's name; other
    models take one mask.
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
