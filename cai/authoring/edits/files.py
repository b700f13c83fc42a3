"""Edits the text of a principle's file in place, so that a diff shows the edit and nothing else.

Comments, order and style stay as they were. What was edited is parsed again; where that is not what
was meant (a file in an unusual style, a wording inherited through `extends`), the file is written
anew from its values, and only the comments above it are kept.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cai.authoring.importer import yaml_text
from cai.constitution.source import KeyPath, parse
from cai.errors import ContentError

_COMMENTS_ABOVE = re.compile(r"\A(?:#[^\n]*\n|\n)*")
_BLOCK_STYLES = ("|", ">")


def edited_text(
    text: str, path: Path, texts: Mapping[KeyPath, str], tests: Sequence[Mapping[str, Any]]
) -> str:
    """A principle's file with other texts at these paths, and with more tests.

    text: as `cai.constitution.source.read_text` returns it. Raises `ContentError` for a file that
    is no mapping in valid YAML.
    """
    source, problems = parse(text, path)
    if source is None or not isinstance(source.value, dict):
        raise ContentError(problems)
    meant = _with_edits(source.value, texts, tests)
    edited = _in_place(text, texts, tests)
    if edited is not None:
        again, _ = parse(edited, path)
        if again is not None and again.value == meant:
            return edited
    above = _COMMENTS_ABOVE.match(text)
    return (above.group() if above else "") + yaml_text(meant)


def _with_edits(
    value: Mapping[str, Any], texts: Mapping[KeyPath, str], tests: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The file's value after the edit; a block of text keeps the line end that it had."""
    out: dict[str, Any] = copy.deepcopy(dict(value))
    for place, new in texts.items():
        parent = out
        for key in place[:-1]:
            parent = parent.setdefault(str(key), {})
        old = parent.get(str(place[-1]))
        parent[str(place[-1])] = f"{new}\n" if str(old).endswith("\n") else new
    if tests:
        out["tests"] = [*(out.get("tests") or []), *(dict(test) for test in tests)]
    return out


def _in_place(
    text: str, texts: Mapping[KeyPath, str], tests: Sequence[Mapping[str, Any]]
) -> str | None:
    """The text with the edits put in; None where a place for one of them is not found."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    changes: list[tuple[int, int, str]] = []
    for place, new in texts.items():
        node = _node_at(root, place)
        if not isinstance(node, yaml.ScalarNode):
            return None
        changes.append(_scalar_change(text, node, new))
    if tests:
        node = _node_at(root, ("tests",))
        if node is None:
            at = len(text.rstrip("\n"))
            changes.append((at, at, f"\ntests:\n{_items(tests, 2)}"))
        elif isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
            end = text.find("\n", _end_of_last(text, node))
            at = len(text) if end < 0 else end
            changes.append((at, at, f"\n{_items(tests, node.start_mark.column)}"))
        else:
            return None
    for begin, end, new in sorted(changes, reverse=True):
        text = text[:begin] + new + text[end:]
    return text if text.endswith("\n") else f"{text}\n"


def _node_at(root: Any, place: KeyPath) -> Any:
    """The node at a path of keys; None if there is none."""
    for key in place:
        if not isinstance(root, yaml.MappingNode):
            return None
        root = next((value for name, value in root.value if name.value == key), None)
    return root


def _scalar_change(text: str, node: yaml.ScalarNode, new: str) -> tuple[int, int, str]:
    """(Begin, end, replacement) of a scalar: a block stays a block, all else becomes one line."""
    begin, end = node.start_mark.index, node.end_mark.index
    if node.style not in _BLOCK_STYLES:
        dumped = yaml.safe_dump(new, allow_unicode=True, width=10**9)
        return begin, end, dumped.removesuffix("\n").removesuffix("\n...")
    old = text[begin:end]
    lines = [line for line in old.split("\n")[1:] if line.strip()]
    indent = len(lines[0]) - len(lines[0].lstrip(" ")) if lines else 2
    after = old[len(old.rstrip()) :] or "\n"
    body = "\n".join(" " * indent + line for line in new.split("\n"))
    return begin, end, f"|\n{body}{after}"


def _end_of_last(text: str, node: Any) -> int:
    """Where the last text of a block of entries ends, without blank lines and comments below."""
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    begin: int = node.start_mark.index
    return begin + len(text[begin : node.end_mark.index].rstrip())


def _items(tests: Sequence[Mapping[str, Any]], indent: int) -> str:
    """Tests as entries of a block, the first line indented like the others."""
    written = yaml_text({"tests": [dict(test) for test in tests]})
    lines = written.removeprefix("tests:\n").splitlines()
    return "\n".join(_indented(lines, indent))


def _indented(lines: Sequence[str], indent: int) -> Iterator[str]:
    """Lines of a list that begins at the margin, moved to a column; empty lines stay empty."""
    for line in lines:
        yield f"{' ' * indent}{line}" if line else ""
