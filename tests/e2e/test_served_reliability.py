"""Builds on a server in another process that is slow, fails, or says hostile things; and kills.

Small sizes of the trials that `bench/reliability.py` runs at full size. Refusals, a dead server and
keys are also in `tests/cli/test_served_build.py`, in this process.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.served.failures import die_and_return, mix_faults
from tests.served.keys import hide_keys
from tests.served.kills import kill_builds, kill_exports
from tests.served.memory import hold_memory
from tests.served.offline import run_offline
from tests.served.orders import vary_order
from tests.served.project import Trial
from tests.served.refusals import keep_terminal_clean, refuse_without_logprobs


@pytest.mark.slow
def test_kills_of_a_served_build_lose_nothing_and_make_nothing_twice(tmp_path: Path) -> None:
    trial = kill_builds(tmp_path, prompts=10, rounds=2, kills=3)
    assert trial.problems == []
    assert trial.counts["kills of a running build"] == 3
    assert trial.counts["steps of the straight build"] > 60


@pytest.mark.slow
def test_delays_that_change_the_order_of_answers_change_no_byte(tmp_path: Path) -> None:
    trial = vary_order(
        tmp_path, prompts=8, rounds=1, names=["one at a time", "eight at once, random delays"]
    )
    assert trial.problems == []
    assert "1 in flight at most" in trial.counts["one at a time"]


@pytest.mark.slow
def test_every_order_gives_the_same_bytes(tmp_path: Path) -> None:
    assert vary_order(tmp_path, prompts=8, rounds=1).problems == []


@pytest.mark.slow
def test_kills_of_an_export_leave_no_part_of_a_file(tmp_path: Path) -> None:
    assert kill_exports(tmp_path, prompts=60, kills=5).problems == []


@pytest.mark.slow
def test_a_mix_of_faults_and_refusals(tmp_path: Path) -> None:
    assert mix_faults(tmp_path, prompts=16, rounds=2).problems == []


@pytest.mark.slow
def test_a_server_that_dies_again_and_again(tmp_path: Path) -> None:
    assert die_and_return(tmp_path, Trial(5, "dead"), prompts=16, deaths=2).problems == []


@pytest.mark.slow
def test_a_slow_server_holds_memory_down(tmp_path: Path) -> None:
    trial = hold_memory(
        tmp_path, Trial(5, "slow"), prompts=20_000, seconds=25, slow=0.1, warm_up=100
    )
    assert trial.problems == []


@pytest.mark.slow
def test_servers_without_log_probabilities_are_refused(tmp_path: Path) -> None:
    assert refuse_without_logprobs(tmp_path).problems == []


@pytest.mark.slow
def test_control_sequences_of_a_served_model_reach_no_terminal(tmp_path: Path) -> None:
    assert keep_terminal_clean(tmp_path, prompts=4).problems == []


@pytest.mark.slow
def test_a_key_is_in_no_file_no_output_and_no_traceback(tmp_path: Path) -> None:
    assert hide_keys(tmp_path).problems == []


@pytest.mark.slow
def test_the_chain_from_a_server_to_an_adapter_needs_loopback_alone(tmp_path: Path) -> None:
    assert run_offline(tmp_path).problems == []
