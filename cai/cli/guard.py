"""`cai guard`: a model's answers under a constitution, while it serves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.config_file import config_file_option
from cai.cli.config_options import config_options
from cai.cli.defaults import constitution_option
from cai.cli.roles import load_options, make_models, models_of, sampling_options
from cai.errors import Interrupted, UsageError
from cai.guard.config import OPTIONS, GuardConfig
from cai.types import Sampling

if TYPE_CHECKING:
    from cai.guard.model import ResponseScorer
    from cai.guard.session import GuardSession
    from cai.pipeline.build import Models
    from cai.types import Constitution

_SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens",
    "max_reasoning_tokens", "seed",
)  # fmt: skip
_NOT_SETTINGS = ("config", "api_key", "quiet")

guard_options = config_options(GuardConfig, OPTIONS)
"""The options of a guard; see `cai.guard.config`."""


@click.group("guard", short_help="Guard a model's answers by a constitution while it serves.")
def command() -> None:
    """Guard a model's answers by a constitution while it serves.

    \b
    cai guard serve --model Qwen/Qwen3-4B                     revise each answer
    cai guard serve --mode filter --threshold 0.8             withhold those with a problem
    cai guard serve --mode best-of-n --reward runs/reward     send the best of four
    """


@command.command("serve", short_help="Serve guarded answers as OpenAI's chat completions.")
@constitution_option
@models_of("miniature")
@guard_options
@click.option(
    "--reward", default=None, metavar="RUN",
    help="The reward model by which best-of-n chooses: a folder of `cai train reward`."
    "  [default: the judge, by the constitution]",
)  # fmt: skip
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/guard"),
    show_default=True, help="The run's folder; its parent holds the store.",
)  # fmt: skip
@click.option(
    "--store/--no-store", "keep", default=True, show_default=True,
    help="Keep every request with all steps of its answer, for audits. --no-store keeps nothing.",
)  # fmt: skip
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="The address to listen on. Any but this machine's own needs --api-key.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
    help="The port to listen on; 0 takes a free one.",
)  # fmt: skip
@click.option(
    "--api-key", default=None, metavar="env:NAME|file:PATH",
    help="Where the key is that requests need: a variable of the environment, or a file."
    "  [default: none is needed]",
)  # fmt: skip
@click.option(
    "--max-open", type=click.IntRange(min=1), default=64, show_default=True,
    help="Requests that are answered or wait at once; more are told to try again later.",
)  # fmt: skip
@sampling_options
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@load_options
@config_file_option(without=_NOT_SETTINGS)
@click.option("--quiet", "-q", is_flag=True, help="Print the address alone.")
def serve_command(
    constitution: str, reward: str | None, out: Path, keep: bool, host: str, port: int,
    api_key: str | None, max_open: int, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Serve a model's answers, each guarded, as OpenAI's chat completions.

    Clients of OpenAI's API need another base URL and nothing else: http://127.0.0.1:8000/v1. An
    answer is sent once the guard is done with it, as a whole or as a stream. What the guard did is
    in the field `guard` of the reply, and every step of it in the store: `cai trace` and `cai audit
    report` read it as they read a build. Requests that are open at once share the model's batches.

    Ctrl-C stops the server.
    """
    from cai.cli.audit import shown_path
    from cai.constitution.load import load_constitution
    from cai.data.run_log import run_log
    from cai.guard.app import guard_app
    from cai.guard.chat_api import ReplyFacts
    from cai.guard.run import guard_run
    from cai.guard.worker import GuardWorker
    from cai.serving import LOOPBACK, LocalServer

    key = None if api_key is None else read_key(api_key)
    if host not in LOOPBACK and key is None:
        raise UsageError(
            f"--host {host} is not an address of this machine alone, and no key is asked for",
            hint="Give --api-key, and put a proxy with TLS before the server.",
        )
    loaded = load_constitution(constitution)
    config = guard_config(options)
    if reward is not None and config.mode != "best-of-n":
        raise UsageError(f"--reward is for --mode best-of-n, and the mode is {config.mode}.")
    models = make_models(options)
    scorer, ranking = (None, None) if reward is None else load_reward(reward, options)
    with ExitStack() as stack:
        if keep:
            begin = {"constitution": f"{loaded.id} {loaded.digest}", "settings": asdict(config)}
            stack.enter_context(run_log(out, f"cai guard serve, {out.name}", begin))
        worker = GuardWorker(
            lambda: _session(out if keep else None, loaded, models, config, scorer, ranking),
            max_open,
            on_end=lambda: server.stop(),
        )
        run = guard_run(loaded, models, config, out.name, ranking)
        facts = ReplyFacts(models.generator.info.name, run.id if keep else None)
        app = guard_app(worker, facts, key=key, names=LOOPBACK if key is None else None)
        server = stack.enter_context(closing(LocalServer(app, host=host, port=port)))
        worker.start()
        stack.callback(worker.stop)
        click.echo(f"{facts.model}, guarded by {loaded.id}, at {server.address}/v1")
        if not quiet:
            where = f"Every request is kept in {shown_path(out)}." if keep else "Nothing is kept."
            click.echo(f"{where} Ctrl-C stops the server.")
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            server.run()
        except KeyboardInterrupt:
            raise Interrupted("Stopped.") from None
        if worker.failure is not None:
            raise worker.failure


@contextmanager
def _session(
    out: Path | None, constitution: Constitution, models: Models, config: GuardConfig,
    scorer: ResponseScorer | None, ranking: dict[str, Any] | None,
) -> Iterator[GuardSession]:  # fmt: skip
    """A session that records in the folder `out`, or that keeps nothing."""
    from cai.guard.records import NoRecords
    from cai.guard.run import recorded_run
    from cai.guard.session import GuardSession

    rank = None if scorer is None else scorer.scores
    if out is None:
        yield GuardSession(constitution, models, config, NoRecords(), rank)
        return
    with recorded_run(out, constitution, models, config, ranking) as records:
        yield GuardSession(constitution, models, config, records, rank)


def guard_config(options: dict[str, Any]) -> GuardConfig:
    """The settings of a guard from a command's options."""
    sampling = Sampling(**{name: options[name] for name in _SAMPLING})
    return GuardConfig(**{name: options[name] for name in OPTIONS}, sampling=sampling)


def read_key(reference: str) -> str:
    """The key that `env:NAME` or `file:PATH` refers to. Raises `UsageError` where there is none."""
    kind, colon, place = reference.partition(":")
    if not colon or kind not in ("env", "file") or not place:
        raise UsageError(
            "--api-key says where the key is, not the key itself",
            hint="Write --api-key env:NAME for a variable of the environment, or file:PATH.",
        )
    try:
        key = os.environ.get(place, "") if kind == "env" else Path(place).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--api-key: {place} can't be read: {error}") from None
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise UsageError(f"--api-key: {reference} holds no key of printable ASCII characters")
    return key


def load_reward(run: str, options: dict[str, Any]) -> tuple[ResponseScorer, dict[str, Any]]:
    """The reward model of a training run, and what the guard's record says of it."""
    from cai.data.training_run import read_run
    from cai.training.reward_model import RewardModel

    scorer = RewardModel.load(run, device=options["device"], dtype=options["dtype"])
    return scorer, {"reward": Path(run).name, "id": str(read_run(Path(run))["id"])}


def _interrupt(*_: object) -> None:
    """End on SIGTERM as on Ctrl-C."""
    raise KeyboardInterrupt
