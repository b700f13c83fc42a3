"""PPO's arithmetic is that of TRL 1.12.0, the last release with a PPO trainer.

CAI_TRL_PPO names a folder that holds it (`pip install --no-deps --target FOLDER trl==1.12.0`).
Its trainer's file can't be imported without the rest of TRL, and most of its arithmetic stands in
the middle of `PPOTrainer.train`. So the statements themselves are cut out of the file's syntax
tree, by the names they assign, and run on our numbers: what is compared is the peer's own code.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cai.losses.advantages import gae, token_rewards
from cai.losses.masked import masked_mean, masked_variance, whiten
from cai.losses.ppo import policy_loss, value_loss

pytestmark = pytest.mark.peers
FOLDER = os.environ.get("CAI_TRL_PPO", "")
if not FOLDER:
    pytest.skip("CAI_TRL_PPO names no folder with TRL 1.12.0", allow_module_level=True)

FUNCTIONS = ("masked_mean", "masked_var", "masked_whiten")
ARGUMENTS = SimpleNamespace(
    kl_estimator="k1", kl_coef=0.07, gamma=0.98, lam=0.9, cliprange=0.2, cliprange_value=0.15
)


@pytest.fixture(scope="module")
def tree() -> ast.Module:
    assert (Path(FOLDER) / "trl-1.12.0.dist-info").is_dir(), f"{FOLDER} does not hold TRL 1.12.0"
    file = Path(FOLDER) / "trl" / "experimental" / "ppo" / "ppo_trainer.py"
    return ast.parse(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def functions(tree: ast.Module) -> dict[str, Any]:
    """The peer's own masked_mean, masked_var and masked_whiten."""
    defined = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in FUNCTIONS]
    assert len(defined) == len(FUNCTIONS)
    names: dict[str, Any] = {"torch": torch}
    exec(compile(ast.Module(list(defined), []), "trl", "exec"), names)
    return names


def blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Every list of statements that stand one after another, at any depth."""
    for node in ast.walk(tree):
        for field in ("body", "orelse"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                yield body


def assigned(statement: ast.stmt) -> str:
    """The name that a statement assigns or adds to, or no name."""
    if isinstance(statement, ast.Assign):
        target = statement.targets[0]
    elif isinstance(statement, ast.AugAssign):
        target = statement.target
    else:
        return ""
    while isinstance(target, ast.Subscript):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def run(tree: ast.Module, first: str, last: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the peer's statements from the one that assigns `first` to the next that assigns `last`.

    names: what they read. Returns all names after them.
    """
    for block in blocks(tree):
        targets = [assigned(s) for s in block]
        if first in targets and last in targets[targets.index(first) :]:
            start = targets.index(first)
            end = targets.index(last, start) + 1
            out = {"torch": torch, "args": ARGUMENTS, **names}
            exec(compile(ast.Module(block[start:end], []), "trl", "exec"), out)
            return out
    raise AssertionError(f"TRL's trainer does not assign {first} and then {last}")


class Rollout:
    """Made-up rows of tokens, and the names that the peer gives to them."""

    def __init__(self, lengths: list[int], width: int = 12) -> None:
        generator = torch.Generator().manual_seed(7)
        shape = (6, len(lengths), width)
        old, reference, new, values, old_values, returns = torch.randn(*shape, generator=generator)
        self.mask = torch.arange(width) < torch.tensor(lengths)[:, None]
        self.last = torch.tensor(lengths) - 1
        self.old, self.reference, self.new = -old.abs(), -reference.abs(), -old.abs() + 0.3 * new
        self.values, self.old_values, self.returns = values, old_values, returns
        self.scores = torch.randn(len(lengths), generator=generator)
        self.total = float(self.mask.sum())

    def zero(self, values: Tensor) -> Tensor:
        """As the peer fills its padding before it computes."""
        return values.masked_fill(~self.mask, 0)


FULL = [12, 12, 12]
RAGGED = [12, 1, 7, 4]
lengths = pytest.mark.parametrize("lengths", [FULL, RAGGED], ids=["full", "ragged"])


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@lengths
def test_masked_figures(functions: dict[str, Any], lengths: list[int]) -> None:
    rollout = Rollout(lengths)
    values, mask = 3 * rollout.values + 2, rollout.mask
    close(masked_mean(values, mask), functions["masked_mean"](values, mask))
    close(masked_variance(values, mask), functions["masked_var"](values, mask))


@lengths
def test_whitening(functions: dict[str, Any], lengths: list[int]) -> None:
    rollout = Rollout(lengths)
    values, mask = 3 * rollout.values + 2, rollout.mask
    close(whiten(values, mask), rollout.zero(functions["masked_whiten"](values, mask)))


