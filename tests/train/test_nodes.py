"""Several nodes: torchrun's agents on one machine, which meet over loopback, stand for them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.ranks import free_port
from tests.train.test_processes import WITHIN_S, environment, same, the_run
from tests.warm import Server
from tipx.runs.directory import SEEN
from tipx.runs.sweep_folder import SweepFolder
from tipx.sweep.plan import plan_sweep
from tipx.train.start import train_run

pytestmark = pytest.mark.long(20)

Overrides = Callable[..., list[str]]
StartNode = Callable[[SweepFolder, int], "subprocess.Popen[str]"]
POINT = "import sys, types, tipx.sweep.job as job; job.run_point(types.SimpleNamespace(**eval(sys.argv[1])))"


@pytest.fixture
def children() -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that the test starts; what still runs at its end is killed with all below it."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        if one.poll() is None:
            for process in (*psutil.Process(one.pid).children(recursive=True), one):
                process.kill()
        one.communicate()


@pytest.mark.slow
def test_two_nodes_are_one_process(
    overrides: Overrides, children: list["subprocess.Popen[str]"], tmp_path: Path
) -> None:
    args = overrides("selector=soft_or", "ratio=0.3", "loop.sample_every=2")
    meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    for node in ("0", "1"):
        words = ["--nnodes", "2", "--node-rank", node, "--nproc-per-node", "1", *meet, "-m", "tipx", "train", *args]
        children.append(begin(["-m", "torch.distributed.run", *words], environment(tmp_path / "home")))
    said = [child.communicate(timeout=WITHIN_S) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert "picture" in "".join(out for out, _ in said)
    two = the_run(tmp_path / "runs")
    assert two.provenance()["starts"][0]["processes"] == 2
    one, _ = train_run([*args, f"runs_dir={tmp_path / 'one'}"], fresh=False, config_dir=None)
    same(two, one)


def begin(words: list[str], env: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, *words]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_node_with_a_folder_of_its_own_is_noticed(overrides: Overrides, server: Server, tmp_path: Path) -> None:
    args, port, started = overrides("runs_dir=runs"), free_port(), []
    for rank in ("0", "1"):
        (place := tmp_path / f"node{rank}").mkdir()
        own = {"RANK": rank, "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started.append(server.start(["train", *args], place, environment(tmp_path / "home", **own)))
    said = [one.communicate(timeout=WITHIN_S) for one in started]
    assert [one.returncode for one in started] == [2, 2], said
    line = said[0][1]
    assert line.count("\n") == 1
    assert f"error: runs_dir: {socket.gethostname()} (as {tmp_path}/node1/runs/" in line
    assert f") does not see {tmp_path}/node0/runs/" in line
    assert "give one that all nodes share, runs_dir=/path/to/shared/runs" in line
    assert (said[0][0], said[1]) == ("", ("", ""))
    assert not list(tmp_path.glob("node*/runs/*/*")), "something stays behind"


def plan_point(words: list[str]) -> SweepFolder:
    """A sweep of one point on two processes."""
    plan = plan_sweep([*words, "selector=full", "loop.processes=2", "loop.save_every=1"])
    plan.board.record(plan.points, name="g", description="", command="tipx sweep g")
    return plan.board


@pytest.fixture
def start_node(children: list["subprocess.Popen[str]"], tmp_path: Path) -> StartNode:
    """Starts what submitit calls on a node of a job of two, `run_point`, where there is a `scontrol`."""
    script = tmp_path / "bin" / "scontrol"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nprintf '127.0.0.1\\n127.0.0.1\\n'\n")
    script.chmod(0o700)
    with socket.socket() as held:
        port = next(port for port in range(20000 + os.getpid() % 10000, 40000) if held.connect_ex(("127.0.0.1", port)))
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NNODES": "2"}
    step |= {"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_JOB_ID": str(port - 20000)}
    path = f"{script.parent}:{os.environ['PATH']}"

    def start(board: SweepFolder, node: int) -> "subprocess.Popen[str]":
        env = environment(tmp_path / "home", **step, SLURM_NODEID=str(node), PATH=path)
        task = {"folder": str(board.folder), "run": board.points()[0].run, "cwd": str(tmp_path), "config_dir": None}
        children.append(begin(["-c", POINT, repr(task)], env))
        return children[-1]

    return start


@pytest.mark.slow
def test_a_point_on_two_nodes(overrides: Overrides, start_node: StartNode, tmp_path: Path) -> None:
    board = plan_point(overrides())
    nodes = [start_node(board, node) for node in (0, 1)]
    said = [node.communicate(timeout=WITHIN_S) for node in nodes]
    (point,) = board.points()
    assert [node.returncode for node in nodes] == [0, 0], said
    assert board.error(point) is None
    two = board.run(point)
    assert two.finished, board.log(point).read_text()
    assert two.provenance()["starts"][0]["processes"] == 2
    assert (two.config()["loop"]["processes"], two.config()["hardware"]["timeout_min"]) == (2, 120)
    assert not (two.path / SEEN).exists()
    words = [word for word in point.overrides if word != "loop.processes=2"]
    one, _ = train_run([*words, f"runs_dir={tmp_path / 'one'}"], fresh=False, config_dir=None)
    same(two, one)


@pytest.mark.slow
def test_a_node_that_is_lost_ends_the_other(overrides: Overrides, start_node: StartNode) -> None:
    board = plan_point(overrides("loop.steps=1000"))
    (point,) = board.points()
    nodes = [start_node(board, node) for node in (0, 1)]
    ends = time.monotonic() + WITHIN_S
    while board.state(point).step < 3:
        assert time.monotonic() < ends, board.log(point).read_text()
        time.sleep(0.05)
    lost = [one for one in psutil.Process(nodes[1].pid).children(recursive=True) if "LOCAL_RANK" in one.environ()]
    lost[0].kill()
    said = [node.communicate(timeout=60) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert (
        board.error(point)
        == "another process of this run has ended; the same command continues from the last checkpoint"
    )
    assert "process 2 of 2 was killed by signal 9" in board.log(point, 1).read_text()
    assert board.run(point).checkpoints.saved()[-1][0] >= 3
