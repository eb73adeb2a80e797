"""Signals and broken displays at many moments: the exit code and a line say it, and the run ends with the same bytes.

`python -m pytest tests/attack/test_kills.py -n 0 -s` prints how many of each kind were tried, and how many went wrong.
`TIPX_TREE=DIR` tries another version.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.attack.conftest import (
    HERE,
    WITHIN_S,
    End,
    Faults,
    Warm,
    cold,
    differences,
    end_of,
    environment,
    faults_of,
    the_run,
)
from tipx.runs.directory import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
TREE = os.environ.get("TIPX_TREE", HERE)
INT, TERM, HUP, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL
ECHO_S = 1.0
"""Signals closer than that are one to tipx."""

Tried = list[tuple[str, Faults]]


def code(number: int) -> int:
    return -number if number == KILL else 128 + number


def report(tried: Tried) -> None:
    """Print a row for each kind: tried, faults; and fail if there are any."""
    for kind in dict.fromkeys(kind for kind, _ in tried):
        found = [faults for one, faults in tried if one == kind]
        sys.stdout.write(f"\n{kind}: tried {len(found)}, faults {sum(map(bool, found))}")
    wrong = [f"{kind}: {faults}" for kind, faults in tried if faults]
    sys.stdout.write("\n  ".join(["", *wrong]) + "\n")
    assert not wrong


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    one = Warm(TREE)
    yield one
    one.close()


@pytest.fixture(scope="module")
def slow(args: list[str]) -> list[str]:
    """Steps of a second or so, of which every second one is saved: there is time to look."""
    own = [word for word in args if not word.startswith(("loop.steps", "loop.save_every", "loop.eval_every"))]
    return [*own, "loop.steps=400", "loop.save_every=4", "loop.eval_every=0", "loop.prompts=32"]


def finishes(warm: Warm, command: list[str], folder: Path, whole: Run) -> Faults:
    """The same command again, and what it leaves."""
    warm.start(folder, "train", *command)
    end = warm.end()
    return differences(the_run(folder), whole) if end.code == 0 else [f"again: {end}"]


MOMENTS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "a model is loaded": lambda folder: lambda: the_run(folder).path.joinpath("provenance.json").exists(),
    "evaluating before step 1": lambda folder: lambda: any(folder.glob("*/*/evals/000000/*/part-*")),
    "in a step": lambda folder: lambda: len(the_run(folder).rows()) >= 6,
    "saving": lambda folder: lambda: any(folder.glob("*/*/checkpoints/.*.tmp/*")),
    "evaluating between": lambda folder: lambda: any(folder.glob("*/*/evals/000024/*/part-*")),
    "at the end": lambda folder: lambda: any(folder.glob("*/*/checkpoints/*36*")),
    "finished, showing": lambda folder: lambda: the_run(folder).finished,
}


def test_one_process_training(warm: Warm, args: list[str], whole: Run, tmp_path: Path) -> None:
    tried: Tried = []
    for number in (INT, TERM, HUP, KILL):
        for when, moment in MOMENTS.items():
            folder = tmp_path / f"{number}-{list(MOMENTS).index(when)}"
            folder.mkdir()
            command = [*args, f"runs_dir={folder}"]
            pid = warm.start(folder, "train", *command)
            came = warm.until(moment(folder))
            if came:
                os.kill(pid, number)
            end = warm.end()
            faults = [] if came else ["it ended before"]
            # It may have come to its end by itself before the signal did.
            late = "at the end" if when in ("at the end", "finished, showing") and end.code == 0 else ""
            if not late:
                faults += faults_of(end, [code(number)], "" if number == KILL else "stopped")
            faults += finishes(warm, command, folder, whole)
            tried.append((f"{signal.Signals(number).name} while training", [f"{when}: {one}" for one in faults]))
    report(tried)


def test_the_first_moments(args: list[str], warm: Warm, whole: Run, tmp_path: Path) -> None:
    tried: Tried = []
    draw = random.Random(3)
    for i in range(12):
        number, at = (INT, TERM, HUP)[i % 3], draw.uniform(0.1, 2.0)
        folder = tmp_path / f"{i}"
        folder.mkdir()
        command = [*args, f"runs_dir={folder}"]
        process = cold(folder, "train", *command, tree=TREE)
        time.sleep(at)
        process.send_signal(number)
        faults = faults_of(end_of(process, folder), [code(number)], "stopped")
        if i < 3:
            faults += finishes(warm, command, folder, whole)
        tried.append(("in the first two seconds", [f"{at:.1f} s, {signal.Signals(number).name}: {f}" for f in faults]))
    report(tried)


def test_the_second_signal(warm: Warm, slow: list[str], tmp_path: Path) -> None:
    tried: Tried = []
    for number in (INT, TERM, HUP):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        # So long a step that the second signal comes in it.
        long = [*slow, "loop.prompts=2400", "rollout.max_new_tokens=120", f"runs_dir={folder}", "data.size=2400"]
        pid = warm.start(folder, "train", *long, "loop.save_every=1", "model.template.instruction=''")
        faults = [] if warm.until(lambda f=folder: len(the_run(f).rows()) >= 1) else ["it ended before"]
        time.sleep(0.5)
        os.kill(pid, number)
        asked = time.monotonic()
        heard = warm.until(lambda f=folder: "stopping after this step" in (f / "err").read_text())
        if not heard or time.monotonic() - asked > 1:
            faults.append(f"answered after {time.monotonic() - asked:.1f} s, or never")
        time.sleep(max(0.0, ECHO_S + 0.3 - (time.monotonic() - asked)))
        if not warm.ended():
            os.kill(pid, number)
        faults += faults_of(warm.end(), [code(number)], "kept in" if heard else "stopped")
        tried.append(("the second signal in a step", faults))
    report(tried)


def test_other_commands(warm: Warm, args: list[str], whole: Run, tmp_path: Path) -> None:
    tried: Tried = []
    student = next(word.partition("=")[2] for word in args if word.startswith("model.student.path"))
    measure = ["eval", student, "hardware.device=cpu", "n=40", "limit=60", "eval.sampling.max_new_tokens=8"]
    measure += ["eval.sampling.batch_size=20", f"runs_dir={tmp_path}"]
    for number in (INT, TERM, HUP):
        folder = tmp_path / f"eval-{number}"
        folder.mkdir()
        pid = warm.start(folder, *measure, f"seed={int(number)}")
        faults = [] if warm.until(lambda: any(tmp_path.glob("eval/*/*/part-*"))) else ["it ended before"]
        os.kill(pid, number)
        faults += faults_of(warm.end(), [code(number)], "answers so far are kept")
        warm.start(folder, *measure, f"seed={int(number)}")
        again = warm.end()
        faults += [] if again.code == 0 else [str(again)]
        tried.append(("tipx eval", faults))
    for words in (
        ["runs", f"--runs-dir={whole.path.parents[1]}"],
        ["report", "solo", f"--runs-dir={whole.path.parents[1]}"],
    ):
        for number in (INT, TERM, HUP):
            folder = tmp_path / f"{words[0]}-{number}"
            folder.mkdir()
            process = cold(folder, *words, tree=TREE)
            time.sleep(0.4)
            process.send_signal(number)
            faults = faults_of(end_of(process, folder), [code(number)], "type the same command again")
            tried.append((f"tipx {words[0]}", faults))
    report(tried)


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep(launcher: str, args: list[str], tmp_path: Path) -> None:
    tried: Tried = []
    own = [word for word in args if not word.startswith(("loop.steps", "loop.save_every", "loop.eval_every"))]
    own += ["loop.steps=300", "loop.save_every=0", "loop.eval_every=0", "loop.prompts=32", "eval.limit=2"]
    for number in (INT, TERM, HUP):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        words = ["selector=full,prefix", "group=g", *own, f"runs_dir={folder}", f"hydra/launcher={launcher}"]
        process = cold(folder, "sweep", *words, tree=TREE)
        wait_for(lambda f=folder: len(the_run(f).rows()) >= 4, process)
        (os.killpg if number == INT else os.kill)(process.pid, number)
        faults = faults_of(end_of(process, folder), [code(number)], "every point is saved", lines=12)
        runs = [Run(path.parent) for path in folder.glob("g/*/config.yaml")]
        begun = [run for run in runs if len(run.rows()) >= 4]
        faults += [f"{run.path.name} did not save" for run in begun if not run.checkpoints.saved()]
        tried.append((f"tipx sweep, {launcher}", faults))
    report(tried)


def wait_for(true: Callable[[], Any], process: "subprocess.Popen[bytes]") -> None:
    ends = time.monotonic() + WITHIN_S
    while not true() and process.poll() is None:
        assert time.monotonic() < ends
        time.sleep(0.01)


TWO = {
    "SIGINT to the terminal's group": (INT, "group", [130]),
    "SIGTERM to the outer process": (TERM, "outer", [143]),
    "SIGHUP to the outer process": (HUP, "outer", [129]),
    "SIGINT to one of two": (INT, "rank", [130]),
    "SIGTERM to one of two": (TERM, "rank", [143]),
    "SIGKILL to one of two": (KILL, "rank", [137]),
}


@pytest.mark.parametrize("what", TWO)
def test_two_processes(what: str, args: list[str], tmp_path: Path) -> None:
    number, whom, codes = TWO[what]
    own = [word for word in args if not word.startswith(("loop.steps", "loop.save_every", "loop.eval_every"))]
    own += ["loop.steps=150", "loop.save_every=100", "loop.eval_every=0", "loop.processes=2", f"runs_dir={tmp_path}"]
    process = cold(tmp_path, "train", *own, tree=TREE)
    wait_for(lambda: len(the_run(tmp_path).rows()) >= 4, process)
    ranks = [one for one in psutil.Process(process.pid).children(recursive=True) if "RANK" in one.environ()]
    if whom == "group":
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid if whom == "outer" else sorted(ranks, key=lambda p: p.environ()["RANK"])[1].pid, number)
    began = time.monotonic()
    try:
        end = end_of(process, tmp_path)
    finally:
        left = [one for one in ranks if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        for one in left:
            one.kill()
    faults = faults_of(end, codes, "killed by signal 9" if number == KILL else "saved in")
    faults += [f"{len(left)} processes are left"] * bool(left)
    faults += ["it took long"] * (time.monotonic() - began > 60)
    run = the_run(tmp_path)
    if number != KILL:
        last = run.rows()[-1]["step"]
        faults += [] if [s for s, _ in run.checkpoints.saved()] == [last] else [f"step {last} is not saved"]
    again = end_of(cold(tmp_path, "train", *own, tree=TREE), tmp_path)
    faults += [] if again.code == 0 and run.finished else [f"again: {again}"]
    report([(what, faults)])


BROKEN = {
    "2>/dev/full": "exec 2>/dev/full",
    ">/dev/full": "exec >/dev/full",
    "2>&-": "exec 2>&-",
    ">&-": "exec >&-",
    ">&- 2>&-": "exec >&- 2>&-",
    "0<&- >&- 2>&-": "exec <&- >&- 2>&-",
}


def piped(command: list[str], folder: Path) -> End:
    """Standard error and output to a pipe that nobody reads for long; the code is the command's own."""
    reader, writer = os.pipe()
    process = subprocess.Popen(command, env=environment(TREE), cwd=folder, stdout=writer, stderr=writer)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    return End(process.wait(WITHIN_S), "", "")


def test_training_without_a_display(args: list[str], whole: Run, tmp_path: Path) -> None:
    tried: Tried = []
    for i, (what, before) in enumerate([*BROKEN.items(), ("2>&1 | head -c 1", "")]):
        folder = tmp_path / f"{i}"
        folder.mkdir()
        command = ["train", *args, f"runs_dir={folder}"]
        if before:
            end = end_of(cold(folder, *command, tree=TREE, before=before), folder)
        else:
            end = piped([sys.executable, "-m", "tipx", *command], folder)
        faults = faults_of(end, [0], "") + differences(the_run(folder), whole)
        tried.append((f"training, {what}", faults))
    report(tried)
