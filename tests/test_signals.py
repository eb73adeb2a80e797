"""Signals: which exit code and which line, at once, in order, or after a step."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from tipx import cli
from tipx import signals as stopping
from tipx.errors import Interrupted
from tipx.runs.directory import Run
from tipx.signals import Stopped, asked_to_stop, at_once, error_causes, orderly
from tipx.train.launch import launch_result
from tipx.train.session import describe_kept, say_what_is_kept

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
TREE = str(Path(cli.__file__).parents[2])
BEGIN = "import time\nfrom tipx.signals import set_at_once\n"


@pytest.fixture(autouse=True)
def as_before() -> Any:
    before = [signal.getsignal(number) for number in (INT, TERM, HUP)]
    hook = sys.unraisablehook
    yield
    assert [signal.getsignal(number) for number in (INT, TERM, HUP)] == before
    assert sys.unraisablehook is hook


@pytest.mark.parametrize("number", [INT, TERM, HUP])
def test_in_order_a_signal_is_one_line_and_its_code(number: int) -> None:
    def work() -> None:
        with orderly("eval"):
            signal.raise_signal(number)

    with pytest.raises(Interrupted, match="answers so far are kept") as stopped:
        work()
    assert stopped.value.exit_code == 128 + number


def test_a_library_that_raises_something_else_changes_nothing() -> None:
    def work() -> None:
        with orderly("train"):
            try:
                signal.raise_signal(TERM)
            except KeyboardInterrupt as error:
                raise ImportError("initialization failed") from error

    with pytest.raises(Interrupted) as stopped:
        work()
    assert stopped.value.exit_code == 143


def test_a_bug_that_no_signal_caused_stays_one() -> None:
    with pytest.raises(KeyError), orderly("train"):
        raise KeyError("bug")


def test_one_that_is_dropped_in_a_clean_up_comes_again() -> None:
    class Fragile:
        def __del__(self) -> None:
            signal.raise_signal(TERM)

    def work() -> None:
        with orderly("train"):
            Fragile()
            for _ in range(100):
                time.sleep(0.05)

    with pytest.raises(Interrupted) as stopped:
        work()
    assert stopped.value.exit_code == 143


def test_a_second_one_while_the_first_is_on_its_way_out_keeps_the_line() -> None:
    def stop() -> None:
        with orderly("train"):
            try:
                raise Interrupted("stopped after step 3", INT)
            finally:
                signal.raise_signal(TERM)

    with pytest.raises(Interrupted, match="stopped after step 3"):
        stop()


def test_ignored_hangups_stay_ignored() -> None:
    before = signal.signal(HUP, signal.SIG_IGN)
    try:
        with orderly("train"):
            signal.raise_signal(HUP)
        with at_once(["train"]):
            signal.raise_signal(HUP)
        with asked_to_stop(lambda: None, str) as asked:
            signal.raise_signal(HUP)
            assert asked() == 0
    finally:
        signal.signal(HUP, before)


def test_a_wish_is_answered_at_once_and_the_second_one_is_not_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "ECHO_S", 0.5)
    said: list[str] = []

    def work() -> None:
        with asked_to_stop(lambda: said.append("after this step"), str) as asked:
            assert asked() == 0
            signal.raise_signal(TERM)
            until(lambda: said)
            signal.raise_signal(INT)  # passed on by a launcher: the same one
            assert (asked(), said) == (TERM, ["after this step"])
            said.append("one signal")
            time.sleep(0.6)
            signal.raise_signal(INT)

    with pytest.raises(Stopped) as stopped:
        work()
    assert stopped.value.number == INT
    assert said == ["after this step", "one signal"]


def until(true: Any) -> None:
    ends = time.monotonic() + 10
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)


def run(program: str, *signals: tuple[float, int]) -> tuple[int, str]:
    """A process that says it is ready, gets signals after so many seconds each, and how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": TREE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    for wait, number in signals:
        time.sleep(wait)
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize("number", [INT, TERM, HUP])
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["train"], "before this start trained a step; what was saved is kept, and the same command continues"),
        (["runs"], "type the same command again"),
        ([], "type the same command again"),
    ],
)
def test_at_once(words: list[str], line: str, number: int) -> None:
    program = f"{BEGIN}set_at_once({words})\nprint(flush=True)\nwhile True:\n time.sleep(0.05)"
    code, err = run(program, (0, number))
    assert code == 128 + number
    assert len(err.splitlines()) == 1
    assert err.startswith("error: stopped")
    assert line in err


