"""Training in two processes equals training in one, and no process waits for a dead one.

Real launchers, real kills, sockets on loopback alone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from cai.data.training_run import read_run
from cai.errors import Interrupted
from cai.options import flag
from cai.training.config import CONFIGS
from cai.training.loop import StepReport
from cai.training.train import Callbacks, train
from tests.e2e.helpers import listen_to_ctrl_c, rows, write_rows
from tests.servers.vllm_model_standin import VllmModelStandIn
from tests.servers.vllm_standin import MODEL
from tests.training.test_served_rollouts import WEIGHTS

pytestmark = pytest.mark.distributed

ROWS: dict[str, Any] = {
    "device": "cpu", "dtype": "float32", "lora_r": 4, "batch_size": 3, "epochs": 2.0,
    "test_share": 0.3, "eval_every": 3, "save_every": 2, "learning_rate": 2e-3,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "sft": ROWS,
    "reward": ROWS,
    "dpo": ROWS,
    "kto": ROWS,
    "ppo": {
        "device": "cpu", "dtype": "float32", "lora_r": 4, "reward": "rewards_of_processes:short",
        "updates": 3, "prompts_per_update": 5, "max_new_tokens": 16, "test_share": 0.3,
        "save_every": 2,
    },
    "distill": {
        "device": "cpu", "dtype": "float32", "lora_r": 4, "constitution": "miniature",
        "updates": 3, "prompts_per_update": 5, "max_new_tokens": 16, "test_share": 0.3,
        "save_every": 2, "learning_rate": 2e-3,
    },
    "rloo": {
        "device": "cpu", "dtype": "float32", "lora_r": 4, "reward": "constitution:miniature",
        "updates": 3, "prompts_per_update": 2, "max_new_tokens": 16, "test_share": 0.3,
        "save_every": 2,
    },
}  # fmt: skip
EVERY_WAY = ("sft", "reward", "dpo", "ppo")
"""Stages that are also trained in full and interrupted; the others share their code."""
FULL = {"full": True, "lora_r": None, "learning_rate": 1e-4}
SCORED = {"reward": "alone/reward", "gate": False, "adapter": "alone/sft", "lora_r": None}
LOSSES = {"loss", "policy_loss", "value_loss"}
LOSS_TOLERANCE = 1e-5
WEIGHT_TOLERANCE, MEAN_TOLERANCE = 1e-4, 1e-6
"""Of one weight after the run, and of a tensor's mean: AdamW divides a gradient by its own size, so
where one is next to zero, rounding shows in the weight, by up to a step's learning rate (2e-3)."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of all runs: pairs and prompts, and a reward function."""
    folder = tmp_path_factory.mktemp("processes")
    questions = ("How do I bake bread?", "What is chess?", "Tell me of cats.")
    answers = ("Gladly.", "I am happy to help you with that, step by step.", "Of course: listen.")
    write_rows(folder / "pairs.jsonl", [
        {
            "id": f"row-{n}", "prompt": [{"role": "user", "content": f"{questions[n % 3]} ({n})"}],
            "chosen": [{"role": "assistant", "content": answers[n % 3]}],
            "rejected": [{"role": "assistant", "content": "Get lost, you fool."}],
            "probability": 0.9,
        }
        for n in range(14)
    ])  # fmt: skip
    write_rows(folder / "prompts.jsonl", [{"prompt": f"Tell me about {c}."} for c in "abcdefghij"])
    (folder / "rewards_of_processes.py").write_text(
        "def short(prompts, responses):\n    return [-float(len(r)) for r in responses]\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAI_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def alone(place: Path) -> Path:
    """A run of each stage in one process, the one that others are compared with."""
    for stage in SETTINGS:
        train(CONFIGS[stage](**SETTINGS[stage]), [data(place, stage)], place / "alone" / stage)
    return place / "alone"


def data(place: Path, stage: str) -> Path:
    return place / ("prompts.jsonl" if stage in ("ppo", "rloo", "distill") else "pairs.jsonl")


def environment(place: Path) -> dict[str, str]:
    return os.environ | {
        "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CAI_CACHE": str(place / "cache2"),
        "PYTHONPATH": os.pathsep.join(path for path in (str(ROOT), *sys.path) if path),
    }  # fmt: skip


ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def torchrun() -> list[str]:
    return [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-addr", "127.0.0.1", "--master-port", str(free_port()), "-m",
    ]  # fmt: skip


def arguments(place: Path, stage: str, out: Path, **settings: Any) -> list[str]:
    """`train STAGE …` with these settings as options."""
    options: list[str] = []
    for name, value in (SETTINGS[stage] | settings).items():
        if value is not None:
            options += [flag(name)] if value is True else [flag(name), str(value)]
    return ["train", stage, "--data", str(data(place, stage)), "--out", str(out), "-q", *options]


def launch(command: Sequence[str], place: Path) -> str:
    """Run a command to its end; returns what it wrote to stderr."""
    with started([command], place) as (job,):
        _, text = job.communicate(timeout=900)
    assert job.returncode == 0, text[-4000:]
    return str(text)


def require_equal(one: Path, other: Path) -> None:
    """Losses step by step, other metrics, and weights, of two runs."""
    ours, theirs = rows(one / "metrics.jsonl"), rows(other / "metrics.jsonl")
    assert len(ours) == len(theirs) > 3
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() & LOSSES:
            assert abs(a[name] - b[name]) <= LOSS_TOLERANCE, (name, a, b)
        assert a == pytest.approx(b, rel=1e-4, abs=1e-4)
    files = [file.relative_to(one) for file in one.rglob("*.safetensors")]
    assert files
    for file in files:
        weights, others = load_file(one / file), load_file(other / file)
        assert weights.keys() == others.keys()
        for name, weight in weights.items():
            difference = (weight - others[name]).abs()
            assert difference.max() <= WEIGHT_TOLERANCE, (file, name)
            assert difference.mean() <= MEAN_TOLERANCE, (file, name)
    assert read_run(one)["id"] == read_run(other)["id"]
    assert read_run(one)["files"].keys() == read_run(other)["files"].keys()
    if (one / "rollouts.jsonl").is_file():
        answers = [
            [(row["update"], row["prompt_id"], row["response"]) for row in rows(run / name)]
            for run in (one, other)
            for name in ("rollouts.jsonl",)
        ]
        assert answers[0] == answers[1]


# -- the same results -----------------------------------------------------------------------------


@pytest.mark.parametrize("stage", SETTINGS)
def test_two_processes_under_torchrun_equal_one(stage: str, place: Path, alone: Path) -> None:
    out = place / "torchrun" / stage
    text = launch([*torchrun(), "cai", *arguments(place, stage, out)], place)
    assert "processes: 2" not in text  # it is told to be quiet
    assert (out / "run.log").read_text().count("processes: 2, whole weights in each") == 1
    assert read_run(out)["processes"] == 2
    assert "Trained by 2 processes, whole weights in each" in (out / "README.md").read_text()
    require_equal(alone / stage, out)


def test_accelerate_launch_equals_one(place: Path, alone: Path) -> None:
    out = place / "accelerate"
    starter = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
               "--num_machines", "1", "--main_process_ip", "127.0.0.1", "--main_process_port",
               str(free_port()), "-m", "cai"]  # fmt: skip
    launch([*starter, *arguments(place, "sft", out)], place)
    require_equal(alone / "sft", out)


