"""One name, one meaning: no two modules of `cai` define a type of the same name."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

from tests.test_layers import PACKAGE, modules


def type_names(source: str) -> set[str]:
    """Classes and type aliases at the top level of a module; type variables are no types."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            continue  # T = TypeVar("T")
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names |= {t.id for t in targets if isinstance(t, ast.Name)}
        names |= {node.name} if isinstance(node, ast.ClassDef) else set()
    return {n for n in names if n[0].isupper() and not n.isupper()}


def test_each_type_name_stands_in_one_module() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        for name in type_names(path.read_text(encoding="utf-8")):
            homes[name].append(str(path.relative_to(PACKAGE)))
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_the_reader_sees_them() -> None:
    assert type_names(
        "class Alpha: ...\nRow: TypeAlias = str\nMade = TypeVar('Made')\nX = 1\n"
    ) == {
        "Alpha",
        "Row",
    }


def test_no_key_of_a_file_calls_anything_else_a_check() -> None:
    """Nor does `unended` come back: the metric is `missing_eos`. What is left reads older files,
    or names the stage of a build that is the final check."""
    names = {
        f"{path.relative_to(PACKAGE)}:{node.value}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in ("check", "unended")
    }
    final_check = {
        "pipeline/revise.py", "pipeline/steps.py", "authoring/sides.py", "authoring/probe.py",
        "authoring/replay.py",
        "constitution/keys.py", "cli/progress.py",
    }  # fmt: skip
    earlier = {
        "training/config/on_policy.py:check", "training/monitors.py:unended",
        "audit/items.py:check",
    }  # fmt: skip
    assert names == {f"{file}:check" for file in final_check} | earlier


def test_check_means_the_final_check_of_a_response() -> None:
    """Elsewhere: validate a value, verify a file, require a condition, lint content, test a
    principle, examine a judge."""
    names = {
        f"{path.relative_to(PACKAGE)}:{node.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and re.match(r"_*check(?!point|out)", node.name, re.IGNORECASE)
    }
    assert names == {"types.py:Check", "pipeline/revise.py:check_response"}
