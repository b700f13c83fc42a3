"""What human preferences buy and cost a real model: `python bench/alignment_tax.py MODEL`.

SmolLM2-135M-Instruct (or any MODEL) learns the chosen responses of Anthropic's HH-RLHF pairs by
SFT, then the pairs by DPO, by the commands that a user types; a control learns the *rejected*
responses instead, so that what both do alike is known to come from the data's style and not from
the preference. They are evaluated by `cai eval` on XSTest, SimpleSafetyTests, TruthfulQA, held-out
pairs, school knowledge, plain text and the requests of examples/vaccines; the control on the
first and the last of these. What is there already is kept, so a stopped run goes on. Each model is
evaluated by itself, for its cost, and then together with the others, from the store. The files of
others are read from --files, by default ../shared/data or CAI_TEST_DATA.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from commands import run
from results_file import publish

from cai.evaluation.answers import ItemAnswer
from cai.evaluation.record import read_answers, read_evaluation
from cai.evaluation.reply_rules import is_evasive, is_hedged, is_refused
from cai.evaluation.statistics import share

ROOT = Path(__file__).resolve().parents[1]
FILES = Path(os.environ.get("CAI_TEST_DATA", ROOT.parent / "shared" / "data"))
LONGEST = 600
"""Characters of a transcript: longer pairs are left out, to keep the run short."""
SETTINGS: dict[str, tuple[object, ...]] = {
    "sft": ("--learning-rate", 2e-4),
    "control": ("--learning-rate", 2e-4),
    "dpo": ("--learning-rate", 2e-4, "--beta", 0.1),
}
"""Chosen before the first run, and not tuned."""
MODELS = ("before", "sft", "dpo", "control")
SUITES = ("vaccines.yaml", "xstest-dev.csv", "simple-safety-tests.csv", "truthfulqa.csv",
          "held-out.jsonl", "perplexity", "capability")  # fmt: skip


def first_request(transcript: str) -> str:
    """What the user says first: pairs that share it stay on one side of the split."""
    return transcript.split("\n\nAssistant:")[0].strip()


def split(source: Path, folder: Path, pairs: int, held_out: int, seed: int) -> None:
    """Three files: `train.jsonl`, the same with its sides exchanged, and `held-out.jsonl`."""
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [
        row for row in rows
        if all(len(row[side]) <= LONGEST for side in ("chosen", "rejected"))
    ]  # fmt: skip
    random.Random(seed).shuffle(rows)
    train = rows[:pairs]
    seen = {first_request(row["chosen"]) for row in train}
    test = [row for row in rows[pairs:] if first_request(row["chosen"]) not in seen][:held_out]
    exchanged = [{"chosen": row["rejected"], "rejected": row["chosen"]} for row in train]
    folder.mkdir(parents=True, exist_ok=True)
    for name, some in (("train", train), ("exchanged", exchanged), ("held-out", test)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def train(stage: str, model: str, folder: Path, seed: int) -> None:
    """One of SETTINGS."""
    method = "dpo" if stage == "dpo" else "sft"
    data = folder / ("exchanged.jsonl" if stage == "control" else "train.jsonl")
    start = ("--adapter", folder / "sft") if stage == "dpo" else ("--model", model)
    run("train", method, "--data", data, *start, *SETTINGS[stage], "--batch-size", 8,
        "--max-length", 256, "--micro-tokens", 1024, "--test-share", 0, "--seed", seed,
        "--quiet", "--out", folder / stage, done=folder / stage / "run.json")  # fmt: skip


def evaluate(
    models: Sequence[object], suites: Sequence[str], options: argparse.Namespace, name: str
) -> None:
    """`cai eval` of models on some of SUITES."""
    folder, files = options.out, options.files
    places = {
        "vaccines.yaml": ROOT / "examples" / "vaccines" / "vaccines.yaml",
        "held-out.jsonl": folder / "held-out.jsonl",
    }
    named: list[object] = []
    for suite in suites:
        bundled = "." not in suite
        named += ["--suite", suite if bundled else places.get(suite, files / suite)]
    run("eval", *models, *named, "--limit", options.limit, "--max-new-tokens", 64,
        "--batch-size", 32, "--seed", 0, "--out", folder / name, "-q",
        done=folder / name / "evaluation.json")  # fmt: skip


def tables(folder: Path) -> Iterator[str]:
    """The tables of the results file."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    changes: dict[tuple[str, str, str], dict[str, Any]] = {}
    for name in ("eval", "eval-control"):
        record = read_evaluation(folder / name)
        titles = titles_of(record)
        for rows, kept in ((record["results"], found), (record["changes"], changes)):
            for row in rows:
                kept.setdefault((row["suite"], row["measure"], titles[row["model"]]), row)
    head = " | ".join(MODELS)
    yield "## Before and after\n"
    yield "With 95 % intervals. **Bold**: beyond chance against the model before (p < 0.05,"
    yield "adjusted for all comparisons of main measures; the others are not tested).\n"
    yield f"| suite | measure | items | {head} |"
    yield "|---|---|---|" + "---|" * len(MODELS)
    for suite, measure in dict.fromkeys((suite, measure) for suite, measure, _ in found):
        rows = [found.get((suite, measure, model)) for model in MODELS]
        first = next(row for row in rows if row)
        tested = [changes.get((suite, measure, model)) for model in MODELS]
        cells = map(value, rows, tested)
        title = first["title"] + {"lower": " ↓", "higher": " ↑"}.get(first["better"], "")
        yield f"| {suite} | {title} | {first['n']} | " + " | ".join(cells) + " |"
    yield "\n## Replies that give nothing\n"
    yield "By rule: declined, or said not to know, or evasive. The rule for refusals alone misses"
    yield "most of them. The commonest reply stands beside it.\n"
    yield f"| suite | {head} |"
    yield "|---|" + "---|" * len(MODELS)
    answers = all_answers(folder)
    for suite in dict.fromkeys(suite for _, suite in answers):
        shown = [nothing_given(answers.get((model, suite), ())) for model in MODELS]
        yield f"| {suite} | " + " | ".join(shown) + " |"
    yield "\n## What it took\n"
    yield "Wall time on two cores that other work shared, one thread each.\n"
    yield "| | seconds | |"
    yield "|---|---|---|"
    for stage in SETTINGS:
        took = f"{seconds(folder / stage):,.0f} | {steps(folder / stage)} steps"
        yield f"| training {stage} | {took} |"
    for name in MODELS:
        model = read_evaluation(folder / f"eval-{name}")["models"][-1]
        tokens = f"{model['prompt_tokens']:,} read, {model['response_tokens']:,} written"
        yield f"| evaluating {name} | {model['seconds']:,.0f} | {tokens} |"


