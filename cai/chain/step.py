"""A step of a chain: a command as a user would type it, and how it is run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cai.errors import CaiError, Interrupted

Runner: TypeAlias = Callable[[Sequence[str]], int]
"""Runs a command of `cai`, given by its arguments; returns its exit code."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a chain, and the folder that it writes.

    kind: what it is in its chain, such as `train`. arguments: of `cai`.
    """

    kind: str
    arguments: tuple[str, ...]
    folder: Path


class StepFailedError(CaiError):
    """A step failed; its own message stands above."""

    def __init__(self, name: str, code: int, hint: str = "") -> None:
        """name: of the step, in words. hint: what else may be done."""
        super().__init__(
            f"{name[0].upper()}{name[1:]} ended with exit code {code}: see its message above",
            hint="Mend it, and run the same command again: steps that are done are not repeated."
            + (f" {hint}" if hint else ""),
        )
        self.exit_code = code


def run_command(arguments: Sequence[str], *, shows: bool = True) -> int:
    """Run a command of `cai` in a process of its own; returns its exit code.

    shows: whether its results are to be seen; its progress always is. After Ctrl-C, which the
    process gets too, it waits until that has saved what it has.
    """
    results = None if shows else subprocess.DEVNULL
    with subprocess.Popen([sys.executable, "-m", "cai", *arguments], stdout=results) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise


def require_evaluation(options: Sequence[str], folder: Path, command: Runner) -> None:
    """Raise `StepFailedError` for suites or options of `cai eval` that can't be used.

    They would come to light after hours else. folder: of the chain. command: runs `cai eval --list`
    and shows no results.
    """
    name = "the look at the evaluation's options"
    step = Step("eval", ("eval", *options, "--list"), folder)
    if code := exit_code_of(step, name, command):
        raise StepFailedError(name, code)


def exit_code_of(step: Step, name: str, command: Runner = run_command) -> int:
    """Run a step; returns its exit code. name: in words. Raises `Interrupted` after Ctrl-C."""
    try:
        code = command(step.arguments)
    except KeyboardInterrupt:
        code = Interrupted.exit_code
    if code == Interrupted.exit_code:
        raise Interrupted(
            f"Stopped in {name}.",
            hint="What is done is kept. Run the same command again to resume.",
        )
    return code
