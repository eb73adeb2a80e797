"""A finished run, to be exported and published."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import Tipx, call, trained  # noqa: F401 - a fixture


@pytest.fixture
def tipx(tmp_path: Path) -> Tipx:
    """Runs a command in `tmp_path`."""
    return partial(call, tmp_path)


@pytest.fixture
def run(trained: tuple[Path, list[str], object], tmp_path: Path) -> Path:  # noqa: F811
    """A copy of the run in a group `paper`, which a test may change."""
    shutil.copytree(trained[0] / "runs", tmp_path / "runs")
    (path,) = (tmp_path / "runs" / "paper").iterdir()
    return path
