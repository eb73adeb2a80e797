"""Runs and sweeps made by hand, as files: a step takes one second unless a test says otherwise."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tipx.runs.directory import Run
from tipx.runs.reader import StoredRun
from tipx.runs.sweep_folder import Point, SweepFolder
from tipx.train.start import train_run

CONFIG = {
    "seed": 0,
    "loop": {"steps": 40, "max_bad_steps": 5, "precision": "no", "eval_every": 0},
    "model": {"teacher": {"path": "t"}, "student": {"path": "s"}},
    "selector": {"score": {"_target_": "x.Y"}, "pick": {"_target_": "x.Z"}},
    "optim": {"lr": 0.001},
    "rollout": {"max_new_tokens": 72},
}
MakeRun = Callable[..., Run]
MakeSweep = Callable[..., SweepFolder]


def line(step: int, **numbers: Any) -> dict[str, Any]:
    """A step's numbers, healthy where they are not given."""
    healthy = {"loss": 1.0, "bad_steps": 0, "kept": 0.2, "length": 40.0, "truncated": 0.0, "entropy": 0.3, "s": 1.0}
    given = healthy | numbers
    names = {
        "loss": "train/loss",
        "bad_steps": "train/bad_steps",
        "kept": "select/kept_frac",
        "length": "rollout/mean_length",
        "truncated": "rollout/truncated_frac",
        "entropy": "select/entropy_all",
        "s": "time/train_s",
        "accuracy": "eval/arithmetic/mean",
    }
    return {"step": step} | {names[name]: value for name, value in given.items()}


def text_of(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A run in `runs/g` with these lines, the last of them written at `at`."""

    def make(name: str, rows: Sequence[dict[str, Any]] = (), *, group: str = "g", at: float | None = None) -> Run:
        note = {"argv": ["tipx"], "commit": "c"}
        run = Run.create(tmp_path / "runs" / group / name, CONFIG, note)
        run.note("choices", {})
        run.note("overrides", ["selector=full"])
        if rows:
            run.metrics_file.write_text(text_of(rows))
        if at is not None:
            for file in run.path.glob("*.json*"):
                os.utime(file, (at, at))
        return run

    return make


@pytest.fixture
def make_sweep(tmp_path: Path) -> MakeSweep:
    """A plan in `runs/g` of points of these names, each with a seed of its own."""

    def make(*names: str, command: str = "tipx sweep mine.yaml") -> SweepFolder:
        board = SweepFolder(tmp_path / "runs" / "g")
        points = [Point(name, ("ratio=0.2", f"seed={i}", "group=g"), {"model": "tiny"}) for i, name in enumerate(names)]
        board.record(points, name="mine", description="A question", command=command)
        return board

    return make


@pytest.fixture(scope="session")
def trained_run(pair_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    """A real run of 24 steps of the random pair, finished; read it, or copy it."""
    folder = tmp_path_factory.mktemp("watched")
    words = [f"model.{role}.path={pair_dir / role}" for role in ("teacher", "student")]
    words += ["hardware.device=cpu", "data.size=32", "loop.steps=24", "loop.prompts=4", "loop.save_every=12"]
    words += ["loop.eval_every=12", "loop.sample_every=12", "rollout.max_new_tokens=12", "eval.n=1", "eval.limit=3"]
    words += ["eval.sampling.max_new_tokens=10", "group=real", f"runs_dir={folder / 'runs'}"]
    run, _ = train_run(words, fresh=False, config_dir=None)
    return StoredRun(run)
