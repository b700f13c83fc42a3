"""Micro-batches: rows that fit into memory together, and what happens where memory runs out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from cai.errors import TrainingError
from cai.training.micro_batches import (
    TokenBudget,
    micro_batches,
    process_shares,
    sum_metrics,
)
from cai.training.processes import World, set_world

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("lengths", "tokens", "batches"),
    [
        ([3, 3, 3, 3], 6, [[0, 1], [2, 3]]),
        ([1, 5, 1], 6, [[1], [0, 2]]),  # 2 × 5 = 10 with the padding
        ([9, 1], 6, [[0], [1]]),
        ([2, 2, 2], 100, [[0, 1, 2]]),
        ([], 5, []),
    ],
)
def test_they_fit_and_lose_nothing(
    lengths: list[int], tokens: int, batches: list[list[int]]
) -> None:
    assert micro_batches(lengths, tokens) == batches


def test_groups_stay_apart() -> None:
    """Rows 0 and 1 would fit together, but are not read together."""
    assert TokenBudget(100).split([2, 2, 3, 3], [[0, 3], [2, 1]]) == [[3, 0], [2, 1]]


def test_out_of_memory_cuts_smaller_and_begins_again() -> None:
    """Four rows of 4 tokens: together, then with half of the 16 tokens two at a time."""
    attempts: list[list[int]] = []
    cleared: list[bool] = []

    def work(batch: list[int]) -> int:
        attempts.append(batch)
        if len(batch) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return len(batch)

    budget = TokenBudget(1000)
    results = budget.map(work, [4] * 4, CPU, clear=lambda: cleared.append(True))
    assert results == [2, 2] and attempts == [[0, 1, 2, 3], [0, 1], [2, 3]]
    assert cleared == [True] and budget.tokens == 8


def test_rows_outside_of_the_groups_set_no_limit() -> None:
    """The row of 9 tokens is not read: the two of 2 go one at a time instead of failing."""

    def work(batch: list[int]) -> list[int]:
        if len(batch) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return batch

    assert TokenBudget(9).map(work, [9, 2, 2], CPU, groups=[[1, 2]]) == [[1], [2]]


def test_a_single_row_that_does_not_fit_is_an_error() -> None:
    def work(batch: list[int]) -> None:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(TrainingError, match="a single example of 9 tokens"):
        TokenBudget(20).map(work, [9, 4], CPU)


def test_other_errors_are_passed_on() -> None:
    def work(batch: list[int]) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        TokenBudget(20).map(work, [9], CPU)


@pytest.mark.parametrize(
    ("lengths", "size", "shares"),
    [
        ([5, 4, 3, 3, 1], 2, [[0, 3], [1, 2, 4]]),  # 5 + 3 and 4 + 3 + 1 tokens
        ([7, 2, 2], 2, [[0], [1, 2]]),
        ([4], 3, [[0], [], []]),
    ],
)
def test_processes_share_the_tokens(lengths: list[int], size: int, shares: list[list[int]]) -> None:
    assert process_shares(lengths, size) == shares


@pytest.fixture
def second_of_two() -> Iterator[None]:
    set_world(World(rank=1, size=2, sharded=True))
    yield
    set_world(World())


@pytest.mark.usefixtures("second_of_two")
def test_a_process_reads_its_share_of_every_group() -> None:
    """Of four rows of 3 tokens it has the second and the fourth, of the group of one none."""
    budget = TokenBudget(3)
    assert budget.split([3, 3, 3, 3, 9], [[0, 1, 2, 3], [4]]) == [[1], [3]]
    assert budget.split([3, 3, 3, 3, 9], [[0, 1, 2, 3], [4]], rank=0) == [[0], [2], [4]]


@pytest.mark.usefixtures("second_of_two")
def test_under_sharded_weights_all_make_as_many_passes() -> None:
    """The first of two makes three passes, so the second reads the shortest row in vain."""
    assert TokenBudget(3)._idle_batches([3, 2, 3, 3, 9], [[0, 1, 2, 3], [4]]) == [[1]]


def test_metrics_add_up() -> None:
    shares = [{"loss": torch.tensor(1.0)}, {"loss": torch.tensor(0.5), "kl": torch.tensor(2.0)}]
    assert sum_metrics(shares) == {"loss": 1.5, "kl": 2.0}
