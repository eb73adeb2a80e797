"""Doing what is missing of a sweep, and nothing twice."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from tipx import config
from tipx.board import State
from tipx.errors import Interrupted
from tipx.sweep.job import run_point
from tipx.sweep.plan import Plan

LOOK_EVERY_S = 2.0
Say = Callable[[str], None]


def sweep(plan: Plan, say: Say, *, retry_failed: bool) -> list[State]:
    """Run every point that is neither done nor failed; returns how all of them stand.

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
    with stoppable():
        while True:
            states = [plan.board.state(point) for point in plan.points]
            todo = [s.point.run for s in states if s.status in ("waiting", "stopped") and s.point.run not in tried]
            if todo:
                launch(plan, todo)
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


def launch(plan: Plan, runs: Sequence[str]) -> None:
    """Hand the points to the launcher."""
    config.launch(run_point, runs, plan.board.folder.absolute(), plan.settings, plan.config_dir)


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM is Ctrl-C here, and either is `Interrupted`; also where a shell started this with SIGINT ignored."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.default_int_handler(number, frame)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted("stopped; every point is saved, and the same command continues") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
