"""What a file refers to stays inside its project: every way out is refused, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai.constitution.load import load_constitution
from tests.constitution.projects import CONSTITUTION, only, principle, project

ESCAPES = [
    ("../../outside.yaml", "C020", "leads out"),
    ("../principles/../../outside.yaml", "C020", "leads out"),
    ("../../../../../../../../../../etc/passwd", "C020", "leads out"),
    ("/etc/passwd", "C020", "absolute"),
    ("~/x.yaml", "C020", "absolute"),
    ("file:///etc/passwd", "C020", "URL"),
    ("https://example.org/x.yaml", "C020", "URL"),
    ("C:/x.yaml", "C020", "drive"),
    ("..\\outside.yaml", "C020", "backslash"),
    ("../principles/link.yaml", "C020", "link out"),
    ("../principles/folder/outside.yaml", "C020", "link out"),
    ("../principles/loop.yaml", "C021", "loop"),
    ("../principles", "C021", "not a file"),
    ("../principles/dangling.yaml", "C021", "does not exist"),
    ("../principles/none.yaml", "C021", "does not exist"),
    ("a" * 400, "C021", "can't be read"),
]


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    """A project with links out of it; returns its root."""
    root = tmp_path / "project"
    project(root)
    (tmp_path / "outside.yaml").write_text(principle("outside"))
    below = root / "principles"
    (below / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (below / "folder").symlink_to(tmp_path)
    (below / "loop.yaml").symlink_to(below / "loop.yaml")
    (below / "dangling.yaml").symlink_to(below / "nothing.yaml")
    return root


@pytest.mark.parametrize(("reference", "code", "message"), ESCAPES)
@pytest.mark.parametrize("key", ["ref", "extends", "templates", "principle extends"])
def test_references_stay_inside(
    key: str, reference: str, code: str, message: str, guarded: Path
) -> None:
    quoted = f"'{reference}'"
    texts = {
        "ref": (CONSTITUTION.replace("../principles/rude.yaml", quoted), 7, 10),
        "extends": (CONSTITUTION + f"extends: [{quoted}]\n", 13, 11),
        "templates": (CONSTITUTION + f"templates: {{revise: {quoted}}}\n", 13, 21),
    }
    if key == "principle extends":
        path = guarded / "principles" / "rude.yaml"
        path.write_text(principle("rude", f"extends: {quoted}\n"))
        expected = (21, 10)
    else:
        text, *place = texts[key]
        path = project(guarded, constitution=text)
        expected = (place[0], place[1])
    problem = only(path)
    assert (problem.code, problem.line, problem.column) == (code, *expected)
    assert message in problem.message
    assert problem.hint


def test_a_link_inside_the_project_is_followed(guarded: Path) -> None:
    (guarded / "principles" / "alias.yaml").symlink_to(guarded / "principles" / "rude.yaml")
    text = CONSTITUTION.replace("rude.yaml", "alias.yaml")
    constitution = load_constitution(project(guarded, constitution=text))
    assert constitution.members[0].principle.id == "rude"
