"""Imports point down only: the layers of docs/architecture.md, held by walking the source."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cai"

LAYERS: dict[str, int] = {
    "types": 0,
    "errors": 0,
    "digest": 0,
    "options": 0,
    "stats": 0,
    "decoding": 1,
    "reliability": 1,
    "serving": 1,
    "page": 1,
    "content": 1,
    "constitution": 1,
    "text": 1,
    "losses": 1,
    "models": 2,
    "store": 2,
    "backends": 2,
    "data": 3,
    "pipeline": 3,
    "chain": 3,
    "training": 4,
    "audit": 4,
    "authoring": 4,
    "guard": 4,
    "evaluation": 4,
    "rounds": 4,
    "relations": 4,
    "miniature": 4,
    "cli": 5,
    "__main__": 6,
}
"""Layer of each part of `cai`. `cai/__init__.py` only names things and is left out."""

SIDEWAYS = {
    ("constitution", "content"),
    ("backends", "models"),
    ("pipeline", "data"),
    ("chain", "data"),
    ("authoring", "audit"),
    ("authoring", "evaluation"),
    ("authoring", "relations"),
    ("training", "evaluation"),
    ("audit", "evaluation"),
    ("rounds", "evaluation"),
    ("audit", "relations"),
    ("relations", "evaluation"),
}
"""The only imports allowed between two parts of one layer."""

THIRD_PARTY: dict[str, set[str]] = {
    "stats": {"numpy", "scipy"},
    "constitution": {"jinja2", "pydantic", "yaml"},
    "text": {"jinja2", "tokenizers"},
    "serving": {"h11", "starlette", "uvicorn"},
    "losses": {"torch"},
    "models": {"huggingface_hub", "peft", "safetensors", "torch", "transformers"},
    "backends": {"aiolimiter", "httpx2", "pydantic", "ray", "yaml"},
    "data": {"pyarrow", "yaml"},
    "pipeline": {"yaml"},
    "training": {"accelerate", "safetensors", "torch", "yaml"},
    "miniature": {"rich"},
    "audit": {"starlette"},
    "guard": {"starlette"},
    "evaluation": {"inspect_ai", "numpy", "pydantic", "scipy", "yaml"},
    "relations": {"numpy"},
    "authoring": {"yaml"},
    "cli": {"click", "rich"},
}
"""The packages outside the standard library that each part may import, wherever the import stands;
the other parts import none. Torch stays in `models`, `losses` and `training`."""


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def in_rooms() -> list[Path]:
    """The modules of the miniature, in the package and outside."""
    folders = (PACKAGE / "miniature", ROOT / "bundled")
    files = (path for folder in folders for path in folder.rglob("*.py"))
    return sorted(path for path in files if path != ROOT / "bundled" / "__init__.py")


def part(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever the import stands."""
    out: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            out |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return out


def third_party(names: set[str]) -> set[str]:
    """The packages among modules that are neither the standard library's nor of `cai`."""
    packages = {name.split(".")[0] for name in names}
    return packages - set(sys.stdlib_module_names) - {"cai"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = part(path)
    assert here in LAYERS, f"{here} has no layer: add it to LAYERS and to docs/architecture.md"
    for name in imported(path):
        if not name.startswith("cai."):
            continue
        there = name.split(".")[1]
        if there not in LAYERS or there == here:  # a name of cai/__init__ such as __version__
            continue
        assert LAYERS[there] < LAYERS[here] or (here, there) in SIDEWAYS, (
            f"{path.relative_to(PACKAGE)} (layer {LAYERS[here]}) imports {name} "
            f"(layer {LAYERS[there]})"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_packages_stay_where_they_belong(path: Path) -> None:
    here = part(path)
    others = third_party(imported(path)) - THIRD_PARTY.get(here, set())
    assert not others, (
        f"{path.relative_to(PACKAGE)} imports {others}: see THIRD_PARTY and docs/architecture.md"
    )


def test_no_part_is_allowed_what_it_does_not_import() -> None:
    actual: dict[str, set[str]] = {}
    for path in modules():
        if packages := third_party(imported(path)):
            actual.setdefault(part(path), set()).update(packages)
    assert actual == THIRD_PARTY


def test_losses_import_nothing_of_cai() -> None:
    for path in (PACKAGE / "losses").rglob("*.py"):
        names = {n for n in imported(path) if n.startswith("cai.")}
        assert all(n.startswith("cai.losses") for n in names), f"{path}: {names}"


ROOMS = {
    "cai.miniature.world": (),
    "cai.miniature": ("cai.miniature.world",),
    "bundled.recipe": ("cai.miniature", "cai.miniature.world"),
    "bundled.evaluation": ("cai.miniature", "cai.miniature.world", "bundled.recipe"),
}
"""The rooms of the miniature, and the others that each may import."""


def room(module: str) -> str | None:
    """The room of the miniature that a module stands in; None for all other modules."""
    inside = [name for name in ROOMS if module == name or module.startswith(f"{name}.")]
    return max(inside, key=len, default=None)


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", in_rooms(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_rooms_of_the_miniature_point_one_way(path: Path) -> None:
    here = room(dotted(path))
    assert here is not None
    for name in imported(path):
        there = room(name)
        assert there in {None, here, *ROOMS[here]}, f"{dotted(path)} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_package_never_imports_what_the_wheel_leaves_out(path: Path) -> None:
    outside = {n for n in imported(path) if n.split(".")[0] in {"bundled", "bench", "tests"}}
    assert not outside, f"{path.relative_to(PACKAGE)} imports {outside}"


def test_the_walk_sees_imports(tmp_path: Path) -> None:
    """The test above can fail: an import inside a function is seen."""
    file = tmp_path / "sample.py"
    file.write_text("def f():\n    from cai.cli import main\n    import torch.nn\n")
    assert imported(file) == {"cai.cli", "cai.cli.main", "torch.nn"}
    assert third_party(imported(file) | {"os.path"}) == {"torch"}
