"""`cai test`: what principles promise in their `tests:`, held against the words and a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.defaults import constitution_option
from cai.cli.output import counted, format_option, json_option, print_json
from cai.cli.roles import load_options, make_models, models_of
from cai.errors import ContentError, UsageError

if TYPE_CHECKING:
    from cai.authoring.testing import CaseResult, CaseStatus, PrincipleCase, Trials
    from cai.pipeline.drive import Tally
    from cai.types import Constitution

_MARKS: dict[CaseStatus, tuple[str, str]] = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "skipped": ("–", "yellow"),
}
_WIDTH = 200
"""Characters of what a model said that are printed of a failure."""


@click.command("test")
@click.argument("names", metavar="[PRINCIPLE]...", nargs=-1)
@constitution_option
@models_of(None)
@click.option(
    "-k", "pattern", default="", help="Run only tests whose `principle: name` contains this."
)
@click.option(
    "--repeat", type=click.IntRange(min=1), default=None, metavar="N",
    help="Run each test N times with sampling.  [default: once, greedily]",
)  # fmt: skip
@click.option(
    "--need", type=click.IntRange(min=1), default=None, metavar="K",
    help="Passes needed out of the N.  [default: all]",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help="Also write the results as JUnit XML.",
)  # fmt: skip
@json_option
@format_option()
@load_options
@click.option(
    "--runs-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"),
    show_default=True, help="The folder of the store that keeps a model's answers.",
)  # fmt: skip
@click.option("--wait", is_flag=True, help="Wait for another build on the same store to finish.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    names: tuple[str, ...], constitution: str, pattern: str, repeat: int | None, need: int | None,
    seed: int, junit: Path | None, as_json: bool, form: str, quiet: bool, **options: Any,
) -> int:  # fmt: skip
    """Run the tests of principles: ids, files or folders; by default of all in the constitution.

    Without --model only tests that need no model are run: `renders`, and tests that no model could
    pass.

    Each test runs the procedures of a build, under the constitution reduced to the one principle.
    As in a build, answers are kept in a store and reused. Exit code 0: no test failed; 3: a test
    failed.

    \b
    cai test                                       what needs no model
    cai test respect.rudeness --model miniature
    cai test principles/ -m Qwen/Qwen3-4B --repeat 5 --need 4 --junit tests.xml
    """
    from cai.authoring.testing import cases, counts, run_offline
    from cai.cli.content import find_principles
    from cai.constitution.load import load_constitution

    trials = _trials(repeat, need, seed, options["model"])
    if junit is not None and not junit.parent.is_dir():
        raise UsageError(f"--junit: there is no folder {junit.parent}", hint="Make it first.")
    rules = load_constitution(constitution)
    selection = cases(find_principles(names, rules), pattern)
    if not selection:
        raise UsageError("No test matches", hint="`cai lint` lists principles without tests.")
    results: Sequence[CaseResult]
    tally: Tally | None = None
    if options["model"] is None:
        results = run_offline(selection, rules)
    else:
        results, tally = _run_with_models(selection, rules, trials, options, quiet)
    if junit is not None:
        from cai.authoring.junit import as_junit
        from cai.data.files import write_whole

        write_whole(junit, as_junit(results))
    if as_json:
        print_json({"counts": dict(counts(results)), "tests": [_plain(r) for r in results]})
    elif form == "json":
        print_json([_plain(r) for r in results])
    else:
        for line in _lines(results):
            click.echo(line)
        if tally is not None:
            generated, reused = sum(tally.generated.values()), sum(tally.reused.values())
            click.echo(f"Generated {counted(generated, 'step')}; {reused:,} reused from the store.")
    return ContentError.exit_code if counts(results)["failed"] else 0


def _trials(repeat: int | None, need: int | None, seed: int, model: str | None) -> Trials:
    from cai.authoring.testing import Trials

    if repeat is None:
        if need is not None:
            raise UsageError("--need says how many of --repeat must pass", hint="Give both.")
        return Trials.greedy(seed)
    if model is None:
        raise UsageError("--repeat asks a model", hint="Name one with --model.")
    if need is not None and need > repeat:
        raise UsageError(f"--need {need} of --repeat {repeat} can't be had")
    return Trials.repeated(repeat, need or repeat, seed)


def _run_with_models(
    selection: Sequence[PrincipleCase],
    rules: Constitution,
    trials: Trials,
    options: dict[str, Any],
    quiet: bool,
) -> tuple[Sequence[CaseResult], Tally]:
    from contextlib import nullcontext

    from cai.authoring.testing import run_on
    from cai.cli.live import LiveLine
    from cai.data.files import store_errors
    from cai.store.store import Store

    place: Path = options["runs_dir"]
    with store_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    with Store.open(place / "store.sqlite") as store, store.lock(wait=options["wait"]):
        models = make_models(options)  # once nothing else can be in the way
        with nullcontext() if quiet else LiveLine() as live:

            def show(done: int, total: int) -> None:
                if live is not None:
                    live.update(f"{done:,} of {total:,} tests asked")

            return run_on(models, selection, rules, trials, show, store)


def _lines(results: Sequence[CaseResult]) -> Iterator[str]:
    """A table, principle by principle; of a failure, what was expected and what came."""
    from cai.authoring.testing import counts
    from cai.text.terminal import visible

    width = max(len(r.case.test.name) for r in results)
    for name, group in groupby(results, key=lambda r: r.case.principle.id):
        yield click.style(name, bold=True)
        for result in group:
            mark, color = _MARKS[result.status]
            head = f"  {click.style(mark, fg=color)} {visible(result.case.test.name):{width}}"
            yield (head + _beside(result)).rstrip()
            for failure in result.failures:
                yield f"      broken: {visible(failure)}"
            for label, text in result.output:
                short = " ".join(visible(text).split())
                yield f"      {label}: {short if len(short) <= _WIDTH else short[:_WIDTH] + '…'}"
    totals = counts(results)
    yield ", ".join(f"{totals[status]} {status}" for status in _MARKS)


def _beside(result: CaseResult) -> str:
    remarks = [f"{result.passes} of {result.runs}"] if result.runs > 1 else []
    remarks += [result.note] if result.note else []
    return f"  ({'; '.join(remarks)})" if remarks else ""


def _plain(result: CaseResult) -> dict[str, Any]:
    from cai.authoring.expectations import expectation_texts

    return {
        "principle": result.case.principle.id,
        "test": result.case.test.name,
        "expected": list(expectation_texts(result.case.test)),
        "status": result.status,
        "note": result.note,
        "held": result.passes,
        "runs": result.runs,
        "broken": list(result.failures),
        "came": [{"what": label, "text": text} for label, text in result.output],
        "seconds": round(result.seconds, 3),
    }
