"""Trainings without a principle: their data, their commands, and what they say of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cai.authoring.ablation import without
from cai.authoring.ablation_replay import built_without, config_of
from cai.authoring.retraining.config import METHODS, RetrainingConfig
from cai.authoring.retraining.data import Sides, TrainingSide, table_of, write_sides
from cai.authoring.retraining.effects import PrincipleEffect
from cai.authoring.retraining.record import AblationRecord
from cai.authoring.retraining.run import StepTurn, data_folder, retrain
from cai.authoring.retraining.steps import steps_of
from cai.authoring.retraining.verify import ablation_problems
from cai.chain.step import StepFailedError
from cai.data.export import export
from cai.errors import Interrupted, UsageError
from cai.evaluation.paired import holm, paired
from cai.pipeline.snapshot import constitution_of
from cai.store.records import Run
from cai.store.store import Store
from cai.training.config import CONFIGS
from cai.types import Feedback, Plan
from tests.authoring.builds import built
from tests.authoring.test_ablation import TWO, make
from tests.e2e.helpers import rows
from tests.factories import constitution


def written(store: Store, run: Run, out: Path, **changes: Any) -> Sides:
    defaults: dict[str, Any] = {"principles": ["rude", "never"], "method": "dpo", "seeds": 2}
    return write_sides(store, run, folder=out, **defaults | changes)


def read_by_trainers(file: Path) -> list[dict[str, Any]]:
    """The rows of a file, as far as they are the same in another run that says the same."""
    read = ("prompt", "chosen", "rejected", "probability", "prompt_id", "split")
    return [{key: row[key] for key in read} for row in rows(file)]


def test_sides_are_the_exported_rows_of_each_run(tmp_path: Path) -> None:
    """All rows as the run's export has them, and those of a run that was built without `rude`,
    whose revisions are gone; `never` was not drawn, and leaves the same."""
    with built(
        tmp_path, TWO, sft_share=0.0, test_share=0.3, prompts=20, ties=True
    ) as (store, run):  # fmt: skip
        other = make(store, run, "rude")
        sides = written(store, run, tmp_path / "data")
        for name, one in (("all", run), ("without-rude", other), ("without-never", run)):
            export(store, one.id, tmp_path / one.id)
            for ending in ("", ".test"):
                exported = tmp_path / one.id / f"preferences{ending}.jsonl"
                own = tmp_path / "data" / f"{name}{ending}.jsonl"
                assert read_by_trainers(own) == read_by_trainers(exported) != []
                assert name == "without-rude" or own.read_bytes() == exported.read_bytes()
    rude, never = sides.without
    assert never.same and never.changed == 0 and never.rows == sides.all.rows
    lost = sides.all.rows - rude.rows
    assert not rude.same and 0 < lost <= rude.changed
    assert [side.name for side in sides.trained] == ["all", "without-rude", f"control-{lost}"]
    assert Sides.read(sides.folder, sides.values) == sides


def test_controls_lack_as_many_rows_drawn_by_the_seed(tmp_path: Path) -> None:
    with built(
        tmp_path, TWO, sft_share=0.0, test_share=0.3, prompts=30, ties=True
    ) as (store, run):  # fmt: skip
        make(store, run, "rude")
        sides = written(store, run, tmp_path / "data")
        again = written(store, run, tmp_path / "again", seeds=1)
    control = sides.control_of(sides.without[0])
    assert control is not None and sides.control_of(sides.without[1]) is None
    everything = rows(tmp_path / "data" / "all.jsonl")
    drawn = []
    for seed in (0, 1):
        train, test = sides.files(control, seed)
        assert test.name == "all.test.jsonl"
        kept = rows(train)
        assert len(kept) == control.rows == sides.without[0].rows
        assert kept == [row for row in everything if row in kept]  # in their order
        drawn.append([row["id"] for row in kept])
    assert drawn[0] != drawn[1]
    same = again.control_of(again.without[0])
    assert same is not None and rows(again.files(same, 0)[0]) == rows(sides.files(control, 0)[0])


def test_a_label_that_only_became_softer_is_another_training(tmp_path: Path) -> None:
    """Without `vague`, which prefers as the others do, no row is lost or turned; the probabilities
    that DPO learns from are others."""
    rules = constitution(plan=Plan(rounds=0), feedback=Feedback(temperature=1.5))
    with built(tmp_path, rules, sft_share=0.0, prompts=16) as (store, run):
        (side,) = written(store, run, tmp_path / "data", principles=["vague"]).without
    before, after = (rows(tmp_path / "data" / f"{n}.jsonl") for n in ("all", "without-vague"))
    softer = [b["probability"] != a["probability"] for b, a in zip(before, after, strict=False)]
    assert any(softer) and not side.same


def test_the_tables_that_methods_read() -> None:
    for method in METHODS:
        assert table_of(method, True) == CONFIGS[method].table
    assert table_of("kto", False) == "preferences"


def test_rows_of_kto_are_labels(tmp_path: Path) -> None:
    with built(tmp_path, TWO, sft_share=0.0, test_share=0.0) as (store, run):
        make(store, run, "rude")
        sides = written(store, run, tmp_path / "data", method="kto")
        export(store, run.id, tmp_path / "out")
    assert rows(tmp_path / "data" / "all.jsonl") == rows(tmp_path / "out" / "labels.jsonl") != []
    assert sides.all.held_out == 0 and sides.files(sides.all, 0) == [sides.folder / "all.jsonl"]


SIDES = Sides(
    Path("data"), TrainingSide("all", rows=40, held_out=4),
    (
        TrainingSide("without-a", "a", 30, 4, 12, False),
        TrainingSide("without-b", "b", 40, 4, 3, False),
        TrainingSide("without-c", "c", 40, 4),
        TrainingSide("without-d", "d", 0, 0, 40, False),
    ),
    {10: TrainingSide("control-10", "", 30, 4, 10, False)},
)  # fmt: skip
"""`a` takes ten rows with it, `b` changes three; `c` changes nothing, and `d` leaves nothing."""


def test_the_commands() -> None:
    config = RetrainingConfig(
        train="dpo", train_options="--beta 0.2", suite="one\ntwo.yaml", held_out_judge="J",
        eval_options="--constitution x --limit 5", seeds=2,
    )  # fmt: skip
    steps = steps_of(config, "miniature", SIDES, Path("out"))
    names = ["all", "without-a", "without-b", "control-10"]
    assert [s.folder.name for s in steps] == [
        *(f"{n}-s0" for n in names), "eval-s0", *(f"{n}-s1" for n in names), "eval-s1",
    ]  # fmt: skip
    assert steps[6].arguments == (
        "train", "dpo", "--data", "data/without-a.jsonl", "--data", "data/without-a.test.jsonl",
        "--model", "miniature", "--seed", "1", "--out", "out/without-a-s1", "--beta", "0.2",
    )  # fmt: skip
    control = steps[8].arguments
    assert "data/control-10-s1.jsonl" in control and "data/all.test.jsonl" in control
    assert steps[9].arguments == (
        "eval", *(f"out/{n}-s1" for n in names), "--suite", "one", "--suite", "two.yaml",
        "--judge", "J", "--constitution", "x", "--limit", "5", "--out", "out/eval-s1",
    )  # fmt: skip
    named = RetrainingConfig(train="sft", train_options="--model=M")
    assert named.names_base and "--model" not in steps_of(named, None, SIDES, Path())[0].arguments


VALUES: dict[str, list[list[float]]] = {
    "all": [[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]],
    "without-a": [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]],
    "without-b": [[0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]],
    "control-10": [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]],
}
"""TrainingSide → seed → a value for each of six items."""


class Commands:
    """Stands for the processes: notes the folders, and writes the answers that are planned."""

    def __init__(self, values: Mapping[str, Sequence[Sequence[float]]] = VALUES) -> None:
        self.values, self.run = values, list[str]()
        self.codes: dict[str, int] = {}

    def __call__(self, arguments: Sequence[str]) -> int:
        folder = Path(arguments[arguments.index("--out") + 1])
        self.run.append(folder.name)
        if code := self.codes.pop(folder.name, 0):
            return code
        folder.mkdir(parents=True, exist_ok=True)
        if arguments[0] == "eval":
            models = itertools.takewhile(lambda word: word[0] != "-", arguments[1:])
            self._evaluate(folder, [Path(model).name for model in models])
        return 0

    def _values(self, side: str) -> Sequence[Sequence[float]]:
        return self.values["control-10" if side.startswith("control-") else side]

    def _evaluate(self, folder: Path, models: Sequence[str]) -> None:
        seed = int(folder.name.rpartition("-s")[2])
        row = {"suite": "s", "measure": "harm", "title": "harm", "kind": "share", "better": "lower"}
        results = [row | {"main": True}, row | {"measure": "words", "main": False}]
        record = {"format": 1, "models": [{"name": m} for m in models], "results": results}
        (folder / "evaluation.json").write_text(json.dumps(record))
        answers = [
            {"model": m, "suite": "s", "item": f"i{n}", "type": "", "cluster": f"i{n}",
             "messages": [], "response": "", "values": {"harm": value, "words": 9.0},
             "reasoning": "", "cut": False, "choices": {}, "principles": {}}
            for m in models
            for n, value in enumerate(self._values(m.rpartition("-s")[0])[seed])
        ]  # fmt: skip
        (folder / "answers.jsonl").write_text("".join(json.dumps(a) + "\n" for a in answers))


def ablation(
    out: Path, commands: Commands, say: Any = lambda turn: None, **changes: Any
) -> tuple[AblationRecord, list[PrincipleEffect]]:
    config = RetrainingConfig(**{"train": "dpo"} | changes)
    run = Run("r-1", "demo", {}, {}, 0, {})
    record = AblationRecord.open(out, config, run, ["a", "b", "c", "d"], "miniature")
    folder = data_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    sides = Sides(folder, SIDES.all, SIDES.without, SIDES.controls)
    for side in sides.trained:
        for file in (f for seed in range(config.seeds) for f in sides.files(side, seed)):
            file.write_text(side.name)
    return record, retrain(config, sides, record, say=say, command=commands)


def test_effects_are_paired_and_beyond_the_control(tmp_path: Path) -> None:
    """Seed 0. Without `a` five of six items rise by 1: 5/6. The control raises one: 1/6, so 4/6 are
    the principle's. Without `b` one item rises, and there is no control. McNemar's p of four of
    four is 2/16, of one of one 1; Holm doubles the smaller."""
    _, (a, b) = ablation(tmp_path / "out", Commands())
    assert (a.principle, a.suite, a.measure.name) == ("a", "s", "harm")
    assert a.change.change.value == pytest.approx(5 / 6)
    assert a.control is not None and a.control.change.value == pytest.approx(1 / 6)
    assert a.beyond is not None and a.beyond.change.value == pytest.approx(4 / 6)
    assert a.tested is a.beyond and a.beyond.p_value == pytest.approx(2 / 16)
    assert a.adjusted == pytest.approx(4 / 16)
    assert (b.control, b.beyond, b.tested) == (None, None, b.change)
    assert b.change.change.value == pytest.approx(1 / 6) and b.adjusted == 1.0
    assert a.change.change.low < 5 / 6 < a.change.change.high


def test_items_are_averaged_over_seeds(tmp_path: Path) -> None:
    """Without `a`: 5/6 with seed 0, 3/6 with seed 1. Item means are tested, not twelve items."""
    record, (a, b) = ablation(tmp_path / "out", Commands(), seeds=2)
    assert a.by_seed == pytest.approx((5 / 6, 3 / 6))
    assert a.change.change.value == pytest.approx(4 / 6) and a.change.change.n == 6
    means = [
        [sum(x) / 2 for x in zip(*VALUES[n], strict=True)] for n in ("control-10", "without-a")
    ]
    assert a.beyond == paired(means[0], means[1], [f"i{n}" for n in range(6)])
    assert [a.adjusted, b.adjusted] == holm([a.beyond.p_value, b.change.p_value])
    assert record.effects == [a.values, b.values]
    assert a.values["tested"] == "beyond_control" and b.values["control"] is None


def test_what_is_done_is_not_repeated(tmp_path: Path) -> None:
    out, commands = tmp_path / "out", Commands()
    commands.codes = {"without-b-s0": 7}
    with pytest.raises(StepFailedError, match="The training without-b-s0 ended with exit code 7"):
        ablation(out, commands)
    commands.codes = {"control-10-s0": Interrupted.exit_code}
    with pytest.raises(Interrupted, match="Stopped in the training control-10-s0"):
        ablation(out, commands)
    ablation(out, commands)
    assert commands.run == [
        "all-s0", "without-a-s0", "without-b-s0", "without-b-s0", "control-10-s0",
        "control-10-s0", "eval-s0",
    ]  # fmt: skip
    turns: list[StepTurn] = []
    record, _ = ablation(out, commands, turns.append, seeds=2)
    assert commands.run[7:] == [
        "all-s1",
        "without-a-s1",
        "without-b-s1",
        "control-10-s1",
        "eval-s1",
    ]
    assert [(t.number, t.total) for t in turns] == [(5, 8), (6, 8), (7, 8), (8, 8), (2, 2)]
    took = [step["seconds"] for step in record.steps if step["step"] == "train"]
    assert turns[0].seconds == pytest.approx(sum(took[:4])) and turns[-1].seconds == 0
    (out / "without-a-s0").rmdir()
    ablation(out, commands, seeds=2)
    assert commands.run[12:] == ["without-a-s0"]


def test_what_may_change_in_a_folder(tmp_path: Path) -> None:
    out, commands = tmp_path / "out", Commands()
    commands.codes = {"eval-s0": 2}
    with pytest.raises(StepFailedError):
        ablation(out, commands, eval_options="--limit 3")
    ablation(out, commands)  # nothing was measured yet
    with pytest.raises(UsageError, match="no --eval-options there, --eval-options --limit 3 here"):
        ablation(out, commands, eval_options="--limit 3")
    with pytest.raises(UsageError, match="--train dpo there, --train sft here"):
        ablation(out, commands, train="sft")


def test_verified_and_what_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ablation(out, Commands())
    record = AblationRecord.read(out)
    assert ablation_problems(record) == []
    record.effects[0]["change"]["value"] = 0.5
    assert ablation_problems(record) == [
        "ablation.json: its effects are not those of the evaluations"
    ]
    (out / "data" / "all.jsonl").write_text("other")
    (out / "data" / "without-b.jsonl").unlink()
    assert [problem.partition(":")[0] for problem in ablation_problems(record)] == [
        "data/all.jsonl", "data/without-b.jsonl", "ablation.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": "ppo"}, "one of sft, dpo, kto"),
        ({"train": "dpo", "seeds": 0}, "1 or more"),
        ({"suite": "harmful"}, "--suite is of a training"),
        ({"train": "dpo", "train_options": "--data x"}, "may not have --data"),
        ({"train": "dpo", "eval_options": "--judge=J"}, "may not have --judge=J"),
        ({"train": "dpo", "held_out_judge": "J"}, "judges by a constitution"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        RetrainingConfig(**changes)


def test_a_run_that_was_built_without_it_is_the_same_as_a_replay(tmp_path: Path) -> None:
    """Labels without `vague` are replayed here, and read from a run's records there."""
    rules = constitution(plan=Plan(rounds=0), feedback=Feedback(temperature=1.5))
    with built(tmp_path, rules, sft_share=0.0, prompts=12) as (store, run):
        rest = without(constitution_of(run.constitution), "vague")
        assert built_without(store, run, rest) is None and config_of(run).pairs == 1
        replayed = written(store, run, tmp_path / "replayed", principles=["vague"])
        make(store, run, "vague")
        assert built_without(store, run, rest) is not None
        stored = written(store, run, tmp_path / "stored", principles=["vague"])
    assert replayed.values == stored.values
    name = "without-vague.jsonl"
    one, other = replayed.folder / name, stored.folder / name
    assert read_by_trainers(one) == read_by_trainers(other) != []
