"""A run of 36 short steps, the whole of it to compare with, and ways to start it so that it can be ended.

It has a checkpoint each third step, an evaluation each twelfth, and samples each fifth.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rows import lasting
from tests.warm import HERE, Server
from tipx.cli import main
from tipx.runs.directory import Run
from tipx.train.start import train_run

STEPS = 36
WITHIN_S = 400
Ask = Callable[..., tuple[int, str, str]]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": HERE}


class Runner:
    """Starts `tipx train` in a process of its own, one at a time."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def start(self, args: list[str], folder: Path, at: int = 0, limit: int = 0) -> None:
        """`at` counts operations on files of the run."""
        where = str(folder / "solo")
        self.process = self.server.start(["train", *args], Path(HERE), environment(), at=(at, where), limit=limit)

    def said(self) -> str:
        return "".join(self.process.output())

    def code(self) -> int:
        """Wait for its end."""
        code = self.process.poll(WITHIN_S)
        assert code is not None, self.said()
        return code

    def until(self, true: Callable[[], object]) -> bool:
        """Wait for something in the run directory; False if the process ends before."""
        ends = time.monotonic() + WITHIN_S
        while not true():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < ends, self.said()
            time.sleep(0.001)
        return True

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)


@pytest.fixture
def runner(server: Server) -> Runner:
    return Runner(server)


@pytest.fixture(scope="session")
def args(pair_dir: Path) -> list[str]:
    return [
        *(f"model.{role}.path={pair_dir / role}" for role in ("teacher", "student")),
        *("hardware.device=cpu", "data.size=32", f"loop.steps={STEPS}", "loop.prompts=4", "rollout.max_new_tokens=8"),
        *("loop.save_every=3", "loop.sample_every=5", "loop.sample_count=2", "loop.eval_every=12"),
        *("eval.limit=4", "eval.n=2", "eval.sampling.max_new_tokens=8", "optim.lr=1e-2"),
    ]


@pytest.fixture(scope="session")
def whole(args: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing happened to, with all its checkpoints; to be read only."""
    place = tmp_path_factory.mktemp("whole")
    return train_run([*args, f"runs_dir={place}", "loop.keep_checkpoints=100"], fresh=False, config_dir=None)[0]


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
    for other, path in run.checkpoints.saved():
        if other > step:
            shutil.rmtree(path)
    return run


def the_run(folder: Path) -> Run:
    """The one below `folder`, which may be about to be made."""
    return Run(next(folder.glob("solo/*"), folder / "none"))


def outcome(run: Run) -> dict[str, Any]:
    """All that a run leaves, but for times: lines, results, samples, and the last checkpoint byte by byte."""
    summary = run.summary()
    left: dict[str, Any] = {
        "summary": summary | {"last": lasting(summary["last"])},
        "rows": [lasting(row) for row in run.rows()],
        "newest": [step for step, _ in run.checkpoints.saved()[-2:]],
    }
    places = [*run.path.glob("evals/**/*"), *run.path.glob("rollouts/*"), *run.checkpoints.open("last")[1].iterdir()]
    for path in sorted(path for path in places if path.is_file()):
        left[str(path.relative_to(run.path))] = path.read_bytes()
        if path.name == "result.json":
            kept = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("seconds", "tokens_per_s")}
            left[str(path.relative_to(run.path))] = kept
    return left


def same(run: Run, whole: Run) -> None:
    """Both runs left the same, and this one nothing half-written."""
    found, expected = outcome(run), outcome(whole)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value == expected[name], name
    assert not [path for path in run.path.rglob("*") if path.name.endswith(".tmp")]
