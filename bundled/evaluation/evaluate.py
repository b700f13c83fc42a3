"""Evaluate a checkpoint: `python -m bundled.evaluation.evaluate DIR --principles principles`.

Every row is measured on requests that training never saw, with several sampling seeds; the card's
table shows the share over all seeds, its 95% interval, the smallest and largest seed, and the same
for scenarios that training never met. Ground truth is the grammar that also wrote the training text
(see `cai.miniature.world.judge`): the numbers say what the model does in this world, no more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

import cai
from bundled.evaluation.card import MARKS, card, write_card
from bundled.evaluation.findings import Findings
from bundled.evaluation.lab import Lab
from bundled.evaluation.own_tests import own_tests
from bundled.evaluation.probe import Checkpoint
from bundled.evaluation.rounds import two_rounds
from bundled.evaluation.sections import OF_PRINCIPLES, SECTIONS, WITHOUT_UNSEEN
from bundled.recipe.ranks import end_with_parent
from cai.constitution.load import load_principle
from cai.content import packaged
from cai.data.files import write_whole
from cai.errors import CaiError
from cai.miniature.world.principles_by_hand import SHIPPED
from cai.miniature.world.requests import WorldSplit

ROUNDS, OWN_TESTS = "two rounds", "own tests"
PARTS = (ROUNDS, *SECTIONS, OWN_TESTS)


class _Job(NamedTuple):
    folder: Path
    section: str
    split: WorldSplit
    seed: int
    n: int
    principles: Path | None

    @property
    def name(self) -> str:
        return f"{self.section}, {self.split}, seed {self.seed}"


_loaded: dict[Path, Checkpoint] = {}


def _run(job: _Job) -> tuple[_Job, Findings, float]:
    """One part of the evaluation under one seed; every part has a random stream of its own."""
    torch.set_num_threads(1)
    started = time.monotonic()
    findings = Findings(job.seed)
    name = f"evaluation/{job.section}/{job.split}/{job.seed}"
    torch.manual_seed(random.Random(name).getrandbits(32))
    if job.folder not in _loaded:
        _loaded[job.folder] = Checkpoint(job.folder)
    model = _loaded[job.folder]
    lab = Lab(model, random.Random(name), job.n, findings, job.principles, job.split)
    if job.section == ROUNDS:
        two_rounds(lab, job.folder)
    elif job.section == OWN_TESTS:
        assert job.principles is not None
        results = own_tests(model, job.principles, set(SHIPPED))
        outcomes = [outcome for promises in results.values() for outcome in promises.values()]
        findings.note("the shipped principles' own tests: promises kept", outcomes)
        findings.note("the shipped principles' own tests: tests passed",
                   [all(promises.values()) for promises in results.values()])  # fmt: skip
    else:
        SECTIONS[job.section](lab)
    return job, findings, time.monotonic() - started


def evaluate(
    folder: Path,
    n: int,
    seeds: list[int],
    principles: Path | None,
    processes: int,
    only: list[str],
    keep: Path | None = None,
) -> Findings:
    """Run every part under every seed; parts are spread over processes of one thread each.

    Finished parts go to the folder `keep`; what it holds of these weights is not run again.
    """
    missing = frozenset() if principles else {*OF_PRINCIPLES, OWN_TESTS}
    splits: tuple[WorldSplit, ...] = ("held", "unseen")
    jobs = [
        _Job(folder, part, split, seed, n, principles)
        for part in PARTS
        if part not in missing and (not only or part in only)
        for split in (splits[:1] if part in {*WITHOUT_UNSEEN, OWN_TESTS} else splits)
        for seed in (seeds[:1] if part == OWN_TESTS else seeds)
    ]
    total = Findings(seeds[0])
    pending = []
    for job in jobs:
        before = _read(_findings_file(keep, job))
        if before is None:
            pending.append(job)
        else:
            total.add(before)
    started = time.monotonic()
    strangers = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_settle)
    try:
        running = [pool.submit(_run, job) for job in pending]
        for done, future in enumerate(as_completed(running), 1):
            job, findings, seconds = future.result()
            total.add(findings)
            file = _findings_file(keep, job)
            if file is not None:
                write_whole(file, json.dumps(findings.to_json()))
            rest = (time.monotonic() - started) / done * (len(pending) - done) / 60
            print(
                f"{len(jobs) - len(pending) + done}/{len(jobs)}  {job.name}: {seconds:.0f} s"
                f"  about {rest:.0f} min left",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    except BaseException:
        for process in set(multiprocessing.active_children()) - strangers:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return total


def _settle() -> None:
    """Prepare a worker process: Ctrl-C and progress bars are for the first process alone."""
    from transformers.utils import logging

    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable_progress_bar()


def _findings_file(keep: Path | None, job: _Job) -> Path | None:
    """The file of a part's findings: named by the part, its number of items, and `_state`."""
    if keep is None:
        return None
    return keep / f"{job.name}, {job.n} each, {_state(job.folder, job.principles)}.json"


