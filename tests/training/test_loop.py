"""The loop: pieces of a batch change nothing, memory that runs out, numbers that are none."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cai.errors import DataError, Interrupted, TrainingError
from cai.training.checkpoint import load_tensors
from cai.training.loop import Loop, StepReport
from cai.training.micro_batches import Metrics
from cai.training.optimizer import Optimizer, Schedule
from cai.training.rows import RowsTrainer, StepPlan


class Squares:
    """Minimises the mean of (w − x)² over examples x, each as long as its name says."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight_ = weight
        self.seen: list[list[float]] = []
        self.memory = 10_000

    def weight(self, example: float) -> float:
        return 1.0

    def tokens(self, example: float) -> int:
        return int(10 + example) if math.isfinite(example) else 10

    def loss(self, examples: Sequence[float], total: float) -> tuple[Tensor, Metrics]:
        if sum(map(self.tokens, examples)) > self.memory:
            raise torch.OutOfMemoryError("out of memory")
        self.seen.append(list(examples))
        loss = ((self.weight_ - torch.tensor(examples)) ** 2).sum() / total
        return loss, {"loss": loss.detach()}


def loop(
    folder: Path, train: Sequence[float], tell: Any = lambda report: None, **changes: Any
) -> tuple[Loop, Squares, nn.Parameter]:
    weight = nn.Parameter(torch.zeros(()))
    objective = Squares(weight)
    eval_every = changes.pop("eval_every", None)
    kind = changes.pop("kind", RowsTrainer)
    plan = StepPlan(**{"batch_size": 4, "epochs": 2.0, "micro_tokens": 1000, "seed": 3,
                   "save_every": 3} | changes)  # fmt: skip
    updates = Optimizer({"w": weight}, Schedule("linear", 0.1, plan.steps(len(train)), 0.1))
    cpu = torch.device("cpu")
    trainer = kind(lambda on: None, objective, updates, train, train[:2], plan, cpu)
    return Loop(trainer, folder, plan.save_every, cpu, tell, eval_every), objective, weight


def batches(run: Loop) -> list[list[float]]:
    trainer = run.trainer
    assert isinstance(trainer, RowsTrainer)
    return [trainer._batch(step) for step in range(trainer.steps)]


def test_epochs_see_every_row_once(tmp_path: Path) -> None:
    """Ten rows, batches of four, two epochs: 20 rows in five steps; half an epoch: 5 in two."""
    rows = [float(i) for i in range(10)]
    run, _, _ = loop(tmp_path, rows)
    assert run.trainer.steps == 5
    numbers = [x for batch in batches(run) for x in batch]
    assert (
        sorted(numbers[:10]) == rows
        and sorted(numbers[10:]) == rows
        and numbers[:10] != numbers[10:]
    )
    half, _, _ = loop(tmp_path, rows, epochs=0.5)
    assert list(map(len, batches(half))) == [4, 1]
    plan = StepPlan(batch_size=4, epochs=2.0, micro_tokens=9, seed=0)
    assert (plan.rows(10), plan.steps(10)) == (20, 5)
    assert dataclasses.replace(plan, max_steps=2).rows(10) == 8
    assert dataclasses.replace(plan, epochs=0.5).rows(10) == 5


class Calibrating(RowsTrainer[float]):
    """Evaluations of the first two steps can't be compared with later ones."""

    def evaluate(self) -> dict[str, float]:
        self.comparable = self.step > 2
        return {"loss": (0.1, 0.2, 0.9, 0.8, 0.85)[self.step - 1]}


@pytest.mark.parametrize(
    ("epochs", "best"), [(2.0, (4, True, 0.8)), (1.2, (3, True, 0.9)), (0.8, (2, False, 0.2))]
)
def test_evaluations_that_can_t_be_compared_are_replaced(
    tmp_path: Path, epochs: float, best: tuple[int, bool, float]
) -> None:
    """The losses of the first two steps are the least, and kept until the third."""
    run, _, _ = loop(tmp_path, [1.0] * 10, kind=Calibrating, eval_every=1, epochs=epochs)
    run.run()
    assert run.best == dict(zip(("step", "comparable", "loss"), best, strict=True))


