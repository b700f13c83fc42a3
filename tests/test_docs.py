"""Docs cannot rot: every command that README and docs print is run as printed.

In a fenced block marked `console`, a line that begins with `$ ` is a command. The commands of one
file run in order in one empty folder, and `cd` holds for what follows, as in one shell; a comment
`# exit N` at the end says which exit code is right. A block marked `yaml file=PATH` is written to
that file, as a reader would. `make` targets are looked up in the Makefile instead of
run: CI runs them itself. Each plain `cai …` has a process of its own, forked from one that has
imported torch and transformers already: that import is most of what a short command does. All else
goes through a shell.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from tests.test_layers import LAYERS, THIRD_PARTY

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"^```(console|yaml file=\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LONG = (
    "build-data.md", "training.md", "first-principle.md", "auditing.md", "miniature.md",
    "contrast.md", "distill.md", "documents.md",
)  # fmt: skip
"""Pages whose commands take long."""
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def steps(page: Path) -> list[tuple[str, str]]:
    """(File to write, its text), or ("", command), in the order of the page."""
    out = []
    for kind, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "console":
            out += [("", line[2:]) for line in block.splitlines() if line.startswith("$ ")]
        else:
            out.append((kind.partition("=")[2], block))
    return out


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] * (page.name in LONG))
        for page in PAGES
        if steps(page)
    ],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_commands_run_as_printed(page: Path, tmp_path: Path) -> None:
    folder = tmp_path
    for file, line in steps(page):
        if file:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(line, encoding="utf-8")
            continue
        if line.startswith(("make ", "bash .ci/run", "pre-commit ", "pip install ")):
            continue
        if line.startswith("cd ") and "&" not in line:
            folder = folder / line[3:]
            continue
        expected = re.search(r"# exit (\d+)$", line)
        plain = line.startswith("cai ") and not set("|&;<>$*~`") & set(line)
        code, told = (in_fork if plain else in_shell)(line, folder)
        assert code == (int(expected.group(1)) if expected else 0), f"{line}\n{told}"
        if change := re.match(r"cd (\S+) &&", line):  # as in the one shell of a reader
            folder = folder / change.group(1)


def in_shell(line: str, folder: Path) -> tuple[int, str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for part in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{part}_NAME": "A reader", f"GIT_{part}_EMAIL": "reader@example.org"}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def in_fork(line: str, folder: Path) -> tuple[int, str]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cai.models.backbone", "cai.training.train"])
    said = folder / ".said"
    process = context.Process(target=run_here, args=(shlex.split(line, comments=True)[1:], folder))
    process.start()
    process.join(timeout=300)
    assert process.exitcode is not None, f"{line} has not ended"
    return process.exitcode, said.read_text(encoding="utf-8")


def run_here(arguments: list[str], folder: Path) -> None:
    """`cai …` in a process of its own, what it says in `.said`."""
    from cai.cli.main import main

    os.chdir(folder)
    with (folder / ".said").open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    main(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_make_targets_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|\$ |^ {4})make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets, f"no such target: {named - targets}"
    missing = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert not missing, f"links to nowhere: {missing}"


def test_the_layer_table_is_the_code_s() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.*?) \|", text, re.MULTILINE)
    table = {
        name.rstrip("/"): int(layer)
        for layer, parts in rows
        for name in re.findall(r"`([\w/]+)`", parts)
    }
    here = {p.stem for p in (ROOT / "cai").iterdir() if p.suffix == ".py" or p.is_dir()}
    here -= {"__init__", "__main__", "__pycache__", "py"}
    assert table == {name: LAYERS[name] for name in here}


def test_the_packages_of_the_layer_table_are_the_code_s() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d \| (.*?) \| .*? \| (.*?) \|$", text, re.MULTILINE)
    table = {
        name.rstrip("/"): set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", packages)))
        for parts, packages in rows
        for name in re.findall(r"`([\w/]+)`", parts)
    }
    assert table == {name: THIRD_PARTY.get(name, {"none"}) for name in table}


def rules() -> list[tuple[str, str, str]]:
    """(Rule, file, symbol) of each row of "Where each rule lives"."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^\| (.+?) \| `(cai/[\w/]+\.py):([\w.]+)` \|$", text, re.MULTILINE)


def is_defined(symbol: str, source: str) -> bool:
    """Whether a source defines a function, class or `Class.method`."""
    scope: Sequence[ast.stmt] = ast.parse(source).body
    for name in symbol.split("."):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        nodes = [n for n in scope if isinstance(n, kinds) and n.name == name]
        if not nodes:
            return False
        scope = nodes[0].body
    return True


@pytest.mark.parametrize(("rule", "file", "symbol"), rules(), ids=lambda value: str(value))
def test_each_rule_lives_where_the_table_says(rule: str, file: str, symbol: str) -> None:
    row = f"docs/architecture.md, {rule!r}"
    assert (ROOT / file).is_file(), f"{row}: there is no {file}; write where it went"
    source = (ROOT / file).read_text(encoding="utf-8")
    assert is_defined(symbol, source), f"{row}: {file} has no {symbol}; write where it went"


def test_the_table_of_rules_is_read_in_full() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.split("## Where each rule lives\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    heads = sum(line.startswith("| rule ") for line in rows)
    assert len(rows) - heads == len(rules()) >= 30
    assert is_defined("A.f", "class A:\n    def f(self): ...\n")
    assert not is_defined("A.g", "class A:\n    def f(self): ...\ndef g(): ...\n")


def test_the_command_blocks_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ cai lint\nfine\n$ cai x  # exit 2\n```\n```sh\n$ not this\n```\n"
        "```yaml file=a/b.yaml\nkey: 1\n```\n```yaml\nnot: this\n```\n"
    )
    assert steps(page) == [("", "cai lint"), ("", "cai x  # exit 2"), ("a/b.yaml", "key: 1\n")]


def test_the_flags_are_told_as_they_are() -> None:
    from cai.audit.flags import FLAGS

    page = (ROOT / "docs" / "auditing.md").read_text(encoding="utf-8")
    rows = [f"| {f.code} | {f.name} | {f.meaning} |" for f in FLAGS.values()]
    assert "\n".join(rows) in page


def test_pages_made_from_code_are_as_the_code_is() -> None:
    """`python tools/generated_docs.py` makes them."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        generated_docs = import_module("generated_docs")
    finally:
        sys.path.pop(0)
    for name, make in generated_docs.PAGES.items():
        page = (ROOT / "docs" / name).read_text("utf-8")
        assert page == make(), f"docs/{name} is stale: run python tools/generated_docs.py"