@pytest.fixture(scope="module")
def together(place: Path, alone: Path) -> Path:
    """Runs by two processes of one job: sharded, in full, interrupted, out of memory."""
    out = place / "together"

    def stop(report: StepReport) -> None:
        if report.step == 2 and not report.held_out:
            signal.raise_signal(signal.SIGINT)

    def job(name: str, stage: str, settings: dict[str, Any], **more: Any) -> dict[str, Any]:
        values = SETTINGS[stage] | settings
        return {"stage": stage, "data": str(data(place, stage)), "out": str(out / name),
                "settings": values, **more}  # fmt: skip

    sharded = FULL | {"parallel": "fsdp"}
    jobs = [job(f"fsdp-{stage}", stage, {"parallel": "fsdp"}) for stage in SETTINGS]
    jobs += [job(f"full-{stage}", stage, sharded) for stage in EVERY_WAY]
    for stage, settings, name in [*((stage, {}, stage) for stage in EVERY_WAY),
                                  ("ppo", sharded, "full-ppo")]:  # fmt: skip
        jobs.append(job(f"broken-{name}", stage, settings, stop_at=2))
        jobs.append(begun := job(f"begun-{name}", stage, settings))
        with pytest.raises(Interrupted):
            config = CONFIGS[stage](**begun["settings"])
            train(config, [begun["data"]], begun["out"], Callbacks(report=stop))
    jobs += [
        job(f"scored-{parallel}", "ppo", {**SCORED, "parallel": parallel})
        for parallel in ("ddp", "fsdp")
    ]
    jobs.append(job("memory", "sft", {}, short_of_memory=1))
    (place / "jobs.json").write_text(json.dumps(jobs))
    launch([*torchrun(), "tests.training.several", str(place / "jobs.json")], place)
    return out


