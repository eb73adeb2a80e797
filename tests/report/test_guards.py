"""What would make a table say something false is refused by name, or noted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tipx.errors import ReportError
from tipx.report import Ask, Table, make

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
SOFT = ["selector=soft_or", "ratio=0.5"]


def test_a_key_that_differs_within_a_cell_is_named(sweep: Sweep, table: Make) -> None:
    sweep(grid=[SOFT, [*SOFT, "optim.lr=5e-4"]])
    with pytest.raises(ReportError, match=r"differ in optim\.lr, though both are 'soft_or 0.5': 0.001 in .* 0.0005 in"):
        table()


def test_a_key_that_differs_between_rows_is_named(sweep: Sweep, table: Make) -> None:
    sweep(grid=[["selector=full"], [*SOFT, "optim.lr=5e-4"]])
    with pytest.raises(ReportError, match=r"differ in optim\.lr, and it is no row and no column"):
        table()


def test_a_shorthand_that_differs_between_rows_is_named(sweep: Sweep, table: Make) -> None:
    sweep(grid=[SOFT, ["selector=q3_only", "ratio=0.2", "norm=v1"]])
    with pytest.raises(ReportError, match=r"differ in norm, and it is no row and no column: v4 in .* and v1 in"):
        table()


def test_a_ratio_is_not_hidden_behind_a_name(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    sweep("mine", grid=[SOFT, ["selector=q3_only", "ratio=0.2"]])
    (tmp_path / "mine.yaml").write_text("title: mine\nrows: [selector]\n")
    with pytest.raises(ReportError, match=r"differ in ratio, .*: 0.5 in tiny-soft_or-\w+ and 0.2 in tiny-q3_only"):
        table(str(tmp_path / "mine.yaml"))


def test_what_a_preset_brings_is_explained_by_it(sweep: Sweep, table: Make) -> None:
    # Two model pairs bring learning rates, lengths, data and templates of their own.
    sweep("table5_main", base=[], grid=[["experiment=tiny", *SOFT], ["experiment=qwen3", *SOFT]], typed=False)
    made = table("table5_main")
    heads = [made.head(column) for column in made.columns if column.metric.name == "mean"]
    assert heads == ["tiny arithmetic mean@4, %", "qwen3 arithmetic mean@4, %"]


def test_seed_place_logging_and_hardware_may_differ(sweep: Sweep, table: Make) -> None:
    sweep(grid=[SOFT, ["selector=full", "hardware.micro_batch=2"]])
    assert len(table().rows) == 2


def test_missing_points_are_listed_with_their_state(sweep: Sweep, table: Make, runs_dir: Path) -> None:
    made = sweep(skip=(0, 3))
    plan = json.loads((runs_dir / "controls" / "sweep.json").read_text())["points"]
    (runs_dir / "controls" / "failures").mkdir()
    failure = runs_dir / "controls" / "failures" / f"{plan[0]['run']}.json"
    failure.write_text(json.dumps({"error": "disk full"}))
    (made[0] / "summary.json").unlink()
    with FileLock(made[0] / ".lock"), pytest.raises(ReportError) as error:
        table()
    text = str(error.value)
    assert text.startswith("3 missing: ")
    assert f"{plan[0]['run']} (failed: disk full)" in text
    assert f"{plan[3]['run']} (not started)" in text
    assert f"{made[0].name} (running)" in text
    assert "`tipx sweep controls` makes them, --partial" in text
    partial = table(partial=True)
    assert [partial.cell(row, partial.columns[0]).n for row in partial.rows] == [1, 2, 3]
    assert any(note.startswith("partial, 3 missing (1 failed, ") for note in partial.notes)


def test_without_a_plan_every_row_is_expected_in_every_column(sweep: Sweep, table: Make, runs_dir: Path) -> None:
    sweep("table5_main", base=[], grid=[["experiment=tiny", *SOFT], ["experiment=qwen3", *SOFT], ["experiment=tiny"]])
    (runs_dir / "table5_main" / "sweep.json").unlink()
    with pytest.raises(ReportError, match=r"1 missing: full, qwen3 \(no run\); "):
        table("table5_main")


def test_a_finished_run_without_a_result_is_missing(sweep: Sweep, table: Make) -> None:
    made = sweep()
    (result,) = made[0].glob("evals/*/*/result.json")
    result.unlink()
    with pytest.raises(ReportError, match=f"{made[0].name} \\(finished, but without arithmetic mean@4"):
        table()


NOTES: dict[str, tuple[dict[str, Any], str]] = {
    "truncated": ({"result": {"clipped_ratio": 0.08}}, "more than 5 % of the answers were truncated (up to 8%)"),
    "partial": ({"result": {"partial": True}}, "part of the benchmark, 20 problems"),
    "trained on": (
        {"result": {"trained_on": ["3", "7"]}},
        "the runs were trained on problems of the benchmark (up to 2): full",
    ),
    "dirty": ({"start": {"dirty": True}}, "9 of 9 runs were made from a tree with uncommitted changes"),
}


@pytest.mark.parametrize("case", NOTES)
def test_notes(case: str, sweep: Sweep, table: Make) -> None:
    settings, text = NOTES[case]
    sweep()
    assert not any(text in note for note in table().notes)
    sweep("other", **settings)
    assert any(text in note for note in table(sweeps=("other",)).notes)


def test_five_per_cent_are_not_noted(sweep: Sweep, table: Make) -> None:
    sweep(result={"clipped_ratio": 0.05})
    assert not any("truncated" in note for note in table().notes)


def test_commits_and_results_that_differ_are_noted(sweep: Sweep, table: Make) -> None:
    made = sweep()
    for name, edit in (("provenance.json", {"starts": [{"commit": "f" * 40}]}), ("result.json", {"temperature": 0.5})):
        (file,) = made[0].rglob(name)
        file.write_text(json.dumps(json.loads(file.read_text()) | edit))
    notes = " ".join(table().notes)
    assert "runs of 2 commits: 01234567 (8), ffffffff (1)" in notes.replace(
        "ffffffff (1), 01234567 (8)", "01234567 (8), ffffffff (1)"
    )
    assert "results were not evaluated alike, and cannot be compared (temperature: 0.5, 1.0)" in notes
    assert (
        "soft_or 0.5, random 0.2, arithmetic mean@4, %: no test against full: they were evaluated in different ways"
        in notes
    )


def test_a_run_of_before_says_so(sweep: Sweep, table: Make) -> None:
    made = sweep()
    file = made[0] / "provenance.json"
    file.write_text(json.dumps({"starts": [{}]}))
    with pytest.raises(ReportError, match=f"selector: .*{made[0].name} has no choices noted"):
        table()


def test_the_mean_before_training_is_of_the_same_problems(sweep: Sweep, tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("title: mine\nrows: [selector, ratio]\nvalues: [before, mean]\n")
    for number, path in enumerate(sweep("mine")):
        (last,) = path.glob("evals/000003/*")
        first = path / "evals" / "000000"
        shutil.copytree(last, first / last.name)
        facts = json.loads((last / "result.json").read_text())
        (first / last.name / "result.json").write_text(json.dumps(facts | {"mean": number / 10}))
        (first / "aa-other").mkdir()
        (first / "aa-other" / "result.json").write_text(json.dumps(facts | {"n": 99, "mean": 0.99}))
    made = make(Ask(str(own), tmp_path / "runs"))[0]
    before = made.columns[0]
    found = [[one.value for one in made.cell(row, before).measured] for row in made.rows]
    assert found == [[0.0, 0.1, 0.2], [0.3, 0.4, 0.5], [0.6, 0.7, 0.8]]
