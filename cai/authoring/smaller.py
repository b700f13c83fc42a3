"""A constitution's file without the verdicts of some principles on pairs: a proposal to try.

Only the listed principles are edited, and comments stay: one that serves in feedback alone is taken
out of the list, and one that critiques too keeps that phase, so that nothing changes but labels and
the final check. References are relative, so the new file belongs beside the old one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cai.constitution.load import Loader, load_constitution
from cai.content import shown
from cai.data.files import write_whole
from cai.errors import CaiError, UsageError
from cai.types import Constitution, Phase

_BY_HAND = "Take these principles out of the feedback by hand: {}."


@dataclass(frozen=True, slots=True)
class SmallerConstitution:
    """A proposal that was written: the file that it was made of, its own, and what it lacks.

    removed: principles that are listed no longer. critique_only: those with `phases: [sl]` now.
    """

    original: Path
    file: Path
    removed: tuple[str, ...]
    critique_only: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Edit:
    """A replacement of the text from one place to another."""

    start: int
    end: int
    text: str


def write_smaller(
    original: Path, digest: str, without: Sequence[str], out: Path
) -> SmallerConstitution:
    """Write a constitution's file anew, without the verdicts of some principles on pairs.

    digest: of the constitution in the run that the proposal rests on. Raises `UsageError` where the
    file says something else by now, where it doesn't list the principles itself (it `extends`
    another), or in a layout that can't be edited line by line; and where `out` exists, or lies in
    another folder.
    """
    _require_place(original, out, without)
    loader = Loader()
    constitution = loader.constitution(original)
    loader.raise_problems()
    assert constitution is not None
    if constitution.digest != digest:
        raise UsageError(
            f"{shown(original)} is not what the run was built with: it was edited since",
            hint="Name the run's own with --constitution, or build the run again.",
        )
    phases = {m.principle.id: m.phases for m in constitution.members}
    place = original.absolute()
    own = {p.id: keys[1] for source, keys, p in loader.uses if source.path == place}
    if inherited := [name for name in without if name not in own]:
        raise UsageError(
            f"{shown(original)} does not list {', '.join(inherited)}: it extends a file that does",
            hint=_BY_HAND.format(", ".join(without)),
        )
    text = original.read_text(encoding="utf-8-sig")
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    edits = [_renamed(root, out.stem)]
    for name in without:
        item = _value(root, "principles").value[own[name]]
        keeps = [phase for phase in phases[name] if phase != "rl"]
        edits.append(_critique_only(text, item) if keeps else _taken_out(text, item, without))
    for edit in sorted(edits, key=lambda e: -e.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    write_whole(out, text)
    critique_only = tuple(name for name in without if "sl" in phases[name])
    removed = tuple(name for name in without if name not in critique_only)
    try:
        _require_result(constitution, load_constitution(out), removed, critique_only, without)
    except CaiError:
        out.unlink()
        raise
    return SmallerConstitution(original, out, removed, critique_only)


def _require_place(original: Path, out: Path, without: Sequence[str]) -> None:
    if out.exists():
        raise UsageError(f"{shown(out)} exists", hint="Name a file that does not.")
    if out.resolve().parent != original.resolve().parent:
        raise UsageError(
            f"{shown(out)} is not beside {shown(original)}",
            hint=f"Its references are relative to its folder: give {shown(original.parent)}/NAME"
            ".yaml. A constitution that is shipped with cai is copied by: cai init",
        )
    if out.suffix not in (".yaml", ".yml") or not re.fullmatch(
        r"[a-z0-9]+([._-][a-z0-9]+)*", out.stem
    ):
        raise UsageError(
            f"{out.name} can't be the name of a constitution",
            hint="Lower-case words joined by - or _, and .yaml at the end.",
        )
    if not without:
        raise UsageError("there is no principle to leave out")


def _require_result(
    before: Constitution,
    after: Constitution,
    removed: Sequence[str],
    critique_only: Sequence[str],
    without: Sequence[str],
) -> None:
    """That the new file says what it was meant to say, and nothing else."""
    only: tuple[Phase, ...] = ("sl",)
    expected = [
        (m.principle.id, m.weight, only if m.principle.id in critique_only else m.phases, m.rounds)
        for m in before.members
        if m.principle.id not in removed
    ]
    if expected != [(m.principle.id, m.weight, m.phases, m.rounds) for m in after.members]:
        raise UsageError(
            "the file is written in a way that can't be edited line by line",
            hint=_BY_HAND.format(", ".join(without)),
        )


def _value(node: yaml.MappingNode, key: str) -> Any:
    return next(value for name, value in node.value if name.value == key)


def _renamed(root: yaml.MappingNode, name: str) -> _Edit:
    node = _value(root, "id")
    return _Edit(node.start_mark.index, node.end_mark.index, name)


def _taken_out(text: str, item: yaml.Node, without: Sequence[str]) -> _Edit:
    """Delete the lines of a list's item."""
    start = text.rfind("\n", 0, item.start_mark.index) + 1
    lead, end = text[start : item.start_mark.index], text.find("\n", _end(item))
    if lead.strip() != "-":
        raise UsageError(
            "the principles are listed on one line", hint=_BY_HAND.format(", ".join(without))
        )
    return _Edit(start, len(text) if end < 0 else end + 1, "")


def _critique_only(text: str, item: yaml.MappingNode) -> _Edit:
    """Set an item's phases to critique and revision alone."""
    for key, value in item.value:
        if key.value == "phases":
            return _Edit(value.start_mark.index, _end(value), "[sl]")
    if item.flow_style:
        brace = item.end_mark.index - 1
        return _Edit(brace, brace, ", phases: [sl]")
    end = _end(item)
    return _Edit(end, end, f"\n{' ' * item.start_mark.column}phases: [sl]")


def _end(node: Any) -> int:
    """Where a node's last value ends; a block's own mark is only where the next token begins."""
    return max(_ends(node))


def _ends(node: Any) -> Iterator[int]:
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        yield int(node.end_mark.index)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (*_ends(key), *_ends(value))
    else:
        for value in node.value:
            yield from _ends(value)
