"""Small sweeps on the random pair: a few steps a point, started as a user starts them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.warm import HERE, Process, Server

Start = Callable[..., "subprocess.Popen[str]"]
StartWarm = Callable[..., Process]


@pytest.fixture
def few(overrides: Callable[..., list[str]]) -> list[str]:
    """Overrides of points of two steps."""
    return overrides("loop.steps=2", "loop.sample_every=0")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With a home of its own, for Ray leaves a token there."""
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "240", "PYTHONPATH": HERE}
    own |= {"HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hub"), "RAY_AUTH_MODE": "disabled"}
    return os.environ | own


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Start:
    """Starts `tipx sweep ARGS` in a process of its own, leader of its group."""

    def begin(*args: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "tipx", "sweep", *args],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return begin


@pytest.fixture
def start_warm(environment: dict[str, str], server: Server, tmp_path: Path) -> StartWarm:
    """The same, forked where everything is imported, and so are its points."""
    return lambda *args: server.start(["sweep", *args], tmp_path, environment)
