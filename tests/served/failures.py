"""Servers that fail, refuse, and die (4 and 5)."""

from __future__ import annotations

import time
from pathlib import Path

from tests.served.project import WORDS, Project, Trial
from tests.servers.process import FaultyProcess

KEEP = ("--keep", 100_000)
KEY = "sk-right"


def mix_faults(
    folder: Path, *, prompts: int = 125, rounds: int = 4, concurrency: int = 16,
    share: float = 0.3, timeout: float = 3.0,
) -> Trial:  # fmt: skip
    """A build on a server that fails at a share of all requests exports what it does without."""
    trial = Trial(4, "A mix of server faults")
    options = ("--rounds", rounds)
    right, wrong = Project(folder / "right", prompts), Project(folder / "wrong", prompts)
    with FaultyProcess(*WORDS) as server:
        right.register(server)
        right.build(*options)
    with FaultyProcess(*WORDS, *KEEP, "--share", share, "--slow", 0.02, "--seed", 4) as server:
        wrong.register(server, concurrency=concurrency, timeout=timeout)
        begun = time.monotonic()
        wrong.build(*options)
        seconds, record = time.monotonic() - begun, server.record()
    faults = sum(record["faults"].values())
    trial.counts |= {
        "calls of the build": wrong.count_steps(),
        "requests": record["requests"],
        "faults": faults,
        **{f"of these: {name}": count for name, count in record["faults"].items()},
        "rows set aside": (wrong.folder / "runs/run/set_aside.jsonl").read_text().count("\n"),
        "requests before their Retry-After": len(record["early"]),
        "in flight at most": f"{record['peak']} (limit {concurrency})",
        "seconds": round(seconds),
    }
    trial.require(right.digests() == wrong.digests(), "the exports differ")
    trial.require(not record["early"], f"retries before Retry-After: {record['early']}")
    trial.require(record["peak"] <= concurrency, f"{record['peak']} in flight")
    trial.require(faults > 0.8 * share * record["requests"], f"only {faults} faults")
    _refuse_long_prompts(trial, folder / "refused")
    _refuse_the_key(trial, folder / "key")
    return trial


def _refuse_long_prompts(trial: Trial, folder: Path) -> None:
    """400 for some prompts: each is asked once and set aside, the others go on."""
    project = Project(folder, 0)
    short, long = [f"Tell me of {n} things." for n in range(8)], ["Say all. " * 400] * 4
    project.write_prompts(short + [f"{n} {text}" for n, text in enumerate(long)])
    with FaultyProcess(*WORDS, *KEEP, "--context", 2500) as server:
        project.register(server)
        project.build("--sft-share", 1)
        record = server.record()
    aside = (project.folder / "runs/run/set_aside.jsonl").read_text()
    trial.counts |= {
        "400: prompts set aside, with the server's words": aside.count("maximum context length"),
        "400: refused requests that came again": record["refused_again"],
    }
    trial.require(aside.count("maximum context length") == len(long), f"set aside: {aside}")
    trial.require(not record["refused_again"], "a request came again after 400")


def _refuse_the_key(trial: Trial, folder: Path) -> None:
    """401: the build ends at the first request."""
    project = Project(folder, 4)
    with FaultyProcess(*WORDS, *KEEP, "--key", KEY) as server:
        project.register(server)
        begun = time.monotonic()
        ended = project.build(exit_code=8)
        seconds, record = time.monotonic() - begun, server.record()
    trial.counts |= {
        "401: requests": record["requests"],
        "401: exit code": ended.code,
        "401: seconds until the command ended": round(seconds, 1),
    }
    trial.require(record["requests"] == 1, f"{record['requests']} requests with a wrong key")
    trial.require("401" in ended.err and "CAI_API_KEY" in ended.err, f"401 says {ended.err}")


def die_and_return(
    folder: Path, trial: Trial, *, prompts: int = 50, deaths: int = 5, give_up_after: float = 1.0
) -> Trial:
    """A server that dies in the build ends it; when it is back, the same command finishes."""
    straight, project = Project(folder / "straight", prompts), Project(folder / "dies", prompts)
    with FaultyProcess(*WORDS) as server:
        straight.register(server)
        straight.build()
        requests = server.record()["requests"]
    codes, kept = [], []
    for _ in range(deaths):
        with FaultyProcess(*WORDS, "--dead-after", requests // (deaths + 1)) as server:
            project.register(server, give_up_after=give_up_after)
            ended = project.run(*project.build_arguments("-q"))
        codes.append(ended.code)
        kept.append(project.count_steps())
        trial.require("Run the same command again" in ended.err, f"a dead server: {ended.err}")
    with FaultyProcess(*WORDS) as server:
        project.register(server)
        project.build()
    trial.counts |= {
        "deaths of the server": deaths,
        "exit codes": ", ".join(map(str, codes)),
        "steps kept after each": ", ".join(map(str, kept)),
        "rerun exports the same": "yes" if project.digests() == straight.digests() else "no",
    }
    trial.require(set(codes) == {8}, f"exit codes {codes}")
    trial.require(kept == sorted(set(kept)), f"a death kept no more than the one before: {kept}")
    trial.require(project.digests() == straight.digests(), "the exports differ")
    return trial
