"""Traces and comparisons with all their parts filled, and a store that holds a run of them."""

from __future__ import annotations

from cai.backends.base import Prepared
from cai.data.split import family
from cai.store.codec import steps_of
from cai.store.records import Run
from cai.store.store import Store
from cai.types import (
    Check,
    Comparison,
    ContrastPair,
    Generate,
    Generation,
    Judgement,
    Message,
    Prompt,
    Result,
    Revision,
    Sampling,
    Score,
    Scores,
    Trace,
)

MODEL = {"name": "tiny", "fingerprint": "f" * 64}
ASKED = (Message("user", "?"),)


def say(text: str, key: str, finish: str = "stop") -> Generation:
    return Generation(text, (1, 2), finish, "tiny", f"<user>? {key}", 3, 3, key)  # type: ignore[arg-type]


def score(key: str, *logprobs: float) -> Scores:
    return Scores(logprobs or (-0.5, -1.25), (" (A)", " (B)"), "tiny", "<user>?", 4, key)


def prompt(name: str, text: str = "") -> Prompt:
    return Prompt(
        name,
        (Message("user", text or f"Question {name}?"),),
        "prompts.jsonl:1",
        {"benign": True, "tags": ["a"]},
    )


def family_of(name: str) -> str:
    """The family of the prompt that `prompt` makes by this name."""
    return family(prompt(name).messages)


def trace(name: str, *, final: str = "", guards: tuple[str, ...] = ()) -> Trace:
    """Two rounds: the first rewrites the response, the second finds nothing."""
    rewritten = Revision(
        0,
        "kind",
        "1.2.0",
        say("It is rude.", f"{name}/critique"),
        "problem",
        say(final or f"Better {name}", f"{name}/revision"),
        guards,
    )
    revision = Revision(
        1, "safe", "1.0.0", say("No problem found.", f"{name}/critique2"), "no-problem", None
    )
    return Trace(
        f"t-{name}",
        prompt(name),
        say(f"First {name}", f"{name}/response"),
        (rewritten, revision),
        (Check("kind", score(f"{name}/check", float("-inf"), -0.1)),),
    )


def comparison(
    name: str, pair: int = 0, *, probability: float = 0.8, swapped: float | None = 0.6
) -> Comparison:
    a, b = say(f"A {name}", f"{name}/{pair}/a"), say(f"B {name} 👍", f"{name}/{pair}/b")
    judgement = Judgement(
        "kind",
        "1.2.0",
        0.9,
        swapped,
        (score(f"{name}/{pair}/score"),),
        (say("Let me think.", f"{name}/{pair}/reason"),),
    )
    return Comparison(
        f"c-{name}-{pair}",
        prompt(name),
        pair,
        (a, b),
        (judgement,),
        probability,
        "letters",
        p_ab=0.9,
        p_ba=swapped,
    )


def contrast(name: str, pair: int = 0, *, guards: tuple[str, ...] = ()) -> Comparison:
    """A pair whose label is by construction, under the principle `kind`."""
    asked = (f"Question {name}? (Be kind.)", f"Question {name}? (Be unkind.)")
    return Comparison(
        f"c-{name}-{pair}",
        prompt(name),
        pair,
        (say(f"Kind {name}", f"{name}/{pair}/a"), say(f"Unkind {name}", f"{name}/{pair}/b")),
        (),
        1.0,
        "contrast",
        contrast=ContrastPair("kind", "1.2.0", asked, guards),
    )


def principle(name: str, version: str) -> dict[str, object]:
    return {
        "id": name,
        "version": version,
        "title": f"Be {name} | always",
        "why": f"{name} helps",
        "source": "",
        "tags": ["tone"],
        "weight": 1.0,
        "phases": ["sl", "rl"],
        "critique_request": f"Say what is not {name}.",
        "revision_request": f"Make it {name}.",
        "comparison_question": f"Which is more {name}?",
        "digest": f"digest-{name}",
    }


def run(run_id: str = "r-1", **config: object) -> Run:
    settings: dict[str, object] = {
        "seed": 7,
        "rounds": 2,
        "pairs": 1,
        "sft_share": 0.5,
        "test_share": 0.2,
        "revision_pairs": True,
        "sft_rows": "last",
        "prompts": {"count": 4, "digest": "d"},
        "models": {"generator": MODEL, "critic": MODEL, "judge": MODEL},
    }
    constitution = {
        "id": "demo",
        "version": "1.0.0",
        "title": "Demo",
        "digest": "c" * 64,
        "principles": [principle("kind", "1.2.0"), principle("safe", "1.0.0")],
    }
    return Run(run_id, "demo", settings | config, constitution, 7, {"python": "3"})


def prepared(result: Result) -> Prepared:
    request = (
        Generate(ASKED, Sampling(stop=("\n",), seed=2**62))
        if isinstance(result, Generation)
        else Score(ASKED, result.options)
    )
    return Prepared(request, result.key)


def put(store: Store, run_id: str, *records: Trace | Comparison) -> None:
    """Keep records and their steps."""
    for record in records:
        store.put_steps((prepared(r), r) for r in steps_of(record))
        if isinstance(record, Trace):
            store.put_trace(run_id, record)
        else:
            store.put_comparison(run_id, record)
