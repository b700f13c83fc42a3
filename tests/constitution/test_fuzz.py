"""Ten thousand damaged files: each loads, or is refused with a position. Nothing else.

9,000 principles and constitutions, 1,000 templates; a second of computing at most for each.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cai.constitution.lint import lint
from cai.constitution.load import Loader, load_constitution, load_principle
from cai.constitution.templates import render
from cai.content import packaged
from cai.errors import ContentError, PromptError
from cai.types import Constitution, Principle
from tests.constitution.projects import CONSTITUTION, principle, project

SNIPPETS = [
    "&a ", "*a", "!!str ", "!x ", "? ", "- ", ": ", "\t", "'", '"', "[", "]", "{", "}", ",", "#",
    "|", ">-", "---\n", "...\n", "%YAML 1.2\n", "\n", "\0", "\x1b", "\u202e", "\ud7ff", "😀", "~",
    "null", "true", "no", "0", "-1", "1e999", ".nan", "9" * 400, "\\", '"\\ud800"', "<<: {a: 1}\n",
    "extends: ./small.yaml\n", "ref: /etc/passwd\n", "title: x\n", "  ", "a: " * 40, "[" * 40,
    "weight: 0\n", "phases: [sl]\n", "rounds: 99\n", "templates: {revise: x}\n", "{{ x }}",
    "stages:\n", "tests: 3\n", "expect: {}\n", "api: cai/v1\n", "kind: Principle\n",
]  # fmt: skip


EVERY_KEY = """\
select: {include_tags: [tone], exclude_tags: [none]}
templates: {critique: critique.j2}
feedback: {mode: letters, principles_per_pair: 1, clamp: [0.4, 0.6]}
no_problem: [No problem found.]
"""


def damage(text: str, rng: random.Random) -> bytes:
    """One to three small injuries."""
    for _ in range(rng.randint(1, 3)):
        at, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        lines = text.split("\n")
        choice = rng.randrange(6)
        if choice == 0:
            text = text[:at] + rng.choice(SNIPPETS) + text[at:]
        elif choice == 1:
            text = text[:at] + text[min(end, at + rng.randint(1, 12)) :]
        elif choice == 2:
            rng.shuffle(lines)
            text = "\n".join(lines) if rng.random() < 0.2 else text
        elif choice == 3:
            number = rng.randrange(len(lines))
            lines.insert(rng.randrange(len(lines)), lines[number])
            text = "\n".join(lines)
        elif choice == 4:
            number = rng.randrange(len(lines))
            key = lines[number].split(":")[0]
            lines[number] = f"{key}: {rng.choice(SNIPPETS)}"
            text = "\n".join(lines)
        else:
            text = (
                text[:at]
                + chr(rng.choice([rng.randrange(0x300), rng.randrange(0xD800)]))
                + text[at:]
            )
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.03:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.randbytes(2) + data[at:]
    return data


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))]
)
@pytest.mark.parametrize(
    ("name", "load"), [("rude.yaml", load_principle), ("small.yaml", load_constitution)]
)
def test_damaged_files_load_or_are_refused(
    name: str, load: Callable[[Path], Principle | Constitution], seed: int, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    constitution = project(tmp_path)
    path = constitution if name == "small.yaml" else tmp_path / "principles" / name
    part = "constitution" if name == "small.yaml" else "principles"
    shipped = [f.read_text("utf-8") for f in sorted((packaged() / part).rglob("*.yaml"))]
    own = CONSTITUTION + EVERY_KEY if name == "small.yaml" else principle("rude")
    whole = [own, *shipped[seed::5]]
    loaded = refused = 0
    slowest = 0.0
    for _ in range(900):
        path.write_bytes(damage(rng.choice(whole), rng))
        begin = time.process_time()
        try:
            load(path)
            loaded += 1
        except ContentError as error:
            refused += 1
            assert error.problems
            for problem in error.problems:
                assert problem.line >= 1 and problem.column >= 1 and problem.message
                assert problem.file.endswith((".yaml", ".j2"))
        slowest = max(slowest, time.process_time() - begin)
    assert refused > 400, (loaded, refused)
    assert slowest < 1.0


TEMPLATES = [
    "{{ critique_request }}\n{% if no_problem %}Or say: {{ no_problem }}{% endif %}\n",
    "{% for word in critique_request %}{{ word | upper }}{% endfor %}{{ no_problem | trim }}\n",
]
JINJA = ["{{", "}}", "{%", "%}", "{#", "for x in y", "endfor", "if", "|", "*", "~", "()", ".x",
         "['a']", "include 'x'", "set x = 1", "range(10**9)", "'x' * 50000000", "loop.index",
         "import os", "self", "{% raw %}", "{{ 9**9**9 }}"]  # fmt: skip


def test_damaged_templates_are_checked_or_refused(tmp_path: Path) -> None:
    """What passes the check also renders, within bounds, or says why it can't."""
    rng = random.Random(11)
    path = tmp_path / "critique.j2"
    passed = refused = 0
    for _ in range(1000):
        text = damage(rng.choice(TEMPLATES), rng)
        at = rng.randrange(len(text) + 1)
        if rng.random() < 0.7:
            text = text[:at] + rng.choice(JINJA).encode() + text[at:]
        path.write_bytes(text)
        begin = time.process_time()
        loader = Loader()
        source = loader.template(path, "critique")
        if loader.problems:
            refused += 1
            assert all(p.line >= 1 and p.column >= 1 and p.message for p in loader.problems)
        else:
            passed += 1
            try:
                render(source, {"critique_request": "Is it?", "no_problem": "No.", "principle": ""})
            except (ContentError, PromptError) as error:
                assert str(error)
        assert time.process_time() - begin < 1.0
    assert passed > 50 and refused > 300, (passed, refused)


def test_damaged_projects_never_break_the_linter(tmp_path: Path) -> None:
    rng = random.Random(7)
    path = project(tmp_path)
    template = path.with_name("critique.j2")
    for _ in range(150):
        path.write_bytes(damage(CONSTITUTION, rng))
        (tmp_path / "principles" / "rude.yaml").write_bytes(damage(principle("rude"), rng))
        template.write_bytes(
            damage("{{ critique_request }} {% if x %}{{ no_problem }}{% endif %}", rng)
        )
        for problem in lint([tmp_path]).problems:
            assert problem.line >= 1 and problem.column >= 1 and problem.message
