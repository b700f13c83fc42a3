"""`cai eval`: models on suites of items, with intervals, and what changed between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cai.cli.config_options import config_options
from cai.cli.defaults import constitution_option
from cai.cli.eval_summary import print_evaluation
from cai.cli.live import LiveLine, duration
from cai.cli.output import counted, json_option, print_json, print_table, warn
from cai.cli.roles import ModelLoader, RoleModel, load_options, named_model, need_adapter
from cai.errors import UsageError
from cai.evaluation.config import EvaluationConfig

if TYPE_CHECKING:
    from cai.backends.base import Backend
    from cai.evaluation.evaluate import EvaluationProgress
    from cai.evaluation.harnesses.export import Harness
    from cai.evaluation.run import Evaluation, Judges
    from cai.evaluation.suite import Suite

_SHOWN_ASIDE = 3  # rows set aside of each suite that are listed before it is asked


@click.command("eval")
@click.argument("models", nargs=-1, metavar="MODEL…")
@click.option(
    "--suite", "-s", "suites", multiple=True, metavar="NAME|FILE",
    help="A suite by name, a suite's YAML file, or a public file such as XSTest's; may be given"
    " several times.  [default: all that come with cai]",
)  # fmt: skip
@click.option(
    "--judge",
    default=None,
    help="A model that judges replies by the constitution; named as a MODEL is.",
)
@constitution_option
@click.option(
    "--reward", default=None, metavar="RUN",
    help="A reward model that scores replies: a folder of `cai train reward`. Suites of style"
    " measure the reward model itself.",
)  # fmt: skip
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/eval"),
    show_default=True, help="The folder to write; its parent holds the store.",
)  # fmt: skip
@config_options(EvaluationConfig)
@load_options
@click.option(
    "--constitutions", nargs=2, default=None, metavar="A B",
    help="Instead of suites: what two constitutions prefer on --pairs, judged by MODEL.",
)  # fmt: skip
@click.option(
    "--pairs", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help="Preference pairs for --constitutions: a file that `cai train dpo` reads.",
)  # fmt: skip
@click.option(
    "--tests", is_flag=True,
    help="Instead of suites: the tests of the constitution's principles on MODEL, held against"
    " --baseline (exit 3 if one that passed there fails).",
)  # fmt: skip
@click.option(
    "--baseline", type=click.Path(path_type=Path, dir_okay=False),
    default=Path("tests.baseline.json"), show_default=True,
    help="The file of --tests that says which passed; written if there is none.",
)  # fmt: skip
@click.option("--update", is_flag=True, help="Write the results of --tests as the new baseline.")
@click.option(
    "--power", type=click.FloatRange(min=0, max=1, min_open=True, max_open=True), default=None,
    metavar="CHANGE",
    help="Show how many items a change of a share by CHANGE needs, and how small a change each"
    " suite shows; ask nothing.",
)  # fmt: skip
@click.option(
    "--rules", "rules_only", is_flag=True,
    help="Show how often the rules that judge replies are wrong, measured on labelled replies; ask"
    " nothing.",
)  # fmt: skip
@click.option(
    "--export", "harness", type=click.Choice(["inspect", "lm-eval"]), default=None,
    help="Write the suites as task files of Inspect or lm-eval into --out, or into runs/inspect or"
    " runs/lm-eval; ask nothing.",
)  # fmt: skip
@click.option("--list", "list_only", is_flag=True, help="List the suites, and ask nothing.")
@json_option
@click.option("--quiet", "-q", is_flag=True, help="No progress and no summary.")
def command(
    models: tuple[str, ...], suites: tuple[str, ...], judge: str | None, constitution: str,
    reward: str | None, out: Path, constitutions: tuple[str, str] | None, pairs: Path | None,
    tests: bool, baseline: Path, update: bool, power: float | None, rules_only: bool,
    harness: Harness | None, list_only: bool, as_json: bool, quiet: bool, **options: Any,
) -> int:  # fmt: skip
    """Measure what alignment changed: harm, refusals, honesty, flattery, bias, skills.

    MODEL is a base, an adapter or a training run's folder, a model of cai.yaml, or the address of
    a model server. The first is the baseline of the others; a base that several share is loaded
    once. Every answer is kept: `cai audit report` shows them all, and the same command goes on
    after an interruption.

    \b
    cai eval Qwen/Qwen3-0.6B runs/sft runs/dpo --limit 50
    cai eval miniature runs/dpo --suite harmful --suite over-refusal --judge http://gpu:8000/v1
    cai eval runs/sft --suite xstest.csv --suite truthfulqa.csv
    cai eval Qwen/Qwen3-4B --constitutions old.yaml new.yaml --pairs runs/demo/preferences.jsonl
    cai eval Qwen/Qwen3-4B --tests --baseline tests.baseline.json
    cai eval --export inspect --suite over-refusal --out tasks
    """
    from cai.evaluation.suite import select_suites

    if rules_only:
        from cai.cli import eval_rules

        eval_rules.show(as_json)
        return 0
    if not models and not list_only and power is None and harness is None:
        raise UsageError("No model is named", hint="cai eval MODEL…: the base first.")
    names = EvaluationConfig.__dataclass_fields__
    config = EvaluationConfig(**{name: options[name] for name in names})
    if suites and (tests or constitutions is not None):
        raise UsageError(
            f"{'--tests' if constitutions is None else '--constitutions'} asks no suite, and"
            f" {counted(len(suites), 'suite is', 'suites are')} named",
            hint="Leave out --suite, or ask suites in a command of their own.",
        )
    if constitutions is not None:
        return _constitutions(models, constitutions, pairs, out, config, options, as_json, quiet)
    if tests:
        return _tests(models, constitution, baseline, update, out, config, options, as_json, quiet)
    selected = select_suites(suites, config.limit, config.seed)
    if power is not None:
        _power(power, selected, as_json)
        return 0
    if list_only:
        _list(selected, as_json)
        return 0
    if harness is not None:
        from cai.cli import eval_export

        given = click.get_current_context().get_parameter_source("out")
        chosen = Path("runs", harness) if given is ParameterSource.DEFAULT else out
        eval_export.run(selected, harness, chosen, as_json, quiet)
        return 0
    asked = _asked(selected, reward)
    evaluation = _evaluate(
        models, asked, judge, constitution, reward, out, config, options, quiet
    )  # fmt: skip
    if as_json:
        print_json({"folder": str(out), **evaluation.record})
    elif not quiet:
        print_evaluation(evaluation, out)
    return 0


def _one(models: Sequence[str], options: dict[str, Any], what: str) -> Backend:
    """The one model that is named. Raises `UsageError` for any other number."""
    if len(models) != 1:
        raise UsageError(f"{what} asks one MODEL, and {len(models)} are named")
    chosen = evaluated_model(models[0])
    return ModelLoader(options, {chosen}).backend(chosen)


def _constitutions(
    models: Sequence[str], names: tuple[str, str], pairs: Path | None, out: Path,
    config: EvaluationConfig, options: dict[str, Any], as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    from cai.cli import eval_constitutions

    if pairs is None:
        raise UsageError(
            "--constitutions compares verdicts on pairs",
            hint="Name a file with --pairs, such as a run's preferences.jsonl.",
        )
    judge = _one(models, options, "--constitutions")
    record, compared = eval_constitutions.run(
        judge, names, pairs, out, config.draws, config.limit, quiet
    )
    if as_json:
        print_json({"folder": str(out), **record})
    elif not quiet:
        eval_constitutions.show(record, compared, out)
    return 0


def _tests(
    models: Sequence[str], constitution: str, baseline: Path, update: bool, out: Path,
    config: EvaluationConfig, options: dict[str, Any], as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    from cai.cli import eval_tests

    model = _one(models, options, "--tests")
    values, code = eval_tests.run(
        model, constitution, baseline, update, config.seed, out.parent, quiet
    )
    if as_json:
        print_json(values)
    return code


def _power(change: float, suites: Sequence[Suite], as_json: bool) -> None:
    from cai.cli.eval_power import power_values, print_power

    values = power_values(change, suites)
    if as_json:
        print_json(values)
    else:
        print_power(values)


def _list(suites: Sequence[Suite], as_json: bool) -> None:
    rows = [
        {"id": s.id, "version": s.version, "title": s.title, "task": s.task,
         "items": len(s.items), "set_aside": len(s.set_aside)}
        for s in suites
    ]  # fmt: skip
    if as_json:
        print_json({"suites": rows})
        return
    print_table(
        ["suite", "items", "task", "what it is"],
        [[str(r["id"]), f"{r['items']:,}", str(r["task"]), str(r["title"])] for r in rows],
    )  # fmt: skip


def _asked(suites: Sequence[Suite], reward: str | None) -> list[Suite]:
    """The suites without those that measure a reward model, where there is none; each is said.

    Raises `UsageError` if no other is left.
    """
    if reward is not None:
        return list(suites)
    left_out = [suite for suite in suites if suite.task == "style"]
    asked = [suite for suite in suites if suite.task != "style"]
    if left_out and not asked:
        raise UsageError(
            f"{' and '.join(s.id for s in left_out)}: the task style measures a reward model",
            hint="Give one with --reward RUN: a folder of `cai train reward`.",
        )
    for suite in left_out:
        warn(f"{suite.id} is left out: it measures a reward model; give --reward")
    return asked


def _warn_of_rows(suites: Sequence[Suite]) -> None:
    """Say which rows are set aside: a few of each suite, and how many others."""
    for suite in suites:
        for row in suite.set_aside[:_SHOWN_ASIDE]:
            warn(f"{row.source} set aside: {row.reason}")
        if (more := len(suite.set_aside) - _SHOWN_ASIDE) > 0:
            warn(f"{suite.path}: and {more:,} more; evaluation.json will have the reasons")


def _evaluate(
    models: Sequence[str], suites: Sequence[Suite], judge: str | None, constitution: str,
    reward: str | None, out: Path, config: EvaluationConfig, options: dict[str, Any], quiet: bool,
) -> Evaluation:  # fmt: skip
    from cai.data.run_log import run_log
    from cai.evaluation.record import (
        is_evaluation,
        require_evaluation_folder,
        validate_out,
        write_evaluation,
    )
    from cai.evaluation.run import evaluate, name_models, planned_id
    from cai.store.store import Store

    require_evaluation_folder(out)
    chosen = [evaluated_model(name) for name in models]
    judging = evaluated_model(judge) if judge else None
    names = name_models(_name(role_model) for role_model in chosen)
    loader = ModelLoader(options, {*chosen, *([judging] if judging else [])})
    judges = _judges(loader, judging, constitution, reward, options)
    if is_evaluation(out):
        fingerprints = [loader.fingerprint(role_model) for role_model in chosen]
        validate_out(out, planned_id(fingerprints, suites, config.draws, judges))
    makers: dict[str, Callable[[], Backend]] = {
        name: partial(loader.backend, role_model)
        for name, role_model in zip(names, chosen, strict=True)
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    facts = {"models": names, "suites": [s.id for s in suites], "out": str(out)}
    _warn_of_rows(suites)
    with (
        Store.open(out.parent / "store.sqlite") as store,
        EvaluationProgressLine(quiet=quiet) as line,
    ):
        evaluation = evaluate(makers, suites, store, config.draws, judges, progress=line)
    validate_out(out, evaluation.record["id"])
    with run_log(out, "cai eval", facts):
        write_evaluation(out, evaluation.record, evaluation.answers, evaluation.preferences)
    for text in evaluation.record["warnings"]:
        warn(text, prefix="Warning: ")
    return evaluation


def evaluated_model(name: str) -> RoleModel:
    """A model as it is named to `cai eval`: an adapter by its run or folder, or any other model."""
    from cai.models.fingerprint import ADAPTER_FILES
    from cai.models.names import part_of_run

    named = named_model(name)
    if named.is_served or named.is_scripted or named.adapter:
        return named
    place = Path(part_of_run(named.model, "adapter")).expanduser()
    if not (place / ADAPTER_FILES[0]).is_file():
        return named
    adapter = need_adapter(named.model)
    if not adapter.base:
        raise UsageError(f"{name} does not say which base it was trained on")
    return RoleModel(adapter.base, named.model)


def _name(role_model: RoleModel) -> str:
    from cai.models.folders import label

    if role_model.adapter:
        return need_adapter(role_model.adapter).name
    return role_model.shown if role_model.is_served else label(role_model.model)


def _judges(
    loader: ModelLoader, judging: RoleModel | None, constitution: str, reward: str | None,
    options: Mapping[str, Any],
) -> Judges:  # fmt: skip
    from cai.evaluation.measures import MEASURED_REPLIES
    from cai.evaluation.run import Judges
    from cai.miniature.truth import TRUTH

    judges: dict[str, Any] = {"reply_measures": {**MEASURED_REPLIES, **TRUTH}}
    if judging is not None:
        from cai.constitution.load import load_constitution

        judges |= {"model": loader.backend(judging), "rules": load_constitution(constitution)}
    if reward is not None:
        from cai.data.training_run import read_run
        from cai.evaluation.rewards import reward_facts
        from cai.training.reward_model import RewardModel

        judges["reward"] = RewardModel.load(
            reward, device=options["device"], dtype=options["dtype"]
        )  # fmt: skip
        judges["reward_facts"] = reward_facts(Path(reward).name, read_run(reward))
    return Judges(**judges)


class EvaluationProgressLine(LiveLine):
    """How an evaluation goes on: call it with each `EvaluationProgress`."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self._model = ""
        self._begin = time.monotonic()
        self._before = (0, 0)

    def __call__(self, progress: EvaluationProgress) -> None:
        """Show it."""
        tokens = progress.prompt_tokens + progress.response_tokens
        if progress.model != self._model:
            self._model, self._begin = progress.model, time.monotonic()
            self._before = progress.done, tokens
        seconds = max(1e-9, time.monotonic() - self._begin)
        done = progress.done - self._before[0]
        left = (progress.total - progress.done) * seconds / done if done else None
        text = (
            f"{progress.model}: {progress.done:,} of {counted(progress.total, 'item')},"
            f" {(tokens - self._before[1]) / seconds:,.0f} tokens/s"
        )
        self.update(text + (f", {duration(left)} left" if left is not None else ""))
