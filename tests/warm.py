"""Processes of `tipx` that start at once: a server imports once what takes seconds, and forks for each command.

Such a process does what `python -m tipx ARGS` does: it has a folder, an environment, a session and output of its own,
an exit code, and it can be killed. A sweep in it forks its points likewise. Only the start is not the real one: which
modules are loaded when, and how a launcher of Hydra's or of torch's starts processes, is seen with real ones alone.
"""

import atexit
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = str(Path(__file__).parents[1])
FDS, ANSWER = 3, 16
OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "shutil.rmtree"}


class Process:
    """One command, with as much of `subprocess.Popen` as tests need. Its output goes into files without a name."""

    def __init__(self, connection: socket.socket, outputs: Sequence[Any]) -> None:
        self.connection, self.outputs = connection, outputs
        self.pid, self.returncode = self._answer(), None

    def _answer(self) -> int:
        return int(self.connection.recv(ANSWER))

    def poll(self, within_s: float = 0) -> int | None:
        if self.returncode is None and select.select([self.connection], [], [], within_s)[0]:
            self.returncode = self._answer()
        return self.returncode

    def output(self) -> tuple[str, str]:
        """Stdout and stderr so far; where the process writes next stays as it is."""
        out, err = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in self.outputs)
        return out, err

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        """Wait for the end; its stdout and stderr."""
        assert self.poll(timeout) is not None, self.output()
        return self.output()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        for held in (self.connection, *self.outputs):
            held.close()


class Server:
    """Starts commands, as many at once as are asked for."""

    def __init__(self, folder: Path) -> None:
        self.address, self.started = str(folder / "warm"), list[Process]()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.address)
            listening.listen()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(listening.fileno())],
                cwd=HERE,
                env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": HERE},
                pass_fds=[listening.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def start(
        self,
        args: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        *,
        at: tuple[int, str] = (0, ""),
        limit: int = 0,
    ) -> Process:
        """`python -m tipx ARGS` in `folder`.

        `at` ends it by SIGKILL before its so many-th operation on a file below a folder; no file it writes may be
        longer than `limit`.
        """
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.address)
        outputs = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 - open until they are read
        order = {"args": list(args), "cwd": str(folder), "env": dict(env), "at": at, "limit": limit}
        with Path(os.devnull).open() as nothing:
            fds = [nothing.fileno(), *(file.fileno() for file in outputs)]
            socket.send_fds(connection, [json.dumps(order).encode()], fds)
            self.started.append(Process(connection, outputs))
        return self.started[-1]

    def end_all(self) -> None:
        """What still runs is killed."""
        for process in self.started:
            process.kill()
            process.close()
        self.started.clear()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


# --- in the server ---------------------------------------------------------------------------------------------------


def serve(listening: socket.socket) -> None:
    """Comes back in each process that is to be a command."""
    import tipx.cli.done
    import tipx.evals.start
    import tipx.sweep.job
    import tipx.sweep.plan
    import tipx.train.start

    tipx.sweep.job.subprocess = SimpleNamespace(**vars(subprocess) | {"Popen": forked})
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for the commands
    parent = os.getppid()
    listening.settimeout(5)
    while True:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            if os.getppid() != parent:  # it was killed, and cannot end this process
                os._exit(0)
            continue
        connection.setblocking(True)
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            order, fds = ordered(connection)
            child = os.fork()
            if child == 0:
                connection.close()
                begin(order, fds)
                return
            connection.sendall(b"%*d" % (ANSWER, child))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            connection.sendall(b"%*d" % (ANSWER, code))
            os._exit(0)
        connection.close()


def ordered(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What to do, and the files for its input and output."""
    message, fds, _, _ = socket.recv_fds(connection, 1 << 16, FDS)
    while True:
        try:
            return json.loads(message), list(fds)
        except json.JSONDecodeError:
            message += connection.recv(1 << 16)


def begin(order: dict[str, Any], fds: list[int]) -> None:
    """Be the process that is asked for, up to its first line of Python."""
    os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    for stream, file in enumerate(fds):
        os.dup2(file, stream)
        os.close(file)
    left, below = order["at"]
    if left:
        sys.addaudithook(killer(left, below))
    if order["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], resource.RLIM_INFINITY))
    sys.argv = ["tipx", *order["args"]]


def killer(left: int, below: str) -> Callable[[str, Any], None]:
    def hook(event: str, args: Any) -> None:
        nonlocal left
        if event in OPERATIONS and str(args[0]).startswith(below):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def forked(command: list[str], **how: Any) -> "subprocess.Popen[bytes]":
    """`Popen` for `python -m tipx ARGS`: in the child Python goes on where another program would be started."""
    assert command[1:3] == ["-m", "tipx"]
    return subprocess.Popen(command, preexec_fn=partial(be, command[3:]), **how)  # noqa: PLW1509 - it has no threads


def be(args: list[str]) -> None:
    """Does not come back: Python would start the program then."""
    os.closerange(3, 1 << 12)  # one of them tells the parent that all went well by its end
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    sys.argv = ["tipx", *args]
    code: Any = 0
    try:
        runpy.run_module("tipx", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # noqa: BLE001 - what Python itself does at last
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("tipx", run_name="__main__", alter_sys=True)
