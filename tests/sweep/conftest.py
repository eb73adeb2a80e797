"""Small sweeps on the random pair: a few steps a point, started as a user starts them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = str(Path(__file__).parents[2])
Started = "subprocess.Popen[str]"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def few(overrides: Callable[..., list[str]]) -> list[str]:
    """Overrides of points of two steps."""
    return overrides("loop.steps=2", "loop.sample_every=0")


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts `tipx sweep ARGS` in a process of its own, leader of its group, with a home of its own."""

    def begin(*args: str) -> "subprocess.Popen[str]":
        own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "240", "PYTHONPATH": HERE}
        # Ray leaves a token at home.
        own |= {"HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hub"), "RAY_AUTH_MODE": "disabled"}
        return subprocess.Popen(
            [sys.executable, "-m", "tipx", "sweep", *args],
            env=os.environ | own,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return begin
