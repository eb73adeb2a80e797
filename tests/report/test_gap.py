"""The value `gap`: the share of the way from the start to the teacher, by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.by_hand import copy_first, set_model, set_result, set_scores
from tipx.errors import ReportError
from tipx.report import Table
from tipx.report.formats import markdown
from tipx.report.listing import listed
from tipx.report.table import Cell
from tipx.runs.reader import stored_runs

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
TEACHER = "embedded:teacher"
MEANS = (0.5, 0.625, 0.375, 0.5)
"""Of two seeds of full, and of two of soft_or."""


@pytest.fixture
def made(sweep: Sweep) -> list[Path]:
    """All begin at 0.25."""
    runs = sweep(grid=[["selector=full"], ["selector=soft_or", "ratio=0.5"]], seeds=2)
    for run, mean in zip(runs, MEANS, strict=True):
        set_scores(run, [mean - 0.25, mean, mean, mean + 0.25])
        copy_first(run, mean=0.25)
    return runs


@pytest.fixture
def read(table: Make, tmp_path: Path) -> Callable[[str], Table]:
    """A report of these values."""

    def read(values: str) -> Table:
        file = tmp_path / "mine.yaml"
        file.write_text(f"title: x\nrows: [selector]\nvalues: [{values}]\nbaseline: {{selector: full}}\n")
        return table(str(file), sweeps=("controls",))

    return read


def cells(table: Table, name: str) -> dict[str, Cell]:
    (column,) = (column for column in table.columns if column.metric.name == name)
    return {row[0]: table.cell(row, column) for row in table.lines}


def test_a_gap_by_hand(made: list[Path], read: Callable[[str], Table], runs_dir: Path) -> None:
    set_model(runs_dir, TEACHER, made[0], mean=0.75)
    found = read("mean, gap")
    gaps, means = cells(found, "gap"), cells(found, "mean")
    # The whole way is 0.75 - 0.25 = 0.5: full went 0.25 and 0.375 of it, soft_or 0.125 and 0.25.
    assert [one.value for one in gaps["full"].measured] == [0.5, 0.75]
    assert [one.value for one in gaps["soft_or"].measured] == [0.25, 0.5]
    # Over two seeds the error is half of their difference.
    assert [(gaps[name].mean, gaps[name].error) for name in ("full", "soft_or")] == [(0.625, 0.125), (0.375, 0.125)]
    assert not gaps["teacher"].n
    assert not gaps["start"].n
    # It is tested as the mean is: here each seed lost 0.125, which is 0.25 of the way.
    of_gap, of_mean = gaps["soft_or"].test, means["soft_or"].test
    assert of_gap is not None
    assert of_mean is not None
    assert (of_gap.result.difference, of_mean.result.difference) == (-0.25, -0.125)
    assert (of_gap.adjusted, of_gap.method) == (pytest.approx(of_mean.adjusted), "two-way")
    assert [cell.best for cell in gaps.values()] == [cell.best for cell in means.values()]
    (note,) = (note for note in found.notes if note.startswith("gap recovered: "))
    assert "(after - start) / (teacher - start)" in note


def test_the_error_of_one_seed_is_that_over_problems(
    sweep: Sweep, read: Callable[[str], Table], runs_dir: Path
) -> None:
    (run,) = sweep(grid=[["selector=full"]], seeds=1)
    set_result(run, mean=0.5, mean_se=0.1)
    copy_first(run, mean=0.25)
    set_model(runs_dir, TEACHER, run, mean=0.75)
    cell = cells(read("gap"), "gap")["full"]
    assert (cell.mean, cell.error) == (0.5, 0.2)


@pytest.mark.parametrize("teacher", [0.25, 0.125])
def test_without_a_better_teacher_it_is_a_dash(
    teacher: float, made: list[Path], read: Callable[[str], Table], runs_dir: Path
) -> None:
    set_model(runs_dir, TEACHER, made[0], mean=teacher)
    found = read("mean, gap")
    full = next(line for line in markdown(found).splitlines() if line.startswith("| full"))
    assert full.split("|")[3].strip() == "—"
    assert f"no gap, as the teacher ({100 * teacher:.1f}) is not above the start (25.0)" in markdown(found)
    assert not [note for note in found.notes if note.startswith("gap recovered")]


def test_a_gap_that_nobody_knows_is_left_out(made: list[Path], read: Callable[[str], Table]) -> None:
    assert [column.metric.name for column in read("mean, gap").columns] == ["mean"]
    assert len(made) == 4
    with pytest.raises(ReportError, match="gap: start or teacher is not known; teacher not measured: `tipx eval emb"):
        read("gap")


def test_the_list_of_runs_knows_no_gap(made: list[Path], runs_dir: Path) -> None:
    runs = stored_runs(runs_dir)
    assert len(runs) == len(made)
    with pytest.raises(ReportError, match=r"no run has the key 'arithmetic\.gap'"):
        listed(runs, None, ["arithmetic.gap"])
