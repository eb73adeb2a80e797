"""Tables made from run directories of a few lines, with numbers that can be checked by eye."""

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.hostile import EVERY
from tipx.display.console import COMMANDS, console
from tipx.display.tables import before_after, cell, progress, result_table, runs_frame, show_frame
from tipx.runs.directory import Run
from tipx.runs.reader import StoredRun, stored_runs

TOP = {"_target_": "tipx.selectors.topk.TopK", "ratio": 0.2}
ALL = {"_target_": "tipx.selectors.everything.Everything"}
STEP = {"train/loss": 0.5, "select/kept_frac": 0.2}
EVAL = {"eval/arithmetic/mean": 0.25, "eval/arithmetic/mean_se": 0.0126, "eval/arithmetic/greedy": 0.375}
LATER = {"eval/arithmetic/mean": 0.75, "eval/arithmetic/mean_se": 0.01, "eval/arithmetic/greedy": 0.875}


def make(path: Path, rows: list[dict[str, Any]], pick: dict[str, Any] = TOP, age: int = 0) -> Run:
    config = {
        "seed": 3,
        "loop": {"steps": 150},
        "model": {"student": {"path": "embedded:student"}, "teacher": {"path": "embedded:teacher"}},
        "selector": {"score": {"_target_": "tipx.selectors.soft_or.SoftOr"}, "pick": pick},
    }
    run = Run.create(path, config, {})
    run.note("choices", {"model": "tiny"})
    run.note("overrides", [])
    for before, row in zip([{"step": 0}, *rows], rows, strict=False):
        for step in range(before["step"] + 1, row["step"]):
            run.log({"step": step})  # every step has a line
        run.log(row)
    os.utime(run.config_file, (1e9 - age, 1e9 - age))
    return run


def rows_of(table: Table) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return [" ".join(line.replace("│", " ").replace("┃", " ").split()) for line in text.splitlines()]


@pytest.mark.parametrize("text", [text for text in EVERY if "/" not in text and "\0" not in text])
def test_any_name_of_a_run_can_be_listed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path / "demo" / f"{text}-0badcafe", [{"step": 1, **STEP}])
    run.note("choices", {"selector": text})
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    console(width=400).print(show_frame(runs_frame(stored_runs(tmp_path)), text))
    assert not COMMANDS.search(out.getvalue())


def test_a_row_says_what_a_run_is_and_how_far_it_got(tmp_path: Path) -> None:
    rows = [{"step": 0, **EVAL}, {"step": 1, **STEP}, {"step": 2, "select/kept_frac": 0.25, **LATER}]
    run = make(tmp_path / "demo" / "tiny-soft_or-0badcafe", rows)
    (row,) = runs_frame(stored_runs(tmp_path)).to_dict("records")
    assert row == {
        "run": "tiny-soft_or-0badcafe",
        "group": "demo",
        "state": "stopped",
        "step": 2,
        "steps": 150,
        "student": "embedded:student",
        "rule": "SoftOr TopK",
        "ratio": 0.2,
        "seed": 3,
        "kept": 0.25,
        "before": 0.25,
        "after": 0.75,
        "path": str(run.path),
    }
    run.finish({})
    assert list(runs_frame(stored_runs(tmp_path))["state"]) == ["finished"]


def test_measured_at_the_end_alone_there_is_no_before(tmp_path: Path) -> None:
    make(tmp_path / "a" / "one", [{"step": 2, **STEP, **LATER}])
    (row,) = runs_frame(stored_runs(tmp_path)).to_dict("records")
    assert (row["before"], row["after"]) == (None, 0.75)


def test_a_rule_goes_by_its_name_unless_it_was_taken_apart(tmp_path: Path) -> None:
    run = make(tmp_path / "a" / "one", [])
    run.note("choices", {"selector": "soft_or"})
    run.note("overrides", ["selector=soft_or", "ratio=0.2"])
    assert list(runs_frame(stored_runs(tmp_path))["rule"]) == ["soft_or"]
    run.note("overrides", ["selector=soft_or", "selector/pick=sample"])
    assert list(runs_frame(stored_runs(tmp_path))["rule"]) == ["SoftOr TopK"]


def test_rows_are_in_order_of_age_and_what_is_no_run_is_left_out(tmp_path: Path) -> None:
    make(tmp_path / "b" / "new", [], age=1)
    make(tmp_path / "a" / "newest", [])
    make(tmp_path / "z" / "old", [], age=2)
    (tmp_path / "eval" / "student-123456" / "arithmetic-abcdef").mkdir(parents=True)
    (tmp_path / "a" / "empty").mkdir()
    (tmp_path / "a" / "file").touch()
    assert list(runs_frame(stored_runs(tmp_path))["run"]) == ["old", "new", "newest"]


