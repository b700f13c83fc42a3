"""`ablation.json`: what was left out, every step with its command, and what it changed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cai.authoring.retraining.config import RetrainingConfig
from cai.chain.record import ChainRecord
from cai.chain.step import Step
from cai.evaluation.folder import ABLATION
from cai.store.records import Run


@dataclass
class AblationRecord(ChainRecord):
    """The record of an ablation that trains.

    unfit: principle → why it can't be left out. sides: the data of each training. data: file →
    digest. effects: of each principle on each measure; empty until all is measured.
    """

    NAME: ClassVar[str] = ABLATION
    WHAT: ClassVar[str] = "ablation"
    PREFIX: ClassVar[str] = "a"

    unfit: dict[str, str] = field(default_factory=dict)
    sides: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, str] = field(default_factory=dict)
    effects: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(
        cls, folder: Path, config: RetrainingConfig, run: Run, principles: list[str],
        base: str | None,
    ) -> AblationRecord:  # fmt: skip
        """The record in a folder, or a new one.

        It may go on with another number of seeds, and measure otherwise as long as nothing was
        measured. Raises as `resume` does.
        """
        settings = {
            **dataclasses.asdict(config), "run": run.id, "principles": principles, "base": base,
        }  # fmt: skip
        free = ["seeds"]
        if (folder / cls.NAME).is_file():
            measured = any(step["step"] == "eval" for step in cls.read(folder).steps)
            free += [] if measured else ["suite", "held_out_judge", "eval_options"]
        return cls.resume(folder, settings, free)

    def is_done(self, step: Step) -> bool:
        """Whether a step is done, by the same command, and its folder is still there."""
        return super().is_done(step) and step.folder.is_dir()
