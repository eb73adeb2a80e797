"""Which runs a report is about: `--where`, a report that nobody wrote, and the list of runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.by_hand import set_lines, set_scores, to_held_out
from tipx.errors import ReportError
from tipx.report import Table
from tipx.report.figures import draw
from tipx.report.listing import chosen, listed
from tipx.report.trace import cell_named

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
SOFT = ["selector=soft_or", "ratio=0.5"]


def counts(table: Table) -> dict[str, int]:
    return {row[0]: table.cell(row, table.columns[0]).n for row in table.rows}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("selector=full,random",), {"full": 3, "random": 3}),
        (("selector=full", "seed=0,2"), {"full": 2}),
        (("ratio=0.50",), {"soft_or": 3}),
        (("optim.lr=1e-3",), {"full": 3, "soft_or": 3, "random": 3}),
        (("ratio=null",), {"full": 3}),
    ],
)
def test_where(words: tuple[str, ...], expected: dict[str, int], sweep: Sweep, table: Make) -> None:
    sweep()
    made = table(where=words)
    assert counts(made) == expected
    assert f"only runs with {', '.join(words)}" in made.notes
    assert not [note for note in table().notes if "only runs" in note]


def test_what_is_filtered_out_is_not_missing(sweep: Sweep, table: Make) -> None:
    # The first and third runs of full and the first of soft_or were never made.
    sweep(skip=(0, 2, 3))
    assert counts(table(where=("selector=random",))) == {"random": 3}
    assert counts(table(where=("seed=1",))) == {"full": 1, "soft_or": 1, "random": 1}
    with pytest.raises(ReportError, match="1 missing: ") as error:
        table(where=("selector=soft_or",))
    assert "soft_or" in str(error.value)
    with pytest.raises(ReportError, match=r"3 missing: "):
        table(where=("optim.lr=0.001",))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("selecto=full", "--where: no run has the key 'selecto'; expected a config group .*; near: selector"),
        ("selector=ful", "--where selector=ful: no run fits; selector is full, soft_or, random"),
        ("ratio=0.3", "--where ratio=0.3: no run fits; ratio is -, 0.5, 0.2"),
        ("selector", "'selector': expected KEY=VALUE"),
        ("=full", "'=full': expected KEY=VALUE"),
    ],
)
def test_where_that_says_nothing(word: str, said: str, sweep: Sweep, table: Make) -> None:
    sweep()
    with pytest.raises(ReportError, match=said) as error:
        table(where=(word,))
    assert "\n" not in str(error.value)


def test_where_takes_out_what_confounds(sweep: Sweep, table: Make) -> None:
    sweep(grid=[["selector=full"], SOFT, [*SOFT, "optim.lr=5e-4"]])
    with pytest.raises(ReportError, match=r"differ in optim\.lr"):
        table()
    assert counts(table(where=("optim.lr=1e-3",))) == {"full": 3, "soft_or": 3}


@pytest.mark.parametrize(
    ("grid", "rows", "baseline"),
    [
        ([["selector=full"], SOFT], ("selector",), {"selector": "full"}),
        ([SOFT, ["selector=random", "ratio=0.2"]], ("selector", "ratio"), {}),
        ([SOFT, ["selector=soft_or", "ratio=0.2"]], ("ratio",), {}),
        ([[*SOFT, "optim.lr=1e-3"], [*SOFT, "optim.lr=5e-4"]], ("optim.lr",), {}),
        ([SOFT], ("model",), {}),
    ],
)
def test_a_report_that_nobody_wrote(
    grid: list[list[str]], rows: tuple[str, ...], baseline: dict[str, str], sweep: Sweep, table: Make
) -> None:
    sweep("mine", grid=grid)
    report = table("mine").report
    assert (report.title, report.rows, report.baseline) == ("mine", rows, baseline)


@pytest.mark.parametrize("measured", ["mean", "perplexity", None])
def test_it_shows_what_was_measured(measured: str | None, sweep: Sweep, table: Make) -> None:
    for run in sweep("mine", grid=[["selector=full"], SOFT]):
        if measured == "perplexity":
            to_held_out(run, perplexity=3.0, perplexity_se=0.1)
        elif measured is None:
            shutil.rmtree(run / "evals")
    made = table("mine")
    first = [measured] if measured else []
    assert list(made.report.values) == [*first, "kept", "q1", "q2", "q3", "q4"]
    assert draw(made)  # bars of the first value


def test_rows_and_columns_are_in_order(sweep: Sweep, table: Make) -> None:
    # The baseline first though it was planned last, then as planned; ratios from high to low.
    rules = [["selector=random", f"ratio={r}"] for r in ("0.1", "0.5", "0.2")]
    sweep(grid=[*rules, ["selector=soft_or", "ratio=0.2"], ["selector=full"]], seeds=1)
    assert table().rows == [("full", None), *(("random", r) for r in (0.5, 0.2, 0.1)), ("soft_or", 0.2)]


def test_runs_sort_down_by_metrics_and_up_by_all_else(sweep: Sweep, runs_dir: Path) -> None:
    made = sweep(seeds=1)
    for run, score in zip(made, (0.5, 0.75, 0.25), strict=True):
        set_scores(run, [score, score])
        set_lines(run, [{}, *[{"select/kept_frac": score}] * 3])
    runs = chosen(runs_dir, [])

    def order(key: str) -> list[str]:
        return [name.split("-")[1] for name in listed(runs, key, [])["run"]]

    assert order("arithmetic.mean") == order("kept") == ["soft_or", "full", "random"]
    assert order("selector") == ["full", "random", "soft_or"]
    frame = listed(runs, None, ["arithmetic.mean", "select/kept_frac"])
    assert sorted(frame["arithmetic.mean"]) == sorted(frame["select/kept_frac"]) == [0.25, 0.5, 0.75]


def test_a_cell_is_named_by_what_only_it_has(sweep: Sweep, table: Make) -> None:
    sweep()
    made = table()
    _, column, cell = cell_named(made, "full,arithmetic greedy")
    assert (column.metric.name, cell.n) == ("greedy", 3)
    with pytest.raises(ReportError, match="no column 'arithmetic'"):
        cell_named(made, "full,arithmetic")  # mean or greedy
    with pytest.raises(ReportError, match="no column ''"):
        cell_named(made, "full")


def test_the_last_start_of_a_run_counts(sweep: Sweep, table: Make) -> None:
    made = sweep(grid=[SOFT])
    file = made[0] / "provenance.json"
    old = json.loads(file.read_text())
    starts = [old["starts"][0] | {"commit": "e" * 40, "dirty": True}, old["starts"][0]]
    file.write_text(json.dumps(old | {"starts": starts}))
    assert not [note for note in table().notes if "commits" in note or "uncommitted" in note]
    file.write_text(json.dumps(old | {"starts": starts[::-1]}))
    assert "runs of 2 commits: eeeeeeee (1), 01234567 (2)" in table().notes