def test_the_pieces_of_a_batch_change_nothing(tmp_path: Path) -> None:
    """One piece of four or four of one; three at once or two and one: equal weights to 1e-6."""
    rows = [float(i) for i in range(8)]
    whole, objective, one = loop(tmp_path / "a", rows)
    whole.run()
    assert max(map(len, objective.seen)) == 4
    cut, objective, other = loop(tmp_path / "b", rows, micro_tokens=12)
    cut.run()
    assert max(map(len, objective.seen[:8])) == 1
    assert other.item() == pytest.approx(one.item(), abs=1e-6) and one.item() > 0.1
    three, _, one = loop(tmp_path / "c", rows, batch_size=3)
    three.run()
    uneven, objective, other = loop(tmp_path / "d", rows, batch_size=3, micro_tokens=36)
    uneven.run()
    assert [len(piece) for piece in objective.seen[:2]] == [2, 1]
    assert other.item() == pytest.approx(one.item(), abs=1e-6)


def test_memory_that_runs_out_halves_the_pieces(tmp_path: Path) -> None:
    """40 tokens at once are too many for a memory of 30; no row is skipped."""
    rows = [0.0, 1.0, 2.0, 3.0]
    small, objective, weight = loop(tmp_path / "a", rows, epochs=1.0)
    objective.memory = 30
    small.run()
    assert sorted(x for piece in objective.seen[:2] for x in piece) == rows
    assert 20 <= small.trainer.state()[1]["micro_tokens"] <= 30  # and a resumed run keeps to it
    again, _, _ = loop(tmp_path / "a", rows, epochs=1.0)
    assert again.resume() and again.trainer.state()[1]["micro_tokens"] <= 30
    tighter, _, _ = loop(tmp_path / "a", rows, epochs=1.0, micro_tokens=14)
    assert tighter.resume() and tighter.trainer.state()[1]["micro_tokens"] == 14  # as told now
    whole, _, other = loop(tmp_path / "b", rows, epochs=1.0)
    whole.run()
    assert weight.item() == pytest.approx(other.item(), abs=1e-6)
    hopeless, objective, _ = loop(tmp_path / "c", rows)
    objective.memory = 5
    with pytest.raises(TrainingError, match="single example of 13 tokens"):
        hopeless.run()


def test_a_loss_that_is_no_number_stops_before_the_weights(tmp_path: Path) -> None:
    rows = [float(i) for i in range(4)] * 3
    run, _, weight = loop(tmp_path, [*rows, float("nan")], epochs=1.0, batch_size=1, save_every=1)
    with pytest.raises(TrainingError, match=r"loss of step \d+ \(rows nan\) is not a number"):
        run.run()
    assert weight.isfinite()


