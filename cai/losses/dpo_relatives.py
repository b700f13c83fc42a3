"""Losses of preference pairs beside DPO's: IPO, robust DPO, and SimPO, which needs no reference.

All take log-probabilities of whole responses (sums over their tokens, in nats) and return the terms
of `dpo_loss`. Soft labels weigh the loss of both outcomes: p·L(chosen wins) + (1−p)·L(rejected
wins), where None is p = 1.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from cai.losses.dpo import DpoTerms
from cai.losses.validation import validate_dimensions, validate_positive


def ipo_loss(
    policy: tuple[Tensor, Tensor],
    reference: tuple[Tensor, Tensor],
    lengths: tuple[Tensor, Tensor],
    beta: float,
    probabilities: Tensor | None = None,
) -> DpoTerms:
    """IPO loss of each pair: (h − 1/(2β))² with h = Δ(chosen)/|chosen| − Δ(rejected)/|rejected|.

    Δ = log π − log π_ref. policy, reference: of chosen and of rejected, [P] each. lengths: tokens
    of each response, [P], above 0. beta: above 0; h is drawn to 1/(2β), and no further, which is
    what keeps the policy near the reference where labels are certain. probabilities: as above; h is
    then drawn to (p − ½)/β. The rewards are β·Δ/|y|.
    Raises `ValueError` if shapes differ and for a beta that is not above 0.

    Azar et al. 2023 (arXiv 2310.12036), equation 17, whose τ is β. The means over tokens are not in
    the paper; its authors confirmed them to TRL, and without them the loss grows with the length.
    """
    _validate(policy, reference, lengths)
    validate_positive("beta", beta)
    chosen, rejected = (
        (now - before) / length
        for now, before, length in zip(policy, reference, lengths, strict=True)
    )
    h, target = chosen - rejected, 1 / (2 * beta)
    losses = _expected((h - target) ** 2, (h + target) ** 2, probabilities)
    return DpoTerms(losses, (beta * chosen).detach(), (beta * rejected).detach())


def robust_dpo_loss(
    policy: tuple[Tensor, Tensor],
    reference: tuple[Tensor, Tensor],
    beta: float,
    label_smoothing: float,
    probabilities: Tensor | None = None,
) -> DpoTerms:
    """Robust DPO loss of each pair: ((1−ε)·(−log σ(z)) − ε·(−log σ(−z))) / (1 − 2ε).

    z = β·[Δ(chosen) − Δ(rejected)], as in DPO. policy, reference: as in `ipo_loss`. beta: above 0.
    label_smoothing: ε, the share of labels that are thought to be flipped, 0 to below ½; 0 is DPO.
    Its mean over flipped and right labels is DPO's loss on the right ones, so that it is not
    biased by the flips; of a single pair it may be below 0. probabilities: as above. The rewards
    are β·Δ.
    Raises `ValueError` if shapes differ, for a beta that is not above 0, and for another ε.

    Chowdhury et al. 2024 (arXiv 2403.00409), equation 10.
    """
    _validate(policy, reference)
    validate_positive("beta", beta)
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}: it must be 0 to below 0.5")
    chosen, rejected = (
        beta * (now - before) for now, before in zip(policy, reference, strict=True)
    )
    z = chosen - rejected
    right, wrong = (1 - label_smoothing), label_smoothing

    def robust(z: Tensor) -> Tensor:
        return (wrong * logsigmoid(-z) - right * logsigmoid(z)) / (right - wrong)

    losses = _expected(robust(z), robust(-z), probabilities)
    return DpoTerms(losses, chosen.detach(), rejected.detach())


def simpo_loss(
    policy: tuple[Tensor, Tensor],
    lengths: tuple[Tensor, Tensor],
    beta: float,
    margin: float,
    probabilities: Tensor | None = None,
) -> DpoTerms:
    """SimPO loss of each pair: −log σ(β/|chosen|·log π(chosen) − β/|rejected|·log π(rejected) − γ).

    No reference model. policy, lengths: as in `ipo_loss`. beta: above 0. margin: γ, by how much the
    better response ought to lead. probabilities: as above; whichever side wins has to lead by γ.
    The rewards are β/|y|·log π(y).
    Raises `ValueError` if shapes differ and for a beta that is not above 0.

    Meng et al. 2024 (arXiv 2405.14734), equation 6.
    """
    _validate(policy, lengths)
    validate_positive("beta", beta)
    chosen, rejected = (
        beta * logprobs / length for logprobs, length in zip(policy, lengths, strict=True)
    )
    lead = chosen - rejected
    losses = _expected(-logsigmoid(lead - margin), -logsigmoid(-lead - margin), probabilities)
    return DpoTerms(losses, chosen.detach(), rejected.detach())


def _expected(chosen_wins: Tensor, rejected_wins: Tensor, probabilities: Tensor | None) -> Tensor:
    if probabilities is None:
        return chosen_wins
    validate_dimensions(1, probabilities=probabilities, losses=chosen_wins)
    return probabilities * chosen_wins + (1 - probabilities) * rejected_wins


def _validate(*pairs: tuple[Tensor, Tensor]) -> None:
    named = {f"tensor {n}": tensor for n, tensor in enumerate(t for pair in pairs for t in pair)}
    validate_dimensions(1, **named)
