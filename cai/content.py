"""Finds content: by an explicit path, in the project around the working directory, in the package.

Content is what teams edit: `constitution/` and `principles/`. The wheel ships it inside the
package; a checkout has it at the top. A project is a folder with `constitution/` or `.cai/`.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from cai.errors import ContentError, Problem

SUFFIXES = (".yaml", ".yml")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class ReferenceRefused(ValueError):
    """A reference can't be followed. code: the lint code to report."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


@cache
def packaged() -> Path:
    """The folder with the `constitution/` and `principles/` that are shipped with cai."""
    here = Path(__file__).resolve().parent
    inside = here / "_content"
    return inside if inside.is_dir() else here.parent


def project_root(place: Path) -> Path:
    """The project that a file or folder belongs to.

    The nearest folder, from its own upward, with `constitution/` or `.cai/`; if there is none, the
    parent of the file's folder.
    """
    folder = Path(os.path.abspath(place))  # noqa: PTH100 — no link is followed here
    folder = folder if folder.is_dir() else folder.parent
    root = enclosing_project(folder)
    if root is not None:
        return root
    top = folder.parent in (Path(folder.anchor), Path.home())
    return folder if top else folder.parent


def enclosing_project(folder: Path) -> Path | None:
    """The nearest folder, from here upward, with `constitution/` or `.cai/`, if any."""
    for candidate in (folder, *folder.parents):
        content = candidate / "constitution"
        code = (content / "__init__.py").exists()  # a Python package of that name
        if (candidate / ".cai").is_dir() or (content.is_dir() and not code):
            return candidate
    return None


def find_constitution(path_or_name: str | Path, folder: Path | None = None) -> Path:
    """The file of a constitution: a path, or a name in a project or among the shipped ones.

    folder: a folder of the project; the working directory by default. Raises `ContentError` if
    there is no such constitution.
    """
    text = os.fspath(path_or_name)
    path = Path(text)
    if text and (path.suffix in SUFFIXES or path.name != text or path.is_file()):
        if path.is_file():
            return path
        raise ContentError([_missing(text, nearby(path, "Check the path."))])
    project = enclosing_project((folder or Path.cwd()).absolute())
    roots = [project, packaged()] if project else [packaged()]
    for root in roots:
        candidate = root / "constitution" / f"{text}.yaml"
        if text and candidate.is_file():
            return candidate
    names = sorted({p.stem for r in roots for p in (r / "constitution").glob("*.yaml")})
    close = get_close_matches(text, names, n=1, cutoff=0.6)
    guess = f"Did you mean `{close[0]}`? " if close else ""
    hint = f"{guess}Give a path, or one of: {', '.join(names)}."
    raise ContentError([_missing(text, hint)])


def shipped_template(name: str) -> Path | None:
    """A template that is shipped with cai, by its file name."""
    return _shipped_templates().get(name)


def shipped_source(kind: str) -> str:
    """The text of the shipped template of a kind, such as `critique`."""
    path = shipped_template(f"{kind}.j2")
    if path is None:
        raise FileNotFoundError(f"the installation lacks its template {kind}.j2")
    return path.read_text(encoding="utf-8")


@cache
def _shipped_templates() -> dict[str, Path]:
    return {p.name: p for p in (packaged() / "constitution" / "templates").glob("*.j2")}


def resolve(reference: str, origin: Path, root: Path) -> Path:
    """The file that a reference in the file `origin` leads to, inside the project's root.

    References are relative to the file that contains them. Raises `ReferenceRefused` if the target
    is outside the root (an absolute path, a URL, `..`, a symbolic link) or not a file.
    """
    inside = f"References are relative and stay inside the project, {shown(root)}."
    if _URL.match(reference):
        raise ReferenceRefused("C020", f"`{reference}` is a URL or a drive, not a path", inside)
    if reference.startswith(("/", "~")) or "\\" in reference:
        what = "has a backslash" if "\\" in reference else "is an absolute path"
        raise ReferenceRefused("C020", f"`{reference}` {what}", inside)
    folder = Path(os.path.abspath(origin)).parent  # noqa: PTH100
    target = Path(os.path.normpath(folder / reference))
    if not target.is_relative_to(root):
        raise ReferenceRefused("C020", f"`{reference}` leads out of the project", inside)
    try:
        real = target.resolve()
        if not real.is_relative_to(root.resolve()):
            raise ReferenceRefused("C020", f"`{reference}` is a link out of the project", inside)
        if not real.is_file():
            what = "is not a file" if real.exists() else "does not exist"
            hint = _file_of_principle(reference, folder, root) or nearby(
                target, "Check the path, relative to this file."
            )
            raise ReferenceRefused("C021", f"`{reference}` {what}", hint)
    except (OSError, RuntimeError) as error:  # too long a name, a loop of links
        reason = getattr(error, "strerror", None) or "a loop of links"
        raise ReferenceRefused("C021", f"`{reference}` can't be read: {reason}", inside) from None
    return target


def shown(path: Path) -> str:
    """A path for display: relative if it is below the working directory."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100
    try:
        relative = absolute.relative_to(Path.cwd())
    except ValueError:
        return str(absolute)
    return str(relative)


def _missing(text: str, hint: str) -> Problem:
    return Problem(text or "(no name)", 0, 0, "C001", "no such constitution", hint)


def _file_of_principle(reference: str, folder: Path, root: Path) -> str:
    """Where a reference is a principle's id, such as bank.no-advice: the path to write instead."""
    if "/" in reference or reference.endswith(SUFFIXES):
        return ""
    pattern = re.compile(rf"^id:\s*[\"']?{re.escape(reference)}[\"']?\s*(#.*)?$", re.MULTILINE)
    for file in sorted((root / "principles").rglob("*")):
        if (
            file.suffix in SUFFIXES
            and file.is_file()
            and pattern.search(file.read_text("utf-8", "replace"))
        ):
            path = Path(os.path.relpath(file, folder)).as_posix()
            return f"`ref` is a path, not an id. Write `{path}`."
    return ""


def nearby(target: Path, otherwise: str) -> str:
    """A hint for a file that does not exist: one beside it with a similar name, if any."""
    folder = target.parent
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    close = get_close_matches(target.name, names, n=1, cutoff=0.7)  # `.yaml` alone is 0.6
    return f"Did you mean `{close[0]}`?" if close else otherwise
