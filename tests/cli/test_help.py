"""The help of every command: nothing is left to guess."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from cai.cli.main import cli


def commands(
    command: click.Command, context: click.Context, path: str = "cai"
) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, by what one types."""
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            below = click.Context(inner, parent=context, info_name=name)
            yield from commands(inner, below, f"{path} {name}")


COMMANDS = dict(commands(cli, click.Context(cli, info_name="cai")))


def test_all_are_looked_at() -> None:
    assert {"cai lint", "cai train ppo", "cai audit sign"} <= COMMANDS.keys()


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_option_says_what_it_is_for(path: str) -> None:
    command = COMMANDS[path]
    assert command.help and command.get_short_help_str()
    options = [o for o in command.params if isinstance(o, click.Option) and not o.hidden]
    assert [o.opts for o in options if not (o.help or "").strip()] == []
    for option in options:
        text = str(option.help).split("  [default")[0]
        assert text.endswith(".") or text.startswith("[default"), (path, option.opts, text)
        assert text[0].isupper() or not text[0].isalpha(), text
