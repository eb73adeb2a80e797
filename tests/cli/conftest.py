"""The command line in-process: what a user types, and the exit code, stdout and stderr that come back."""

import contextlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tipx.cli import main


@dataclass(frozen=True)
class Done:
    """One command's end."""

    code: int
    out: str
    err: str


Tipx = Callable[..., Done]


def call(folder: Path, *args: str, columns: int = 240) -> Done:
    """`tipx ARGS` with `folder` as the working directory and output into a file of that width."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["tipx", *args])
        patch.setenv("COLUMNS", str(columns))
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture
def tipx(tmp_path: Path) -> Tipx:
    """Runs a command in `tmp_path`."""
    return partial(call, tmp_path)


@pytest.fixture(scope="session")
def trained(pair_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Done]:
    """A folder with a finished run of 4 steps under `runs/`, its overrides, and what the command printed.

    Shared: read it, or copy it before something is written.
    """
    folder = tmp_path_factory.mktemp("trained")
    overrides = [
        f"model.teacher.path={pair_dir / 'teacher'}",
        f"model.student.path={pair_dir / 'student'}",
        "hardware.device=cpu",
        "data.size=32",
        "loop.steps=4",
        "loop.prompts=8",
        "loop.save_every=2",
        "loop.eval_every=2",
        "loop.sample_every=2",
        "rollout.max_new_tokens=12",
        "eval.n=2",
        "eval.limit=3",
        "eval.sampling.max_new_tokens=10",
        "model.template.instruction=' .'",
        "group=paper",
    ]
    done = call(folder, "train", *overrides)
    assert done.code == 0, done.err
    return folder, overrides, done