@pytest.fixture(scope="module")
def alone_in_full(place: Path) -> Path:
    """A run of each stage in one process that trains all weights."""
    for stage in EVERY_WAY:
        config = CONFIGS[stage](**(SETTINGS[stage] | FULL))
        train(config, [data(place, stage)], place / "full" / stage)
    return place / "full"


@pytest.mark.parametrize("stage", SETTINGS)
def test_sharded_layers_change_nothing(stage: str, together: Path, alone: Path) -> None:
    require_equal(alone / stage, together / f"fsdp-{stage}")


@pytest.mark.parametrize("stage", EVERY_WAY)
def test_all_weights_sharded_train_alike(stage: str, together: Path, alone_in_full: Path) -> None:
    require_equal(alone_in_full / stage, together / f"full-{stage}")


@pytest.mark.parametrize("name", [*EVERY_WAY, "full-ppo"])
def test_a_checkpoint_of_two_goes_on_in_one(
    name: str, place: Path, together: Path, alone: Path, alone_in_full: Path
) -> None:
    stage, full = name.removeprefix("full-"), name.startswith("full-")
    notes: list[str] = []
    settings = SETTINGS[stage] | (FULL if full else {})
    out, config = together / f"broken-{name}", CONFIGS[stage](**settings)
    train(config, [data(place, stage)], out, Callbacks(note=notes.append))
    assert any(note.startswith("Resuming after step 2") for note in notes)
    require_equal((alone_in_full if full else alone) / stage, out)


@pytest.mark.parametrize("name", [*EVERY_WAY, "full-ppo"])
def test_a_checkpoint_of_one_goes_on_in_two(
    name: str, together: Path, alone: Path, alone_in_full: Path
) -> None:
    stage, full = name.removeprefix("full-"), name.startswith("full-")
    out = together / f"begun-{name}"
    assert "Resuming after step 2" in (out / "run.log").read_text()
    require_equal((alone_in_full if full else alone) / stage, out)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_reward_model_on_the_base_scores_alike(
    parallel: str, place: Path, together: Path, alone: Path
) -> None:
    """Its adapter is put on the policy's base, whose layers may be sharded by then."""
    out = place / "scored"
    if not out.exists():
        train(CONFIGS["ppo"](**SETTINGS["ppo"] | SCORED), [data(place, "ppo")], out)
    require_equal(out, together / f"scored-{parallel}")


def test_a_process_without_memory_halves_the_micro_batches_of_all(
    together: Path, alone: Path
) -> None:
    require_equal(alone / "sft", together / "memory")


