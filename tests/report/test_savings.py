"""The values `time` and `saved`: where a step's time goes, and what a rule saves of it, by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.by_hand import set_lines
from tipx.errors import ReportError
from tipx.report import Table
from tipx.report.table import Cell

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
Read = Callable[..., Table]
GRID = [["selector=full"], ["selector=soft_or", "ratio=0.5"], ["selector=random", "ratio=0.2"]]
TRAIN_S = {"full": (4.0, 6.0), "soft_or": (3.0, 3.0), "random": (7.0, 7.0)}
"""Of two seeds each; a step has 5 s of rollouts as well."""


@pytest.fixture
def made(sweep: Sweep) -> list[Path]:
    runs = sweep(grid=GRID, seeds=2)
    for run, train_s in zip(runs, [value for both in TRAIN_S.values() for value in both], strict=True):
        line = {"time/rollout_s": 5.0, "time/train_s": train_s}
        set_lines(run, [{}, {"time/rollout_s": 500.0, "time/train_s": 1.0}, line, line])
    return runs


@pytest.fixture
def read(table: Make, tmp_path: Path) -> Read:
    """A report of these values."""

    def read(values: str, more: str = "baseline: {selector: full}", sweeps: tuple[str, ...] = ("controls",)) -> Table:
        file = tmp_path / "mine.yaml"
        file.write_text(f"title: x\nrows: [selector, ratio]\nvalues: [{values}]\n{more}\n")
        return table(str(file), sweeps=sweeps)

    return read


def cells(table: Table, name: str) -> dict[str, Cell]:
    (column,) = (column for column in table.columns if column.metric.name == name)
    return {row[0]: table.cell(row, column) for row in table.lines}


def means(table: Table, name: str) -> dict[str, float]:
    return {row: cell.mean for row, cell in cells(table, name).items()}


@pytest.mark.usefixtures("made")
def test_shares_of_a_step(read: Read) -> None:
    found = read("time")
    assert [column.metric.name for column in found.columns] == ["step_s", "rollout_share", "score_share", "train_share"]
    assert means(found, "step_s") == {"full": 10.0, "soft_or": 8.0, "random": 12.0}
    assert means(found, "rollout_share") == pytest.approx(
        {"full": (5 / 9 + 5 / 11) / 2, "soft_or": 5 / 8, "random": 5 / 12}
    )
    assert means(found, "train_share") == pytest.approx(
        {"full": (4 / 9 + 6 / 11) / 2, "soft_or": 3 / 8, "random": 7 / 12}
    )
    assert set(means(found, "score_share").values()) == {0.0}


@pytest.mark.usefixtures("made")
def test_what_is_saved_of_the_baseline_s_step(read: Read) -> None:
    found = read("saved, step_s")
    # The baseline takes 9 and 11 seconds, 10 on average: soft_or saves 2 of them, random takes 2 more.
    assert means(found, "saved") == pytest.approx({"full": 0.0, "soft_or": 0.2, "random": -0.2})
    # Over two seeds the error is half of their difference.
    assert cells(found, "saved")["full"].error == pytest.approx(0.1)
    assert means(found, "step_s")["soft_or"] == 8.0
    (note,) = (note for note in found.notes if note.startswith("saved of the step: 1 - "))
    assert "those of full, rollouts included" in note
    assert "here they ran on" not in note


def test_other_machines_are_named(sweep: Sweep, read: Read) -> None:
    for rule, device in (("full", "cpu"), ("random", "NVIDIA H100")):
        sweep(f"on-{rule}", grid=[[f"selector={rule}"]], seeds=1, start={"device": device})
    found = read("saved", sweeps=("on-full", "on-random"))
    assert any(note.endswith("; here they ran on NVIDIA H100, cpu") for note in found.notes)


@pytest.mark.usefixtures("made")
def test_without_a_baseline_nothing_is_saved(read: Read) -> None:
    found = read("mean, saved", "")
    assert [column.metric.name for column in found.columns] == ["mean"]
    assert any("no baseline to compare with" in note for note in found.notes)
    with pytest.raises(ReportError, match=r"saved: .*no baseline to compare with; give the report a baseline"):
        read("saved", "")


@pytest.mark.usefixtures("made")
def test_the_report_that_comes_with_tipx(table: Make) -> None:
    found = table("time", sweeps=("controls",))
    values = {column.metric.name for column in found.columns}
    assert values == {"step_s", "rollout_share", "score_share", "train_share", "saved"}
