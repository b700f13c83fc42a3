"""`loop.json`: what a loop was asked to do, every step with its command, and how rounds went."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cai.chain.record import ChainRecord
from cai.digest import file_digest
from cai.rounds.config import LoopConfig
from cai.types import Constitution


@dataclass
class LoopRecord(ChainRecord):
    """The record of a loop in its folder.

    measures: of each round. stopped: why it ended before its last round; empty if it did not. best:
    the round to keep, 0 for the start.
    """

    NAME: ClassVar[str] = "loop.json"
    WHAT: ClassVar[str] = "loop"
    PREFIX: ClassVar[str] = "l"

    measures: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""
    best: int = 0

    @classmethod
    def open(
        cls, folder: Path, config: LoopConfig, rules: Constitution, prompts: Path
    ) -> LoopRecord:
        """The record in a folder, or a new one.

        A loop may go on with other `patience`, without `judge_gate`, and with more `rounds` where
        all have the same prompts; else the prompts would be divided anew.

        Raises as `resume` does.
        """
        settings = {
            **dataclasses.asdict(config),
            "constitution": rules.digest,
            "prompts": file_digest(prompts),
        }
        free = ("patience", "judge_gate", *(("rounds",) if config.reuse_prompts else ()))
        return cls.resume(folder, settings, free)
