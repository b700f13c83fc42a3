"""`--verbose`: shows log records on stderr."""

from __future__ import annotations

import logging
import time

import click


class _Stderr(logging.Handler):
    """Writes to the current stderr, so that lines appear above a live progress line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record, unless the terminal shows its text anyway."""
        if not getattr(record, "on_terminal", False):
            click.echo(self.format(record), err=True)


def verbose_option() -> click.Option:
    """The option, of the group and of each command; given twice, it does no more."""
    return click.Option(
        ["--verbose"], is_flag=True, expose_value=False, callback=_callback,
        help="Log to stderr what is loaded and done, with times.",
    )  # fmt: skip


def _callback(context: click.Context, option: click.Parameter, value: bool) -> None:
    root = context.find_root()
    if not value or root.meta.get(__name__) or context.resilient_parsing:
        return
    root.meta[__name__] = True
    from cai.data.run_log import LogFormatter, log, versions

    handler, level, begin = _Stderr(), log.level, time.monotonic()
    handler.setFormatter(LogFormatter())
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.debug("%s", ", ".join(f"{name} {version}" for name, version in versions().items()))

    def close() -> None:
        log.debug("ended after %.1f s", time.monotonic() - begin)
        log.setLevel(level)
        log.removeHandler(handler)

    root.call_on_close(close)


def add_verbose(command: click.Command) -> None:
    """Give a command, and those of a group, the option where they lack it."""
    if not any(parameter.name == "verbose" for parameter in command.params):
        command.params.append(verbose_option())
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            add_verbose(inner)
