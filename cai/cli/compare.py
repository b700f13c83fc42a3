"""`cai compare`: a base and its adapters side by side, on the same prompts with the same seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.defaults import PROMPTS_DEFAULT, choose_prompts
from cai.cli.loaded_models import LoadedModels, chat_options
from cai.cli.output import print_json, warn
from cai.cli.roles import template_options
from cai.errors import CaiError, DataError, PromptError, UsageError
from cai.text.terminal import visible
from cai.types import as_dicts

if TYPE_CHECKING:
    from cai.data.prompts import PromptFile
    from cai.types import Prompt

AT_ONCE = 16
"""Prompts that are answered together, and shown when all models have answered them."""
_LEAST_WIDTH = 28
"""Characters of a column that can still be read; below, answers stand under each other."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A prompt, and by name what each speaker answered or why it did not."""

    prompt: Prompt
    answers: Mapping[str, str | CaiError]

    def row(self) -> dict[str, Any]:
        """The values of a row; a missing answer is null."""
        texts = {n: None if isinstance(a, CaiError) else a for n, a in self.answers.items()}
        messages = as_dicts(self.prompt.messages)
        return {"prompt_id": self.prompt.id, "prompt": messages, "responses": texts}


@click.command("compare")
@click.option(
    "--prompts", "-p", "prompts_file", type=click.Path(path_type=Path), default=None,
    help=f"Prompts, in any format of build-data.  {PROMPTS_DEFAULT}",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Use the first N prompts.")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help="Also write the answers as JSONL: prompt_id, prompt, responses by name.",
)  # fmt: skip
@click.option(
    "--json", "json_file", is_flag=False, flag_value="-", default=None, metavar="",
    help="Print one JSON object to stdout; notes go to stderr.",
)  # fmt: skip
@chat_options
def command(
    prompts_file: Path | None, limit: int | None, out: Path | None, json_file: str | None,
    model: str | None,
    adapters: tuple[str, ...], device: str, dtype: str, thinking: str,
    template_args: tuple[str, ...], date: str | None, **sampling: Any,
) -> None:  # fmt: skip
    """Show what a base and its adapters answer to the same prompts, with the same seeds.

    The base is loaded once. The answers are the first responses of `cai build-data` with the same
    options. No judge is asked: the stage `compare` of a build, which `cai render` shows, is the
    judge's question about two responses.

    \b
    cai compare --adapter runs/sft --adapter runs/dpo --limit 5
    """
    from cai.data.files import staged
    from cai.data.invalid_rows import require_prompts
    from cai.data.prompts import PromptFile

    prompts = PromptFile(choose_prompts(prompts_file))
    require_prompts(prompts, prompts.path.name)
    as_json = json_file == "-"
    if json_file and not as_json:  # the older spelling of --out
        out = Path(json_file)
    if out and not out.parent.is_dir():
        raise UsageError(f"There is no folder {out.parent}", hint="Make it first.")
    template = template_options(
        {"thinking": thinking, "template_args": template_args, "date": date}, adapters
    )
    models = LoadedModels.load(
        model, adapters, device=device, dtype=dtype, at_once=AT_ONCE, template=template
    )
    count = 0
    rows = []
    for comparison in _compare(models, islice(_usable(prompts), limit), sampling):
        count += 1
        if not as_json:
            _print(count, comparison)
        rows.append(comparison.row())
    if not count:
        raise DataError(f"No prompt of {prompts.path} can be used.", hint="See the reasons above.")
    if as_json:
        print_json({"prompts": rows})
    if out:
        with staged(out.parent, out.name) as files, files.lines(out.name) as lines:
            for row in rows:
                lines.write(row)


def _usable(prompts: PromptFile) -> Iterator[Prompt]:
    """The usable prompts of a file; a warning names each invalid row."""
    from cai.types import Prompt

    for row in prompts:
        if isinstance(row, Prompt):
            yield row
        else:
            warn(f"{row.source} set aside: {row.reason}")


def _compare(
    models: LoadedModels, prompts: Iterator[Prompt], sampling: Mapping[str, Any]
) -> Iterator[Compared]:
    """Each prompt with all answers; one that the model can't read is left out with a warning."""
    from cai.pipeline.steps import Draws

    draws = Draws(**sampling)
    while batch := list(islice(prompts, AT_ONCE)):
        requests = [(prompt.messages, draws.sampling(prompt, "response")) for prompt in batch]
        columns = {name: models.answers(name, requests) for name in models.names}
        for place, prompt in enumerate(batch):
            answers = {name: column[place] for name, column in columns.items()}
            refusal = next((a for a in answers.values() if isinstance(a, PromptError)), None)
            if refusal:
                warn(f"{prompt.source} set aside: {refusal.message}")
                continue
            yield Compared(
                prompt,
                {n: a if isinstance(a, CaiError) else a.text for n, a in answers.items()},
            )


def _print(number: int, comparison: Compared) -> None:
    """The conversation, and the answers in columns where they fit, else one under the other."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def cell(text: str, style: str = "") -> Text:
        return Text(visible(text, lines=True), style)

    console = Console(highlight=False)
    console.print(cell(f"{number}. {comparison.prompt.id}", "bold"))
    for message in comparison.prompt.messages:
        console.print(cell(f"{message.role}: {message.content}", "dim"))
    answers = {
        name: cell(f"no answer: {answer.message}", "red")
        if isinstance(answer, CaiError)
        else cell(answer)
        for name, answer in comparison.answers.items()
    }
    beside = console.width // len(answers) >= _LEAST_WIDTH
    table = Table(show_header=beside, show_lines=not beside, expand=True)
    if beside:
        for name in answers:
            table.add_column(cell(name), ratio=1, overflow="fold")
        table.add_row(*answers.values())
    else:
        table.add_column(overflow="fold", max_width=_LEAST_WIDTH)
        table.add_column(ratio=1, overflow="fold")
        for name, answer in answers.items():
            table.add_row(cell(name, "bold"), answer)
    console.print(table)