def _read(file: Path | None) -> Findings | None:
    """The findings in a file; None where there are none that can be read."""
    if file is None or not file.is_file():
        return None
    try:
        return Findings.from_json(json.loads(file.read_text("utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@cache
def _state(folder: Path, principles: Path | None) -> str:
    """A digest of all that decides the findings: the checkpoint's folder, this project's code and
    content, and the principles that are measured. Findings of another state are not reused."""
    rooms = Path(__file__).parents[1]
    files = [
        *folder.glob("*"),
        *Path(cai.__file__).parent.rglob("*.py"),
        *rooms.rglob("*.py"),
        *packaged().glob("constitution/**/*"),
        *packaged().glob("principles/**/*"),
    ]
    files += principles.rglob("*.yaml") if principles else []
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file() and file.suffix != ".md"):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def main() -> None:
    """Read the command line and print the card's table."""
    arguments = _arguments()
    started = time.monotonic()
    try:
        findings = evaluate(
            arguments.folder, arguments.n, arguments.seeds, arguments.principles,
            arguments.processes, arguments.only, arguments.keep,
        )  # fmt: skip
    except KeyboardInterrupt:
        some = arguments.keep is not None and any(arguments.keep.glob("*.json"))
        advice = f"go on with --keep {arguments.keep}" if some else "nothing was kept"
        print(f"\ninterrupted: {advice}", file=sys.stderr)
        sys.exit(130)
    table = card(findings)
    print(table)
    print(f"\n{time.monotonic() - started:.0f} s, seeds {arguments.seeds}, n = {arguments.n} each")
    if arguments.card:
        write_card(arguments.card, table)
    if arguments.json:
        arguments.json.write_text(json.dumps(findings.summary(), indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    """The command line; its errors end the program before anything runs, with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m bundled.evaluation.evaluate", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="checkpoint in the hub's layout")
    parser.add_argument("--n", type=int, default=120, help="items a row and seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--principles", type=Path, help="also measure this folder's principles")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", default=[], choices=PARTS, help="only these parts")
    parser.add_argument("--keep", type=Path, help="keep finished parts here, to go on from them")
    parser.add_argument("--json", type=Path, help="also write all counts here")
    parser.add_argument("--card", type=Path, help="put the table into this model card")
    arguments = parser.parse_args()
    wrong = next(_wrong(arguments), None)
    if wrong is not None:
        parser.error(wrong)
    return arguments


def _wrong(arguments: argparse.Namespace) -> Iterator[str]:
    """The errors of a command line; slow checks, and those that write, come last."""
    if arguments.card and not arguments.card.is_file():
        yield f"there is no card at {arguments.card}"
    if arguments.card and not all(mark in arguments.card.read_text("utf-8") for mark in MARKS):
        yield f"{arguments.card} needs the lines {MARKS[0]} and {MARKS[1]}"
    if arguments.card and arguments.only:
        yield "--card wants the whole evaluation: leave --only out"
    if arguments.card and (arguments.n * len(arguments.seeds) < 300 or len(arguments.seeds) < 3):
        yield "--card wants 300 items a row and three seeds: raise --n or --seeds"
    if arguments.card and not arguments.principles:
        yield "--card wants the whole evaluation: give --principles"
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        yield f"there is no folder {arguments.json.absolute().parent} for --json"
    if arguments.json and arguments.json.is_dir():
        yield f"--json {arguments.json} is a folder: name a file"
    if arguments.keep and arguments.keep.exists() and not arguments.keep.is_dir():
        yield f"--keep {arguments.keep} is no folder"
    if arguments.n < 1 or arguments.processes < 1:
        yield "--n and --processes are 1 or more"
    if len(set(arguments.seeds)) < len(arguments.seeds):
        yield "--seeds: one seed is given twice"
    if arguments.principles and not list(arguments.principles.glob("*/*.yaml")):
        yield f"{arguments.principles} holds no principles (*/*.yaml)"
    for file in sorted(arguments.principles.glob("*/*.yaml")) if arguments.principles else ():
        try:
            load_principle(file)
        except CaiError as error:
            yield str(error)
    needing = sorted({*OF_PRINCIPLES, OWN_TESTS} & set(arguments.only))
    if needing and not arguments.principles:
        yield f"--only {needing[0]} needs --principles"
    if not (arguments.folder / "config.json").is_file():
        yield f"{arguments.folder} is not the folder of a model: it has no config.json"
    if not list(arguments.folder.glob("*.safetensors")):
        yield f"{arguments.folder} holds no weights (*.safetensors)"
    try:
        Checkpoint(arguments.folder)
    except Exception as error:  # whatever a foreign folder makes the libraries say
        yield f"{arguments.folder} can't be loaded: {' '.join(str(error).split())[:200]}"
    try:
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
        if arguments.json:
            arguments.json.open("a").close()
    except OSError as error:
        yield f"{error.filename} can't be written: {error.strerror}"


if __name__ == "__main__":
    main()
