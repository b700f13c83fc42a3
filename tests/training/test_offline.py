"""Stages on rows, on the miniature: they learn, they go on, they keep to their folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from cai.data.signoff import write_signoff
from cai.data.training import PairRow
from cai.data.training_run import read_run
from cai.data.verdicts import Verdict, VerdictFile
from cai.errors import (
    CaiError,
    DataError,
    Interrupted,
    ModelError,
    StoreError,
    TrainingError,
    UsageError,
)
from cai.models.backbone import Backbone
from cai.training.checkpoint import save_tensors
from cai.training.config import (
    DpoConfig,
    KtoConfig,
    PpoConfig,
    RewardConfig,
    SftConfig,
    TrainConfig,
)
from cai.training.examples import family_draw, hold_out
from cai.training.folder import RunFolder, lock
from cai.training.lineage import find_adapter
from cai.training.loop import StepReport
from cai.training.pairs import encode_pair, labels_of, pair_accuracy
from cai.training.policy import resolve
from cai.training.referenced import CollapseWatch
from cai.training.train import Callbacks, train
from cai.types import Message
from tests.cli.project import make
from tests.e2e.helpers import digests

QUESTIONS = ("How do I bake bread?", "What is chess?", "Tell me of cats.", "Where is Rome?")
GOOD, BAD = "I am happy to help.", "Get lost, you fool."
SMALL: dict[str, Any] = {"batch_size": 2, "device": "cpu", "lora_r": 4, "learning_rate": 2e-3}
KINDS: dict[str, Any] = {
    "sft": SftConfig, "reward": RewardConfig, "dpo": DpoConfig, "kto": KtoConfig,
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight pairs: the friendly answer is the better one; also read as eight conversations."""
    file = tmp_path / "pairs.jsonl"
    rows = [
        {
            "id": f"row-{n}",
            "prompt": [{"role": "user", "content": f"{QUESTIONS[n % 4]} ({n})"}],
            "chosen": [{"role": "assistant", "content": GOOD}],
            "rejected": [{"role": "assistant", "content": BAD}],
            "probability": 0.9,
        }
        for n in range(8)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def figures(out: Path, held_out: bool = False) -> list[dict[str, Any]]:
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["held_out"] == held_out]


@pytest.mark.parametrize("stage", KINDS)
def test_it_learns(stage: str, data: Path, tmp_path: Path) -> None:
    """The loss falls by a tenth or more, and the adapter is PEFT's. KTO has two rows of a pair."""
    out, rows = tmp_path / stage, 16 if stage == "kto" else 8
    train(KINDS[stage](**SMALL, epochs=32.0 / rows, test_share=0.0), [data], out)
    losses = [line["loss"] for line in figures(out)]
    assert len(losses) == 16 and losses[-1] < 0.9 * losses[0]
    record = read_run(out)
    assert record["status"] == "finished" and record["counts"]["trained"] == rows
    assert "adapter/adapter_model.safetensors" in record["files"]
    assert ("head.safetensors" in record["files"]) == (stage == "reward")
    assert not list(out.rglob("*.bin")) and not list(out.rglob("*.pt"))
    assert "| pairs.jsonl |" in (out / "README.md").read_text()


@pytest.mark.parametrize("stage", KINDS)
def test_it_goes_on_bit_for_bit(stage: str, data: Path, tmp_path: Path) -> None:
    """Stopped after step 3: the same bytes, and the same figures, as without a stop."""
    config = KINDS[stage](**SMALL, epochs=2.0, test_share=0.4, lora_dropout=0.1, eval_every=2)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(config, [data], straight)
    notes: list[str] = []

    def stop(report: StepReport) -> None:
        if report.step == 3 and not report.held_out:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="Run the same command again"):
        train(config, [data], broken, Callbacks(report=stop))
    assert read_run(broken)["status"] == "running"
    train(config, [data], broken, Callbacks(note=notes.append))
    *first, last = notes
    assert last.startswith("Resuming after step 3")
    assert len(first) == (stage == "kto")  # which tells how many rows have which label
    assert read_run(broken)["files"] == read_run(straight)["files"]