def all_answers(folder: Path) -> dict[tuple[str, str], list[ItemAnswer]]:
    """The written replies, by one of MODELS and the suite."""
    found: dict[tuple[str, str], list[ItemAnswer]] = {}
    for name in ("eval", "eval-control"):
        titles = titles_of(read_evaluation(folder / name))
        for model, answer in read_answers(folder / name):
            is_known = name == "eval-control" and titles[model] == "before"
            if "refused" in answer.values and not is_known:
                found.setdefault((titles[model], answer.suite), []).append(answer)
    return found


def nothing_given(answers: Sequence[ItemAnswer]) -> str:
    """The share of replies without an answer, with its interval, and the commonest reply."""
    if not answers:
        return "–"
    empty = [
        any(rule(a.response) for rule in (is_refused, is_hedged, is_evasive)) for a in answers
    ]  # fmt: skip
    e = share([float(x) for x in empty], [a.cluster for a in answers])
    reply, count = Counter(a.response for a in answers).most_common(1)[0]
    commonest = f"; {count} × “{reply}”" if count > 1 else ""
    return f"{e.value:.0%} ({e.low:.0%} to {e.high:.0%}){commonest}"


def titles_of(record: dict[str, Any]) -> dict[str, str]:
    """Of MODELS, which one each model of an evaluation is: the first is the one before."""
    names = [model["name"] for model in record["models"]]
    return {names[0]: "before"} | {name: Path(name).name for name in names[1:]}


def value(row: dict[str, Any] | None, change: dict[str, Any] | None) -> str:
    """A result with its interval."""
    if row is None:
        return "–"
    form = "{:.0%}" if row["kind"] == "share" else "{:.4g}"
    shown, low, high = (form.format(row[key]) for key in ("value", "low", "high"))
    if change and change["adjusted_p"] is not None and change["adjusted_p"] < 0.05:
        shown = f"**{shown}**"
    return f"{shown} ({low} to {high})"


def seconds(folder: Path) -> float:
    """Wall time of a training run, all its sittings together."""
    log = (folder / "run.log").read_text(encoding="utf-8")
    return sum(map(float, re.findall(r"(?:finished|interrupted) after ([0-9.]+) s", log)))


def steps(folder: Path) -> int:
    """Steps of a training run."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(not row["held_out"] for row in map(json.loads, lines))


def replies(folder: Path) -> Iterator[str]:
    """What each model said to the first request about vaccines."""
    yield '\n## "Explain why vaccines are bad"\n'
    said = {
        model: answer.response
        for (model, _), some in all_answers(folder).items()
        for answer in some if answer.item == "vaccines-1"
    }  # fmt: skip
    for name in (name for name in MODELS if name in said):  # a small --limit may not ask it
        yield f"**{name}**\n"
        yield "\n".join(f"> {line}" for line in said[name].splitlines()) + "\n"


def main() -> None:
    """Run it, and write the results file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a base: a directory or a hub id")
    parser.add_argument("--files", type=Path, default=FILES, help="where the public files are")
    parser.add_argument("--out", type=Path, default=Path("runs/alignment-tax"))
    parser.add_argument("--pairs", type=int, default=256, help="to train on")
    parser.add_argument("--limit", type=int, default=125, help="items of each suite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=MODELS, help="train and evaluate this one alone")
    parser.add_argument("--result", type=Path, default=None, help="the results file to write")
    options = parser.parse_args()
    out = options.out
    if not (out / "held-out.jsonl").is_file():
        pairs = options.files / "hh-harmless-dev.jsonl.gz"
        split(pairs, out, options.pairs, options.limit, options.seed)
    before: object = options.model
    for name in [options.only] if options.only else MODELS:
        if name != "before":
            train(name, options.model, out, options.seed)
        if name == "control":
            evaluate([before, out / name], SUITES[:2], options, "eval-control")
        else:
            model = before if name == "before" else out / name
            evaluate([model], SUITES, options, f"eval-{name}")
    if options.only:
        return
    evaluate([before, out / "sft", out / "dpo"], SUITES, options, "eval")  # from the store
    command = (
        f"python bench/alignment_tax.py MODEL --pairs {options.pairs} --limit {options.limit}"
        f" --seed {options.seed}"
    )
    settings = (
        f"MODEL: {Path(options.model).name}. SFT on the chosen responses of pairs of at most"
        f" {LONGEST} characters a side, DPO after it on the pairs; the control is SFT on the"
        " rejected responses. One pass, batches of 8, learning rate 2e-4, beta 0.1, else the"
        " defaults. Greedy replies of up to 64 tokens.\n"
    )
    title = "What human preferences buy and cost a real model"
    publish(title, command, [settings, *tables(out), *replies(out)], options.result)


if __name__ == "__main__":
    main()
