"""Sweeps for real: each launcher, a failing point, two sweeps at once, and kills."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.rows import lasting
from tests.sweep.conftest import Start, StartWarm
from tipx.runs.directory import Run
from tipx.runs.find import all_runs

pytestmark = pytest.mark.long(70)

WITHIN_S = 400
POINTS = ["selector=full,prefix", "group=g"]
LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": [],
    "ray": ["+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"],
}


def lasting_rows(run: Run) -> list[dict[str, Any]]:
    return [lasting(row) for row in run.rows()]


# submitit and the basic launcher also run in the tests below, so only one of the four is waited for each time.
@pytest.mark.parametrize(
    "launcher", ["joblib", *(pytest.param(one, marks=pytest.mark.slow) for one in ("basic", "submitit_local", "ray"))]
)
def test_every_launcher_runs_what_is_missing_once(
    launcher: str,
    few: list[str],
    start: Start,
    start_warm: StartWarm,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    own = LAUNCHERS[launcher]
    if launcher == "ray":  # sockets have short names
        own = [*own, f"+hydra.launcher.ray.init._temp_dir={tmp_path_factory.getbasetemp()}"]
    command = [*POINTS, *few, f"hydra/launcher={launcher}", *own]
    out, err = start(*command).communicate(timeout=WITHIN_S)
    runs = all_runs(tmp_path / "runs")
    assert len(runs) == 2, out + err
    assert all(run.finished for run in runs)
    assert "2 done" in out
    before = {run.path: (run.path / "summary.json").stat().st_mtime_ns for run in runs}
    again = start_warm(*command)
    out, err = again.communicate(timeout=WITHIN_S)
    assert again.returncode == 0, err
    assert "2 done" in out
    assert before == {run.path: (run.path / "summary.json").stat().st_mtime_ns for run in runs}
    assert [len(run.provenance()["starts"]) for run in runs] == [1, 1]


def test_a_point_that_fails_stops_no_other_and_is_tried_again_when_asked(
    few: list[str], start_warm: StartWarm, tmp_path: Path, pair_dir: Path
) -> None:
    missing = tmp_path / "late"
    command = [
        f"model.student.path={pair_dir / 'student'},{missing}",
        "group=g",
        *[w for w in few if "student" not in w],
    ]
    first = start_warm(*command)
    out, err = first.communicate(timeout=WITHIN_S)
    assert first.returncode == 1, out + err
    assert "1 of 2 points failed; --retry-failed runs them again" in err
    assert "1 failed, 1 done" in out
    assert f"{missing}" in out
    assert "Traceback" not in out + err
    missing.symlink_to(pair_dir / "student")
    second = start_warm(*command)
    second.communicate(timeout=WITHIN_S)
    assert second.returncode == 1, "a failure is not tried again by itself"
    third = start_warm(*command, "--retry-failed")
    out, err = third.communicate(timeout=WITHIN_S)
    assert third.returncode == 0, out + err
    assert not list((tmp_path / "runs" / "g" / "failures").iterdir())


def test_two_sweeps_at_once_run_no_point_twice(few: list[str], start_warm: StartWarm, tmp_path: Path) -> None:
    both = [start_warm("selector=full,prefix,random", "group=g", *few) for _ in "ab"]
    ends = [one.communicate(timeout=WITHIN_S) for one in both]
    assert [one.returncode for one in both] == [0, 0], ends
    for run in all_runs(tmp_path / "runs"):
        assert len(run.provenance()["starts"]) == 1
        assert [row["step"] for row in run.rows()] == [1, 2]
    assert len(all_runs(tmp_path / "runs")) == 3


def kill(process: Any, *, tree: bool) -> None:
    """SIGKILL to the sweep alone, or to all that it started."""
    children = psutil.Process(process.pid).children(recursive=True) if tree and process.poll() is None else []
    process.kill()
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    process.communicate()


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_killed_at_any_moment_it_ends_as_if_it_never_was(
    kills: int, overrides: Callable[..., list[str]], start_warm: StartWarm, tmp_path: Path
) -> None:
    few = overrides("loop.steps=8", "loop.sample_every=0", "loop.eval_last=true", "eval.limit=4", "eval.n=1")
    command = ["selector=full,prefix,random", "seed=0", *few]
    calm = start_warm(*command, "group=calm")
    out, err = calm.communicate(timeout=WITHIN_S)
    assert calm.returncode == 0, out + err
    rng = random.Random(kills)
    for i in range(kills):
        process = start_warm(*command, "group=killed")
        if i == 0:
            wait_for_rows(tmp_path, "killed")  # its point goes on alone, and the next sweep comes to it
        else:
            time.sleep(rng.uniform(0, 6))
        kill(process, tree=i % 2 == 1)
    last = start_warm(*command, "group=killed")
    out, err = last.communicate(timeout=WITHIN_S)
    assert last.returncode == 0, out + err
    groups = {
        name: {r.path.name: r for r in all_runs(tmp_path / "runs") if r.path.parent.name == name}
        for name in ("calm", "killed")
    }
    assert groups["calm"].keys() == groups["killed"].keys()
    assert len(groups["calm"]) == 3
    for name, run in groups["calm"].items():
        assert lasting_rows(groups["killed"][name]) == lasting_rows(run)
        assert len(list((groups["killed"][name].path / "checkpoints").glob("[0-9]*"))) == 2


def test_ctrl_c_saves_and_the_same_command_continues(
    overrides: Callable[..., list[str]], start: Start, start_warm: StartWarm, tmp_path: Path
) -> None:
    few = overrides("loop.steps=60", "loop.save_every=0", "loop.sample_every=0")
    command = ["selector=full,prefix", "group=g", *few]
    process = start(*command)
    wait_for_rows(tmp_path)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130, out + err
    assert "stopped; every point is saved, and the same command continues" in err
    (run,) = all_runs(tmp_path / "runs")
    assert run.checkpoints.saved(), "stopped without saving"
    done = run.checkpoints.saved()[-1][0]
    assert 2 <= done < 60
    assert json.loads((tmp_path / "runs" / "g" / "sweep.json").read_text())["points"][0]["run"] == run.path.name
    again = start_warm(*command)
    out, err = again.communicate(timeout=WITHIN_S)
    assert again.returncode == 0, out + err
    assert len(run.provenance()["starts"]) == 2
    assert [row["step"] for row in run.rows()] == list(range(1, 61))


@pytest.mark.slow
def test_a_preempted_job_saves_is_queued_again_and_resumes(
    overrides: Callable[..., list[str]], start: Start, tmp_path: Path
) -> None:
    few = overrides("loop.steps=60", "loop.save_every=0", "loop.sample_every=0")
    process = start("selector=full", "group=g", "hydra/launcher=submitit_local", *few)
    wait_for_rows(tmp_path)
    # What Slurm sends a job that must leave; submitit's local executor stands in for the queue.
    (job,) = [p for p in psutil.Process(process.pid).children(recursive=True) if "submitit.core._submit" in p.cmdline()]
    job.send_signal(signal.SIGUSR2)
    out, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, out + err
    (run,) = all_runs(tmp_path / "runs")
    assert len(run.provenance()["starts"]) == 2
    assert [row["step"] for row in run.rows()] == list(range(1, 61))


def wait_for_rows(folder: Path, group: str = "g") -> None:
    """Until some run has done a few steps."""
    until = time.monotonic() + WITHIN_S
    while not any(len(Run(path).rows()) > 2 for path in folder.glob(f"runs/{group}/*-*")) and time.monotonic() < until:
        time.sleep(0.05)


@pytest.mark.slow
def test_a_point_may_have_several_processes(few: list[str], start: Start, tmp_path: Path) -> None:
    out, err = start("selector=full", "group=g", "loop.processes=2", *few).communicate(timeout=WITHIN_S)
    (run,) = all_runs(tmp_path / "runs")
    assert run.finished, out + err
    assert run.provenance()["starts"][-1]["processes"] == 2
