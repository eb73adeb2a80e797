"""A run that was killed, stopped, damaged or short of disk ends exactly as one that never was: same bytes, same lines."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tipx import jobs
from tipx.cli import main
from tipx.run import Run, lasting

STEPS = 36
WITHIN_S = 240
Ask = Callable[..., tuple[int, str, str]]


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


def the_run(folder: Path) -> Run | None:
    return next((Run(path) for path in folder.glob("solo/*")), None)


@contextmanager
def started(args: list[str], log: Path, preexec: Callable[[], None] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A real `python -m tipx train`, its stderr in `log`."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-m", "tipx", "train", *args]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=stderr, text=True, preexec_fn=preexec
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def until(true: Callable[[], object], process: subprocess.Popen[str]) -> bool:
    """Wait for something in the run directory; False if the process ends before."""
    ends = time.monotonic() + WITHIN_S
    while not true():
        if process.poll() is not None:
            return False
        assert time.monotonic() < ends
        time.sleep(0.0005)
    return True


# --- killed ----------------------------------------------------------------------------------------------------------


def moments(folder: Path, draw: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    """What to wait for before each kill, told by the run directory as the next start finds it."""

    def lines() -> int:
        run = the_run(folder)
        return len(run.rows()) if run else 0

    def steps_from_now(count: int) -> Callable[[], object]:
        run = the_run(folder)
        last = run.checkpoints()[-1][0] if run and run.checkpoints() else 0
        # The resumed process first rewinds to the checkpoint, then adds lines: 0 to `last`, and `count` more.
        rewound: list[bool] = []

        def reached() -> bool:
            now = lines()
            rewound.extend([True] * (now <= 1 + last))
            return bool(rewound) and now >= 1 + last + count

        return reached

    yield "before the first checkpoint", lambda: lines() >= 2
    yield "writing a checkpoint", lambda: any(folder.glob("solo/*/checkpoints/.*.tmp/*"))
    yield "starting", lambda: len(the_run(folder).provenance()["starts"]) >= 3  # type: ignore[union-attr]
    for _ in range(3):
        yield "training", steps_from_now(draw.randint(1, 6))
    yield "writing a checkpoint", lambda: any(folder.glob("solo/*/checkpoints/.*.tmp/model.safetensors"))
    yield "evaluating", lambda: any(folder.glob("solo/*/evals/0000[1-3]*/*/samples.jsonl"))


def test_killed_again_and_again(here: list[str], whole: Run, tmp_path: Path) -> None:
    kills: list[str] = []
    for phase, moment in moments(tmp_path, random.Random(7)):
        with started(here, tmp_path / "log") as process:
            if not until(moment, process):
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
        kills.append(phase)
    print(kills)
    with started(here, tmp_path / "log") as process:
        assert process.wait(WITHIN_S) == 0, (tmp_path / "log").read_text()
    run = the_run(tmp_path)
    assert run is not None
    same(run, whole)
    assert len(kills) >= 6
