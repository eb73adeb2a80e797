"""A run that was killed, stopped, damaged or short of disk ends as one that never was: same bytes, same lines."""

import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tipx import jobs
from tipx.cli import main
from tipx.run import Run, lasting

STEPS = 36
WITHIN_S = 240
Ask = Callable[..., tuple[int, str, str]]

# Each line on stdin is an order for one process, forked from here, where what takes seconds to import is imported; it
# does what `python -m tipx` does. `at` ends it by SIGKILL before its so many-th operation on a file of the run. Answers
# are its id and, in the end, its exit code.
WARM = """
import json, os, runpy, signal, sys
import tipx.cli.report, tipx.jobs

OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "shutil.rmtree"}

def kill_at(left, folder):
    def hook(event, args):
        nonlocal left
        if event in OPERATIONS and str(args[0]).startswith(folder):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        with open(order["log"], "w") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
        if order["at"]:
            kill_at(order["at"], order["folder"])
        sys.argv = ["tipx", "train", *order["args"]]
        runpy.run_module("tipx", run_name="__main__", alter_sys=True)
        sys.exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def environment() -> dict[str, str]:
    here = str(Path(__file__).parent.parent)
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": here}


class Runner:
    """Starts `tipx train` in a process of its own, one at a time."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-c", WARM], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.log = Path()
        self.pid = 0

    def start(self, args: list[str], folder: Path, at: int = 0) -> None:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.log = folder / "log"
        order = {"args": args, "log": str(self.log), "folder": str(folder / "solo"), "at": at}
        self.server.stdin.write(json.dumps(order).encode() + b"\n")
        self.server.stdin.flush()
        self.pid = int(self.server.stdout.readline())

    def ended(self, within_s: float = 0) -> bool:
        return bool(select.select([self.server.stdout], [], [], within_s)[0])

    def code(self) -> int:
        """Wait for its end."""
        assert self.server.stdout is not None
        assert self.ended(WITHIN_S), self.log.read_text()
        return int(self.server.stdout.readline())

    def until(self, true: Callable[[], object]) -> bool:
        """Wait for something in the run directory; False if the process ends before."""
        ends = time.monotonic() + WITHIN_S
        while not true():
            if self.ended():
                return False
            assert time.monotonic() < ends, self.log.read_text()
            time.sleep(0.0005)
        return True

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    one = Runner()
    yield one
    if one.pid and not one.ended():
        one.signal(signal.SIGKILL)
    one.server.communicate(timeout=WITHIN_S)


@pytest.fixture(scope="module")
def args(pair_dir: Path) -> list[str]:
    """A run of 36 short steps with a checkpoint each third, an evaluation each twelfth and samples each fifth."""
    return [
        *(f"model.{role}.path={pair_dir / role}" for role in ("teacher", "student")),
        *("hardware.device=cpu", "data.size=32", f"loop.steps={STEPS}", "loop.prompts=4", "rollout.max_new_tokens=8"),
        *("loop.save_every=3", "loop.sample_every=5", "loop.sample_count=2", "loop.eval_every=12"),
        *("eval.limit=4", "eval.n=2", "eval.sampling.max_new_tokens=8", "optim.lr=1e-2"),
    ]


@pytest.fixture(scope="module")
def whole(args: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing happened to, with all its checkpoints; to be read only."""
    place = tmp_path_factory.mktemp("whole")
    return jobs.train([*args, f"runs_dir={place}", "loop.keep_checkpoints=100"], fresh=False, config_dir=None)[0]


@pytest.fixture
def here(args: list[str], tmp_path: Path) -> list[str]:
    """The same run below `tmp_path`: places and the number of checkpoints are no part of what a run is."""
    return [*args, f"runs_dir={tmp_path}"]


@pytest.fixture
def ask(here: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """`tipx train` in this process: exit code, stdout and stderr."""

    def call(*more: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tipx", "train", *more, *here])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


def as_of(whole: Run, step: int, folder: Path) -> Run:
    """A copy of the whole run as a kill would have left it, its newest checkpoint that of `step`."""
    run = Run(Path(shutil.copytree(whole.path, folder / "solo" / whole.path.name)))
    (run.path / "summary.json").unlink()
    for other, path in run.checkpoints():
        if other > step:
            shutil.rmtree(path)
    return run


def outcome(run: Run) -> dict[str, Any]:
    """All that a run leaves, but for times: lines, results, samples, and the last checkpoint byte by byte."""
    left: dict[str, Any] = {
        "rows": [lasting(row) for row in run.rows()],
        "steps": [s for s, _ in run.checkpoints()[-2:]],
    }
    for path in sorted(
        [*run.path.glob("evals/**/*"), *run.path.glob("rollouts/*"), *run.checkpoint("last")[1].iterdir()]
    ):
        if path.name == "result.json":
            result = json.loads(path.read_text())
            left[str(path.relative_to(run.path))] = {
                k: v for k, v in result.items() if k not in ("seconds", "tokens_per_s")
            }
        elif path.is_file():
            left[str(path.relative_to(run.path))] = path.read_bytes()
    summary = run.summary()
    return left | {"summary": summary | {"last": lasting(summary["last"])}}


def same(run: Run, whole: Run) -> None:
    found, expected = outcome(run), outcome(whole)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value == expected[name], name
    assert not [path for path in run.path.rglob("*") if path.name.endswith(".tmp")]


def the_run(folder: Path) -> Run:
    """The one below `folder`, which may be about to be made."""
    return Run(next(folder.glob("solo/*"), folder / "none"))


# --- killed ----------------------------------------------------------------------------------------------------------


def moments(folder: Path, draw: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    """What to wait for before each kill, told by the run directory as the next start finds it."""

    def more_lines(count: int) -> Callable[[], object]:
        """The resumed process first rewinds to its checkpoint, line 0 to `last`, and then adds lines."""
        last = max((step for step, _ in the_run(folder).checkpoints()), default=-1)
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
    assert runner.code() == 0, runner.log.read_text()
    same(the_run(tmp_path), whole)
    assert len(kills) >= 6


def test_killed_at_operations_on_its_files(here: list[str], whole: Run, runner: Runner, tmp_path: Path) -> None:
    # A start that resumes needs some 25 operations before its first step, and a checkpoint some 20 more.
    kills, draw = 0, random.Random(11)
    for _ in range(10):
        runner.start(here, tmp_path, at=draw.randint(1, 90))
        kills += runner.code() == -signal.SIGKILL
    runner.start(here, tmp_path)
    assert runner.code() == 0, runner.log.read_text()
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
    assert runner.until(lambda: len(the_run(tmp_path).rows()) >= 5), runner.log.read_text()
    runner.signal(number)
    assert runner.code() == 130
    run = the_run(tmp_path)
    last = run.rows()[-1]["step"]
    assert run.checkpoints()[-1][0] == last
    assert (
        f"error: stopped after step {last}, saved in {run.path}; the same command continues" in runner.log.read_text()
    )
    assert "Traceback" not in runner.log.read_text()
    code, _, err = ask()
    assert code == 0
    assert f"resuming after step {last} of {STEPS}" in err
    same(run, whole)


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_a_second_process_leaves_the_first_alone(
    fresh: list[str], here: list[str], whole: Run, runner: Runner, ask: Ask, tmp_path: Path
) -> None:
    runner.start(here, tmp_path)
    assert runner.until(lambda: len(the_run(tmp_path).rows()) >= 2), runner.log.read_text()
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
