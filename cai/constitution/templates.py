"""Renders sandboxed templates with bounded output and time.

A template is a safe subset of Jinja: names, `if`, one level of `for`, comparisons, constants and a
dozen filters that can't make text much longer. Calls, arithmetic, attributes, assignment and
includes are refused before anything is compiled, and Jinja's sandbox is a second line of defence.
Text of users and models is only ever a variable, never a template.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment

from cai.errors import ContentError, Problem, PromptError

SOURCE_LIMIT = 64_000
"""Characters of a template."""
NODE_LIMIT = 300
DEPTH_LIMIT = 24
LOOP_LIMIT = 1_000
"""Items that a `for` may walk over."""
OUTPUT_LIMIT = 1_000_000
"""Characters of rendered text, and of each variable."""
SECONDS = 1.0
"""CPU time of one rendering, so that a busy machine does not cause an error."""

FILTER_WORK = 2_000_000
"""Characters of the longest variable times the number of filters in the template."""

VARIABLES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "critique": (
        frozenset({"critique_request", "no_problem"}),
        frozenset({"principle", "why"}),
    ),
    "revise": (
        frozenset({"revision_request"}),
        frozenset({"principle", "critique_request", "critique", "why"}),
    ),
    "compare": (
        frozenset({"question", "conversation", "response_a", "response_b"}),
        frozenset({"principle", "why"}),
    ),
    "compare_cot": (
        frozenset({"question", "conversation", "response_a", "response_b"}),
        frozenset({"principle", "why"}),
    ),
    "contrast": (
        frozenset({"prompt", "follow"}),
        frozenset({"principle", "wording"}),
    ),
    "teach": (frozenset({"principles"}), frozenset()),
    "document": (
        frozenset({"principle", "kind"}),
        frozenset({"critique_request", "question", "why"}),
    ),
    "propose": (frozenset({"conversation", "chosen", "rejected"}), frozenset({"count"})),
    "reword": (
        frozenset({"critique_request", "revision_request", "rejected"}),
        frozenset({"principle", "question", "accepted"}),
    ),
}
"""Template kind → (variables it must use, variables it may use)."""
WITH_REASON = ("critique", "revise", "compare", "compare_cot")
"""The kinds that may show a principle's reason, as `why`."""

FILTERS = frozenset({
    "capitalize", "default", "first", "indent", "last", "length",
    "lower", "title", "trim", "truncate", "upper", "wordcount",
})  # fmt: skip
_REASON_BLOCK = re.compile(
    r"(?:^[ \t]*)?\{% *if why *%\}(?:(?!\{%).)*(?:(?<=\n)[ \t]*)?\{% *endif *%\}\n?", re.M | re.S
)
"""The block, and the spaces before it and the newline after it, which Jinja drops as well."""
_TESTS = frozenset({"defined", "none"})
_COMPARISONS = frozenset({"eq", "ne", "lt", "lteq", "gt", "gteq"})
_LOOP_ATTRIBUTES = frozenset({"index", "index0", "first", "last", "length"})
_CONSTANTS = (str, int, float, bool, type(None))

_PLAIN = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not, nodes.CondExpr,
)  # fmt: skip

_NAMES: dict[type[nodes.Node], str] = {
    nodes.Call: "calls", nodes.Getitem: "subscripts", nodes.Concat: "joining with ~",
    nodes.Add: "arithmetic", nodes.Sub: "arithmetic", nodes.Mul: "arithmetic",
    nodes.Div: "arithmetic", nodes.FloorDiv: "arithmetic", nodes.Mod: "arithmetic",
    nodes.Pow: "arithmetic", nodes.Neg: "arithmetic", nodes.Pos: "arithmetic",
    nodes.Assign: "set", nodes.AssignBlock: "set", nodes.Include: "include",
    nodes.Import: "import", nodes.FromImport: "import", nodes.Extends: "extends",
    nodes.Block: "block", nodes.Macro: "macros", nodes.CallBlock: "calls",
    nodes.FilterBlock: "filter blocks", nodes.With: "with", nodes.List: "lists",
    nodes.Tuple: "tuples", nodes.Dict: "dictionaries",
    nodes.ScopedEvalContextModifier: "autoescape", nodes.NSRef: "namespaces",
}  # fmt: skip


def _empty_if_none(value: Any) -> Any:
    return "" if value is None else value


_ENVIRONMENT = SandboxedEnvironment(
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_empty_if_none,
)
_ENVIRONMENT.globals.clear()


