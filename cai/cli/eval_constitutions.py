"""`cai eval --constitutions`: what two constitutions prefer on one set of pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cai.backends.base import Backend
from cai.cli.live import LiveLine
from cai.cli.output import counted
from cai.constitution.load import load_constitution
from cai.data.files import staged
from cai.data.training import read_pairs
from cai.digest import digest, file_digest
from cai.errors import DataError, UsageError
from cai.evaluation.constitutions import ConstitutionsCompared, compare_constitutions
from cai.pipeline.steps import Draws
from cai.store.store import Store
from cai.text.terminal import visible

SHOWN = 5
"""Pairs that the summary shows, those farthest apart."""
NAME, PAIRS = "constitutions.json", "pairs.jsonl"


def run(
    judge: Backend, names: tuple[str, str], data: Path, out: Path, draws: Draws,
    limit: int | None, quiet: bool,
) -> tuple[dict[str, Any], ConstitutionsCompared]:  # fmt: skip
    """Compare two constitutions, write the folder; returns the record and the verdicts."""
    rules = (load_constitution(names[0]), load_constitution(names[1]))
    if rules[0].digest == rules[1].digest:
        raise UsageError(f"{names[0]} and {names[1]} are the same constitution")
    described = [{"id": c.id, "version": c.version, "digest": c.digest} for c in rules]
    name = _id(described, judge, data, draws, limit)
    _validate_out(out, name)
    rows = list(read_pairs([data]))[:limit]
    out.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(out.parent / "store.sqlite") as store, LiveLine(quiet=quiet) as live:
        compared = compare_constitutions(
            rows, rules, judge, store, draws,
            lambda done, total: live.update(f"{done:,} of {total:,} verdicts"),
        )  # fmt: skip
    record = {
        "id": name, "constitutions": described,
        "judge": {"name": judge.info.name, "fingerprint": judge.info.fingerprint},
        "data": str(data), "summary": compared.summary(),
        "set_aside": [{"source": s.source, "reason": s.reason} for s in compared.set_aside],
    }  # fmt: skip
    with staged(out, NAME) as files:
        with files.lines(PAIRS) as lines:
            for pair in sorted(compared.pairs, key=lambda p: -p.apart):
                lines.write(pair.values())
        files.text(NAME, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return record, compared


def _id(
    constitutions: Sequence[Mapping[str, str]], judge: Backend, data: Path, draws: Draws,
    limit: int | None,
) -> str:  # fmt: skip
    """A digest of all that decides the verdicts."""
    digests = [c["digest"] for c in constitutions]
    settings = {k: v for k, v in asdict(draws).items() if k != "reasoners"}
    parts = (digests, judge.info.fingerprint, file_digest(data), settings, limit)
    return f"c-{digest(parts)[:12]}"


def _validate_out(out: Path, name: str) -> None:
    """Raise `UsageError` where a folder holds something else than this comparison."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    path = out / NAME
    if not path.is_file():
        raise UsageError(
            f"{out} is not empty, and compares no constitutions", hint="Choose another --out."
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        first, second = (f"{c['id']} {c['version']}" for c in record["constitutions"])
        judge, data = record["judge"]["name"], record["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} can't be read: {error}", hint="Choose another --out.") from None
    if record.get("id") != name:
        raise UsageError(
            f"{out} holds another comparison: {first} with {second}, on {data}, by {judge}",
            hint="Choose another --out, or delete it.",
        )


def _kappa(summary: Mapping[str, Any]) -> str:
    if summary["kappa"] is None:
        return "undefined: one side has all of them"
    shown = f"{summary['kappa']:.2f}"
    low, high = summary["kappa_low"], summary["kappa_high"]
    return shown if low is None else f"{shown}, {low:.2f} to {high:.2f}"


def show(record: Mapping[str, Any], compared: ConstitutionsCompared, out: Path) -> None:
    """Print how far they agree, with one another and with the labels, and where they part."""
    first, second = (c["id"] for c in record["constitutions"])
    s = record["summary"]
    if s["decided"]:
        click.echo(
            f"{first} and {second} prefer the same response in {s['agree']:.0%} of"
            f" {counted(s['decided'], 'pair')} that both decide, of {s['pairs']:,} (κ {_kappa(s)})"
        )
    else:
        click.echo(f"{first} and {second} decide none of {counted(s['pairs'], 'pair')} both")
    for name, side in ((first, "first"), (second, "second")):
        rate = s[f"{side}_with_labels"]
        if rate["value"] is None:
            click.echo(f"{name}: decides none of them")
            continue
        click.echo(
            f"{name}: prefers the chosen response in {rate['value']:.0%}"
            f" ({rate['low']:.0%}–{rate['high']:.0%}); {counted(s[f'{side}_ties'], 'near tie')}"
        )
    click.echo(f"mean distance of the probabilities: {s['apart']['value']:.2f}")
    farthest = sorted(compared.pairs, key=lambda p: -p.apart)[:SHOWN]
    for pair in farthest:
        asked = visible(pair.row.prompt[-1].content)[:70]
        click.echo(f"  {pair.first:.2f} against {pair.second:.2f}  {asked}")
    if record["set_aside"]:
        click.echo(f"{counted(len(record['set_aside']), 'pair')} set aside")
    click.echo(f"\nwritten  {out}")
