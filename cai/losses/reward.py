"""Reward model: Bradley-Terry with hard or soft labels, margins, and centering."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from cai.losses.validation import validate_dimensions


def bradley_terry_loss(
    chosen: Tensor,
    rejected: Tensor,
    probabilities: Tensor | None = None,
    margins: Tensor | None = None,
) -> Tensor:
    """Bradley-Terry loss of each pair: p·(−log σ(d)) + (1−p)·(−log σ(−d)), [P].

    d = chosen − rejected − margin, the difference of scores less the margin.

    chosen, rejected: [P] scores. probabilities: [P] in 0 to 1, that chosen is the better response
    (None: 1, the hard label). margins: [P], by how much chosen ought to lead (None: 0).
    Raises `ValueError` if shapes differ.

    Ouyang et al. 2022 (arXiv 2203.02155), equation 1. Soft labels are cross-entropy against the
    judge's probability, as in Bai et al. 2022 (arXiv 2212.08073), section 4.1. The margin is
    Touvron et al. 2023 (Llama 2, arXiv 2307.09288), equation 2.
    """
    validate_dimensions(1, **_present(chosen, rejected, probabilities, margins))
    difference = chosen - rejected
    if margins is not None:
        difference = difference - margins
    if probabilities is None:
        return -logsigmoid(difference)
    return -(probabilities * logsigmoid(difference) + (1 - probabilities) * logsigmoid(-difference))


def centering_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Centering loss of each pair, (chosen + rejected)²: [P]. Bradley-Terry leaves the mean open.

    chosen, rejected: [P] scores. Raises `ValueError` if shapes differ.
    Eisenstein et al. 2023 (arXiv 2312.09244), equation 2; TRL's `center_rewards_coefficient`.
    """
    validate_dimensions(1, chosen=chosen, rejected=rejected)
    return (chosen + rejected) ** 2


def _present(
    chosen: Tensor, rejected: Tensor, probabilities: Tensor | None, margins: Tensor | None
) -> dict[str, Tensor]:
    tensors = {
        "chosen": chosen,
        "rejected": rejected,
        "probabilities": probabilities,
        "margins": margins,
    }
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}
