"""`loop.json`: what a loop was asked to do, every step with its command, and how rounds went."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai.data.files import write_whole
from cai.digest import digest, file_digest
from cai.errors import DataError, UsageError
from cai.options import flag
from cai.rounds.config import LoopConfig
from cai.rounds.steps import RoundStep
from cai.types import Constitution

NAME = "loop.json"
FORMAT = 1


@dataclass
class LoopRecord:
    """The record of a loop in its folder.

    settings: as asked for, with the digests of constitution and prompts. steps: those that
    are done: round, kind, command and folder. measures: of each round. stopped: why it ended before
    its last round; empty if it did not. best: the round to keep, 0 for the start.
    """

    folder: Path
    settings: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)
    measures: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""
    best: int = 0

    @classmethod
    def open(
        cls, folder: Path, config: LoopConfig, rules: Constitution, prompts: Path
    ) -> LoopRecord:
        """The record in a folder, or a new one.

        A loop may go on with other `patience`, and with more `rounds` where all have the same
        prompts; else the prompts would be divided anew.

        Raises `UsageError` if the folder holds something else, or a loop of other settings.
        """
        settings = {
            **dataclasses.asdict(config),
            "constitution": rules.digest,
            "prompts": file_digest(prompts),
        }
        record = cls(folder, settings)
        path = folder / NAME
        if not path.is_file():
            if folder.is_dir() and any(folder.iterdir()):
                raise UsageError(
                    f"{folder} is not empty, and holds no loop",
                    hint="Choose another --out, or empty it.",
                )
            return record
        try:
            found = json.loads(path.read_bytes())
            before = found["settings"]
            record.steps, record.measures = found["steps"], found["measures"]
            record.stopped, record.best = found["stopped"], found["best"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} can't be read: {error}") from None
        free = ("patience", "rounds") if config.reuse_prompts else ("patience",)
        other = [n for n in settings if before.get(n) != settings[n] and n not in free]
        if other:
            raise UsageError(
                f"{folder} holds another loop: "
                + "; ".join(f"{flag(n)} {before.get(n)} there, {settings[n]} here" for n in other),
                hint="Choose another --out, or give the settings of that loop.",
            )
        return record

    def is_done(self, step: RoundStep) -> bool:
        """Whether a step is done, by the same command."""
        return any(done["command"] == list(step.arguments) for done in self.steps)

    def add(self, number: int, step: RoundStep) -> None:
        """Note that a step is done."""
        self.steps.append({
            "round": number, "step": step.kind, "command": list(step.arguments),
            "folder": step.folder.name,
        })  # fmt: skip
        self.write()

    def write(self) -> None:
        """Write the record. Raises `StoreError`."""
        write_whole(
            self.folder / NAME, json.dumps(self.values, ensure_ascii=False, indent=1) + "\n"
        )

    @property
    def values(self) -> dict[str, Any]:
        """As JSON."""
        identity = digest(self.settings)[:12]
        return {
            "format": FORMAT, "id": f"l-{identity}", "settings": self.settings,
            "steps": self.steps, "measures": self.measures, "stopped": self.stopped,
            "best": self.best,
        }  # fmt: skip
