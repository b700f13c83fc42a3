"""Loads `Constitution` and `Principle` from files, or reports every problem in them at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from cai.constitution import convert
from cai.constitution.plans import contradictions, unseen_reasons
from cai.constitution.schema import (
    ConstitutionFile,
    MemberFile,
    PrincipleFile,
    SelectFile,
    TemplatesFile,
)
from cai.constitution.source import KeyPath, Source, read_source, read_text
from cai.constitution.templates import SOURCE_LIMIT, VARIABLES, source_problems, used_variables
from cai.constitution.validation import validate
from cai.content import (
    ReferenceRefused,
    find_constitution,
    project_root,
    resolve,
    shipped_source,
    shipped_template,
    shown,
)
from cai.errors import ContentError, Problem
from cai.types import Constitution, Feedback, Member, Plan, Principle, Templates

NO_PROBLEM = ("No problem found.",)
"""As in `Constitution`."""

CHAIN_LIMIT = 32
"""The longest chain of `extends`."""


def load_constitution(path_or_name: str | Path) -> Constitution:
    """Load a constitution by path, or by name: this project's, or a shipped one (`default`).

    Raises `ContentError` with every problem of the file and of all it refers to.
    """
    loader = Loader()
    constitution = loader.constitution(find_constitution(path_or_name))
    loader.raise_problems()
    assert constitution is not None
    return constitution


def load_principle(path: str | Path) -> Principle:
    """Load a principle file. Raises `ContentError` with every problem in it."""
    loader = Loader()
    principle = loader.principle(Path(path))
    loader.raise_problems()
    assert principle is not None
    return principle


@dataclass
class _Parts:
    """The parts of a constitution: its own, merged over those of what it extends."""

    members: dict[str, Member] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    feedback: dict[str, Any] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)
    no_problem: tuple[str, ...] = NO_PROBLEM
    show_why: bool | None = None

    def extend(self, other: _Parts) -> None:
        """Merge `other` over this: by principle id, and setting by setting."""
        self.members.update(other.members)
        self.plan.update(other.plan)
        self.feedback.update(other.feedback)
        self.templates.update(other.templates)
        self.no_problem = other.no_problem
        if other.show_why is not None:
            self.show_why = other.show_why


_Collected: TypeAlias = tuple[Source, ConstitutionFile, _Parts]


class Loader:
    """Reads each file once and collects problems instead of stopping at the first."""

    def __init__(self) -> None:
        self._problems: dict[Problem, None] = {}
        self._sources: dict[Path, Source | None] = {}
        self._principles: dict[tuple[Path, Path], Principle | None] = {}
        self._collected: dict[tuple[Path, Path], _Collected | None] = {}
        self._paths: dict[tuple[Path, str], Path] = {}
        self._templates_read: dict[Path, None] = {}
        self.uses: list[tuple[Source, KeyPath, Principle]] = []
        """Where each principle is listed, in every constitution read so far."""

    @property
    def problems(self) -> list[Problem]:
        """Every problem so far, by file and position."""
        return sorted(self._problems)

    @property
    def files(self) -> list[Path]:
        """Every file that was read: constitutions, principles and templates."""
        return [*(path for path, source in self._sources.items() if source), *self._templates_read]

    def raise_problems(self) -> None:
        """Raise `ContentError` if there was any problem."""
        if self._problems:
            raise ContentError(self.problems)

    def note(self, problems: Iterable[Problem]) -> None:
        """Add problems, without duplicates."""
        self._problems.update(dict.fromkeys(problems))

    def source(self, path: Path) -> Source | None:
        """A file's YAML, read once; None if it can't be parsed."""
        path = Path(os.path.abspath(path))  # noqa: PTH100 — links are judged by `resolve`
        if path not in self._sources:
            self._sources[path], problems = read_source(path)
            self.note(problems)
        return self._sources[path]

    @property
    def principles(self) -> dict[tuple[Path, Path], Principle]:
        """(File, project root) → principle, of all that are valid so far."""
        return {key: p for key, p in self._principles.items() if p is not None}

    # -- principles -----------------------------------------------------------------------------

    def principle(self, path: Path, root: Path | None = None) -> Principle | None:
        """Load a principle file; None if it has problems."""
        path = Path(os.path.abspath(path))  # noqa: PTH100
        root = root or project_root(path)
        if (path, root) not in self._principles:
            self._principles[path, root] = self._build_principle(path, root)
        return self._principles[path, root]

    def _build_principle(self, path: Path, root: Path) -> Principle | None:
        source = self._inherit(path, root, ())
        if source is None:
            return None
        model, problems = validate(source, PrincipleFile)
        self.note(problems)
        return convert.principle(model, source.file) if model else None

    def _inherit(self, path: Path, root: Path, chain: tuple[Path, ...]) -> Source | None:
        """A principle's source, with the keys that it inherits through `extends`."""
        source = self.source(path)
        if source is None or not isinstance(source.value, dict):
            return source
        reference = source.value.get("extends")
        if not isinstance(reference, str) or not reference:
            return source
        place = ("extends",)
        target = self._follow(source, place, reference, root)
        if target is None or self._cycle(source, place, target, (*chain, path)):
            return None
        base = self._inherit(target, root, (*chain, path))
        if base is None or validate(base, PrincipleFile)[0] is None:
            if base is not None:
                self.note(validate(base, PrincipleFile)[1])
            return None
        return replace(source, value=convert.inherit(base.value, source.value))

    # -- constitutions --------------------------------------------------------------------------

    def constitution(self, path: Path) -> Constitution | None:
        """Load a constitution file with all it refers to; None if there are problems."""
        path = Path(os.path.abspath(path))  # noqa: PTH100
        before = len(self._problems)
        collected = self._collect(path, project_root(path), ())
        if collected is None:
            return None
        source, model, parts = collected
        if len(self._problems) > before:
            return None
        members = tuple(parts.members.values())
        plan, feedback = Plan(**parts.plan), Feedback(**parts.feedback)
        self.note(contradictions(source, members, plan, feedback))
        if len(self._problems) > before:
            return None
        needed = {item.name for item in fields(Templates)} - {"teach", "document"}
        missing = needed - parts.templates.keys()
        shipped = {kind: shipped_source(kind) for kind in missing}
        templates = Templates(**parts.templates, **shipped)
        if parts.show_why:
            self.note(unseen_reasons(source, templates, feedback))
            if len(self._problems) > before:
                return None
        return convert.with_digest(
            Constitution(
                id=model.id,
                version=model.version,
                title=model.title,
                members=members,
                templates=templates,
                plan=plan,
                feedback=feedback,
                no_problem=parts.no_problem,
                path=source.file,
                show_why=bool(parts.show_why),
            )
        )

    def _collect(self, path: Path, root: Path, chain: tuple[Path, ...]) -> _Collected | None:
        """A constitution merged with what it extends; each file is read once."""
        if (path, root) not in self._collected:
            self._collected[path, root] = self._gather(path, root, chain)
        return self._collected[path, root]

    def _gather(self, path: Path, root: Path, chain: tuple[Path, ...]) -> _Collected | None:
        source = self.source(path)
        if source is None:
            return None
        model, problems = validate(source, ConstitutionFile)
        self.note(problems)
        if model is None:
            return None
        parts = _Parts()
        for index, reference in enumerate(model.extends):
            place: KeyPath = ("extends", index)
            target = self._follow(source, place, reference, root)
            if target is None or self._cycle(source, place, target, (*chain, path)):
                continue
            base = self._collect(target, root, (*chain, path))
            if base is not None:
                parts.extend(base[2])
        self._members(source, model.principles, parts, root)
        if "select" in model.model_fields_set:
            self._select(source, model.select, parts)
        parts.plan |= model.plan.model_dump(exclude_unset=True)
        parts.feedback |= convert.feedback_values(model.feedback.model_dump(exclude_unset=True))
        parts.templates |= self._templates(source, model.templates, root)
        if model.no_problem is not None:
            parts.no_problem = tuple(t.strip() for t in model.no_problem)
        if model.show_why is not None:
            parts.show_why = model.show_why
        return source, model, parts

    def _members(
        self, source: Source, entries: list[MemberFile], parts: _Parts, root: Path
    ) -> None:
        own: dict[str, int] = {}
        for index, item in enumerate(entries):
            place: KeyPath = ("principles", index, "ref")
            target = self._follow(source, place, item.ref, root)
            principle = self.principle(target, root) if target else None
            if principle is None or target is None:
                continue
            self.uses.append((source, place, principle))
            name = principle.id
            first = self._paths.setdefault((root, name), target)
            if name in own:
                what = f"the principle `{name}` is listed twice, first as number {own[name] + 1}"
                self.note([source.problem(place, "C023", what, "Delete one of them.")])
            elif first.resolve() != target.resolve():
                what = f"two files have the id `{name}`; the other is {shown(first)}"
                self.note([source.problem(place, "C023", what, "Give one of them another id.")])
            own[name] = index
            parts.members[name] = Member(
                principle,
                float(item.weight),
                convert.phases(item.phases),
                tuple(sorted(item.rounds)),
            )

    def _select(self, source: Source, select: SelectFile, parts: _Parts) -> None:
        tags = {t for m in parts.members.values() for t in m.principle.tags}
        for key in ("include_tags", "exclude_tags"):
            for index, tag in enumerate(getattr(select, key)):
                if tag not in tags:
                    what = f"no principle here has the tag `{tag}`"
                    hint = f"Tags in use: {', '.join(sorted(tags)) or 'none'}."
                    self.note([source.problem(("select", key, index), "C034", what, hint)])
        include, exclude = set(select.include_tags), set(select.exclude_tags)
        parts.members = {
            name: member
            for name, member in parts.members.items()
            if (not include or include & set(member.principle.tags))
            and not exclude & set(member.principle.tags)
        }

    def _templates(self, source: Source, model: TemplatesFile, root: Path) -> dict[str, str]:
        out: dict[str, str] = {}
        for kind, reference in model.model_dump(exclude_none=True).items():
            path = shipped_template(reference)
            if path is None:
                path = self._follow(source, ("templates", kind), reference, root)
            if path is not None:
                out[kind] = self.template(path, kind)
        return out

    def template(self, path: Path, kind: str) -> str:
        """A template's source, linted against the variables of its kind."""
        self._templates_read[Path(os.path.abspath(path))] = None  # noqa: PTH100
        text, problems = read_text(path, SOURCE_LIMIT)
        self.note(problems or template_problems(text, shown(path), kind))
        return text

    # -- references -----------------------------------------------------------------------------

    def _follow(self, source: Source, place: KeyPath, reference: str, root: Path) -> Path | None:
        try:
            return resolve(reference, source.path, root)
        except ReferenceRefused as error:
            self.note([source.problem(place, error.code, error.message, error.hint)])
            return None

    def _cycle(self, source: Source, place: KeyPath, target: Path, chain: tuple[Path, ...]) -> bool:
        if target.resolve() in {p.resolve() for p in chain}:
            way = " → ".join(p.name for p in (*chain, target))
            what, hint = f"`extends` is circular: {way}", "Remove one of them from the cycle."
        elif len(chain) >= CHAIN_LIMIT:
            what, hint = f"a chain of more than {CHAIN_LIMIT} `extends`", "Shorten it."
        else:
            return False
        self.note([source.problem(place, "C022", what, hint)])
        return True


def template_problems(text: str, file: str, kind: str) -> list[Problem]:
    """Problems of a template of a kind: its syntax, unknown variables and missing ones."""
    required, optional = VARIABLES[kind]
    problems = source_problems(text, file, required | optional)
    if not problems:
        for name in sorted(required - used_variables(text)):
            what = f"a {kind} template must use the variable `{name}`"
            hint = f"Put {{{{ {name} }}}} where the model should read it."
            problems.append(Problem(file, 1, 1, "C043", what, hint))
    return problems
