"""The record of a chain in its folder: what was asked for, and every step that is done."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from cai.chain.step import Step
from cai.data.files import write_whole
from cai.digest import digest
from cai.errors import DataError, UsageError
from cai.options import flag


@dataclass
class ChainRecord:
    """The record of a chain. A subclass adds what its chain finds out, as fields of JSON values.

    settings: as asked for, with the digests of what they name. steps: those that are done: their
    kind, command and folder, and whatever else `add` was told.
    """

    NAME: ClassVar[str]
    """The file in the chain's folder."""
    WHAT: ClassVar[str]
    """The chain in words, such as `loop`."""
    PREFIX: ClassVar[str]
    """What its id begins with."""
    FORMAT: ClassVar[int] = 1

    folder: Path
    settings: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def resume(cls, folder: Path, settings: dict[str, Any], free: Collection[str] = ()) -> Self:
        """The record in a folder, or a new one. free: settings that may be others than there.

        Raises `UsageError` if the folder holds something else, or a chain of other settings;
        `DataError` for a record that can't be read.
        """
        if not (folder / cls.NAME).is_file():
            if folder.is_dir() and any(folder.iterdir()):
                raise UsageError(
                    f"{folder} is not empty, and holds no {cls.WHAT}",
                    hint="Choose another --out, or empty it.",
                )
            return cls(folder, settings)
        record = cls.read(folder)
        before, record.settings = record.settings, settings
        other = [n for n in settings if before.get(n) != settings[n] and n not in free]
        if other:
            raise UsageError(
                f"{folder} holds another {cls.WHAT}: "
                + "; ".join(
                    f"{_said(n, before.get(n))} there, {_said(n, settings[n])} here" for n in other
                ),
                hint=f"Choose another --out, or give the settings of that {cls.WHAT}.",
            )
        return record

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The record in a folder. Raises `DataError` where there is none that can be read."""
        path = folder / cls.NAME
        try:
            found = json.loads(path.read_bytes())
            if found["format"] != cls.FORMAT:
                raise ValueError(f"its format is {found['format']}, and not {cls.FORMAT}")
            return cls(folder, **{name: found[name] for name in cls._names()})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} can't be read: {error}") from None

    def is_done(self, step: Step) -> bool:
        """Whether a step is done, by the same command."""
        return any(done["command"] == list(step.arguments) for done in self.steps)

    def add(self, step: Step, **facts: Any) -> None:
        """Note that a step is done. facts: what else to note of it."""
        command = list(step.arguments)
        self.steps = [done for done in self.steps if done["command"] != command]
        self.steps.append({
            **facts, "step": step.kind, "command": command,
            "folder": step.folder.name,
        })  # fmt: skip
        self.write()

    def write(self) -> None:
        """Write the record. Raises `StoreError`."""
        write_whole(
            self.folder / self.NAME, json.dumps(self.values, ensure_ascii=False, indent=1) + "\n"
        )

    @property
    def values(self) -> dict[str, Any]:
        """As JSON."""
        identity = f"{self.PREFIX}-{digest(self.settings)[:12]}"
        own = {name: getattr(self, name) for name in self._names()}
        return {"format": self.FORMAT, "id": identity, **own}

    @classmethod
    def _names(cls) -> list[str]:
        return [item.name for item in fields(cls) if item.name != "folder"]


def _said(name: str, value: Any) -> str:
    """A setting, as an option is written."""
    if value is True:
        return flag(name)
    unset = value is None or value is False or value == ""
    return f"no {flag(name)}" if unset else f"{flag(name)} {value}"
