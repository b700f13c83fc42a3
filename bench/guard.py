"""What does a guard cost, and what does it give? `python bench/guard.py --result FILE`.

The miniature answers held-out requests of its world: alone, with each mode of a guard under the
default constitution, and as the stages that were trained by it (`--adapter NAME=RUN`, as often as
there are; `--reward RUN` adds the best of n by that reward model). The world's ground truth judges
the answers, as in `bench/align.py`, on requests of their own. A request has the same seed for
everybody, so that what the model says alone is what its guards start from.

Time: the first `--timed` requests are answered one at a time, the methods taking turns, since the
machine may be busy with other things as well. The others are answered in batches of `--batch`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import cai
from cai.backends.respond import respond_all
from cai.data.run_log import versions
from cai.guard.request import RequestDraws
from cai.miniature import EVASIVE, GARBLED, HARMS, RequestKind, WorldRequest, draw_request, judge
from cai.stats import Proportion

KINDS: tuple[RequestKind, ...] = ("harmful", "benign", "lookalike")
NEW_TOKENS = 96
SHARES = ("any flaw", "harmful", "evasive", "withheld")


class Answered(NamedTuple):
    """An answer: the tokens that models read and wrote for it, and whether it was withheld."""

    text: str
    read: int
    written: int
    withheld: bool = False


Answerer = Callable[[Sequence[cai.AnswerRequest]], list[Answered]]


def alone(model: cai.LocalBackend) -> Answerer:
    """A model without a guard; each answer is the one that a guard of it starts from."""

    def answer(requests: Sequence[cai.AnswerRequest]) -> list[Answered]:
        draws = [RequestDraws(seed=r.seed or 0, request=r) for r in requests]
        samplings = [
            d.sampling(r.seed_prompt(), "response") for d, r in zip(draws, requests, strict=True)
        ]
        messages = [r.messages for r in requests]
        out = respond_all(model, list(zip(messages, samplings, strict=True)))
        return [
            Answered(a.text, a.prompt_tokens, a.response_tokens)
            for a in out
            if isinstance(a, cai.Generation)
        ]

    return answer


def guarded(model: cai.LocalBackend, reward: Any = None, **settings: Any) -> Answerer:
    """A model with a guard."""
    config = cai.GuardConfig(**settings, timeout=36_000.0)
    guard = cai.GuardedModel(cai.load_constitution("default"), model, config, reward=reward)

    def answer(requests: Sequence[cai.AnswerRequest]) -> list[Answered]:
        return [
            Answered(
                a.text, a.tokens.prompt, a.tokens.response, a.finish_reason == "content_filter"
            )
            for a in guard.answers(requests)
            if isinstance(a, cai.GuardedAnswer)
        ]

    return answer


def answerers(arguments: argparse.Namespace) -> dict[str, Answerer]:
    """The model alone, its guards, and the trained stages."""
    base = cai.load_model("miniature", device="cpu", batch_size=arguments.batch)
    out = {
        "alone": alone(base),
        "filter": guarded(base, mode="filter"),
        "filter, revising": guarded(base, mode="filter", below="revise"),
        "revise": guarded(base, mode="revise"),
        "best of 4": guarded(base, mode="best-of-n", n=4),
    }
    if arguments.reward:
        reward = cai.RewardModel.load(arguments.reward, device="cpu")
        out["best of 4 by reward model"] = guarded(base, reward, mode="best-of-n", n=4)
    for name, _, folder in (adapter.partition("=") for adapter in arguments.adapter):
        model = cai.load_model(adapter=folder, device="cpu", batch_size=arguments.batch)
        out[f"trained: {name}"] = alone(model)
    return out


def draw_requests(count: int) -> list[WorldRequest]:
    """Different held-out requests, the kinds in turn."""
    rng, texts = random.Random("guard"), set[str]()
    out: list[WorldRequest] = []
    while len(out) < count * len(KINDS):
        request = draw_request(rng, KINDS[len(out) % len(KINDS)], "held")
        if request.text not in texts:
            texts.add(request.text)
            out.append(request)
    return out


def as_asked(requests: Sequence[WorldRequest], temperature: float) -> list[cai.AnswerRequest]:
    """The requests as a client sends them, each with its number as its seed."""
    return [
        cai.AnswerRequest(
            (cai.Message("user", request.text),), temperature=temperature,
            max_new_tokens=NEW_TOKENS, seed=number,
        )
        for number, request in enumerate(requests)
    ]  # fmt: skip


def flaws(request: WorldRequest, answer: Answered) -> dict[str, bool]:
    """What the world's ground truth says of an answer."""
    verdict = judge(request, answer.text)
    return {
        "any flaw": bool(verdict - {GARBLED}),
        "harmful": bool(verdict & set(HARMS)),
        "evasive": EVASIVE in verdict,
        "withheld": answer.withheld,
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every method's answers: seconds one at a time, tokens, and ground truth by kind."""
    ways, requests = answerers(arguments), draw_requests(arguments.n)
    messages = as_asked(requests, arguments.temperature)
    answers: dict[str, list[Answered]] = {name: [] for name in ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    timed = min(arguments.timed, len(messages))
    for answer in ways.values():
        answer(messages[-1:])  # warm
    for number in range(timed):
        for name, answer in ways.items():
            begin = time.perf_counter()
            answers[name] += answer(messages[number : number + 1])
            seconds[name].append(time.perf_counter() - begin)
        print(f"  timed {number + 1} of {timed}", file=sys.stderr, flush=True)
    for name, answer in ways.items():
        answers[name] += answer(messages[timed:])
        assert len(answers[name]) == len(requests), f"{name} left requests unanswered"
        print(f"  answered {name}", file=sys.stderr, flush=True)
    return {
        name: {
            "seconds": seconds[name],
            "read": [a.read for a in answers[name]],
            "written": [a.written for a in answers[name]],
            "truth": [
                {"kind": r.kind, **flaws(r, a)}
                for r, a in zip(requests, answers[name], strict=True)
            ],
        }
        for name in ways
    }


def tables(values: dict[str, Any]) -> Iterator[str]:
    """Cost and ground truth as Markdown."""
    base = values["alone"]
    base_tokens = sum(base["read"]) + sum(base["written"])
    yield "## Cost of an answer"
    yield ""
    yield "| method | median s | 90 % below | times alone | tokens read | written | times alone |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in values.items():
        times = sorted(row["seconds"])
        median = statistics.median(times)
        ninth = times[int(0.9 * (len(times) - 1))]
        slower = median / statistics.median(base["seconds"])
        n, tokens = len(row["read"]), sum(row["read"]) + sum(row["written"])
        yield (
            f"| {name} | {median:.2f} | {ninth:.2f} | {slower:.1f}"
            f" | {sum(row['read']) / n:.0f} | {sum(row['written']) / n:.0f}"
            f" | {tokens / base_tokens:.1f} |"
        )
    for kind in (None, *KINDS):
        yield ""
        yield f"## Ground truth: {'all requests' if kind is None else f'{kind} requests'}"
        yield ""
        yield "| method | n | " + " | ".join(SHARES) + " |"
        yield "|---" * (2 + len(SHARES)) + "|"
        for name, row in values.items():
            truth = [t for t in row["truth"] if kind in (None, t["kind"])]
            cells = [share([t[what] for t in truth]) for what in SHARES]
            yield f"| {name} | {len(truth)} | " + " | ".join(cells) + " |"


def share(hits: Sequence[bool]) -> str:
    """A share with its 95 % interval."""
    tally = Proportion(sum(hits), len(hits))
    low, high = tally.interval
    return f"{tally.share:.1%} ({low:.1%}–{high:.1%})"


def report(arguments: argparse.Namespace, values: dict[str, Any]) -> str:
    """All that is told, as Markdown."""
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items())
    load = os.getloadavg()[1]
    return "\n".join(
        [
            "# The cost and the gain of a guard",
            "",
            f"`python bench/guard.py`, {datetime.now(UTC):%Y-%m-%d}, on a CPU of {os.cpu_count()}"
            f" cores, one of them used; the load of the machine was {load:.1f}. {libraries}.",
            "",
            f"The miniature, the default constitution; {arguments.n} held-out requests of each"
            f" kind, temperature {arguments.temperature:g}, answers of up to {NEW_TOKENS} tokens."
            f" Times are of the first {arguments.timed} requests, one at a time. Tokens are of all"
            " steps behind an answer; those that a prefix cache saves are counted. Withheld: a"
            " refusal was sent in the place of the answer. Shares are of answers as they were sent,"
            " with 95 % intervals; a refusal of what could be answered is evasive.",
            "",
            *arguments.note,
            *([""] if arguments.note else []),
            *tables(values),
            "",
        ]
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=40, help="requests of each kind")
    parser.add_argument("--timed", type=int, default=24, help="requests answered one at a time")
    parser.add_argument("--batch", type=int, default=16, help="conversations at once for the rest")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--adapter", action="append", default=[], metavar="NAME=RUN")
    parser.add_argument("--reward", help="a reward model's run")
    parser.add_argument("--note", action="append", default=[], help="a line for the report")
    parser.add_argument("--result", type=Path, help="write FILE.json and FILE.md")
    arguments = parser.parse_args()
    values = measure(arguments)
    text = report(arguments, values)
    print(text)
    if arguments.result:
        arguments.result.with_suffix(".md").write_text(text, encoding="utf-8")
        plain = json.dumps(values, indent=None, sort_keys=True) + "\n"
        arguments.result.with_suffix(".json").write_text(plain, encoding="utf-8")


if __name__ == "__main__":
    main()
