"""The words that name a run: what each stands for, and which comes first."""

import os
from pathlib import Path

import pytest

from tipx.errors import RunError
from tipx.runs.directory import Run
from tipx.runs.find import find_newest, find_run, need_run
from tipx.runs.mark import MARK


def make(runs_dir: Path, place: str, started: int, trained: int | None = None) -> Run:
    """A run that was started at one second, and trained last at another."""
    path = runs_dir / place
    path.mkdir(parents=True)
    for name, second in ((MARK, started), ("config.yaml", started), ("metrics.jsonl", trained)):
        if second is not None:
            (path / name).touch()
            os.utime(path / name, (second, second))
    return Run(path)


def test_last_is_the_run_that_was_trained_last_and_not_the_one_that_was_started_last(tmp_path: Path) -> None:
    long = make(tmp_path, "demo/long-00000001", started=100, trained=900)
    short = make(tmp_path, "demo/short-00000002", started=200, trained=300)
    elsewhere = make(tmp_path, "solo/other-00000003", started=400, trained=500)
    assert find_run("@last", tmp_path) == long
    assert find_run("demo", tmp_path) == long
    assert find_run("solo", tmp_path) == elsewhere
    (long.path / "evals").mkdir()  # what is evaluated later is not trained later
    os.utime(short.metrics_file, (950, 950))
    assert find_run("@last", tmp_path) == find_run("demo", tmp_path) == short


def test_a_run_that_has_no_line_yet_is_as_new_as_its_start(tmp_path: Path) -> None:
    make(tmp_path, "demo/old-00000001", started=100, trained=300)
    new = make(tmp_path, "demo/new-00000002", started=400)
    assert find_run("@last", tmp_path) == new


def test_a_whole_name_comes_before_a_group_and_a_group_before_the_beginning_of_a_name(tmp_path: Path) -> None:
    whole = make(tmp_path, "solo/tiny", started=100)
    member = make(tmp_path, "tiny/a-00000001", started=200)
    assert find_run("tiny", tmp_path) == whole
    assert find_newest("tiny", tmp_path) is None
    make(tmp_path, "solo/pair-full-00000002", started=300)
    named = make(tmp_path, "pair/b-00000003", started=50)
    assert find_run("pair", tmp_path) == named
    assert find_run("a-00000001", tmp_path) == member


def test_a_whole_name_in_two_groups_takes_a_path(tmp_path: Path) -> None:
    one = make(tmp_path, "a/tiny-full-00000001", started=50)
    make(tmp_path, "b/tiny-full-00000001", started=100)
    make(tmp_path, "b/tiny-full-00000001-more", started=100)
    with pytest.raises(RunError, match=r"fits 2 runs: .*a/tiny-full-00000001, .*b/tiny.*; give the path"):
        find_run("tiny-full-00000001", tmp_path)
    assert find_run(str(one.path), tmp_path) == one


def test_a_whole_name_is_not_the_beginning_of_another(tmp_path: Path) -> None:
    short = make(tmp_path, "a/mine-00000001", started=100)
    make(tmp_path, "a/mine-00000001-00000002", started=100)
    assert find_run("mine-00000001", tmp_path) == short


def test_a_folder_without_runs_is_no_group(tmp_path: Path) -> None:
    (tmp_path / "eval" / "some-model").mkdir(parents=True)
    assert find_run("eval", tmp_path) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("@lsat", "'@lsat': expected @last"),
        ("@last:demo", "'@last:demo': expected @last"),
        ("@", "'@': expected @last"),
        ("dmeo", "'dmeo' is no run under .*; did you mean demo"),
    ],
)
def test_what_names_no_run_says_what_was_meant(name: str, said: str, tmp_path: Path) -> None:
    make(tmp_path, "demo/tiny-full-00000001", started=100)
    with pytest.raises(RunError, match=said):
        need_run(name, tmp_path)


def test_last_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"@last: there is no run under .*; `tipx train` makes one"):
        find_run("@last", tmp_path / "runs")