def test_a_stopped_loop_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Ctrl-C after step 3 of 6, and on: the weights of a straight run."""
    rows = [float(i) for i in range(12)]
    straight, _, expected = loop(tmp_path / "straight", rows)
    straight.run()

    def stop(report: StepReport) -> None:
        if report.step == 3 and not report.held_out:
            signal.raise_signal(signal.SIGINT)

    broken, _, _ = loop(tmp_path / "broken", rows, stop, save_every=100)
    with pytest.raises(Interrupted, match="after step 3 of 6"):
        broken.run()
    going, _, weight = loop(tmp_path / "broken", rows)
    assert going.resume() and going.trainer.step == 3
    going.run()
    assert torch.equal(weight, expected)


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    """Held-out rows are the first two; the lowest loss on them is what `best` says."""
    reports: list[StepReport] = []
    run, _, _ = loop(tmp_path, [0.0, 0.0, 9.0, 9.0], reports.append, epochs=8.0, eval_every=1)
    run.run()
    losses = [report.metrics["loss"] for report in reports if report.held_out]
    assert run.best["loss"] == min(losses) < losses[-1]
    assert (tmp_path / "best.safetensors").is_file()


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    run, _, _ = loop(tmp_path, [1.0, 2.0, 3.0])
    assert not run.resume()
    run.checkpoint.write_bytes(json.dumps({"step": 3}).encode())
    with pytest.raises(DataError, match="not a usable checkpoint"):
        run.resume()


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    """The good checkpoint stays."""
    run, _, weight = loop(tmp_path, [1.0, 2.0, 3.0])
    run.save()
    before = run.checkpoint.read_bytes()
    with torch.no_grad():
        weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="weights after step 0 contain NaN or inf"):
        run.save()
    assert run.checkpoint.read_bytes() == before


class Ceiling:
    """A monitor that has nothing against weights up to a ceiling; asked, it remembers them."""

    def __init__(self, weight: nn.Parameter, ceiling: float) -> None:
        self.weight = weight
        self.ceiling = ceiling
        self.has_begun = False
        self.seen: list[float] = []

    def begin(self) -> dict[str, float]:
        self.has_begun = True
        return {}

    def watch(self) -> tuple[dict[str, float], str | None]:
        now = self.weight.item()
        self.seen.append(now)
        return {"w": now}, "Too high." if now > self.ceiling else None

    def state(self) -> dict[str, Any]:
        return {"begun": self.has_begun}

    def load_state(self, state: dict[str, Any]) -> None:
        self.has_begun = state["begun"]


def watched(folder: Path, ceiling: float, tell: Any = lambda report: None) -> tuple[Loop, Ceiling]:
    """Twelve steps towards 9, asked at every third: w is 0.1 a step, by AdamW's first steps."""
    run, _, weight = loop(folder, [9.0] * 24, tell)
    monitor = Ceiling(weight, ceiling)
    run.monitor, run.monitor_every = monitor, 3  # type: ignore[assignment]
    return run, monitor


def kept(folder: Path) -> tuple[dict[str, Any], float]:
    tensors, facts = load_tensors(folder / "best.safetensors")
    return facts, tensors["parameter/w"].item()


def test_a_stop_goes_back_to_the_last_weights_that_were_passed(tmp_path: Path) -> None:
    """Passed at steps 3 and 6, not at 9: those of step 6, though 8 had not been asked about."""
    run, monitor = watched(tmp_path, 0.55)
    run.run()
    assert run.trainer.stopped == "Too high." and run.trainer.step == 9
    assert kept(tmp_path) == ({"step": 6}, monitor.seen[1])
    assert monitor.seen[1] < 0.55 < monitor.seen[2]
    assert run.best == {"step": 6}


def test_a_stop_at_the_first_asking_goes_back_to_the_start(tmp_path: Path) -> None:
    run, _ = watched(tmp_path, -1.0)
    run.run()
    assert run.trainer.step == 3 and kept(tmp_path) == ({"step": 0}, 0.0)


def test_the_last_weights_are_asked_about(tmp_path: Path) -> None:
    """Twelve steps, one asking in five: after 5, 10, and the last."""
    run, monitor = watched(tmp_path, 9.0)
    run.monitor_every = 5
    run.run()
    assert len(monitor.seen) == 3 and run.trainer.stopped is None


@pytest.mark.parametrize("step", [3, 4, 8])
def test_a_resumed_run_goes_back_to_the_same_weights(step: int, tmp_path: Path) -> None:
    """Ctrl-C at an asking, after one, and after weights that no checkpoint names."""
    straight, _ = watched(tmp_path / "straight", 0.55)
    straight.run()

    def stop(report: StepReport) -> None:
        if report.step == step and not report.held_out:
            signal.raise_signal(signal.SIGINT)

    broken, _ = watched(tmp_path / "broken", 0.55, stop)
    with pytest.raises(Interrupted):
        broken.run()
    going, _ = watched(tmp_path / "broken", 0.55)
    assert going.resume()
    going.run()
    assert going.trainer.step == 9 and kept(tmp_path / "broken") == kept(tmp_path / "straight")
    files = {file.name for file in (tmp_path / "broken").glob("good-*")}
    assert files == {"good-3.safetensors", "good-6.safetensors"}