def test_a_forked_process_does_what_it_would() -> None:
    program = (
        f"import os\n{BEGIN}set_at_once(['train'])\nready, tell = os.pipe()\nchild = os.fork()\n"
        "if not child:\n os.write(tell, b'x')\n time.sleep(60)\n os._exit(0)\n"
        "os.read(ready, 1)\nos.kill(child, 15)\nprint(os.waitpid(child, 0)[1], flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": TREE},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("15\n", "")


def test_a_long_call_of_a_library_is_left_at_the_second_signal() -> None:
    # A call that does not come back to Python, with its lock let go, as torch's are: a mutex that is taken already.
    code, err = run(
        "import ctypes, tipx.signals as s\ns.ECHO_S, s.GRACE_S = 0.2, 0.2\n"
        "libc = ctypes.CDLL(None)\nlock = (ctypes.c_char * 256)()\nlibc.pthread_mutex_lock(lock)\n"
        "with s.asked_to_stop(lambda: None, lambda: 'stopped; step 4 is kept'):\n"
        " print(flush=True)\n libc.pthread_mutex_lock(lock)",
        (0.1, TERM),
        (0.5, TERM),
    )
    assert (code, err) == (143, "error: stopped; step 4 is kept\n")


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "code"),
    [(3, 3), (0, 0), (None, 0), (Interrupted("x", TERM), 143), (Interrupted("x"), 130), (typer.Abort(), 1)],
)
def test_what_comes_back_is_the_exit_code(result: Any, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def app(**_: Any) -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["tipx", "runs"])
    got = 0
    try:
        cli.main()
    except SystemExit as stop:
        got = int(str(stop.code))
    assert got == code


def test_what_a_run_keeps(tmp_path: Path) -> None:
    one = Run(tmp_path / "r")
    one.make()
    assert (
        describe_kept(one) == "stopped before step 1; nothing had been trained yet, and the same command starts again"
    )
    one.log({"step": 0})
    assert describe_kept(one).startswith("stopped before step 1")
    one.log({"step": 1})
    assert describe_kept(one).startswith("stopped before the first checkpoint; no step is kept")
    one.save_checkpoint(4, lambda folder: (folder / "x").touch(), 2)
    assert describe_kept(one) == f"stopped; step 4 is kept in {one.path}, and the same command continues"
    with pytest.raises(Interrupted, match="step 4 is kept") as stopped, say_what_is_kept(one):
        raise Stopped(TERM)
    assert stopped.value.exit_code == 143
    one.finish({})
    assert describe_kept(one) == f"stopped after the last step; {one.path} is finished"


@pytest.mark.parametrize(
    ("codes", "code", "line"),
    [
        ({0: 130, 1: 130}, 130, ""),
        ({1: 143}, 143, ""),
        ({0: -15}, 143, ""),
        ({0: 2, 1: 2}, 2, ""),
        ({0: 1, 1: -9}, 137, "process 2 of 2 was killed by signal 9, as the system does when memory runs out"),
        ({0: -11}, 139, "process 1 of 2 was killed by signal 11; the same command continues"),
    ],
)
def test_how_several_processes_ended(codes: dict[int, int], code: int, line: str) -> None:
    end = launch_result(codes, 2)
    assert getattr(end, "exit_code", getattr(end, "code", None)) == code
    assert line in str(end)


def test_errors_that_are_each_others_cause_are_listed_once() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert list(error_causes(first)) == [first, second]
