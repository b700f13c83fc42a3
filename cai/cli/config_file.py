"""`--config FILE`: a YAML file of settings, which the options of the command line override."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import click

from cai.constitution.source import Source, read_source
from cai.content import nearby
from cai.errors import UsageError
from cai.options import unknown_settings
from cai.text.terminal import visible

_Command = TypeVar("_Command", bound=Callable[..., Any])

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "boolean": ((bool,), "true or false"),
    "integer": ((int,), "a whole number"),
    "integer range": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "float range": ((int, float), "a number"),
}
"""Name of an option's type → the YAML values that it may have, and how an error names them."""


def read_settings(file: Path) -> Source:
    """A file of settings by name. Raises `UsageError` for a file that can't be read."""
    source, problems = read_source(file)
    if not file.is_file():
        raise UsageError(f"--config: there is no file {file}", hint=nearby(file, "Check the path."))
    if source is None or problems:
        raise UsageError("\n".join(str(problem) for problem in problems))
    if not isinstance(source.value, dict | None):
        raise UsageError(
            f"{file} does not hold settings with their values", hint="Write: learning_rate: 1e-4"
        )
    return source


def position(source: Source, name: str) -> str:
    """`file:line:col` of a setting."""
    line, column = source.position((name,), key=True)
    return f"{source.file}:{line}:{column}"


def config_file_option(without: Collection[str]) -> Callable[[_Command], _Command]:
    """`--config FILE`, which gives the command's other options their defaults.

    A setting has the name of its option, with underscores. without: options that no file sets.
    """

    def read(context: click.Context, option: click.Parameter, file: Path | None) -> None:
        if file is not None and not context.resilient_parsing:
            context.default_map = _defaults(read_settings(file), context.command, without)

    return click.option(
        "--config", type=click.Path(path_type=Path, dir_okay=False), default=None,
        is_eager=True, expose_value=False, callback=read,
        help="A YAML file of settings; options override it.",
    )  # fmt: skip


def _defaults(source: Source, command: click.Command, without: Collection[str]) -> dict[str, Any]:
    """The values of a file by the parameters of a command. Raises `UsageError`."""
    options = {_setting(o): o for o in command.params if isinstance(o, click.Option)}
    options = {name: option for name, option in options.items() if name not in without}
    values: dict[str, Any] = {}
    settings = source.value or {}
    unknown = {name: position(source, name) for name in settings if name not in options}
    if unknown:
        message, hint = unknown_settings(f"cai {command.name}", unknown, options)
        raise UsageError(message, hint=hint)
    for name, value in settings.items():
        option = options[name]
        if value is not None:
            values[str(option.name)] = _value(source, name, value, option)
    return values


def _setting(option: click.Option) -> str:
    longest = max(option.opts, key=len)
    return longest.removeprefix("--").replace("-", "_")


def _value(source: Source, name: str, value: Any, option: click.Option) -> Any:
    kinds, words = _KINDS.get(option.type.name, ((str,), "text"))
    items = value if option.multiple and isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, kinds) or (isinstance(item, bool) and bool not in kinds):
            raise UsageError(
                f"{position(source, name)}: {name} is {visible(repr(item))}; it must be {words}."
            )
        try:
            option.type.convert(item, option, None)
        except click.BadParameter as error:
            raise UsageError(f"{position(source, name)}: {name}: {error.message}") from None
    return items if option.multiple else value
