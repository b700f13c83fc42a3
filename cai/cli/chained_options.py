"""Options that a chain of commands hands on to one of them, checked before its first step."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cai.errors import UsageError
from cai.options import flag


def require_options(name: str, words: Sequence[str], path: str) -> None:
    """Raise `UsageError` for options that a command does not have, or of another kind.

    name: of the setting that has them. path: of the command, such as `train dpo`.
    """
    from cai.cli.main import cli  # which imports a command's module when it is asked for

    context = click.Context(cli, info_name="cai")
    command: click.Command = cli
    for part in path.split():
        assert isinstance(command, click.Group)
        found = command.get_command(context, part)
        assert found is not None, path
        command, context = found, click.Context(found, context, part)
    problem = ""
    try:
        values, rest, given = command.make_parser(context).parse_args(list(words))
        for parameter in given:
            value = values[str(parameter.name)]
            if isinstance(parameter, click.Option):
                parameter.type_cast_value(context, value)
            elif isinstance(value, str | tuple):  # else none was given
                rest += [value] if isinstance(value, str) else value
        if rest:
            problem = f"{rest[0]!r} belongs to no option"
    except click.UsageError as error:
        problem = error.format_message()
    if problem:
        raise UsageError(f"{flag(name)}: {problem}", hint=f"See: cai {path} --help")
