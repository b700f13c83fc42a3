"""Write the pages of docs/ that are made from code: `python tools/generated_docs.py`.

docs/commands.md from the commands and their options, docs/reference.md from the schemas of both
kinds of file, docs/lint.md from the codes' pages. A test holds them to what this makes.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the `cai` of this checkout, whichever is installed

from cai.cli import main  # noqa: E402
from cai.constitution.codes import CODES  # noqa: E402
from cai.constitution.editors import editor_schema  # noqa: E402
from cai.constitution.templates import FILTERS, VARIABLES  # noqa: E402

DOCS = ROOT / "docs"
COMMANDS = """\
# Every command and option

Made by `python tools/generated_docs.py` from what `cai COMMAND --help` prints. Every command takes `-h` and `--help`,
and `--verbose`, which logs to stderr what is loaded and done, with times.
"""  # noqa: E501
REFERENCE = """\
# Reference: every key

Made by `python tools/generated_docs.py` from the schemas that `cai schema` writes for editors. How the files are meant:
[authoring.md](authoring.md). What `cai lint` says of them: [lint.md](lint.md).
"""  # noqa: E501
LINT = """\
# What `cai lint` says

Made by `python tools/generated_docs.py` from what `cai lint --explain CODE` prints. Every problem stands as
`file:line:col: CODE message`; the exit code is 3 where there is one.

- `--format json`, `github` (annotations in a workflow) or `sarif` (2.1.0) for other programs.
- `--fix` fixes what can be fixed safely, and lists the files that it changed.
- `--model NAME` also checks that each principle leaves room in that model's context.
- Versions are held against the last commit, in CI against the branch to be merged into (`--against origin/main`;
  `--no-git` leaves it out), and against `cai.lock`.
