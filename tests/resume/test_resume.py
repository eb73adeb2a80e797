"""A run that was killed, asked to stop, or asked for twice ends as one that never was: same bytes, same lines."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.resume.conftest import STEPS, WITHIN_S, Ask, Runner, as_of, environment, same, the_run
from tipx.runs.directory import Run

pytestmark = pytest.mark.long(50)

# --- killed ----------------------------------------------------------------------------------------------------------


def moments(folder: Path, draw: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    """What to wait for before each kill, told by the run directory as the next start finds it."""

    def more_lines(count: int) -> Callable[[], object]:
        """The resumed process first rewinds to its checkpoint, line 0 to `last`, and then adds lines."""
        last = max((step for step, _ in the_run(folder).checkpoints.saved()), default=-1)
        rewound: list[int] = []

        def reached() -> bool:
            lines = len(the_run(folder).rows())
            rewound.extend([lines] * (lines <= last + 1))
            return bool(rewound) and lines >= last + 1 + count

        return reached

    yield "before the first checkpoint", more_lines(2)
    yield "writing a checkpoint", lambda: any(folder.glob("solo/*/checkpoints/.*.tmp/*"))
    starts = len(the_run(folder).provenance()["starts"])
    yield "starting", lambda: len(the_run(folder).provenance()["starts"]) > starts
    for _ in range(4):
        yield "training", more_lines(draw.randint(1, 6))
    yield "writing a checkpoint", lambda: any(folder.glob("solo/*/checkpoints/.*.tmp/trainer.pt"))
    yield "evaluating", lambda: any(folder.glob("solo/*/evals/0000[1-3]*/*/samples.jsonl"))


def test_killed_again_and_again(here: list[str], whole: Run, runner: Runner, tmp_path: Path) -> None:
    kills: list[str] = []
    for phase, moment in moments(tmp_path, random.Random(7)):
        runner.start(here, tmp_path)
        if runner.until(moment):
            runner.signal(signal.SIGKILL)
        if runner.code() == -signal.SIGKILL:
            kills.append(phase)
    runner.start(here, tmp_path)
    assert runner.code() == 0, runner.said()
    same(the_run(tmp_path), whole)
    assert len(kills) >= 6


def test_killed_at_operations_on_its_files(here: list[str], whole: Run, runner: Runner, tmp_path: Path) -> None:
    # A start that resumes needs some 25 operations before its first step, and a checkpoint some 20 more.
    kills, draw = 0, random.Random(11)
    for _ in range(10):
        runner.start(here, tmp_path, at=draw.randint(1, 90))
        kills += runner.code() == -signal.SIGKILL
    runner.start(here, tmp_path)
    assert runner.code() == 0, runner.said()
    same(the_run(tmp_path), whole)
    assert kills >= 6


def test_a_cold_process_killed_before_its_first_checkpoint(
    here: list[str], whole: Run, ask: Ask, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tipx", "train", *here],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        ends = time.monotonic() + WITHIN_S
        while not the_run(tmp_path).rows() and time.monotonic() < ends:
            time.sleep(0.0005)
        process.kill()
    assert not the_run(tmp_path).finished
    assert ask()[0] == 0
    same(the_run(tmp_path), whole)


# --- asked to stop, asked again, asked twice at once -----------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_and_says_how_to_go_on(
    number: int, here: list[str], whole: Run, runner: Runner, ask: Ask, tmp_path: Path
) -> None:
    runner.start(here, tmp_path)
    assert runner.until(lambda: len(the_run(tmp_path).rows()) >= 5), runner.said()
    runner.signal(number)
    assert runner.code() == 128 + number
    run = the_run(tmp_path)
    last = run.rows()[-1]["step"]
    assert run.checkpoints.saved()[-1][0] == last
    assert f"error: stopped after step {last}, saved in {run.path}; the same command continues" in runner.said()
    assert "Traceback" not in runner.said()
    code, _, err = ask()
    assert code == 0
    assert f"resuming after step {last} of {STEPS}" in err
    same(run, whole)


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_a_second_process_leaves_the_first_alone(
    fresh: list[str], here: list[str], whole: Run, runner: Runner, ask: Ask, tmp_path: Path
) -> None:
    runner.start(here, tmp_path)
    assert runner.until(lambda: len(the_run(tmp_path).rows()) >= 2), runner.said()
    runner.signal(signal.SIGSTOP)
    try:
        code, out, err = ask(*fresh)
    finally:
        runner.signal(signal.SIGCONT)
    path = the_run(tmp_path).path
    assert (code, out) == (2, "")
    assert err == f"error: {path} is being written by another process; wait for it or stop it\n"
    assert runner.code() == 0
    assert len(the_run(tmp_path).provenance()["starts"]) == 1
    same(the_run(tmp_path), whole)


def test_asked_again_when_it_is_finished_it_says_so_and_touches_nothing(whole: Run, ask: Ask, tmp_path: Path) -> None:
    run = as_of(whole, STEPS, tmp_path)
    assert ask()[0] == 0  # what was left to do is the summary
    same(run, whole)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.path.rglob("*") if path.is_file()}
    code, out, err = ask()
    assert code == 0
    assert all(line.startswith("next     tipx ") for line in err.splitlines())
    assert out.startswith(f"already finished: {run.path} (--fresh to start over)\n")
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    assert {path for path in run.path.rglob("*") if path.is_file()} == before.keys()


def test_fresh_starts_over_and_ends_the_same(whole: Run, ask: Ask, tmp_path: Path) -> None:
    run = as_of(whole, 30, tmp_path)
    code, _, err = ask("--fresh")
    assert code == 0
    assert "resuming" not in err
    assert len(run.provenance()["starts"]) == 1
    same(run, whole)
