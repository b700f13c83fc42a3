"""Supervised fine-tuning: cross-entropy on the tokens of responses."""

from __future__ import annotations

from torch import Tensor

from cai.losses.validation import validate_dimensions, validate_positive


def sft_loss(logprobs: Tensor, total: float) -> Tensor:
    """−Σ log π(token) / total: a scalar, in nats a token.

    logprobs: [N], of the response tokens in this part of the batch. total: response tokens of the
    whole, accumulated batch. A mean over each part would weigh a token by how short its part is.
    Raises `ValueError` for another shape and for a total that is not above 0.
    """
    validate_dimensions(1, logprobs=logprobs)
    validate_positive("total", total)
    return -logprobs.sum() / total