# -- processes that die, hang, never start or disagree --------------------------------------------


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_take_rollouts_from_a_server(parallel: str, place: Path) -> None:
    """The first one alone talks to it, and it samples from the weights that both train."""
    out = place / f"served-{parallel}"
    with VllmModelStandIn(WEIGHTS) as server:
        address = f"{server.address}/v1#{MODEL}"
        launch([*torchrun(), "cai",
                *arguments(place, "ppo", out, rollout_server=address, parallel=parallel)],
               place)  # fmt: skip
        assert server.misuses == []
        assert server.adapters == {}
    steps = [row for row in rows(out / "metrics.jsonl") if not row["held_out"]]
    assert len(steps) == SETTINGS["ppo"]["updates"]
    assert all(row["rollout_gap"] < 1e-4 for row in steps)
    assert abs(steps[0]["kl"]) < 1e-3 < abs(steps[-1]["kl"])


@contextmanager
def started(commands: Sequence[Sequence[str]], place: Path, *environments: dict[str, str]) -> Any:
    """Running commands, which are killed in the end with all that they started."""
    running = [
        subprocess.Popen(
            command, cwd=place, env=environment(place) | more, text=True, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=listen_to_ctrl_c,
        )
        for command, more in zip(commands, environments or [{}] * len(commands), strict=True)
    ]  # fmt: skip
    try:
        yield running
    finally:
        for process in running:
            for pid in (*workers(process.pid), process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.communicate()


def by_hand(rank: int, port: int) -> dict[str, str]:
    """The variables of a process of two that no launcher watches."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip


def wait_for_steps(out: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        file = out / "metrics.jsonl"
        if file.is_file() and file.read_text().count("\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{out} took no {count} steps")


def workers(launcher: int) -> list[int]:
    """Process ids that a launcher started, in the order of ranks."""
    file = Path(f"/proc/{launcher}/task/{launcher}/children")
    return [int(pid) for pid in file.read_text().split()] if file.is_file() else []


LONG = {"epochs": 60.0, "eval_every": 1000}
"""Settings of a run that is still going on when something happens to it."""


@pytest.mark.parametrize("dead", [0, 1])
def test_a_killed_process_ends_the_job_with_the_reason(dead: int, place: Path) -> None:
    """And the run goes on from its checkpoint, in one process."""
    out = place / f"killed-{dead}"
    with started([[*torchrun(), "cai", *arguments(place, "sft", out, **LONG)]], place) as (job,):
        wait_for_steps(out, 4)
        os.kill(workers(job.pid)[dead], signal.SIGKILL)
        begin = time.monotonic()
        _, text = job.communicate(timeout=60)
    assert job.returncode != 0 and time.monotonic() - begin < 60
    assert f"cai: Rank {dead} of 2 (ranks count from 0) has given no sign of life" in text
    assert text.count("no sign of life") == 1 and "RuntimeError" not in text
    if dead == 1:
        assert (
            "Rank 1 of 2 (ranks count from 0) has given no sign of life"
            in (out / "run.log").read_text()
        )
    notes: list[str] = []
    config = CONFIGS["sft"](**(ROWS | LONG))
    train(config, [place / "pairs.jsonl"], out, Callbacks(note=notes.append))
    assert any(note.startswith("Resuming after step") for note in notes)
    assert read_run(out)["status"] == "finished"


def test_a_process_that_hangs_ends_the_others(place: Path) -> None:
    """A stopped process keeps its connections: only its missing signs of life show it."""
    out, port = place / "hangs", free_port()
    command = [sys.executable, "-m", "cai",
               *arguments(place, "sft", out, **LONG, process_timeout=6)]  # fmt: skip
    with started([command] * 2, place, by_hand(0, port), by_hand(1, port)) as (first, second):
        wait_for_steps(out, 4)
        os.kill(second.pid, signal.SIGSTOP)
        begin = time.monotonic()
        _, text = first.communicate(timeout=60)
        assert first.returncode == 7 and time.monotonic() - begin < 20
    assert "Rank 1 of 2 (ranks count from 0) has given no sign of life for 6 seconds" in text
    assert "sign of life" in (out / "run.log").read_text()


def test_a_process_that_never_starts_ends_the_job(place: Path) -> None:
    out = place / "missing"
    command = [sys.executable, "-m", "cai", *arguments(place, "sft", out, process_timeout=5)]
    with started([command], place, by_hand(0, free_port())) as (first,):
        _, text = first.communicate(timeout=60)
    assert first.returncode == 7 and "1/2 clients joined" in text
    assert "The 2 processes of this run did not find each other within 5 seconds" in text
    assert not out.exists()


STARTED = {"adapter": "alone/sft", "lora_r": None}


@pytest.mark.parametrize(
    ("first_has", "second_has", "message"),
    [
        ({}, {"seed": 1}, "has --seed 1; rank 0 has --seed 0"),
        ({}, {"parallel": "fsdp"}, "has --parallel fsdp; rank 0 has --parallel ddp"),
        (STARTED, STARTED | {"adapter": "nowhere/sft"}, "failed: "),
    ],
    ids=["seed", "parallel", "adapter"],
)
def test_processes_that_disagree_end_together(
    first_has: dict[str, Any],
    second_has: dict[str, Any],
    message: str,
    place: Path,
    alone: Path,
) -> None:
    """Two jobs that a launcher took for one, or a machine without the files of the others."""
    out = place / f"differ-{len(list(place.iterdir()))}"
    first, second, text, silence = disagree(
        place, *(arguments(place, "sft", out, **more) for more in (first_has, second_has))
    )
    assert (first, second != 0) == (7, True)
    assert f"Rank 1 of 2 (ranks count from 0) {message}" in text
    assert "Traceback" not in text and "cai:" not in silence
    assert not list(out.glob("checkpoint*"))


def test_processes_with_other_files_or_folders_end_together(place: Path) -> None:
    """The names are the same, and the first has a row more; then, another --out."""
    (place / "other").mkdir()
    copy, out = place / "other" / "pairs.jsonl", place / "differ-data"
    copy.write_text("".join((place / "pairs.jsonl").read_text().splitlines(True)[:-1]))
    command = arguments(place, "sft", out)
    changed = [str(copy) if word == str(data(place, "sft")) else word for word in command]
    first, _, text, _ = disagree(place, command, changed)
    assert first == 7 and "has the data pairs.jsonl " in text
    first, _, text, _ = disagree(place, command, arguments(place, "sft", place / "differ-out"))
    assert first == 7 and f"--out {place / 'differ-out'}; rank 0 has --out {out}" in text


def disagree(place: Path, first: Sequence[str], second: Sequence[str]) -> tuple[int, int, str, str]:
    """Exit codes and stderr of two processes of one job that are given these commands."""
    port = free_port()
    commands = [[sys.executable, "-m", "cai", *words] for words in (first, second)]
    with started(commands, place, by_hand(0, port), by_hand(1, port)) as (one, two):
        _, text = one.communicate(timeout=90)
        _, silence = two.communicate(timeout=30)
    return one.returncode, two.returncode, text, silence


def test_ctrl_c_stops_all_after_a_step(place: Path) -> None:
    """The terminal sends it to the launcher and to both processes; the launcher sends it again."""
    out = place / "interrupted"
    with started([[*torchrun(), "cai", *arguments(place, "sft", out, **LONG)]], place) as (job,):
        wait_for_steps(out, 4)
        os.killpg(job.pid, signal.SIGINT)
        _, text = job.communicate(timeout=60)
    assert text.count("cai: Stopped after step") == 1 and "all is kept" in text
    assert (out / "checkpoint.safetensors").is_file()
    assert read_run(out)["status"] == "running"
