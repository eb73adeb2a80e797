"""A sweep of the tiny pair in two processes, of which one point fails and one is paused: what is said of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.warm import HERE
from tipx.watch.alerts import STALL_FLOOR_S
from tipx.watch.snapshot import RunsWatcher, find_lock_holder
from tipx.watch.state import WatchSnapshot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SWEEP = """\
# Three points
base: [+experiment=tiny, loop.steps=30, loop.prompts=8, loop.eval_every=0, loop.save_every=10, eval.limit=4, eval.n=1]
axes: ["selector=full,prefix,random"]
"""


def test_a_point_that_fails_and_one_that_is_paused(tmp_path: Path) -> None:
    (tmp_path / "three.yaml").write_text(SWEEP)
    words = ["sweep", "three.yaml", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    env = os.environ | {"PYTHONPATH": HERE, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    sweep = subprocess.Popen(
        [sys.executable, "-m", "tipx", *words],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    paused = 0
    try:
        folder, watcher = tmp_path / "runs" / "three", RunsWatcher(tmp_path / "runs")
        until(lambda: has_lines(folder, "tiny-full-*", 1) and has_lines(folder, "tiny-prefix-*", 1))
        # A checkpoint of the one finds no room; the other is paused in a step.
        (failing,), (stalling,) = folder.glob("tiny-full-*"), folder.glob("tiny-prefix-*")
        (failing / "checkpoints").write_text("")
        holder = find_lock_holder(stalling / ".lock")
        assert holder is not None
        assert not holder.stopped
        paused = holder.pid
        os.kill(paused, signal.SIGSTOP)
        assert state_of(watcher.look(), stalling) == "running"
        until(lambda: state_of(watcher.look(), failing) == "failed")
        until(lambda: has_lines(folder, "tiny-random-*", 1))

        seen = watcher.look(time.time() + STALL_FLOOR_S + 600)
        assert state_of(seen, stalling) == "stalled"
        texts = {(alert.kind, alert.run): (alert.seen, alert.advice) for alert in seen.alerts}
        assert "checkpoints/000010" in texts["failed", failing.name][0]
        log = folder / "logs" / f"{failing.name}.log"
        assert (
            texts["failed", failing.name][1]
            == f"read {log}; then `tipx {' '.join(words)} --retry-failed` runs it again"
        )
        assert texts["stalled", stalling.name][0].endswith(f"process {paused} is paused")
        assert texts["stalled", stalling.name][1] == f"`kill -CONT {paused}` lets it go on"

        # What the alerts say helps.
        os.kill(paused, signal.SIGCONT)
        (failing / "checkpoints").unlink()
        until(lambda: state_of(watcher.look(), stalling) == "finished")
        assert sweep.wait(300) == 1
        done = subprocess.run(
            [sys.executable, "-m", "tipx", *words, "--retry-failed"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert watcher.look().counts == {"finished": 3}
        assert watcher.look().alerts == ()
    finally:
        if paused:
            with suppress(ProcessLookupError):
                os.kill(paused, signal.SIGCONT)
        sweep.terminate()
        sweep.wait(300)


def state_of(seen: WatchSnapshot, run: Path) -> str:
    return next(row.state for row in seen.rows if row.run == run.name)


def has_lines(folder: Path, name: str, count: int) -> bool:
    return any(file.read_bytes().count(b"\n") >= count for file in folder.glob(f"{name}/metrics.jsonl"))


def until(there: Callable[[], bool], within_s: float = 300.0) -> None:
    end = time.monotonic() + within_s
    while not there():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)
