"""The KL of distillation is TRL 1.16's, value and gradient, to 1e-5.

Of its `experimental/sdft` the loss over all logits and the one over the k likeliest tokens of the
student with a bucket for the rest (`distillation_add_tail`); its alpha is 1 for the reverse KL and
0 for the forward one. Its top-k always takes the student's tokens; ours takes the teacher's in the
forward direction, as its path for a teacher behind a server does.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cai.losses.distill import Direction, distillation_kl

pytestmark = pytest.mark.peers
pytest.importorskip("trl", reason="needs the peers extra")

BOUND = 1e-5


def peer() -> Any:
    from trl.experimental.sdft import loss_utils

    return loss_utils


def scores(seed: int, rows: int = 6, vocabulary: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, vocabulary, generator=generator)


def compare(student: Tensor, ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=BOUND, atol=BOUND)
    (slope,) = torch.autograd.grad(ours.sum(), student, retain_graph=True)
    (expected,) = torch.autograd.grad(theirs.sum(), student)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(slope, expected, rtol=BOUND, atol=BOUND)


@pytest.mark.parametrize(("direction", "alpha"), [("reverse", 1.0), ("forward", 0.0)])
def test_over_all_tokens(direction: Direction, alpha: float) -> None:
    student, teacher = scores(1).requires_grad_(), scores(2)
    theirs = peer().compute_full_logit_self_distillation_loss(
        student, teacher, distillation_alpha=alpha
    )
    ours = distillation_kl(student.log_softmax(1), teacher.log_softmax(1), direction)
    compare(student, ours, theirs)


@pytest.mark.parametrize("k", [1, 4, 20])
def test_over_the_likeliest(k: int) -> None:
    student, teacher = scores(3).requires_grad_(), scores(4)
    theirs = peer().compute_topk_self_distillation_loss(
        student, teacher, distillation_topk=k, distillation_alpha=1.0, distillation_add_tail=True
    )
    ours = distillation_kl(student.log_softmax(1), teacher.log_softmax(1), "reverse", k)
    compare(student, ours, theirs)


@pytest.mark.parametrize("k", [1, 4, 20])
def test_over_the_teachers_likeliest(k: int) -> None:
    student, teacher = scores(5).requires_grad_(), scores(6)
    top = teacher.topk(k, dim=1).indices
    sides = [x.log_softmax(1).gather(1, top) for x in (student, teacher)]
    theirs = peer().compute_divergence(*map(peer().add_tail_bucket, sides), 0.0)
    ours = distillation_kl(student.log_softmax(1), teacher.log_softmax(1), "forward", k)
    compare(student, ours, theirs)
