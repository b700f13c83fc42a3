"""The training loop of every stage: steps, metrics, evaluations, checkpoints, Ctrl-C.

Where a run has several processes, all run this loop; the first one writes. A checkpoint holds whole
tensors, so a run may go on with another number of processes.

The trainer defines a step: a batch of rows (`cai.training.rows`), or a rollout and the epochs that
learn from it (`cai.training.ppo`).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cai.data.files import partial_of, store_errors
from cai.errors import Interrupted, TrainingError
from cai.text.seeds import derive
from cai.training.behaviour import BehaviourMonitor
from cai.training.checkpoint import load_tensors, restore_rng, rng_tensors, save_tensors
from cai.training.interrupt import GracefulInterrupt
from cai.training.processes import world
from cai.training.sharding import is_sharded, local, whole
from cai.training.trainer import Trainer, require_finite

GOOD = "good-*.safetensors"
"""The files, in a run's folder, of weights that its monitor passed."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """The report after a step or an evaluation. metrics: means of the step or held-out set."""

    step: int
    steps: int
    metrics: dict[str, float]
    tokens_per_second: float
    seconds_left: float
    held_out: bool = False


@dataclass
class Loop:
    """Runs a trainer to its end, and keeps its state in `folder`.

    save_every, eval_every: steps between; None evaluates five times at most. monitor: asked every
    `monitor_every` steps, ten times if None; it may end the run.
    """

    trainer: Trainer
    folder: Path
    save_every: int
    device: torch.device
    report: Callable[[StepReport], None]
    eval_every: int | None = None
    monitor: BehaviourMonitor | None = None
    monitor_every: int | None = None
    best: dict[str, Any] = field(default_factory=dict)
    """Step and metrics of the best weights so far, which are in best.safetensors."""
    good: list[int] = field(default_factory=list)
    """Steps whose weights the monitor passed: the one to go back to, and later ones that the
    trainer's own monitors have not seen yet. The weights are in good-STEP.safetensors."""

    @property
    def checkpoint(self) -> Path:
        """The file that a stopped run resumes from."""
        return self.folder / "checkpoint.safetensors"

    def resume(self) -> bool:
        """Resume from the checkpoint. Returns whether there is one."""
        file, here = self.checkpoint, world()
        loaded = here.tensors_from_first(lambda: load_tensors(file) if file.is_file() else None)
        if loaded is None:
            return False
        tensors, state = loaded
        try:
            self.trainer.load_state(tensors, state["trainer"])
            self.best = state["best"]
            self.good = state.get("good", [])
            if self.monitor is not None and "monitor" in state:
                self.monitor.load_state(state["monitor"])
        except KeyError as error:
            raise TrainingError(
                f"{self.checkpoint} holds no {error}: another version of cai wrote it",
                hint="Train with another --out.",
            ) from None
        if here.first:
            restore_rng(tensors, self.device)
        else:  # what it would have drawn is not kept: other dropout than before the end of a run
            torch.manual_seed(derive(torch.initial_seed(), here.rank, self.trainer.step))
        return True

    def run(self) -> None:
        """Train to the end.

        Raises `Interrupted` after Ctrl-C, with the state saved, and what a step raises.
        """
        if self.monitor is not None and not self.monitor.has_begun:
            self.monitor.begin()
            self._keep_good()
        start, first, tokens = time.monotonic(), self.trainer.step, 0
        with GracefulInterrupt() as interrupt:
            while not self.trainer.done:
                result = self.trainer.train_step()
                tokens += result.tokens
                step, steps = self.trainer.step, self.trainer.steps
                monitored = self._monitor_when_due()
                if result.metrics is not None or monitored:
                    elapsed = time.monotonic() - start
                    remaining = elapsed / (step - first) * (steps - step)
                    metrics = {**(result.metrics or {}), **monitored}
                    self.report(StepReport(step, steps, metrics, tokens / elapsed, remaining))
                self._evaluate_when_due()
                if step % self.save_every == 0 or self.trainer.done:
                    self.save()
                if world().any(interrupt.requested) and not self.trainer.done:
                    self.save()
                    raise Interrupted(
                        f"Stopped after step {step} of {steps}; all is kept.",
                        hint="Run the same command again to resume.",
                    )

    def save(self) -> None:
        """Write the checkpoint."""
        self._require_finite_weights()
        self._require_same_weights()
        tensors, state = self.trainer.state()
        tensors = {**tensors, **rng_tensors(self.device)}
        world().from_first(
            lambda: save_tensors(
                self.checkpoint,
                tensors,
                {"trainer": state, "best": self.best, "good": self.good}
                | ({"monitor": self.monitor.state()} if self.monitor else {}),
            )
        )
        world().from_first(self._remove_other_good)

    def _require_same_weights(self) -> None:
        """Raise `TrainingError` unless all processes have trained the same weights."""
        if world().size > 1:
            trained = [p for p in self.trainer.parameters.values() if not is_sharded(p)]
            world().require_same(
                sum(p.detach().double().sum().item() for p in trained),
                f"other weights after step {self.trainer.step}",
                "The processes must run the same versions on the same kind of machine. The same"
                " command resumes from the last checkpoint.",
            )

    def _require_finite_weights(self) -> None:
        """Raise `TrainingError` if weights contain NaN or inf; a finite loss is no guarantee."""
        finite = [local(p).isfinite().all() for p in self.trainer.parameters.values()]
        if world().any(not torch.stack(finite).all().item()):
            raise TrainingError(
                f"The weights after step {self.trainer.step} contain NaN or inf",
                hint="Try a lower --learning-rate or --dtype float32.",
            )

    def _monitor_when_due(self) -> dict[str, float]:
        """The monitor's measures, where they are due; ends the run where one has become worse.

        They are due after the last step, too: what a run ends with has been asked.
        """
        trainer = self.trainer
        self._forget_alarmed()
        every = self.monitor_every or math.ceil(trainer.steps / 10)
        due = trainer.step % every == 0 or trainer.step == trainer.steps
        if self.monitor is None or trainer.stopped is not None or not due:
            return {}
        metrics, reason = self.monitor.watch()
        if reason is None:
            self._keep_good()
        else:
            trainer.stopped = reason
        return metrics

    def _keep_good(self) -> None:
        """Keep the weights, which the monitor passed, unless the trainer has an alarm of its own.

        A trainer that watches its own responses sees these weights in the next step. Until then
        the ones before are kept, too.
        """
        if not self._in_alarm:
            step = self.trainer.step
            self._save_weights(self._good_file(step), {"step": step}, self.trainer.parameters)
            self.good = [*self.good[-1:], step]

    def _forget_alarmed(self) -> None:
        """Forget weights whose responses raised an alarm of the trainer's own monitors."""
        seen = self.trainer.last_good
        if self._in_alarm and seen is not None:
            self.good = [step for step in self.good if step <= seen.step]

    @property
    def _in_alarm(self) -> bool:
        """Whether the responses of the last step, which earlier weights wrote, raised an alarm."""
        seen = self.trainer.last_good
        return seen is not None and seen.step < self.trainer.step - 1

    def _good_file(self, step: int) -> Path:
        return self.folder / f"good-{step}.safetensors"

    def _remove_other_good(self) -> None:
        """Remove the weights that no checkpoint names any more."""
        kept = {self._good_file(step) for step in self.good}
        for file in self.folder.glob(GOOD):
            if file not in kept:
                file.unlink(missing_ok=True)

    def _evaluate_when_due(self) -> None:
        trainer = self.trainer
        if trainer.stopped is not None:
            self._go_back()
            return
        every = self.eval_every or math.ceil(trainer.steps / 5)
        if trainer.step % every and trainer.step != trainer.steps:
            return
        self._require_finite_weights()
        metrics = trainer.evaluate()
        if not metrics:
            return
        require_finite(metrics, f"of the held-out set, after step {trainer.step},")
        self.report(StepReport(trainer.step, trainer.steps, metrics, 0.0, 0.0, held_out=True))
        if not self.best.get("comparable") or self._better(metrics):
            best = {"step": trainer.step, "comparable": trainer.comparable, **metrics}
            self._keep_best(best, trainer.parameters)

    def _better(self, metrics: Mapping[str, float]) -> bool:
        """Whether an evaluation is better than the best so far."""
        sign, name = (1 if self.trainer.higher_is_better else -1), self.trainer.best_metric
        return sign * metrics[name] > sign * float(self.best[name])

    def _go_back(self) -> None:
        """Make the last weights from before an alarm the best ones.

        The best evaluation may be the one that the alarm is about. Where a monitor asks the policy,
        weights that it has not asked since they changed are none to go back to.
        """
        self.best = {}
        if self.good:
            file = self._good_file(self.good[-1])
            self.best = {"step": self.good[-1]}
            world().from_first(lambda: self._copy_to_best(file))
        elif self.trainer.last_good is not None:
            seen = self.trainer.last_good
            self._keep_best({"step": seen.step}, seen.tensors)

    def _copy_to_best(self, file: Path) -> None:
        best = self.folder / "best.safetensors"
        partial = partial_of(best)
        with store_errors(self.folder):
            shutil.copyfile(file, partial)
            partial.replace(best)

    def _keep_best(self, best: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.best = best
        self._save_weights(self.folder / "best.safetensors", best, tensors)

    def _save_weights(
        self, file: Path, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> None:
        saved = {f"parameter/{name}": whole(tensor) for name, tensor in tensors.items()}
        world().from_first(lambda: save_tensors(file, saved, facts))
