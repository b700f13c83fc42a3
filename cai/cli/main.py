"""The command `cai`: one table from command to file, each loaded only when it is used."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from importlib import import_module
from typing import Any

import click

from cai import __version__
from cai.cli.verbose import add_verbose
from cai.errors import CaiError, UsageError
from cai.text.notices import NOTICES

# Before torch: its threads would spin while they wait, and where another process is busy too, they
# keep each other from the cores many times over.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Write": {
        "init": ("cai.cli.init", "Create a project: principles, constitutions, prompts."),
        "lint": ("cai.cli.lint", "Check principles, constitutions and templates."),
        "render": ("cai.cli.render", "Show the exact prompts of each stage for a principle."),
        "try": ("cai.cli.try_", "Run one prompt through one principle."),
        "test": ("cai.cli.test", "Run the principles' own tests."),
        "diff": ("cai.cli.diff", "Show what an edit to a constitution changes."),
        "lock": ("cai.cli.lock", "Record the version and digest of all content."),
        "schema": ("cai.cli.schema", "Write JSON Schemas for your editor."),
        "import": ("cai.cli.import_", "Import a constitution from another tool's format."),
        "convert": ("cai.cli.convert", "Convert a constitution to another tool's format."),
        "propose": ("cai.cli.propose", "Propose principles, and edits of them."),
    },
    "Build": {
        "plan": ("cai.cli.plan", "Estimate the calls, tokens, memory and time of a build."),
        "build-data": ("cai.cli.build_data", "Turn prompts into SFT and preference data."),
        "build-documents": (
            "cai.cli.build_documents",
            "Write documents that explain the principles, as SFT data.",
        ),
    },
    "Read": {
        "audit": ("cai.cli.audit", "Review a run, record verdicts, sign it off."),
        "trace": ("cai.cli.trace", "Trace a training row back to its principle."),
        "ablate": ("cai.cli.ablate", "Show what of a run depends on each principle."),
        "map": ("cai.cli.map_", "Show how principles relate: agree, contradict, add nothing."),
    },
    "Train": {
        "train": ("cai.cli.train", "Train a model on a run's data: sft, dpo, rloo, …"),
        "loop": ("cai.cli.loop", "Build, train and measure, round by round."),
        "merge": ("cai.cli.merge", "Merge an adapter into its base model."),
        "chat": ("cai.cli.chat", "Chat with a model and its adapters."),
        "compare": ("cai.cli.compare", "Show answers of a base and its adapters side by side."),
    },
    "Evaluate": {
        "eval": (
            "cai.cli.eval",
            "Measure what alignment changed: refusals, honesty, skills.",
        ),
        "redteam": ("cai.cli.redteam", "Write attacks on a constitution, and ask a model."),
        "report": ("cai.cli.report", "Write evaluations as one page, and as a model card."),
    },
    "Serve": {
        "guard": ("cai.cli.guard", "Serve a model's answers, guarded by a constitution."),
    },
    "Inspect": {
        "runs": ("cai.cli.runs", "List the runs of a project."),
        "models": ("cai.cli.models", "List trained models and their parents."),
        "verify": ("cai.cli.verify", "Recompute every digest of a run."),
    },
}
"""Heading of the help → command → (module that holds a click command named `command`, one line)."""

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}

RENAMED = {"export": "convert"}
"""Old names of commands that still work, with the names that replaced them."""


class _Lazy(click.Group):
    """A group that imports a command's module when the command is run or its help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[name][0]).command
        add_verbose(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in RENAMED:
            _say(f"`cai {args[0]}` is deprecated; use `cai {RENAMED[args[0]]}`.")
            args = [RENAMED[args[0]], *args[1:]]
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else " See: cai --help"
            raise click.UsageError(f"No such command: {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(n.ljust(width), line) for n, (_, line) in commands.items()])


EXIT_CODES = """\b
Exit codes:
  0  success                  5  a model can't be loaded or used
  1  any other error          6  the store is locked, damaged or full
  2  usage error              7  training failed: NaN, out of memory, collapse
  3  problems in content      8  a model server fails, or lacks what is needed
  4  a data file is invalid,  9  the budget is spent
     or a digest differs      130  interrupted by Ctrl-C
"""


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, "-V", "--version", prog_name="cai")
def cli() -> None:
    """Constitutional AI: align language models with principles that you write.

    Start with `cai init` to create a project, or with `cai build-data`: without options it runs
    the bundled miniature model on the project's prompts, or on bundled ones where there is no
    project, and shows the critiques and revisions.
    """


add_verbose(cli)


def main(arguments: list[str] | None = None) -> None:
    """Run a command. A `CaiError` is printed in a few lines and sets the exit code."""
    if not NOTICES.handlers:
        NOTICES.addHandler(_Notices())
    try:
        outcome: Any = cli.main(args=arguments, prog_name="cai", standalone_mode=False)
        sys.exit(outcome if isinstance(outcome, int) else 0)
    except CaiError as error:
        from cai.text.addresses import without_keys
        from cai.text.terminal import visible

        _say("\n".join(visible(line) for line in without_keys(str(error)).splitlines()))
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        from cai.text.addresses import without_keys

        error.message = without_keys(error.message)  # type: ignore[misc]
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("Stopped.")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except (OSError, RuntimeError) as error:
        path = _loop_of_links(error)
        if path is None:
            raise
        from cai.text.terminal import visible

        _say(f"{visible(path)} is a loop of symbolic links\n  Check the path.")
        sys.exit(UsageError.exit_code)


def _loop_of_links(error: OSError | RuntimeError) -> str | None:
    """The path that an error is about, where it is a symbolic link that leads back to itself."""
    if isinstance(error, OSError):
        return str(error.filename) if error.errno == errno.ELOOP else None
    match = re.fullmatch(r"Symlink loop from '(.*)'", str(error))  # `Path.resolve`, up to 3.12
    return match[1] if match else None


class _Notices(logging.Handler):
    """Prints notices to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        from cai.text.addresses import without_keys
        from cai.text.terminal import visible

        _say(visible(without_keys(record.getMessage())))


def _say(message: str) -> None:
    click.echo(f"cai: {message}", err=True)


if __name__ == "__main__":
    main()
