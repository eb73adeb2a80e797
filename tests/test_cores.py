"""Cores are shared out: no process takes what another was given, and the user's own wish wins."""

import os
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import make_hardware
from tipx import cores
from tipx.config import launch
from tipx.config.launch import count_jobs
from tipx.cores import JOBS, THREADS, choose_threads, share_cores, share_with_jobs
from tipx.train.launch import launch_processes


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cores, import_module("tipx.config.launch")):
        monkeypatch.setattr(module, "count_cores", lambda: 8)
    for name in (THREADS, JOBS, "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({}, 8),
        ({"LOCAL_WORLD_SIZE": "2"}, 4),
        ({JOBS: "4"}, 2),
        ({JOBS: "4", "LOCAL_WORLD_SIZE": "2"}, 1),
        ({JOBS: "100"}, 1),
        ({THREADS: "3", JOBS: "4"}, 3),
        ({THREADS: "4,2"}, 8),  # of nested regions: not what torch takes
        ({JOBS: "-1"}, 8),
        ({THREADS: "0"}, 8),
    ],
)
def test_each_process_takes_its_share(variables: dict[str, str], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert choose_threads() == threads


@pytest.mark.parametrize(("key", "began", "threads"), [("auto", None, 8), ("auto", 2, 2), (3, 2, 3)])
def test_auto_is_what_a_run_began_with(
    key: int | str, began: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    make_hardware(threads=key).start("no", began)
    assert taken == [threads]


@pytest.mark.parametrize(
    ("launcher", "jobs"),
    [
        ({"_target_": "x.joblib_launcher.JoblibLauncher", "n_jobs": 2}, 2),
        ({"_target_": "x.joblib_launcher.JoblibLauncher", "n_jobs": -1}, 5),
        ({"_target_": "x.submitit_launcher.LocalLauncher"}, 5),
        ({"_target_": "x.submitit_launcher.SlurmLauncher"}, 1),
        ({"_target_": "x.basic_launcher.BasicLauncher"}, 1),
    ],
)
def test_points_at_once_are_the_launchers(launcher: dict[str, object], jobs: int) -> None:
    assert count_jobs(launcher, 5) == jobs


def test_what_a_sweep_starts_knows_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOBS, "3")
    with share_with_jobs(4):
        assert share_cores(1) == 2
    assert os.environ[JOBS] == "3"


def write_jobs(cfg: SimpleNamespace) -> None:
    """A sweep's task: says how many run at once."""
    Path(cfg.folder, cfg.run).write_text(os.environ[JOBS])


def test_a_launcher_tells_its_tasks(tmp_path: Path) -> None:
    launch(write_jobs, ["a", "b"], tmp_path, [], None)
    assert [(tmp_path / name).read_text() for name in "ab"] == ["1", "1"]
    assert JOBS not in os.environ


def test_processes_that_are_launched_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setenv(JOBS, "2")
    monkeypatch.setattr("accelerate.commands.launch.launch_command", lambda _: seen.append(os.environ[THREADS]))
    monkeypatch.setenv(THREADS, "x")
    monkeypatch.delenv(THREADS)  # put back after the test
    monkeypatch.setattr("logging.disable", lambda _: None)
    with pytest.raises(SystemExit):
        launch_processes(2, ["train"])
    assert seen == ["2"]


@pytest.mark.parametrize(("tf32", "precision"), [(True, "high"), (False, "highest")])
def test_tf32_is_a_setting(tf32: bool, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    make_hardware(tf32=tf32).start("no")
    assert said == [precision]
