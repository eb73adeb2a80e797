"""Doing what is missing of a sweep, and nothing twice."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

from tipx import config
from tipx.errors import Interrupted
from tipx.runs.sweep_folder import State
from tipx.signals import Stopped, restore_handlers, set_handlers, stop_line
from tipx.sweep.job import GRACE_S, RUN, run_point
from tipx.sweep.plan import Plan

LOOK_EVERY_S = 2.0
Say = Callable[[str], None]


def run_sweep(plan: Plan, say: Say, *, retry_failed: bool) -> list[State]:
    """Run every point that is neither done nor failed, those too that were killed; returns how all of them stand.

    Points that another sweep is running are waited for, and taken over if they are given up. Raises Interrupted when
    asked to stop; every point then continues from its last checkpoint at the next call.
    """
    config.check_launcher(plan.settings, plan.config_dir)
    wrong = plan.board.record(plan.points, name=plan.name, description=plan.description, command=plan.command)
    if wrong is not None:
        say(wrong)
    if retry_failed:
        for point in plan.points:
            plan.board.forgive(point)
    tried: set[str] = set()
    said = False
    with stop_points_on_signal():
        while True:
            states = [plan.board.state(point) for point in plan.points]
            todo = [s.point.run for s in states if s.status in ("waiting", "stopped") and s.point.run not in tried]
            if todo:
                launch_points(plan, todo)
                tried |= set(todo)
                continue
            elsewhere = {s.point.run for s in states if s.status == "running"}
            if not elsewhere:
                return states
            if not said:
                say(f"{len(elsewhere)} points are run by another process; waiting for them")
                said = True
            tried -= elsewhere
            time.sleep(LOOK_EVERY_S)


def launch_points(plan: Plan, runs: Sequence[str]) -> None:
    """Hand the points to the launcher."""
    config.launch(run_point, runs, plan.board.folder.absolute(), plan.settings, plan.config_dir)


@contextmanager
def stop_points_on_signal() -> Iterator[None]:
    """A signal ends the points that run below this process, which save, and is `Interrupted`."""

    def stop(number: int) -> None:
        # Before the launcher hears of it: joblib kills what it started.
        end_points()
        raise Stopped(number)

    before = set_handlers(stop)
    try:
        yield
    except Stopped as stopped:
        raise Interrupted(stop_line(["sweep"]), stopped.number) from None
    finally:
        restore_handlers(before)


def end_points() -> None:
    """Tell every run below this process to stop, and wait until it has saved."""
    told = [process for process in psutil.Process().children(recursive=True) if is_run_process(process)]
    for process in told:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(told, timeout=GRACE_S)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def is_run_process(process: psutil.Process) -> bool:
    """Whether it is what `execute` starts; where that one starts several processes, it passes signals on."""
    try:
        return process.cmdline()[1:4] == RUN
    except psutil.Error:
        return False
