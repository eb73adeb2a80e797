"""Real processes of `tipx`, ended in every way, and a run that nothing happened to, to compare with."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.resume import conftest as resume
from tipx.runs.directory import Run

args, whole = resume.args, resume.whole
WITHIN_S = 300
HERE = str(Path(__file__).parents[2])

# What stands for `python -m tipx`, one process for each line of its standard input, forked where the slow imports are
# done. The arguments come as JSON: [folder, environment, arguments]; answers are its id, and its exit code at the end.
WARM = """
import json, os, runpy, signal, sys
import tipx.cli.done, tipx.evals.start, tipx.train.start, tipx.sweep.plan, tipx.cli.reporting, tipx.report.listing

for line in sys.stdin:
    folder, more, args = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(folder)
        os.environ |= more
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        sys.argv = ["tipx", *args]
        runpy.run_module("tipx", run_name="__main__", alter_sys=True)
        sys.exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def environment(tree: str = HERE) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return inherited | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "PYTHONPATH": tree}


@dataclass(frozen=True)
class End:
    """How a process ended."""

    code: int
    out: str
    err: str


class Warm:
    """Starts `tipx ARGS` in a folder at once, one at a time."""

    def __init__(self, tree: str = HERE) -> None:
        self.pid, self.folder = 0, Path()
        pipe = subprocess.PIPE
        self.server = subprocess.Popen(
            [sys.executable, "-c", WARM], env=environment(tree), cwd=tree, stdin=pipe, stdout=pipe, bufsize=0
        )

    def start(self, folder: Path, *words: str, **more: str) -> int:
        self.folder = folder
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps([str(folder), more, list(words)]).encode() + b"\n")
        self.pid = self._answer()
        return self.pid

    def _answer(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())

    def ended(self, within_s: float = 0) -> bool:
        return bool(select.select([self.server.stdout], [], [], within_s)[0])

    def end(self) -> End:
        assert self.ended(WITHIN_S), (self.folder / "err").read_text()
        self.pid = 0
        code = self._answer()
        return End(code, *((self.folder / name).read_text() for name in ("out", "err")))

    def until(self, true: Callable[[], object]) -> bool:
        """Wait for something; False if the process ends before."""
        ends = time.monotonic() + WITHIN_S
        while not true():
            if self.ended():
                return False
            assert time.monotonic() < ends, (self.folder / "err").read_text()
            time.sleep(0.001)
        return True

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        self.server.communicate()


def cold(folder: Path, *words: str, tree: str = HERE, before: str = "", **more: str) -> "subprocess.Popen[bytes]":
    """`python -m tipx ARGS`, by a shell that first does `before`; what it says is in the files out and err."""
    command = [sys.executable, "-m", "tipx", *words]
    if before:
        command = ["sh", "-c", f'{before}; exec "$@"', "sh", *command]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return subprocess.Popen(
            command,
            env=environment(tree) | more,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def end_of(process: "subprocess.Popen[bytes]", folder: Path) -> End:
    code = process.wait(WITHIN_S)
    return End(code, *((folder / name).read_text() for name in ("out", "err")))


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    one = Warm()
    yield one
    one.close()


def the_run(folder: Path) -> Run:
    """The one below `folder`, which may be about to be made."""
    return Run(next(folder.glob("*/*/.lock"), folder / "none" / ".lock").parent)


def differences(run: Run, calm: Run) -> list[str]:
    """Which parts of what the two runs left are not the same."""
    if not run.finished:
        return ["it is not finished"]
    found, expected = resume.outcome(run), resume.outcome(calm)
    wrong = [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)]
    return sorted(wrong) + [str(path) for path in run.path.rglob("*") if path.name.endswith(".tmp")]


Faults = list[str]


def faults_of(end: End, codes: Sequence[int], said: str, *, lines: int = 4) -> Faults:
    """What is wrong with an end: the exit code, a traceback, too many lines, or that the line is not there."""
    wrong = [] if end.code in codes else [f"exit code {end.code}, expected {' or '.join(map(str, codes))}"]
    if "Traceback" in end.err or "Exception ignored" in end.err:
        wrong.append("traceback")
    own = [one for one in end.err.splitlines() if one.strip() and not one.startswith(("step ", "resuming"))]
    if len(own) > lines:
        wrong.append(f"{len(own)} lines on stderr")
    if said and said not in end.err:
        wrong.append(f"no line with {said!r}: {end.err[-300:]!r}")
    return wrong
