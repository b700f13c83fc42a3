"""Runs to audit: a small one with something of everything, and one with payloads in every field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cai.data.export import export
from cai.data.manifest import pretty
from cai.data.training_run import FORMAT
from cai.store.store import Store
from cai.types import Comparison, Message, Prompt, Revision, Trace
from tests.store import samples

RUN = "r-audit"


def build(folder: Path, name: str = "demo", *, edited: bool = False) -> Path:
    """A run of twelve prompts: six traces, six comparisons, every flag but a few on them.

    edited: the same prompts, but the first response of `p0` came out otherwise.
    """
    records: list[Trace | Comparison] = [_trace(n, edited and n == 0) for n in range(6)]
    for n in range(6, 12):
        swapped = 0.2 if n == 7 else 0.6
        probability = 0.52 if n == 8 else 0.8
        records.append(samples.comparison(f"p{n}", probability=probability, swapped=swapped))
    return write(folder, name, records, RUN + ("-b" if edited else ""))


def _trace(n: int, edited: bool) -> Trace:
    name = f"p{n}"
    plain = samples.trace(name)
    if n == 0:
        first = "Certainly, take the red kettle." if edited else "Take the blue kettle home."
        say = samples.say(first, f"{name}/response/{edited}")
        return replace(plain, response=say)
    if n == 1:  # refuses, at three times the length
        return samples.trace(
            name, final="I am sorry, but I can't help with that, not today at all."
        )
    if n == 2:  # leaked
        return samples.trace(name, final="Here is a revised answer.", guards=("leaked",))
    if n == 3:  # cut off, and in a loop
        cut = samples.say("so it goes on and on " * 6, f"{name}/response", "length")
        return replace(plain, response=cut)
    if n == 4:  # nothing found in any round
        kept = replace(plain.revisions[1], round=0)
        return replace(plain, revisions=(kept,))
    return plain


def hostile(folder: Path, payloads: Sequence[str], name: str = "demo") -> Path:
    """A run with a payload in every text, id and name that a run can hold."""
    records: list[Trace | Comparison] = []
    for n, text in enumerate(payloads):
        prompt = Prompt(
            f"p{n} {text}".replace("\0", ""),
            (Message("user", text), Message("assistant", text), Message("user", text)),
            f"{text}.jsonl:1",
        )
        revision = Revision(
            0, f"kind{text}", f"1{text}", samples.say(text, f"{n}/c"), "problem",
            samples.say(f"{text} {text}", f"{n}/r"), (text,),
        )  # fmt: skip
        trace = Trace(f"t{n}{text}", prompt, samples.say(text, f"{n}/a"), (revision,))
        records.append(trace)
        plain = samples.comparison(f"c{n}")
        judged = replace(
            plain.judgements[0], principle_id=f"kind{text}",
            reasoning=(samples.say(text, f"{n}/why"),),
        )  # fmt: skip
        responses = (samples.say(text, f"{n}/x"), samples.say(text + "!", f"{n}/y"))
        records.append(
            replace(
                plain,
                id=f"c{n}{text}",
                prompt=replace(prompt, id=f"q{n} {text}"),
                responses=responses,
                judgements=(judged,),
            )
        )
        pair = samples.contrast(f"d{n}", guards=(text,))
        assert pair.contrast is not None
        made = replace(pair.contrast, principle_id=f"kind{text}", asked=(text, text + "!"))
        records.append(
            replace(
                pair,
                id=f"d{n}{text}",
                prompt=replace(prompt, id=f"r{n} {text}"),
                responses=responses,
                contrast=made,
            )
        )
    principles = [
        samples.principle(f"kind{text}", "1") | {
            "title": text, "why": text, "source": text, "tags": [text], "critique_request": text,
            "revision_request": text, "comparison_question": text,
        }
        for text in payloads
    ]  # fmt: skip
    return write(folder, name, records, RUN, principles, "".join(payloads))


def write(
    folder: Path,
    name: str,
    records: Sequence[Trace | Comparison],
    run_id: str,
    principles: Sequence[dict[str, object]] | None = None,
    constitution: str = "",
    recorded: dict[str, object] | None = None,
) -> Path:
    """Store a run and export it to `folder/name`; returns that folder.

    recorded: the whole constitution, as a run records it.
    """
    run = samples.run(run_id)
    if constitution:
        run.constitution["id"] = constitution
    run.constitution["plan"] = {"draw": "weighted"}
    if principles is not None:
        run.constitution["principles"] = list(principles)
    run.constitution.update(recorded or {})
    with Store.open(folder / "store.sqlite") as store:
        store.put_run(run)
        store.add_event(run_id, "started")
        for record in records:
            samples.put(store, run_id, record)
        store.add_event(run_id, "finished")
        export(store, run_id, folder / name)
    return folder / name


def rollouts(folder: Path, payloads: Sequence[str] = ()) -> Path:
    """The folder of a PPO run: three updates of four responses, then one a payload."""
    folder.mkdir(parents=True)
    rows = [
        {
            "update": update,
            "prompt_id": f"p{n}",
            "prompt": [{"role": "user", "content": f"Question {n}?"}],
            "response": f"Answer {n} of update {update}.",
            "score": n + update / 10,
            "kl": float(update * n),
            "tokens": 5,
            "ended": n != 3,
            "second_reward": 0.5,
            "parts": [
                {"name": "kind", "principle": "kind", "value": 2.0, "weight": 0.75},
                {"name": "rewards:short", "value": -1.0, "weight": 0.25},
            ],
        }
        for update in (1, 2, 3)
        for n in range(4)
    ]
    rows[-1] |= {
        "taught": True, "principle": "kind", "critique": "It is unkind.", "outcome": "problem",
    }  # fmt: skip
    for n, text in enumerate(payloads):
        prompt = [{"role": text, "content": text}]
        parts = [{"name": text, "principle": text, "value": 1.0, "weight": 1.0}]
        rows.append(
            rows[0]
            | {"prompt_id": f"{n}{text}", "prompt": prompt, "response": text, "parts": parts}
            | {"taught": True, "principle": text, "critique": text, "outcome": text}
        )
    principle = {
        "id": "kind", "version": "1.0.0", "title": "Kindness", "why": "It costs nothing.",
        "critique_request": "Say where the response is unkind.", "weight": 1.0, "phases": ["rl"],
    }  # fmt: skip
    constitution = {"id": "small", "version": "1.0.0", "principles": [principle]}
    (folder / "constitutions.json").write_text(json.dumps([constitution]))
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = {
        "format": FORMAT, "id": "m-1", "stage": "ppo", "status": "finished",
        "base": {"name": "".join(payloads) or "tiny"},
        "parents": [{"name": "".join(payloads) or "reward", "part": "reward"}],
    }  # fmt: skip
    (folder / "run.json").write_text(pretty(record))
    return folder
