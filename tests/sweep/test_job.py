"""One point: a process of its own, a log, and how it ended."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tipx.errors import Interrupted, RunFailed
from tipx.runs.sweep_folder import Point, SweepFolder
from tipx.sweep import job, manage
from tipx.sweep.plan import Plan, plan_sweep


def test_output_goes_to_the_log_and_the_code_comes_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert job.run_command([sys.executable, "-c", "print('hi'); raise SystemExit(3)"], log, tmp_path) == 3
    assert log.read_text() == "hi\n"


@pytest.mark.parametrize(
    ("said", "code", "why"),
    [
        ("step 1\nerror: disk full\nbye\n", 1, "disk full"),
        ("Traceback\nValueError: x\n", 1, "ValueError: x"),
        ("", 7, "left with exit code 7"),
        ("step 1\n", -9, "killed by signal 9, as the system does when memory runs out"),
        ("step 1\n", 137, "killed by signal 9, as the system does when memory runs out"),
        ("step 1\n", -15, "killed by signal 15"),
        ("error: stopped; step 4 is kept\n", 143, "stopped; step 4 is kept"),
    ],
)
def test_why_a_point_failed_in_one_line(tmp_path: Path, said: str, code: int, why: str) -> None:
    (tmp_path / "log").write_text(said)
    assert job.failure_reason(tmp_path / "log", code) == why


def test_a_process_is_told_to_stop_when_its_job_is() -> None:
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(KeyboardInterrupt), job.end_with_parent(process):
        raise KeyboardInterrupt
    assert process.returncode == 130
    process.stdout.close()


class Outcome:
    """Stands for the process of a point: what it would do, and its exit code."""

    def __init__(self, code: int, act: Callable[[], None] = lambda: None) -> None:
        self.code, self.act, self.calls = code, act, 0

    def __call__(self, _command: list[str], log: Path, _cwd: Path) -> int:
        self.calls += 1
        log.write_text("error: no luck\n")
        self.act()
        return self.code


@pytest.fixture
def board(tmp_path: Path) -> SweepFolder:
    board = SweepFolder(tmp_path / "g")
    board.record([POINT], name="g", description="", command="tipx sweep g")
    return board


POINT = Point("tiny-full-00000000", ("selector=full",), {})


def do(board: SweepFolder) -> None:
    job.run_point(SimpleNamespace(folder=str(board.folder), run=POINT.run, cwd=".", config_dir=None))


def test_a_failure_is_written_down_and_not_repeated(board: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Outcome(1)
    monkeypatch.setattr(job, "run_command", outcome)
    do(board)
    do(board)
    assert outcome.calls == 1
    assert board.state(POINT).error == "no luck"


@pytest.mark.parametrize("code", [-1, -2, -9, -15, 129, 130, 137, 143])
def test_a_run_that_a_signal_ended_has_not_failed_and_says_why(
    board: SweepFolder, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(job, "run_command", Outcome(code))
    do(board)
    state = board.state(POINT)
    assert state.status == "waiting"
    assert state.error == job.failure_reason(board.log(POINT), code)
    board.run(POINT).make()
    board.run(POINT).log({"step": 1})
    assert board.state(POINT).status == "stopped"
    monkeypatch.setattr(job, "run_command", Outcome(0))
    do(board)
    assert board.error(POINT) is None


def test_a_killed_point_is_tried_once_by_each_sweep(
    few: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tipx.cli.sweeping import finish_sweep

    planned = plan_sweep(["selector=full,prefix", *few])
    codes, tried = {planned.points[0].run: -9, planned.points[1].run: 1}, []

    def execute(_command: list[str], log: Path, _cwd: Path) -> int:
        tried.append(log.stem)
        log.write_text("error: no luck\n")
        return codes[log.stem]

    monkeypatch.setattr(job, "run_command", execute)
    monkeypatch.setattr(manage, "launch_points", lambda one, runs: [do_point(one, run) for run in runs])
    states = manage.run_sweep(planned, print, retry_failed=False)
    assert [state.status for state in states] == ["waiting", "failed"]
    assert sorted(tried) == sorted(codes)
    with pytest.raises(RunFailed, match="1 of 2 points failed"):
        finish_sweep(planned, states)
    said = capsys.readouterr().out
    assert "killed by signal 9, as the system does when memory runs out" in said
    assert "waiting  " in said
    manage.run_sweep(planned, print, retry_failed=False)
    assert tried[2:] == [planned.points[0].run]
    manage.run_sweep(planned, print, retry_failed=True)
    assert sorted(tried[3:]) == sorted(codes)


def do_point(planned: Plan, run: str) -> None:
    job.run_point(SimpleNamespace(folder=str(planned.board.folder), run=run, cwd=".", config_dir=None))


def test_a_run_that_is_being_written_is_left_alone(board: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Outcome(2)
    monkeypatch.setattr(job, "run_command", outcome)
    with board.run(POINT).lock():
        do(board)
    assert outcome.calls == 0


def test_only_the_first_node_looks_at_the_point_and_writes_how_it_ended(
    board: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, logs = Outcome(1), []
    monkeypatch.setattr(job, "run_command", lambda *args: logs.append(args[1].name) or outcome(*args))
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_NODEID", "1")
    with board.run(POINT).lock():  # the first node is at it
        do(board)
    do(board)  # the first node has ended before
    assert logs == [f"{POINT.run}.node1.log"] * 2
    assert board.error(POINT) is None
    monkeypatch.setenv("SLURM_NODEID", "0")
    with board.run(POINT).lock():  # another sweep is
        do(board)
    assert outcome.calls == 2
    do(board)
    assert logs[2:] == [board.log(POINT).name]
    assert board.error(POINT) == "no luck"


def test_who_comes_second_to_a_run_has_not_failed(board: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both saw it free; the other took it first and is still at it, or has finished it by now.
    lock = board.run(POINT).lock()
    monkeypatch.setattr(job, "run_command", Outcome(2, lock.__enter__))
    do(board)
    lock.__exit__(None, None, None)
    monkeypatch.setattr(job, "run_command", Outcome(2, lambda: board.run(POINT).finish({})))
    do(board)
    assert board.state(POINT).status == "done"
    assert not board.failure(POINT).exists()


def test_points_of_another_process_are_waited_for_and_taken_over(
    few: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan_sweep(["selector=full", *few])
    (only,), said = planned.points, []
    lock = planned.board.run(only).lock()
    lock.__enter__()

    def launch(_plan: Plan, _runs: list[str]) -> None:
        planned.board.run(only).finish({})

    def other_gives_up(_seconds: float) -> None:
        lock.__exit__(None, None, None)

    monkeypatch.setattr(manage, "launch_points", launch)
    monkeypatch.setattr(manage.time, "sleep", other_gives_up)
    (state,) = manage.run_sweep(planned, said.append, retry_failed=False)
    assert state.status == "done"
    assert said == ["1 points are run by another process; waiting for them"]


def test_sigterm_is_an_interruption(few: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan_sweep(["selector=full", *few])
    monkeypatch.setattr(manage, "launch_points", lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="the same command continues"):
        manage.run_sweep(planned, print, retry_failed=False)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_left_is_said_with_what_to_type(few: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from tipx.cli.sweeping import finish_sweep

    planned = plan_sweep(["selector=full,prefix", *few])
    planned.board.record(planned.points, name="", description="", command="")
    first, second = planned.points
    planned.board.fail(first, "no luck")
    states = [planned.board.state(one) for one in (first, second)]
    with pytest.raises(RunFailed, match="1 of 2 points failed; --retry-failed runs them again"):
        finish_sweep(planned, states)
    assert "no luck" in capsys.readouterr().out
    with pytest.raises(RunFailed, match="1 of 1 points were stopped; the same command continues them"):
        finish_sweep(planned, states[1:])
