"""`cai merge`: an adapter and its base as one plain model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cai.cli.output import json_option, print_json, warn
from cai.cli.roles import need_adapter
from cai.digest import file_digest
from cai.errors import DataError, UsageError
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.training.lineage import Adapter


_TOLD = 0.01
"""The least loss that is worth a word, relative to the adapter's effect."""


@click.command("merge")
@click.argument("run_or_adapter", metavar="RUN_OR_ADAPTER")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, file_okay=False), required=True,
    help="The folder to write, new or empty.",
)  # fmt: skip
@click.option(
    "--model", "-m", default=None,
    help="The base model.  [default: what the adapter was trained on]",
)  # fmt: skip
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32",
    show_default=True,
    help="Dtype of the merged weights. 16 bits take half the space and round the adapter's"
    " effect.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Merge even into a base other than the adapter's.")
@json_option
def command(
    run_or_adapter: str, out: Path, model: str | None, dtype: str, force: bool, as_json: bool
) -> None:
    """Merge an adapter into its base.

    RUN_OR_ADAPTER is the folder of a training run, or of a LoRA adapter in PEFT's layout. What is
    written is a plain transformers model (safetensors, tokenizer, chat template).

    \b
    cai merge runs/dpo --out models/aligned
    cai build-data --model models/aligned
    """
    from cai.data.files import partial_of, store_errors
    from cai.models.merge import merge_adapter
    from cai.models.names import part_of_run
    from cai.training.lineage import find_home

    with store_errors(out):
        if out.exists() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty", hint="Choose another --out, or empty it.")
    if find_home(run_or_adapter) and (Path(run_or_adapter).expanduser() / "model").is_dir():
        raise UsageError(
            f"{run_or_adapter} trained all weights: there is nothing to merge",
            hint=f"Its model is a plain one already: {part_of_run(run_or_adapter, 'model')}",
        )
    adapter = need_adapter(run_or_adapter, "merge")
    base = model or adapter.base
    if not base:
        raise UsageError(
            f"{adapter.folder} does not say what it was trained on", hint="Name it with --model."
        )
    if not adapter.fits(base) and not force:
        raise DataError(
            f"{base} is not the base that {adapter.name} was trained on: its files have changed,"
            " or it is another model",
            hint="Name the right one with --model, or merge all the same with --force.",
        )
    if adapter.record and adapter.record.quantize:
        bits = adapter.record.quantize
        click.echo(f"Trained on the base in {bits}; merged, its answers differ a little.", err=True)
    place = out.resolve()
    partial = partial_of(place)
    with store_errors(out):
        try:
            lost = merge_adapter(base, adapter.folder, partial, dtype)
            (partial / "README.md").write_text(_card(adapter, base, dtype), encoding="utf-8")
            partial.replace(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    if lost >= _TOLD:
        warn(
            f"Rounding to {dtype} changes the weights {lost:.0%} as much as the adapter does."
            " --dtype float32 keeps it whole; so does --adapter, without merging."
        )
    if as_json:
        values = {"out": str(out), "adapter": adapter.name, "base": base, "dtype": dtype}
        print_json({**values, "rounding": lost})
    else:
        click.echo(visible(f"Merged {adapter.name} into {base} in {dtype}: {out}"))


def _card(adapter: Adapter, base: str, dtype: str) -> str:
    """Where the weights come from."""
    run = f", run `{adapter.record.id}`," if adapter.record else ""
    sha = file_digest(adapter.folder / "adapter_model.safetensors")
    return (
        f"# {adapter.name}\n\nThe adapter {adapter.name}{run} merged into {base} in {dtype}.\n\n"
        f"SHA-256 of the adapter: `{sha}`.\n"
    )