@lengths
def test_rewards(tree: ast.Module, lengths: list[int]) -> None:
    """The per-token part is equal everywhere. The score stands at one place in rows that fill the
    width; in others the peer puts it one position behind the last token, where no token is."""
    rollout = Rollout(lengths)
    theirs = run(
        tree,
        "logr",
        "rewards",
        {
            "logprobs": rollout.old.masked_fill(~rollout.mask, 1.0),
            "ref_logprobs": rollout.reference.masked_fill(~rollout.mask, 1.0),
        },
    )
    zero = torch.zeros_like(rollout.scores)
    bare = token_rewards(rollout.old, rollout.reference, zero, rollout.mask, ARGUMENTS.kl_coef)
    close(bare, theirs["rewards"])
    scored = run(
        tree,
        "actual_start",
        "rewards",
        {
            "rewards": theirs["rewards"].clone(),
            "scores": rollout.scores,
            "sequence_lengths": rollout.last,
            "sequence_lengths_p1": rollout.last + 1,
        },
    )["rewards"]
    ours = token_rewards(
        rollout.old, rollout.reference, rollout.scores, rollout.mask, ARGUMENTS.kl_coef
    )
    close(ours.sum(1), scored.sum(1))
    full = rollout.mask.all(1)
    close(ours[full], scored[full])


@lengths
def test_advantages_and_returns(
    tree: ast.Module, functions: dict[str, Any], lengths: list[int]
) -> None:
    """The peer's loop runs over padding that it has filled with 0, and whitens in the end."""
    rollout = Rollout(lengths)
    rewards, values = rollout.returns, rollout.values
    names = {
        **functions,
        "responses": rollout.mask,
        "rewards": rollout.zero(rewards),
        "values": rollout.zero(values),
        "padding_mask": ~rollout.mask,
    }
    raw = run(tree, "lastgaelam", "returns", names)
    advantages, returns = gae(rewards, values, rollout.mask, ARGUMENTS.gamma, ARGUMENTS.lam)
    close(advantages, raw["advantages"])
    close(returns, raw["returns"])
    final = run(tree, "returns", "advantages", {**names, "advantages": raw["advantages"]})
    whitened = rollout.zero(final["advantages"])
    close(whiten(advantages, rollout.mask), whitened)


def parts(tree: ast.Module, functions: dict[str, Any], rollout: Rollout) -> dict[str, Any]:
    """The peer's losses on one minibatch that holds every row; its mask_p1 made ours."""
    new = rollout.new.masked_fill(~rollout.mask, 1.0)
    names = {
        **functions,
        "vpred": rollout.zero(rollout.values),
        "mb_values": rollout.zero(rollout.old_values),
        "mb_return": rollout.zero(rollout.returns),
        "mb_advantage": rollout.zero(rollout.returns),
        "mb_logprobs": rollout.old.masked_fill(~rollout.mask, 1.0),
        "new_logprobs": new,
        "padding_mask": ~rollout.mask,
        "padding_mask_p1": ~rollout.mask,
        "micro_batch_inds": slice(None),
    }
    out = run(tree, "vpredclipped", "pg_loss", names)
    return run(tree, "pg_clipfrac", "pg_clipfrac", out)


@lengths
def test_value_loss(tree: ast.Module, functions: dict[str, Any], lengths: list[int]) -> None:
    rollout = Rollout(lengths)
    rollout.values.requires_grad_()
    theirs = parts(tree, functions, rollout)
    ours = value_loss(
        rollout.values,
        rollout.old_values,
        rollout.returns,
        rollout.mask,
        ARGUMENTS.cliprange_value,
        rollout.total,
    )
    close(ours.loss, theirs["vf_loss"])
    close(ours.clip_fraction, theirs["vf_clipfrac"])
    assert 0 < float(ours.clip_fraction) < 1
    close(*(torch.autograd.grad(x, rollout.values)[0] for x in (ours.loss, theirs["vf_loss"])))


@lengths
def test_policy_loss(tree: ast.Module, functions: dict[str, Any], lengths: list[int]) -> None:
    """The peer's KL and ratio are means over padding too: they are compared where rows are full."""
    rollout = Rollout(lengths)
    rollout.new.requires_grad_()
    theirs = parts(tree, functions, rollout)
    ours = policy_loss(
        rollout.new,
        rollout.old,
        rollout.returns,
        rollout.mask,
        ARGUMENTS.cliprange,
        rollout.total,
    )
    close(ours.loss, theirs["pg_loss"])
    close(ours.clip_fraction, theirs["pg_clipfrac"])
    assert 0 < float(ours.clip_fraction) < 1
    if lengths is FULL:
        stats = run(tree, "approxkl", "approxkl", theirs)
        close(ours.approximate_kl, stats["approxkl"])
        close(ours.ratio, theirs["ratio"].mean().detach())
    close(*(torch.autograd.grad(x, rollout.new)[0] for x in (ours.loss, theirs["pg_loss"])))