- Advice (C05x, C06x) is silenced by a comment on the line it is about: `compare: Which is ruder? # lint: ignore C057`.
"""  # noqa: E501
INHERITED = ("why", "stages", "compare")
INNER = {
    "StagesFile": "`stages`", "ExampleFile": "an entry of `examples`",
    "TestFile": "an entry of `tests`", "ExpectFile": "`expect` of a test",
    "MemberFile": "an entry of `principles`", "SelectFile": "`select`", "PlanFile": "`plan`",
    "FeedbackFile": "`feedback`", "TemplatesFile": "`templates`",
    "ChangeFile": "an entry of `changelog`",
}  # fmt: skip
GROUPS = {
    "C00": "Reading a file", "C01": "Keys and values", "C02": "References", "C03": "Plans",
    "C04": "Templates", "C05": "Found by `cai lint` alone: the content",
    "C06": "The layout and the tests", "C07": "Against the last commit, the lock and a model",
}  # fmt: skip
TEMPLATES = {
    "critique": "asks the critic", "revise": "asks the reviser", "compare": "asks the judge",
    "compare_cot": "asks the judge, with reasoning first",
}  # fmt: skip


def commands() -> str:
    """Every command with its arguments and options, under the headings of `cai --help`."""
    return "\n".join(_commands()) + "\n"


def _commands() -> Iterator[str]:
    yield from COMMANDS.splitlines()
    yield ""
    yield from _prose(main.EXIT_CODES)
    root = click.Context(main.cli, info_name="cai")
    for heading, names in main.GROUPS.items():
        yield ""
        yield f"## {heading}"
        for name in names:
            command = main.cli.get_command(root, name)
            assert command is not None, name
            yield from _command(command, click.Context(command, parent=root, info_name=name))


def _command(command: click.Command, ctx: click.Context) -> Iterator[str]:
    """A command's section, then those of its own commands."""
    yield ""
    yield f"### `{ctx.command_path}`"
    yield ""
    yield from _prose(command.help or "")
    yield ""
    yield f"    {' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)])}"
    if rows := [_option(item, ctx) for item in command.params if isinstance(item, click.Option)]:
        yield ""
        yield "| option | value | default | meaning |"
        yield "|---|---|---|---|"
        yield from filter(None, rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None, name
            yield from _command(inner, click.Context(inner, parent=ctx, info_name=name))


def _prose(text: str) -> Iterator[str]:
    """Help as Markdown: a paragraph that click is told not to wrap (`\\b`) becomes a code block."""
    for place, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if place:
            yield ""
        if paragraph.startswith("\b"):
            yield "```text"
            yield from paragraph.lstrip("\b\n").rstrip().splitlines()
            yield "```"
        else:
            yield from paragraph.splitlines()


def _option(option: click.Option, ctx: click.Context) -> str:
    """A row of the table; nothing for a hidden option, nor for one that every command has."""
    if option.hidden or option.name == "verbose":
        return ""
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    text, _, rest = (option.help or "").partition("  [default: ")
    extra = option.get_help_extra(ctx)
    default = rest.rstrip("]") or extra.get("default", "")
    if extra.get("required"):
        default = "required"
    value = "" if option.is_flag else _value(option, ctx)
    return f"| {names} | {value} | {_cell(default)} | {_cell(text)} |"


def _value(option: click.Option, ctx: click.Context) -> str:
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    value = f"`{option.make_metavar(ctx).removesuffix(' RANGE')}`"
    bounds = option.get_help_extra(ctx).get("range")
    return f"{value} {bounds}" if bounds else value


def reference() -> str:
    """Every key of a principle and of a constitution, as a page."""
    return "\n".join(_reference()) + "\n"


def _reference() -> Iterator[str]:
    yield from REFERENCE.splitlines()
    for kind in ("Principle", "Constitution"):
        schema = editor_schema(kind)
        yield ""
        yield f"## A {kind.lower()}"
        yield from _table(schema, kind)
        for name, title in INNER.items():
            if name in schema["definitions"]:
                yield ""
                yield f"### {title[0].upper()}{title[1:]}"
                yield from _table(schema["definitions"][name], kind)
    yield ""
    yield "## A template"
    yield ""
    yield "Filters: " + ", ".join(f"`{name}`" for name in sorted(FILTERS)) + "."
    yield ""
    yield "| template | what it does | must show | may show |"
    yield "|---|---|---|---|"
    for kind, (required, optional) in VARIABLES.items():
        must, may = (", ".join(f"`{n}`" for n in sorted(names)) for names in (required, optional))
        yield f"| `{kind}` | {TEMPLATES[kind]} | {must} | {may} |"


def _table(part: dict[str, Any], kind: str) -> Iterator[str]:
    required = set(part.get("required", ()))
    inherited = set(INHERITED) if kind == "Principle" and "id" in required else set()
    if kind == "Principle" and set(part["properties"]) == {"critique", "revise"}:
        inherited = set(part["properties"])
    yield ""
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for key, value in part["properties"].items():
        default = "required" if key in required else _default(value)
        default = "required, or from `extends`" if key in inherited else default
        yield f"| `{key}` | {_kind(value)} | {default} | {_cell(value['description'])} |"


def _default(value: dict[str, Any]) -> str:
    if "default" not in value or "allOf" in value:
        return ""
    text = json.dumps(value["default"], ensure_ascii=False).strip('"')
    return "" if text in ("null", "[]", "") else f"`{text}`"


def _kind(value: dict[str, Any]) -> str:
    """A value's type, in words."""
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{option}`" for option in value["enum"])
    if "anyOf" in value:
        kinds = [_kind(option) for option in value["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "allOf" in value or "$ref" in value:
        ref = value.get("$ref") or value["allOf"][0]["$ref"]
        return f"keys: see {INNER[ref.rpartition('/')[2]]} below"
    kind = value["type"]
    if kind == "array":
        return f"a list of {_kind(value['items'])}".replace("of keys: see an", "of entries: see an")
    bounds = [f"{word} {value[name]:g}" for name, word in _BOUNDS.items() if name in value]
    return " ".join([_WORDS[kind], *bounds])


_WORDS = {
    "string": "text", "integer": "a whole number", "number": "a number",
    "boolean": "`true`, `false`",
}  # fmt: skip
_BOUNDS = {"minimum": "from", "exclusiveMinimum": "over", "maximum": "to"}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def lint() -> str:
    """A section for every code."""
    return "\n".join(_lint()) + "\n"


def _lint() -> Iterator[str]:
    yield from LINT.splitlines()
    for prefix, title in GROUPS.items():
        yield ""
        yield f"## {title}"
        for code, page in CODES.items():
            if not code.startswith(prefix):
                continue
            yield ""
            yield f"### {code}: {page.title}"
            yield ""
            yield page.text + (" `cai lint --fix` fixes it." if page.fixed else "")
            for label, snippet in (("Instead of", page.wrong), ("write", page.right)):
                if snippet:
                    yield f"\n{label}\n\n```yaml\n{snippet}\n```"


PAGES = {"commands.md": commands, "reference.md": reference, "lint.md": lint}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")
        print(f"wrote docs/{name}")
