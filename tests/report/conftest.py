"""A small store of three rules, and the seeds, problems and steps of each."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tipx.report import Ask, Table, make


def load(name: str) -> ModuleType:
    """A module beside this one: pytest imports by path, without a package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


synthetic = load("synthetic")
TINY = ["experiment=tiny"]
GRID = [["selector=full"], ["selector=soft_or", "ratio=0.5"], ["selector=random", "ratio=0.2"]]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def sweep(runs_dir: Path) -> Callable[..., Any]:
    """Makes a group of runs; what is given replaces what is small and usual."""

    def build(name: str = "controls", skip: tuple[int, ...] = (), **more: Any) -> list[Path]:
        settings = {"grid": GRID, "base": TINY, "steps": 3, "problems": 20} | more
        made: list[Path] = synthetic.Sweep(runs_dir / name, **settings).make(skip)
        return made

    return build


@pytest.fixture
def table(runs_dir: Path) -> Callable[..., Table]:
    def build(name: str = "controls", **more: Any) -> Table:
        return make(Ask(name, runs_dir, **more))[0]

    return build
