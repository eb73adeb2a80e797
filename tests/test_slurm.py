"""What `srun` tells a command about its nodes, and what `accelerate launch` is told then."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import DistNetworkError

from tipx import slurm
from tipx.cores import THREADS
from tipx.errors import ConfigError, RunFailed
from tipx.train.launch import launch_processes, launch_words

STEP = {
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_JOB_ID": "4123456",
}
SCONTROL = """#!/bin/sh
test "$*" = 'show hostnames gpu[07-08]' || { echo "no such nodes" >&2; exit 1; }
printf 'gpu07\\ngpu08\\n'
"""


@pytest.fixture(autouse=True)
def _step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A task of a job step of two nodes, with a `scontrol`."""
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    script = tmp_path / "scontrol"
    script.write_text(SCONTROL)
    script.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_each_node_joins_the_first_at_the_jobs_port() -> None:
    words = " ".join(launch_words(16, ["train", "loop.processes=16"]))
    assert words == (
        "--multi_gpu --mixed_precision no --dynamo_backend no --num_machines 2 --machine_rank 1 "
        "--main_process_ip gpu07 --main_process_port 23456 --num_processes 16 -m tipx train loop.processes=16"
    )


@pytest.mark.parametrize("other", [{"SLURM_STEP_NUM_NODES": "1"}, dict.fromkeys(STEP)])
def test_on_one_node_slurm_changes_nothing(other: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    change_step(other, monkeypatch)
    words = " ".join(launch_words(8, ["train"]))
    assert "--num_machines 1 --main_process_port 0 --num_processes 8 -m tipx train" in words
    assert "machine_rank" not in words
    assert slurm.node_number() == 0


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"SLURM_STEP_ID": None, "SLURM_STEP_NUM_NODES": None}, "has 2 nodes, and tipx was started on one; start it"),
        ({"SLURM_STEP_NUM_TASKS": "16"}, r"started tipx 16 times on 2 nodes; .*srun --ntasks-per-node=1 tipx train"),
        ({"SLURM_STEP_NODELIST": "gone[1-2]"}, r"scontrol show hostnames gone\[1-2\]: no such nodes"),
        ({"PATH": "/nowhere"}, "no scontrol here .* leave loop.processes out, and start torchrun on each node"),
        ({"SLURM_STEP_NUM_NODES": "3", "SLURM_STEP_NUM_TASKS": "3"}, "16 do not divide over 3 nodes; .* multiple of 3"),
    ],
)
def test_what_is_wrong_is_one_line(other: dict[str, str | None], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change_step(other, monkeypatch)
    with pytest.raises(ConfigError, match=said):
        launch_words(16, ["train"])


@pytest.mark.parametrize(
    ("raised", "error", "said"),
    [
        (
            ConnectionError("port `23456` is in use"),
            ConfigError,
            "another program on this node has the port: port `23456`",
        ),
        (DistNetworkError("timed out"), RunFailed, "the nodes of this job did not meet: timed out"),
    ],
)
def test_nodes_that_cannot_meet_say_so(
    raised: Exception, error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: Any) -> None:
        assert (settings.num_machines, settings.machine_rank, settings.num_processes) == (2, 1, 16)
        assert os.environ[THREADS] == "2"
        raise raised

    monkeypatch.setattr("accelerate.commands.launch.launch_command", fail)
    monkeypatch.setattr("logging.disable", lambda _: None)
    monkeypatch.setattr("tipx.cores.count_cores", lambda: 16)
    monkeypatch.setenv(THREADS, "x")
    monkeypatch.delenv(THREADS)  # put back after the test
    with pytest.raises(error, match=said):
        launch_processes(16, ["train"])


def change_step(other: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in other.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
