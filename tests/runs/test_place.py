"""A run that was made under an older rule of identity is found by what it means, not by the label in its name."""

from pathlib import Path

import pytest

from tipx import config
from tipx.runs.directory import Run
from tipx.runs.identity import first_identity, identity
from tipx.runs.place import run_path, stored_identity
from tipx.runs.sweep_folder import Point, SweepFolder


def make(path: Path, *overrides: str, finished: bool = False) -> Path:
    """A run's directory as tipx writes it, under any name."""
    run = Run.create(path, config.resolve_for_storage(config.load(overrides)), {"argv": []})
    if finished:
        run.finish({"steps": 0})
    return path


def where(tmp_path: Path, *overrides: str) -> Path:
    cfg, choices = config.compose_with_choices([f"runs_dir={tmp_path}", *overrides])
    stored_identity.cache_clear()
    return run_path(config.resolve(cfg), choices)


def test_a_run_with_an_older_label_is_found(tmp_path: Path) -> None:
    old = make(tmp_path / "solo" / "tiny-q3_only-0123abcd", "selector=q3_only", "ratio=0.2")
    assert where(tmp_path, "selector=q3_only", "ratio=0.2") == old
    assert where(tmp_path, "selector=q3_only", "ratio=0.3") != old
    assert where(tmp_path, "selector=q3_only", "ratio=0.2", "group=other").parent.name == "other"


def test_its_own_label_comes_first_then_a_finished_run(tmp_path: Path) -> None:
    make(tmp_path / "solo" / "tiny-full-00000001", "selector=full")
    done = make(tmp_path / "solo" / "tiny-full-00000002", "selector=full", finished=True)
    make(tmp_path / "solo" / "tiny-full-00000003", "selector=full")
    assert where(tmp_path, "selector=full") == done
    label = identity(config.resolve(config.load(["selector=full"])))
    own = make(tmp_path / "solo" / f"tiny-full-{label}", "selector=full")
    assert where(tmp_path, "selector=full") == own


def test_a_damaged_configuration_is_no_older_run(tmp_path: Path) -> None:
    old = make(tmp_path / "solo" / "tiny-full-00000001", "selector=full")
    (old / "config.yaml").write_text("{")
    assert where(tmp_path, "selector=full") != old


def test_text_from_the_environment_must_fit_the_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["model.student.path=${oc.env:MODELS}/student"]
    monkeypatch.setenv("MODELS", "/a")
    label = first_identity(config.resolve(config.load(words)))
    old = make(tmp_path / "solo" / f"tiny-soft_or-{label}", *words)
    assert "${oc.env:MODELS}" in (old / "config.yaml").read_text()
    assert where(tmp_path, *words) == old
    monkeypatch.setenv("MODELS", "/b")  # the same configuration file, and another model
    assert where(tmp_path, *words) != old


def test_a_point_that_waits_under_an_older_label_is_planned_once(tmp_path: Path) -> None:
    board = SweepFolder(tmp_path / "group")
    old, begun = (Point(f"tiny-full-0000000{i}", (f"seed={i}",), {}) for i in range(2))
    board.record([old, begun], name="s", description="", command="tipx sweep s")
    make(board.folder / begun.run)
    new = Point("tiny-full-0123abcd", old.overrides, {})
    board.record([new, begun], name="s", description="", command="tipx sweep s")
    assert {point.run for point in board.points()} == {new.run, begun.run}
