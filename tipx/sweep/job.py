"""What a launcher runs for one point: `tipx train` in a process of its own.

A process of its own, so that a point that dies (memory, a signal) takes no other with it and leaves no memory behind.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tipx import slurm
from tipx.runs.sweep_folder import SweepFolder

GRACE_S = 120.0
"""Seconds a run has to save when it is told to stop."""
RUN = ["-m", "tipx", "train"]
KILLED = {sign for number in (1, 2, 9, 15) for sign in (-number, 128 + number)}
"""Exit codes of a run that SIGHUP, SIGINT, SIGKILL or SIGTERM ended: it is not done, and may well be the next time."""


def run_point(cfg: Any) -> None:
    """`conf/launch.yaml`: do the point `cfg.run` of the sweep in `cfg.folder`, unless another sweep did or does.

    On several nodes each does its part of the point. The first one looks how the point stands, and writes down how it
    ended; the others, to whom the point is running already, only take part.
    """
    board, node = SweepFolder(Path(cfg.folder)), slurm.node_number()
    point = next(point for point in board.points() if point.run == cfg.run)
    if node == 0 and board.state(point).status in ("done", "running", "failed"):
        return
    own = [] if cfg.config_dir is None else ["--config-dir", cfg.config_dir]
    command = [sys.executable, *RUN, *own, *point.overrides]
    code = run_command(command, board.log(point, node), Path(cfg.cwd))
    if node:
        return
    if code == 0:
        board.forgive(point)
    # Held by another process: two sweeps came to the same point, and this one was second.
    elif not board.run(point).locked and not board.run(point).finished:
        board.fail(point, failure_reason(board.log(point), code), killed=code in KILLED)


def run_command(command: Sequence[str], log: Path, cwd: Path) -> int:
    """The exit code of `command`, its output in `log`. If this process is told to stop, so is that one."""
    with log.open("a") as handle:
        # A session of its own: Ctrl-C in a terminal goes to every process of a group, and a run takes a second one as
        # the wish to stop without saving.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.STDOUT, cwd=cwd, start_new_session=True
        )
        with end_with_parent(process):
            return process.wait()


@contextmanager
def end_with_parent(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """No process is left behind, however this one leaves."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            except KeyboardInterrupt:
                process.terminate()  # again: it stops at once
                raise


def failure_reason(log: Path, code: int) -> str:
    """One line: what the run said last, or which signal ended it."""
    if code < 0 or code == 137:
        number = -code if code < 0 else code - 128
        return f"killed by signal {number}" + (", as the system does when memory runs out" if number == 9 else "")
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), None)
    return said or (lines[-1] if lines else f"left with exit code {code}")
