"""The source of a chat template: the variables that it reads, and a fixed date for it."""

from __future__ import annotations

import datetime
import json
import re

from jinja2 import meta, nodes
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cai.text.twin import OPEN

NOW = "strftime_now"
"""The function by which chat templates write today's date."""
_DIRECTIVES = "aAbBcdDeFgGhHIjmMnpRSTuUVwWxXyYZz"
"""Format letters of `strftime`."""
BUILT_IN = {
    NOW,
    "messages",
    "add_generation_prompt",
    "tools",
    "documents",
    "bos_token",
    "eos_token",
}
"""What the tokenizer's call hands to every template."""


def date_macro(date: str) -> str:
    """A macro in place of `strftime_now`, for transformers hands no function to a template."""
    day = datetime.date.fromisoformat(date)
    directives = [f"%{flag}{letter}" for letter in _DIRECTIVES for flag in ("", "-")]
    marks = [("%%", OPEN), *((mark, day.strftime(mark)) for mark in directives), (OPEN, "%")]
    filters = "".join(f" | replace({json.dumps(a)}, {json.dumps(b)})" for a, b in marks)
    # An expression behind the macro keeps a line break that the template begins with.
    return f"{{% macro {NOW}(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}{{{{ '' }}}}"


def local_names(source: str) -> set[str]:
    """Names that a template sets, loops over or passes itself, and the functions it is given."""
    tree = _tree(source)
    if tree is None:
        return set()
    names = {n.name for n in tree.find_all(nodes.Name) if n.ctx in ("store", "param")}
    functions = {n.node.name for n in tree.find_all(nodes.Call) if isinstance(n.node, nodes.Name)}
    return names | functions


def variables_of(source: str) -> set[str]:
    """The variables that a template reads and does not set itself."""
    tree = _tree(source)
    if tree is None:
        return set(re.findall(r"\b[a-z_]+\b", source))
    return set(meta.find_undeclared_variables(tree))


def _tree(source: str) -> nodes.Template | None:
    """A template as Jinja reads it; None where it has a tag that Jinja does not know."""
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    bare = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", source)
    try:
        return environment.parse(bare)
    except TemplateError:
        return None