def render(source: str, variables: Mapping[str, object]) -> str:
    """Render a template. One newline at its end is dropped; None renders as nothing.

    Raises `ContentError` for an invalid template, `PromptError` if the variables lead to more than
    1 MB of text or more than a second of CPU time.
    """
    template, loops, filters = _compiled(source)
    for name, value in variables.items():
        length = _length(value)
        if length > OUTPUT_LIMIT or length * filters > FILTER_WORK:
            _too_much(f"the variable {name} has {length:,} characters")
    for name in loops:
        value = variables.get(name)
        if isinstance(value, str | list | tuple) and len(value) > LOOP_LIMIT:
            _too_much(f"a loop walks over {len(value):,} items of {name}")
    pieces: list[str] = []
    size, deadline = 0, time.thread_time() + SECONDS
    try:
        for piece in template.generate(**variables):
            pieces.append(piece)
            size += len(piece)
            if size > OUTPUT_LIMIT:
                _too_much(f"the rendered text is longer than {OUTPUT_LIMIT:,} characters")
            if time.thread_time() > deadline:
                _too_much(f"rendering took longer than {SECONDS:g} s")
    except jinja2.TemplateError as error:
        raise ContentError([Problem("<template>", 1, 1, "C042", str(error))]) from None
    except (TypeError, ValueError, ArithmeticError) as error:
        text = f"a filter or comparison does not fit its value: {error}"
        raise ContentError([Problem("<template>", 1, 1, "C041", text)]) from None
    return "".join(pieces)


def source_problems(source: str, file: str, allowed_variables: Collection[str]) -> list[Problem]:
    """All problems of a template: syntax, what is not allowed, unknown variables."""
    return _Walker(source, file, frozenset(allowed_variables)).problems


def used_variables(source: str) -> frozenset[str]:
    """The variables that a template uses; empty if it can't be parsed."""
    walker = _Walker(source, "<template>", None)
    return frozenset(walker.used)


def without_reason(source: str) -> str:
    """A template without its blocks `{% if why %}…{% endif %}`.

    It renders the same where `why` is empty. A block with another tag inside (`else`, `if`, `for`)
    stays.
    """
    return _REASON_BLOCK.sub("", source)


def _length(value: object) -> int:
    """Characters of a text, or of all the texts in a list."""
    if isinstance(value, list | tuple):
        return sum(map(_length, value))
    return len(value) if isinstance(value, str) else 0


def _too_much(what: str) -> NoReturn:
    raise PromptError(f"template: it can't be rendered: {what}", hint="Shorten the text.")


@lru_cache(maxsize=256)
def _compiled(source: str) -> tuple[jinja2.Template, frozenset[str], int]:
    """The template, the variables that it loops over, and how many filters it has."""
    walker = _Walker(source, "<template>", None)
    if walker.problems:
        raise ContentError(walker.problems)
    return _ENVIRONMENT.from_string(source), frozenset(walker.loops), walker.filters


