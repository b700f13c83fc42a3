"""Hidden states of a causal language model, without its head.

Which architectures support this is tested on the model itself, not looked up in a list: `head_fits`
compares the head of `logprobs.head_of` with the model's own logits, and `rows_pack` compares packed
rows with the same texts alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cai.models.logprobs import head_of, logits
from cai.models.memory import is_out_of_memory
from cai.models.rows import AGREE, AGREE_HALF, text_config

SHORT_WINDOW = 64
"""Longest sliding window that the test of an architecture exceeds."""


def hidden_states(
    model: Any, ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None
) -> Tensor:
    """Hidden states after the final norm.

    ids: int64 [B, T]. mask: bool [B, T], True where a token counts; padding stands on the right,
    where causal attention never looks, so the mask is checked (on a CPU, where that costs nothing)
    and not handed on. positions: int64 [B, T], given alone; where they start again at 0 another
    text begins (transformers builds the mask: `masking_utils.find_packed_sequence_indices`).
    Returns [B, T, H] in the model's dtype; padding gives finite numbers that mean nothing.
    """
    if mask is not None and positions is not None:
        raise ValueError("a packed row has no mask: let its padding be a text of its own")
    if mask is not None and mask.device.type == "cpu" and bool((mask[:, 1:] > mask[:, :-1]).any()):
        raise ValueError("padding must stand on the right")
    inputs = {"input_ids": ids, "use_cache": False}
    if positions is not None:
        inputs["position_ids"] = positions
    hidden: Tensor = model.base_model(**inputs).last_hidden_state
    return hidden


@torch.no_grad()
def head_fits(model: Any) -> bool:
    """Whether hidden states and head together give the model's own logits."""
    ids = _texts(model, [8])[0][None]

    def fits() -> bool:
        whole = model(input_ids=ids, use_cache=False).logits[0].float()
        return _close(logits(hidden_states(model, ids)[0], head_of(model)), whole, model)

    return _test(model, fits)


@torch.no_grad()
def rows_pack(model: Any) -> bool:
    """Whether texts packed into rows give what each gives alone."""
    window = getattr(text_config(model), "sliding_window", None) or 0
    long = 8 + (window if window <= SHORT_WINDOW else 0)
    texts = _texts(model, [long, 1, 5, 5, long, 1])
    ids = torch.stack([torch.cat(texts[:3]), torch.cat(texts[3:])])
    positions = torch.stack(
        [torch.cat([torch.arange(len(t)) for t in row]) for row in (texts[:3], texts[3:])]
    ).to(ids.device)

    def packs() -> bool:
        packed = hidden_states(model, ids, positions=positions).flatten(0, 1)
        alone = torch.cat([hidden_states(model, text[None])[0] for text in texts])
        return _close(packed, alone, model)

    return _test(model, packs)


def _texts(model: Any, lengths: list[int]) -> list[Tensor]:
    """Random token ids, the same at every call."""
    weight = model.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(weight.shape[0], (n,), generator=generator).to(weight.device) for n in lengths
    ]


def _close(ours: Tensor, theirs: Tensor, model: nn.Module) -> bool:
    bound = AGREE.get(next(model.parameters()).dtype, AGREE_HALF)
    ours, theirs = ours.float(), theirs.float()
    spread = (theirs - theirs.mean(dim=1, keepdim=True)).norm(dim=1)
    return bool(((ours - theirs).norm(dim=1) <= bound * spread + 1e-6).all())


def _test(model: nn.Module, attempt: Callable[[], bool]) -> bool:
    try:
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            return attempt()
    except Exception as error:  # an architecture that takes no such inputs: not for us
        if is_out_of_memory(error):
            raise
        return False
