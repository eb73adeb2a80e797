"""A run goes on with the threads that it began with, since sums depend on them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tipx.runs.directory import Run
from tipx.train.start import train_run

Overrides = Callable[..., list[str]]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What torch was told to take; it takes one."""
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    return counts


def test_a_run_goes_on_with_its_threads(
    overrides: Overrides, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = overrides("loop.steps=1", "hardware.threads=auto")
    run, _ = train_run(words, fresh=False, config_dir=None)
    assert run.provenance()["starts"][0]["threads"] == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for fresh, typed in ((False, words), (False, [*words, "hardware.threads=3"]), (True, words)):
        (run.path / "summary.json").unlink()
        train_run(typed, fresh=fresh, config_dir=None)
    assert taken == [1, 1, 3, 2]


def noted(folder: Path, *starts: dict[str, object], threads: object = "auto") -> Run:
    """A run of these starts, whose configuration says so many threads."""
    (folder / "provenance.json").write_text(json.dumps({"starts": starts}))
    wanted = {"seed": 0, "loop": {"steps": 1}, "hardware": {"threads": threads}}
    (folder / "config.yaml").write_text(json.dumps(wanted))
    return Run(folder)


def test_other_processes_and_strange_numbers_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tipx.runs.directory.NEEDED", {})
    assert noted(tmp_path).first_threads(1) is None
    assert noted(tmp_path, {"processes": 1, "threads": 4}, {"processes": 1, "threads": 5}).first_threads(1) == 4
    assert noted(tmp_path, {"processes": 2, "threads": 4}).first_threads(1) is None
    for strange in (0, True, 10**9, "4", -1):
        assert noted(tmp_path, {"processes": 1, "threads": strange}).first_threads(1) is None
    # Runs of before the number was noted.
    assert noted(tmp_path, {"processes": 1}, threads=1).first_threads(1) == 1
    assert noted(tmp_path, {"processes": 1}).first_threads(1) is None