class _Walker:
    """Walks a template's syntax tree once. allowed: None allows any variable."""

    def __init__(self, source: str, file: str, allowed: frozenset[str] | None) -> None:
        self.file = file
        self.allowed = allowed
        self.problems: list[Problem] = []
        self.used: set[str] = set()
        self.loops: set[str] = set()
        self.filters = 0
        self.lines = source.splitlines() or [""]
        if len(source) > SOURCE_LIMIT:
            self._refuse(1, "C002", f"a template of {len(source):,} characters", "Shorten it.")
            return
        try:
            tree = _ENVIRONMENT.parse(source)
        except jinja2.TemplateSyntaxError as error:
            self._refuse(error.lineno, "C040", _sentence(error.message or "can't be read"))
            return
        except (RecursionError, ValueError, ArithmeticError, MemoryError):
            self._refuse(
                1, "C040", "the template is nested too deeply or contains too large a number"
            )
            return
        if self._small(tree):
            self._walk(tree, None)

    def _small(self, tree: nodes.Template) -> bool:
        """Whether the tree is within bounds; walked without recursion."""
        stack: list[tuple[nodes.Node, int]] = [(tree, 0)]
        count = 0
        while stack:
            node, depth = stack.pop()
            count += 1
            if count > NODE_LIMIT or depth > DEPTH_LIMIT:
                what = "nested too deeply" if depth > DEPTH_LIMIT else "made of too many parts"
                self._refuse(getattr(node, "lineno", 1), "C041", f"the template is {what}")
                return False
            stack += [(child, depth + 1) for child in node.iter_child_nodes()]
        return True

    def _walk(self, node: nodes.Node, item: str | None) -> None:
        """Visit a node and its children. item: the loop variable inside a loop."""
        if isinstance(node, nodes.For):
            self._for(node, item)
            return
        if isinstance(node, nodes.Name):
            self._name(node, item)
        elif isinstance(node, nodes.Getattr):
            self._getattr(node, item)
            return
        elif isinstance(node, nodes.Const):
            if not isinstance(node.value, _CONSTANTS):
                self._forbid(node, "this constant")
        elif isinstance(node, nodes.Compare):
            bad = [o.op for o in node.ops if o.op not in _COMPARISONS]
            if bad:
                self._forbid(node, f"the comparison `{bad[0]}`")
        elif isinstance(node, nodes.Test):
            if node.name not in _TESTS or node.args or node.kwargs:
                self._forbid(node, f"the test `is {node.name}`", node.name)
        elif isinstance(node, nodes.Filter):
            self._filter(node, item)
        elif not isinstance(node, _PLAIN):
            name = _NAMES.get(type(node), type(node).__name__.lower())
            self._forbid(node, name)
            return
        for child in node.iter_child_nodes():
            self._walk(child, item)

    def _for(self, node: nodes.For, item: str | None) -> None:
        if item is not None:
            self._forbid(node, "a loop in a loop", "for")
        elif node.recursive:
            self._forbid(node, "a recursive loop", "for")
        elif not isinstance(node.iter, nodes.Name):
            self._forbid(node, "a loop over anything but a variable", "for")
        elif not isinstance(node.target, nodes.Name) or node.target.name in (
            *("loop", node.iter.name),
            *(self.allowed or ()),
        ):
            self._forbid(node, "a loop variable that is not one new name", "for")
        else:
            self._name(node.iter, None)
            self.loops.add(node.iter.name)
            for child in (*node.body, *([node.test] if node.test else [])):
                self._walk(child, node.target.name)
            for child in node.else_:
                self._walk(child, None)

    def _name(self, node: nodes.Name, item: str | None) -> None:
        if node.name == item:
            return
        self.used.add(node.name)
        if self.allowed is not None and node.name not in self.allowed:
            close = get_close_matches(node.name, self.allowed, n=1)
            hint = f"Did you mean `{close[0]}`? " if close else ""
            hint += f"Known here: {', '.join(sorted(self.allowed))}."
            self._refuse(node.lineno, "C042", f"unknown variable `{node.name}`", hint, node.name)

    def _getattr(self, node: nodes.Getattr, item: str | None) -> None:
        of_loop = isinstance(node.node, nodes.Name) and node.node.name == "loop"
        if not of_loop or item is None or node.attr not in _LOOP_ATTRIBUTES:
            self._forbid(node, f"the attribute `.{node.attr}`", node.attr)

    def _filter(self, node: nodes.Filter, item: str | None) -> None:
        self.filters += 1
        if node.name not in FILTERS:
            self._forbid(node, f"the filter `{node.name}`", node.name)
        elif node.node is None:
            self._forbid(node, "filter blocks", node.name)
        elif item is not None and _filtered(node) != item:
            self._forbid(node, "a filter in a loop on anything but the loop's variable", node.name)
        elif node.dyn_args or node.dyn_kwargs:
            self._forbid(node, "arguments by *", node.name)
        else:
            arguments = [*node.args, *(k.value for k in node.kwargs)]
            for argument in arguments:
                if not isinstance(argument, nodes.Const):
                    self._forbid(node, "a filter's argument that is not a constant", node.name)
                elif node.name == "indent" and not _small_number(argument.value):
                    self._forbid(node, "an indent over 16", node.name)
                elif node.name == "first" or node.name == "last":
                    self._forbid(node, f"an argument of `{node.name}`", node.name)
            for keyword in node.kwargs:  # a Keyword is no expression, so it is visited here
                self._walk(keyword.value, item)
            node.kwargs = []

    def _forbid(self, node: nodes.Node, what: str, near: str = "") -> None:
        hint = "A template may use variables, `if`, one level of `for` and simple filters."
        if what.startswith("the filter"):
            hint = f"Allowed filters: {', '.join(sorted(FILTERS))}."
        self._refuse(node.lineno, "C041", f"not allowed in a template: {what}", hint, near)

    def _refuse(
        self, line: int | None, code: str, text: str, hint: str = "", near: str = ""
    ) -> None:
        line = line or 1
        problem = Problem(self.file, line, self._column(line, near), code, text, hint)
        if problem not in self.problems:
            self.problems.append(problem)

    def _column(self, line: int, near: str) -> int:
        """The column of `near` on the line, or of the first bracket; Jinja reports lines only."""
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        match = re.search(rf"\b{re.escape(near)}\b", text) if near else None
        match = match or re.search(r"\{[{%]", text)
        return match.start() + 1 if match else 1


def _filtered(node: nodes.Expr | None) -> str:
    """The variable that a chain of filters is applied to; empty if it is not a name."""
    while isinstance(node, nodes.Filter):
        node = node.node
    return node.name if isinstance(node, nodes.Name) else ""


def _small_number(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, int) and 0 <= value <= 16)


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