def test_rows_of_one_prompt_are_on_one_side(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sft"
    train(SftConfig(**SMALL, test_share=0.4, max_steps=1), [data], out)
    counts = read_run(out)["counts"]
    assert counts["trained"] + counts["held out"] == 8 and counts["held out"] > 0


def test_a_small_share_holds_out_one_prompt_and_never_all() -> None:
    """Four prompts of two rows each; seed and prompt say which ones, not their order."""
    prompts = [(Message("user", QUESTIONS[n % 4]),) for n in range(8)]
    draws = [family_draw(prompt, seed=3) for prompt in prompts]
    for share, count in ((0.0, 0), (1e-9, 2), (0.999999, 6)):
        held_out = hold_out(draws, share)
        assert sum(held_out) == count and held_out[:4] == held_out[4:]
        assert hold_out(draws[::-1], share) == held_out[::-1]
    assert hold_out(draws[:1], 0.9) == [False]


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("stage", ["reward", "dpo"])
def test_the_loser_is_never_learnt(stage: str, labels: str, data: Path, tmp_path: Path) -> None:
    """A judge's 0.1 for `chosen` is 0.9 for the other: the weights of the swapped sides."""
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for row in rows:
        row.update(chosen=row["rejected"], rejected=row["chosen"], probability=0.1)
    swapped = tmp_path / "swapped.jsonl"
    swapped.write_text("".join(json.dumps(row) + "\n" for row in rows))
    nll = {"nll": 0.2} if stage == "dpo" else {}
    config = KINDS[stage](**SMALL, **nll, labels=labels, max_steps=3, test_share=0.0)
    digests = []
    for name, file in (("as it is", data), ("swapped", swapped)):
        train(config, [file], tmp_path / name)
        digests.append(read_run(tmp_path / name)["files"]["adapter/adapter_model.safetensors"])
    assert digests[0] == digests[1]


def test_the_context_bounds_a_conversation(data: Path, tmp_path: Path) -> None:
    """What is longer than the miniature can read is set aside, whatever --max-length says."""
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    context = Backbone.load("miniature", device="cpu").context
    rows[2]["chosen"][0]["content"] = "word " * context
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for stage, kind in KINDS.items():
        config = kind(**SMALL, max_steps=1, max_length=10**6)
        train(config, [data], tmp_path / stage)
        (row,) = map(json.loads, (tmp_path / stage / "set_aside.jsonl").read_text().splitlines())
        assert row["reason"].endswith(f"over {context})")


def test_a_folder_holds_one_run(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = train(SftConfig(**SMALL, max_steps=1), [data], out)
    before, notes = digests(out), list[str]()
    assert train(SftConfig(**SMALL, max_steps=1), [data], out, Callbacks(note=notes.append)) == done
    assert notes == [f"This run is already finished in {out}."]
    other = SftConfig(**SMALL, max_steps=1, monitor="harmful")
    assert train(other, [data], out, Callbacks(note=notes.append)) == done
    assert notes[1].startswith(f"{notes[0]} It was watched by other monitors")
    assert digests(out) == before and not (out / ".lock").exists()
    with pytest.raises(UsageError, match="--max-steps 1 there, 2 here"):
        train(SftConfig(**SMALL, max_steps=2), [data], out)
    with pytest.raises(UsageError, match="--max-steps 1 there, not set here; --packing true there"):
        train(SftConfig(**SMALL, packing=False), [data], out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("Dear Sir")
    with pytest.raises(UsageError, match="not empty, and holds no training run"):
        train(SftConfig(**SMALL, max_steps=1), [data], tmp_path / "mine")


def never_loaded(*names: object, **options: object) -> None:
    raise AssertionError(f"{names} is loaded")


def test_what_is_in_the_way_is_told_before_weights_are_loaded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data, --out, a run in use, a reward: none of them needs the model to be found wrong."""
    done, bad = tmp_path / "done", tmp_path / "bad.jsonl"
    train(SftConfig(**SMALL, max_steps=1), [data], done)
    bad.write_text('{"text": "no known key"}\n')
    held_out = tmp_path / "bad.test.jsonl"
    held_out.write_bytes(bad.read_bytes())
    other = tmp_path / "other.jsonl"
    other.write_bytes(data.read_bytes().replace(b"friend", b"fiend").replace(b"happy", b"glad"))
    monkeypatch.setattr("cai.models.backbone.load_model", never_loaded)
    cases: list[tuple[TrainConfig, list[Path], Path, str]] = [
        (SftConfig(**SMALL), [bad], tmp_path / "a", "bad.jsonl has no row that can be used"),
        (DpoConfig(**SMALL), [data, held_out], tmp_path / "a", "bad.test.jsonl has no row"),
        (RewardConfig(**SMALL), [tmp_path / "nowhere"], tmp_path / "a", "There is no file"),
        (SftConfig(**SMALL, max_steps=2), [data], done, "--max-steps 1 there, 2 here"),
        (SftConfig(**SMALL, max_steps=1), [other], done, "holds another run: of other data"),
        (DpoConfig(**SMALL), [data], done, "holds another run: of the stage sft"),
        (PpoConfig(device="cpu"), [data], tmp_path / "a", "PPO needs a reward"),
        (PpoConfig(device="cpu", reward="nowhere"), [data], tmp_path / "a", "no folder nowhere"),
        (PpoConfig(device="cpu", reward="no_such:one"), [data], tmp_path / "a", "no module"),
        (PpoConfig(device="cpu", reward=str(done)), [data], tmp_path / "a", "holds no reward"),
    ]
    for config, paths, out, message in cases:
        with pytest.raises(CaiError, match=message):
            train(config, paths, out)
        assert not (tmp_path / "a").exists()
    with lock(tmp_path / "busy"), pytest.raises(StoreError, match="another process is training"):
        train(SftConfig(**SMALL), [data], tmp_path / "busy")


def test_a_stale_sign_off_is_told_and_is_no_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed, it is a source by its digest; after a new verdict it holds no more."""
    monkeypatch.chdir(tmp_path)
    run, notes = make(tmp_path) / "demo", list[str]()
    write_signoff(run, {"reviewed": {"items": 1}, "signer": "Ann", "at": "2026-01-01T10:00:00Z"})

    def sources(name: str) -> set[str]:
        show = Callbacks(note=notes.append)
        train(SftConfig(**SMALL, max_steps=1), [run], tmp_path / name, show)
        record = json.loads((tmp_path / name / "run.json").read_text())
        return {source["name"] for source in record["data"]}

    files = {"sft.jsonl"}
    assert sources("signed") == files | {"signoff.yaml"}
    assert not any("sign-off" in note for note in notes)
    VerdictFile(run).append([Verdict("v", "t-p1", "r-1", "accept", "Ann", "2026-01-02T10:00:00Z")])
    assert sources("stale") == files | {"verdicts.jsonl"}
    assert f"the sign-off of {run} is stale: the verdicts changed since" in notes[0]
    assert notes[0].endswith("it is not recorded as a source of this training.")


def test_what_is_too_long_is_set_aside(data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[3]["chosen"][0]["content"] = "word " * 200
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "run"
    train(DpoConfig(**SMALL, max_steps=1, max_length=64), [data], out)
    (row,) = map(json.loads, (out / "set_aside.jsonl").read_text().splitlines())
    assert row["source"] == "pairs.jsonl:4 row-3" and row["reason"].endswith("over 64)")
    with pytest.raises(DataError, match="No row is left to train on; 8 were set aside"):
        train(DpoConfig(**SMALL, max_length=5), [data], tmp_path / "none")


def test_the_parent_is_the_start_and_the_reference(data: Path, tmp_path: Path) -> None:
    """DPO from an SFT adapter: at step 0 policy and reference agree, so the loss is ln 2."""
    train(SftConfig(**SMALL, epochs=3.0), [data], tmp_path / "sft")
    config = DpoConfig(**SMALL, adapter=str(tmp_path / "sft"), labels="hard")
    train(config, [data], tmp_path / "dpo")
    first = figures(tmp_path / "dpo")[0]
    assert first["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert first["chosen_reward"] == pytest.approx(0.0, abs=1e-4)
    (parent,) = read_run(tmp_path / "dpo")["parents"]
    assert parent["id"] == read_run(tmp_path / "sft")["id"] and parent["part"] == "start"
    before = load_file(tmp_path / "sft" / "adapter" / "adapter_model.safetensors")
    after = load_file(tmp_path / "dpo" / "adapter" / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_falling_likelihood_is_told_once() -> None:
    """β 0.1, ten tokens a response: a reward of −0.6 is Δ = −6 nats, 0.6 a token.

    One batch far below says nothing: the mean of four counts, here (0 + 0.2 + 0.4 + 0.6) / 4 = 0.3,
    then (0.2 + 0.4 + 0.6 + 0.8) / 4 = 0.5.
    """
    watch = CollapseWatch(0.1, 10.0, "chosen", "--nll 0.2")
    assert [watch(reward) for reward in (0.0, -0.2, -0.4, -0.6)] == [None] * 4
    assert "0.50 nats a token" in (watch(-0.8) or "")
    assert watch(-4.0) is None
    single = CollapseWatch(0.1, 10.0, "chosen", "--nll 0.2")
    assert single(-9.0) is None


def test_without_a_reference_the_first_batches_stand_for_it() -> None:
    """SimPO's rewards are β nats a token: the first four have a mean of −2 at β = 2, so that −3
    is half a nat a token less. A batch without such a response says nothing."""
    watch = CollapseWatch(2.0, 1.0, "chosen", "--nll 0.2", from_start=True)
    assert [watch(reward) for reward in (-1.0, -2.0, None, -3.0, -2.0)] == [None] * 5
    assert [watch(reward) for reward in (-2.9, -2.9, -2.9)] == [None] * 3
    assert "0.50 nats a token less likely than in the first steps" in (watch(-3.3) or "")


def test_full_training_writes_a_model(data: Path, tmp_path: Path) -> None:
    """All weights move, and the folder loads as any model does."""
    out = tmp_path / "full"
    config: TrainConfig = SftConfig(
        **SMALL | {"learning_rate": 1e-4, "lora_r": None}, full=True, max_steps=2
    )
    train(config, [data], out)
    loaded = Backbone.load(str(out / "model"), device="cpu", dtype="float32")
    base = Backbone.load("miniature", device="cpu", dtype="float32")
    pairs = zip(loaded.model.parameters(), base.model.parameters(), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs)
    with pytest.raises(ModelError, match="trained all weights"):
        train(SftConfig(**SMALL | {"lora_r": None}, adapter=str(out)), [data], tmp_path / "next")
    train(SftConfig(**SMALL, model=str(out), max_steps=1), [data], tmp_path / "on it")
    (parent,) = read_run(tmp_path / "on it")["parents"]
    assert parent["id"] == read_run(out)["id"] and parent["part"] == "base"


def test_a_given_adapter_keeps_its_shape(data: Path, tmp_path: Path) -> None:
    """Its rank is what config.yaml says, whose settings may be given again; no other rank may."""
    train(SftConfig(**SMALL, lora_alpha=8.0, max_steps=1), [data], tmp_path / "sft")
    plain = SMALL | {"lora_r": None}
    dpo = DpoConfig(**plain, adapter=str(tmp_path / "sft"), max_steps=1)
    train(dpo, [data], tmp_path / "dpo")
    settings = yaml.safe_load((tmp_path / "dpo" / "config.yaml").read_text())
    del settings["stage"]
    card = (tmp_path / "dpo" / "README.md").read_text()
    assert "| adapter | sft |" in card and str(tmp_path) not in card
    assert (settings["lora_r"], settings["lora_alpha"], settings["lora_dropout"]) == (4, 8.0, 0.0)
    assert "q_proj" in settings["lora_targets"].split(",")
    train(DpoConfig(**settings), [data], tmp_path / "again")
    assert read_run(tmp_path / "again")["id"] == read_run(tmp_path / "dpo")["id"]
    with pytest.raises(UsageError, match=r"--lora-r is 8, but the adapter .* has 4"):
        train(replace(dpo, lora_r=8), [data], tmp_path / "other")
    assert resolve(DpoConfig()).lora_r == 16 and resolve(DpoConfig(full=True)).lora_r is None
    with pytest.raises(UsageError, match="--lora-r is 4000, and the model has hidden size"):
        train(SftConfig(**plain | {"lora_r": 4000}), [data], tmp_path / "other")


def test_a_start_that_failed_is_no_hindrance(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that took no step makes room for one with other settings; one that did does not."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no room"):
        patch.setattr("cai.training.train.make_accelerator", no_room)
        train(SftConfig(**SMALL, max_steps=1), [data], out)
    train(SftConfig(**SMALL, max_steps=2), [data], out)
    assert read_run(out)["status"] == "finished"
    assert yaml.safe_load((out / "config.yaml").read_text())["max_steps"] == 2


def no_room(*_: Any) -> None:
    raise OSError("no room")


def test_a_tracker_that_is_not_installed_is_told_before_anything_is_spent(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[wandb\]'"):
        train(SftConfig(tracker="wandb"), [data], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("stage", ["reward", "dpo"])
def test_pairs_that_are_all_ties_teach_nothing(
    stage: str, labels: str, data: Path, tmp_path: Path
) -> None:
    """All at 0.5: refused before anything is written. Some: counted, in the record and the card."""
    rows = [json.loads(line) | {"probability": 0.5} for line in data.read_text().splitlines()]
    file, out = tmp_path / "ties.jsonl", tmp_path / "run"
    config = KINDS[stage](**SMALL, labels=labels, max_steps=1, test_share=0.0)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="None of the 8 pairs has a better side") as error:
        train(config, [file], out)
    assert "gave no signal" in (error.value.hint or "") and not out.exists()
    rows[3]["probability"] = 0.6
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train(config, [file], out)
    assert read_run(out)["counts"]["ties"] == 7
    assert "7 ties" in (out / "README.md").read_text()


def test_labels_and_who_is_right() -> None:
    """Soft labels are the rows' own; hard ones 1, but one half for a tie, which no side wins."""
    backbone = Backbone.load("miniature", device="cpu", dtype="float32")
    sides = {"chosen": (Message("assistant", GOOD),), "rejected": (Message("assistant", BAD),)}
    pairs = [
        encode_pair(
            backbone.encoder,
            PairRow("r", (Message("user", "Hi?"),), **sides, probability=p, margin=None,
                    origin="given", principle_ids=(), source="f:1"),
            200,
        )
        for p in (None, 0.7, 0.5)
    ]  # fmt: skip
    cpu = torch.device("cpu")
    assert labels_of(pairs, True, cpu).tolist() == pytest.approx([1.0, 0.7, 0.5])
    labels = labels_of(pairs, False, cpu)
    assert labels.tolist() == [1.0, 1.0, 0.5]
    assert pair_accuracy(torch.tensor([2.0, -1.0, 3.0]), labels).tolist() == [1.0, 0.0, 0.5]
    assert pair_accuracy(torch.zeros(3), labels).tolist() == [0.5, 0.5, 0.5]


def test_an_adapter_stays_on_its_base(data: Path, tmp_path: Path) -> None:
    """The base is the adapter's own where none is named, from anywhere; another one is refused."""
    base, sft = tmp_path / "base", tmp_path / "sft"
    small = SMALL | {"max_steps": 1}
    train(SftConfig(**small | {"lora_r": None, "learning_rate": 1e-5}, full=True), [data], base)
    train(SftConfig(**small, model=os.path.relpath(base)), [data], sft)
    train(DpoConfig(**small, adapter=str(sft)), [data], tmp_path / "dpo")
    records = [read_run(tmp_path / name) for name in ("sft", "dpo")]
    assert records[0]["base"] == records[1]["base"]
    assert records[1]["settings"]["model"] == str(base)
    with pytest.raises(DataError, match="miniature is not the base that sft was trained on"):
        train(DpoConfig(**small, adapter=str(sft), model="miniature"), [data], tmp_path / "no")


def test_weights_that_are_no_numbers_are_never_saved(data: Path, tmp_path: Path) -> None:
    """The loss of the only step is sound, the step is not: no checkpoint, no finished run."""
    out = tmp_path / "run"
    config = SftConfig(**SMALL | {"learning_rate": 1e30}, warmup=0.0, max_steps=1)
    with pytest.raises(TrainingError, match=r"not (a number|numbers)"):
        train(config, [data], out)
    assert read_run(out)["status"] == "failed"
    assert not (out / "checkpoint.safetensors").exists()
    assert not (out / "adapter").exists()


def test_two_processes_don_t_train_in_one_folder(data: Path, tmp_path: Path) -> None:
    """The second is told while the first is at it; in the end no lock is left."""
    out, notes = tmp_path / "run", list[str]()
    config = SftConfig(**SMALL, max_steps=1)

    def again(report: StepReport) -> None:
        with pytest.raises(StoreError, match="another process is training in") as error:
            train(config, [data], out)
        notes.append(error.value.message)

    train(config, [data], out, Callbacks(report=again))
    assert notes and read_run(out)["status"] == "finished"
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def test_a_kill_at_the_very_end_loses_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until run.json says that the run is finished, its checkpoint stays."""
    out = tmp_path / "run"
    config = SftConfig(**SMALL, max_steps=2)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no room"):
        patch.setattr("cai.training.folder.versions", no_room)
        patch.setattr("cai.training.folder.RunFolder._begin", begin)
        train(config, [data], out)
    notes: list[str] = []
    train(config, [data], out, Callbacks(note=notes.append))
    assert notes == ["Resuming after step 2 of 2."]
    assert not (out / "checkpoint.safetensors").exists()


def begin(run: RunFolder) -> None:
    """As ever, but before there is no room."""
    with pytest.MonkeyPatch.context() as as_ever:
        as_ever.setattr("cai.training.folder.versions", dict)
        run._write("running", {})


def test_held_out_rows_of_trained_prompts_are_set_aside(data: Path, tmp_path: Path) -> None:
    """A test file that shares a prompt with training, as it is or as the start of a dialogue."""
    shared, more, own = QUESTIONS[0] + " (0)", "And then?", "Who was Bach?"
    talk = [{"role": "user", "content": shared}, {"role": "assistant", "content": GOOD}]
    prompts = [shared, [*talk, {"role": "user", "content": more}], own]
    test = tmp_path / "pairs.test.jsonl"
    rows = [{"prompt": p if isinstance(p, list) else [{"role": "user", "content": p}],
             "chosen": [{"role": "assistant", "content": GOOD}],
             "rejected": [{"role": "assistant", "content": BAD}]} for p in prompts]  # fmt: skip
    test.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for stage, kind in KINDS.items():
        out, notes = tmp_path / stage, list[str]()
        train(kind(**SMALL, max_steps=1), [data, test], out, Callbacks(note=notes.append))
        sides = 2 if stage == "kto" else 1  # of a pair, each a row of its own
        labels = {"desirable": 8, "undesirable": 8} if stage == "kto" else {}
        counts = {"trained": 8 * sides, "held out": sides, "set aside": 2 * sides}
        assert read_run(out)["counts"] == counts | labels
        aside = [json.loads(x) for x in (out / "set_aside.jsonl").read_text().splitlines()]
        assert {row["reason"] for row in aside} == {
            "held-out prompt: one with the same first user turn is trained on"
        }
        n = counts["set aside"]
        assert notes[0] == (
            f"rows used: {8 * sides}, invalid (set aside): {n} (see {out / 'set_aside.jsonl'}); {n}"
            " of them: held-out prompt: one with the same first user turn is trained on"
        )
        assert len(notes) == sides  # KTO's own note is of the labels


def test_ties_are_counted_and_told(data: Path, tmp_path: Path) -> None:
    """Two of eleven pairs have the probability 0.5; one of 0.500001 is no tie."""
    more = [json.loads(line) for line in data.read_text().splitlines()[:3]]
    for n, (row, probability) in enumerate(zip(more, (0.5, 0.5, 0.500001), strict=True)):
        row |= {"id": f"more-{n}", "probability": probability}
    with data.open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in more))
    for stage in ("reward", "dpo"):
        out, notes = tmp_path / stage, list[str]()
        config = KINDS[stage](**SMALL, max_steps=1, test_share=0.0)
        train(config, [data], out, Callbacks(note=notes.append))
        assert notes == [
            "ties: 2 of 11 pairs have the probability 0.5. They teach that neither response is"
            " better."
        ]
        counts = read_run(out)["counts"]
        assert counts == {"trained": 11, "held out": 0, "set aside": 0, "ties": 2}


def test_a_message_of_weight_zero_is_not_learnt(tmp_path: Path) -> None:
    """The same two conversations, with and without the mark: under the mark, as many tokens count
    as where the last response alone is learned, and no row is lost."""
    talk = [
        {"role": "user", "content": QUESTIONS[0]}, {"role": "assistant", "content": BAD},
        {"role": "user", "content": QUESTIONS[1]}, {"role": "assistant", "content": GOOD},
    ]  # fmt: skip
    marked = [talk[0], talk[1] | {"weight": 0}, *talk[2:]]
    losses = {}
    for name, rows, loss_on in (
        ("marked", marked, "all"), ("last", talk, "last"), ("all", talk, "all"),
    ):  # fmt: skip
        file = tmp_path / f"{name}.jsonl"
        file.write_text(json.dumps({"messages": rows}) + "\n")
        config = SftConfig(**SMALL, max_steps=1, test_share=0.0, loss_on=loss_on)
        train(config, [file], tmp_path / name)
        losses[name] = figures(tmp_path / name)[0]["loss"]
    assert losses["marked"] == losses["last"] != losses["all"]


def test_the_reference_is_known_by_the_adapter_s_scale_too(data: Path, tmp_path: Path) -> None:
    """Equal weights under another alpha are another reference: DPO starts at ln 2 for both."""
    train(SftConfig(**SMALL, epochs=3.0), [data], tmp_path / "sft")
    for alpha in (32, 2):
        copy = tmp_path / f"alpha-{alpha}"
        shutil.copytree(tmp_path / "sft" / "adapter", copy)
        adapter_config = json.loads((copy / "adapter_config.json").read_text())
        (copy / "adapter_config.json").write_text(
            json.dumps(adapter_config | {"lora_alpha": alpha})
        )
        config = DpoConfig(**SMALL, adapter=str(copy), labels="hard", max_steps=1)
        train(config, [data], tmp_path / f"dpo-{alpha}")
        assert figures(tmp_path / f"dpo-{alpha}")[0]["loss"] == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize("kind", [SftConfig, RewardConfig, DpoConfig, PpoConfig])
def test_all_weights_have_a_rate_of_their_own(kind: type[TrainConfig]) -> None:
    """An adapter bears ten to a hundred times the rate that all weights bear."""
    adapter, full = resolve(kind()), resolve(kind(full=True))
    assert adapter.learning_rate is not None and full.learning_rate is not None
    assert 9 < adapter.learning_rate / full.learning_rate < 101
    assert resolve(kind(full=True, learning_rate=1e-3)).learning_rate == 1e-3


def test_a_message_names_the_line_of_a_row(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"pairs\.jsonl:\d+ row-\d"):
        train(
            DpoConfig(**SMALL | {"learning_rate": 1e30}, test_share=0.0), [data], tmp_path / "dpo"
        )


def test_a_changed_file_of_a_run_is_told(data: Path, tmp_path: Path) -> None:
    train(SftConfig(**SMALL, max_steps=1), [data], tmp_path / "sft")
    file = tmp_path / "sft" / "adapter" / "adapter_config.json"
    file.write_text(file.read_text().replace('"lora_alpha": 32.0', '"lora_alpha": 64.0'))
    with pytest.raises(DataError, match="not as the training run sft wrote it"):
        find_adapter(str(tmp_path / "sft"))


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("cai.training.checkpoint.save_file", full)
    with pytest.raises(StoreError, match="can't be written: I/O error: No space left"):
        save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {})
