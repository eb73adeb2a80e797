"""Keys of metrics.jsonl that had another name: in files of older runs, and typed by a user."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.by_hand import set_lines
from tests.rows import as_older
from tipx.display.tables import run_row
from tipx.errors import ReportError
from tipx.export.card import results_section
from tipx.report import Table
from tipx.report.figures import draw
from tipx.report.formats import csv, markdown
from tipx.report.listing import chosen, listed
from tipx.report.trace import cell_named
from tipx.runs.directory import Run
from tipx.runs.reader import StoredRun
from tipx.runs.sweep_folder import last_accuracies, seconds_spent

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
MINE = """
title: mine
rows: [selector]
values: [mean, kept, quadrants, memory, {key}]
figures: [{{kind: bars, value: {key}}}, {{kind: curves, value: {key}}}, {{kind: quadrants}}]
"""


def make_older(run: Path) -> None:
    """Writes its lines again, as they were before keys were renamed."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("quadrant/q1_frac" in line for line in lines)
    (run / "metrics.jsonl").write_text("".join(json.dumps(as_older(line)) + "\n" for line in lines))


def test_runs_of_before_give_the_same_numbers_everywhere(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    made, file = sweep(grid=[["selector=full"]], seeds=2), tmp_path / "mine.yaml"
    file.write_text(MINE.format(key="select/reverse_kl_all"))

    def seen() -> list[object]:
        report, runs = table(str(file), sweeps=("controls",)), [StoredRun(Run(path)) for path in made]
        lines = [axes.lines[0].get_xydata().tolist() for axes in draw(report)["curves-select_reverse_kl_all"].axes]
        rows = [run.rows for run in runs]
        states = [(seconds_spent(some), last_accuracies(some)) for some in rows]
        card = results_section(runs[0], 3)
        return [markdown(report), csv(report), lines, [run_row(run) for run in runs], states, card]

    now = seen()
    make_older(made[0])
    assert seen() == now  # one of before beside one of today
    make_older(made[1])
    assert seen() == now


@pytest.mark.parametrize(
    ("old", "new"), [("tokens/q3", "quadrant/q3_frac"), ("select/div_all", "select/reverse_kl_all")]
)
def test_a_report_of_before_shows_the_same_under_the_new_name(
    sweep: Sweep, table: Make, tmp_path: Path, old: str, new: str
) -> None:
    sweep(grid=[["selector=full"]], seeds=2)
    found = []
    for name, key in (("old", old), ("new", new)):
        (tmp_path / f"{name}.yaml").write_text(MINE.format(key=key))
        found.append(table(str(tmp_path / f"{name}.yaml"), sweeps=("controls",)))
    assert markdown(found[0]) == markdown(found[1])
    assert new in markdown(found[0])
    assert sorted(draw(found[0])) == sorted(draw(found[1]))
    with pytest.raises(ReportError, match=f"no column 'the {old}'; .*{new}"):
        cell_named(found[0], f"full,the {old}")


def test_an_old_key_as_a_column_of_runs(sweep: Sweep, runs_dir: Path) -> None:
    made = sweep(seeds=1)
    for run, share in zip(made, (0.5, 0.75, 0.25), strict=True):
        set_lines(run, [{}, *[{"quadrant/q3_frac": share}] * 3])
    frame = listed(chosen(runs_dir, []), "tokens/q3", ["tokens/q3", "quadrant/q3_frac"])
    assert frame["tokens/q3"].tolist() == frame["quadrant/q3_frac"].tolist() == [0.75, 0.5, 0.25]