def test_what_is_not_known_is_a_dash(tmp_path: Path) -> None:
    make(tmp_path / "solo" / "begun", [], age=1)
    make(tmp_path / "solo" / "full", [{"step": 0, **EVAL}], pick=ALL)
    frame = runs_frame(stored_runs(tmp_path))
    frame["state"] = [*map(progress, frame["state"], frame.pop("step"))]
    assert list(frame["state"]) == ["step 0", "step 0"]
    # Measured at the start alone: there is a before and no after.
    assert frame[["ratio", "kept", "before", "after"]].isna().to_numpy().tolist() == [
        [False, True, True, True],
        [True, True, False, True],
    ]
    shown = rows_of(show_frame(frame.drop(columns=["path", "group"]), "2 runs"))
    assert shown[0] == "2 runs"
    assert "begun step 0 150 embedded:student SoftOr TopK 0.200 3 - - -" in shown
    assert "full step 0 150 embedded:student SoftOr Everything - 3 - 0.250 -" in shown


def test_no_runs_is_an_empty_frame(tmp_path: Path) -> None:
    assert runs_frame(stored_runs(tmp_path)).empty
    assert runs_frame(stored_runs(tmp_path / "nowhere")).empty


def test_a_line_cut_short_by_a_kill_is_no_line(tmp_path: Path) -> None:
    run = make(tmp_path / "solo" / "killed", [{"step": 4, **STEP}])
    with run.metrics_file.open("a") as handle:
        handle.write('{"step": 5, "train/lo')
    assert list(runs_frame(stored_runs(tmp_path))["step"]) == [4]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (float("nan"), "-"), (0.12345, "0.123"), (1.0, "1.000"), (7, "7"), ("x", "x")],
)
def test_cell(value: Any, text: str) -> None:
    assert cell(value) == text


def test_accuracy_before_and_after_with_standard_errors(tmp_path: Path) -> None:
    run = make(tmp_path / "solo" / "r", [{"step": 0, **EVAL}, {"step": 1, **STEP}, {"step": 150, **STEP, **LATER}])
    table = before_after(StoredRun(run))
    assert table is not None
    shown = rows_of(table)
    assert shown[0] == "accuracy of r"
    assert "step arithmetic sampled arithmetic greedy" in shown
    assert "0 0.250 ± 0.013 0.375" in shown
    assert "150 0.750 ± 0.010 0.875" in shown
    assert len(table.rows) == 2


def test_accuracy_of_one_problem_has_no_error_and_of_no_evaluation_no_table(tmp_path: Path) -> None:
    one = make(tmp_path / "a" / "one", [{"step": 0, "eval/math/mean": 1.0, "eval/math/mean_se": None}])
    table = before_after(StoredRun(one))
    assert table is not None
    assert "0 1.000" in rows_of(table)
    assert before_after(StoredRun(make(tmp_path / "a" / "none", [{"step": 1, **STEP}]))) is None


def test_each_benchmark_has_the_columns_that_it_was_measured_in(tmp_path: Path) -> None:
    rows = [
        {"step": 0, "eval/b/mean": 0.5, "eval/a/mean": 0.25},
        {"step": 9, "eval/b/mean": 0.75, "eval/b/greedy": 1.0},
    ]
    table = before_after(StoredRun(make(tmp_path / "a" / "two", rows)))
    assert table is not None
    shown = rows_of(table)
    assert "step a sampled b sampled b greedy" in shown
    assert "0 0.250 0.500 -" in shown
    assert "9 - 0.750 1.000" in shown


def test_result_of_one_evaluation() -> None:
    result = {
        "benchmark": "arithmetic",
        "problems": 64,
        "partial": True,
        "n": 4,
        "mean": 0.5,
        "mean_se": 0.025,
        "pass_at": {"1": 0.5, "2": 0.625, "4": 0.75},
        "greedy": 0.25,
        "greedy_se": None,
        "outcomes": {"correct": 128, "wrong": 100, "no_answer": 20, "truncated": 8, "grader_error": 0},
        "mean_length": 41.04,
        "clipped_ratio": 0.03125,
    }
    shown = rows_of(result_table(result))
    assert shown[0] == "arithmetic: 64 problems (partial)"
    for line in (
        "mean@4 0.500 ± 0.025",
        "pass@2 0.625",
        "pass@4 0.750",
        "greedy 0.250",
        "sampled: correct 128",
        "sampled: grader_error 0",
        "mean length, tokens 41.0",
        "cut by the length limit 3.1%",
    ):
        assert line in shown
    assert not any(line.startswith("pass@1 ") for line in shown)
    del result["greedy"]
    assert not any(line.startswith("greedy") for line in rows_of(result_table(result | {"partial": False})))
