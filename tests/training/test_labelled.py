"""Labelled rows as tokens: mismatched responses, weights that balance, what a run says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cai.data.training_run import read_run
from cai.errors import DataError, TrainingError
from cai.training.batches import Tokens
from cai.training.config import KtoConfig
from cai.training.labelled import EncodedLabel, balanced_weights, with_mismatches
from cai.training.train import Callbacks, train
from tests.e2e.helpers import cai, rows

SMALL: dict[str, Any] = {
    "batch_size": 2, "device": "cpu", "lora_r": 4, "learning_rate": 2e-3, "test_share": 0.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))


def row(prompt: tuple[int, ...], response: tuple[int, ...]) -> EncodedLabel:
    tokens = Tokens.counted_from((*prompt, *response), len(prompt))
    return EncodedLabel(f"{prompt}", tokens, tokens, True)


def test_a_mismatched_response_is_another_prompt_s() -> None:
    """Each prompt before a response that was given to another one, as it would be sampled."""
    data = [row((n,), (100 + n, 200 + n)) for n in range(20)]
    data += [row((n,), (300 + n,)) for n in range(20)]
    for one in with_mismatches(data, data, seed=1, limit=64):
        (prompt, *response) = one.mismatched.ids
        assert (prompt,) == one.tokens.ids[:1] and one.mismatched.response[0] is False
        assert one.mismatched.counted == len(response) > 0
        assert {token % 100 for token in response} != {prompt}
        assert {token % 100 for token in response} < set(range(20))


def test_the_draw_is_by_seed_alone() -> None:
    data = [row((n,), (100 + n,)) for n in range(20)]
    first, again, other = (
        [one.mismatched for one in with_mismatches(data, data, seed, 64)] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len({one.ids[1:] for one in first}) > 5, "not one response for all"


def test_prompt_and_mismatched_response_fit_into_the_limit() -> None:
    """A long prompt and a long response of two rows that each fit: the end is cut off."""
    data = [row(tuple(range(10)), (50,)), row((1,), tuple(range(100, 111)))]
    first, second = with_mismatches(data, data, seed=0, limit=12)
    assert first.mismatched.ids == (*range(10), 100, 101) and first.mismatched.counted == 2
    assert second.mismatched.ids == (1, 50)


def test_one_prompt_among_many_of_another_has_its_mismatch() -> None:
    data = [row((1,), (2,))] * 5000 + [row((3,), (4,))]
    found = with_mismatches(data, data, seed=0, limit=9)
    assert {one.mismatched.ids for one in found[:-1]} == {(1, 4)}
    assert found[-1].mismatched.ids == (3, 2)


def test_a_single_prompt_is_refused() -> None:
    data = [row((1,), (2,)), row((1,), (3,))]
    with pytest.raises(DataError, match="All rows to train on have the same prompt"):
        with_mismatches(data, data, seed=0, limit=9)


@pytest.mark.parametrize(
    ("numbers", "given", "weights"),
    [
        ((10, 10), (None, None), (1.0, 1.0)),  # 1 · 10 / (1 · 10) = 1
        ((12, 10), (None, None), (1.0, 1.0)),  # 1.2 is in 1 to 4/3
        ((10, 40), (None, None), (4.0, 1.0)),  # 4 · 10 / (1 · 40) = 1
        ((40, 10), (None, None), (1.0, 3.0)),  # 1 · 40 / (3 · 10) = 4/3
        ((40, 10), (2.0, None), (2.0, 6.0)),
        ((10, 40), (None, 0.5), (2.0, 0.5)),
        ((10, 40), (None, None), (4.0, 1.0)),
        ((10, 40), (1.0, 1.0), (1.0, 1.0)),  # both as they are given
        ((2.5, 7.5), (None, None), (3.0, 1.0)),
    ],
)
def test_weights_that_balance(
    numbers: tuple[float, float],
    given: tuple[float | None, float | None],
    weights: tuple[float, float],
) -> None:
    """λ_D·n_D / (λ_U·n_U) in 1 to 4/3, by the nearest weights."""
    assert balanced_weights(*numbers, *given) == pytest.approx(weights)


# -- a run ----------------------------------------------------------------------------------------


def write(path: Path, *labels: bool, prompt: str = "Tell me of {}.") -> Path:
    texts = {True: "Gladly.", False: "Get lost, you fool."}
    path.write_text(
        "".join(
            json.dumps({"prompt": prompt.format(n), "completion": texts[x], "label": x}) + "\n"
            for n, x in enumerate(labels)
        )
    )
    return path


def test_a_run_tells_and_records_numbers_and_weights(tmp_path: Path) -> None:
    """Two of six: 3.0 · 2 / (1 · 6) = 1."""
    data, out, notes = tmp_path / "a.jsonl", tmp_path / "kto", list[str]()
    write(data, *([True] * 2 + [False] * 6))
    results = train(KtoConfig(**SMALL, max_steps=2), [data], out, Callbacks(note=notes.append))
    assert notes == ["labels: 2 desirable (weight 3), 6 undesirable (weight 1)."]
    record = read_run(out)
    counts = {"trained": 8, "held out": 0, "set aside": 0, "desirable": 2, "undesirable": 6}
    assert record["counts"] == counts
    assert (results["desirable_weight"], results["undesirable_weight"]) == (3.0, 1.0)
    assert record["results"]["noise_floor"] < 1e-4
    assert yaml.safe_load((out / "config.yaml").read_text())["desirable_weight"] is None
    first = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
    assert first["kl"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("label", "kind"), [(True, "desirable"), (False, "undesirable")])
def test_rows_of_one_kind_teach_nothing(label: bool, kind: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", *([label] * 4))
    with pytest.raises(DataError, match=f"All 4 rows to train on are {kind}"):
        train(KtoConfig(**SMALL), [file], tmp_path / "kto")
    assert not (tmp_path / "kto").exists()


def test_held_out_rows_of_one_kind_are_measured(tmp_path: Path) -> None:
    """No mean of nothing: neither a NaN nor a number stands for the kind that is absent."""
    train_file = write(tmp_path / "a.jsonl", True, False, True)
    test_file = write(tmp_path / "a.test.jsonl", True, prompt="And what of {}?")
    out = tmp_path / "kto"
    train(KtoConfig(**SMALL | {"batch_size": 3}, max_steps=1), [train_file, test_file], out)
    (held_out,) = (row for row in rows(out / "metrics.jsonl") if row["held_out"])
    assert held_out["desirable"] == 1 and held_out["undesirable"] == 0
    assert "desirable_reward" in held_out and "undesirable_reward" not in held_out


def test_batch_size_and_odd_numbers(tmp_path: Path) -> None:
    """One row a step, and a last step of one row: a loss each, all of them finite."""
    file = write(tmp_path / "a.jsonl", True, False, True, False, True)
    for size, steps in ((1, 5), (2, 3), (4, 2)):
        out = tmp_path / str(size)
        train(KtoConfig(**SMALL | {"batch_size": size}), [file], out)
        losses = [row["loss"] for row in rows(out / "metrics.jsonl")]
        assert len(losses) == steps and all(0 < loss < 1.5 for loss in losses)


def test_how_a_batch_is_cut_changes_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", *([True, True, False] * 3))
    found = []
    for name, tokens in (("whole", 8192), ("pieces", 40)):
        config = KtoConfig(
            **SMALL | {"batch_size": 5}, micro_tokens=tokens, epochs=3.0, undesirable_weight=0.01,
            desirable_weight=1.0,
        )  # fmt: skip
        train(config, [file], tmp_path / name)
        found.append([[r["loss"], r["kl"]] for r in rows(tmp_path / name / "metrics.jsonl")])
    assert any(kl > 0.01 for _, kl in found[0]), "z0 must have moved"
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


def test_desirable_responses_that_become_unlikely_are_told(tmp_path: Path) -> None:
    """With next to no weight on them, and a rate that is far too high."""
    file, notes = write(tmp_path / "a.jsonl", *([True, False] * 6)), list[str]()
    config = KtoConfig(
        **SMALL | {"learning_rate": 0.02}, epochs=2.0, desirable_weight=1e-6,
        undesirable_weight=10.0, schedule="constant",
    )  # fmt: skip
    train(config, [file], tmp_path / "kto", Callbacks(note=notes.append))
    told = [note for note in notes if "less likely than to the reference" in note]
    assert len(told) == 1 and told[0].startswith("The desirable responses are")


def test_a_loss_that_is_no_number_names_the_rows(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", True, False, True)
    config = KtoConfig(**SMALL | {"learning_rate": 1e30}, epochs=4.0)
    with pytest.raises(TrainingError, match=r"is not a number"):
        train(config, [file], tmp_path / "kto")


def test_a_build_its_auditors_and_kto(tmp_path: Path) -> None:
    """From verdicts in a run's folder to a record of who labelled which row, and by which key."""
    run, out = tmp_path / "runs" / "demo", tmp_path / "kto"
    cai("build-data", "--limit", 3, "--sft-share", 0, "--out", run, "--quiet", "--no-examine")
    finals = [r for r in rows(run / "labels.jsonl") if r["origin"] == "final"]
    comparisons = [r for r in rows(run / "preferences.jsonl") if r["comparison_id"]]
    chosen = {finals[0]["trace_id"]: "reject", finals[1]["trace_id"]: "accept"}
    verdicts = [
        {"item": f"key-{record}", "record": record, "run": "r", "verdict": verdict,
         "author": "Ann", "at": "2026-01-01T10:00:00Z"}
        for record, verdict in (chosen | {comparisons[0]["comparison_id"]: "accept"}).items()
    ]  # fmt: skip
    (run / "audit").mkdir()
    (run / "audit" / "verdicts.jsonl").write_text(
        "".join(json.dumps(verdict) + "\n" for verdict in verdicts)
    )
    notes: list[str] = []
    config = KtoConfig(**SMALL, max_steps=1, verdict_weight=2.0)
    train(config, [run], out, Callbacks(note=notes.append))
    counts = read_run(out)["counts"]
    assert counts["labelled by auditors"] == 2 and counts["verdicts without a row"] == 1
    assert "verdicts: auditors decided the labels of 2 rows (weight 2)." in notes
    assert any(note.startswith("verdicts: 1 more label nothing here.") for note in notes)
    judged = {row["record"]: row for row in rows(out / "verdicts.jsonl")}
    assert {record: row["desirable"] for record, row in judged.items()} == {
        record: verdict == "accept" for record, verdict in chosen.items()
    }
    for record, row in judged.items():
        assert (row["item"], row["author"], row["weight"]) == (f"key-{record}", "Ann", 2.0)
        assert row["row"].endswith(f"{record}.final")
    record = read_run(out)
    assert {entry["name"] for entry in record["data"]} >= {"labels.jsonl", "verdicts.jsonl"}
    assert "verdicts.jsonl" in record["files"]
    cai("verify", out)
