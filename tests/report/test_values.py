"""What stands in a cell: every value read from a run whose files a test wrote."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.report.by_hand import add_result, copy_first, set_lines, set_result, set_scores, to_held_out
from tipx.report import Table
from tipx.report.formats import notes_of, parts
from tipx.report.long import Measured
from tipx.report.metrics import FIXED, metric
from tipx.report.table import Cell, Column

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
One = Callable[[str], Measured]
FULL = [["selector=full"]]


@pytest.fixture
def run(sweep: Sweep) -> Path:
    (path,) = sweep(grid=FULL, seeds=1)
    return path


@pytest.fixture
def one(table: Make, tmp_path: Path) -> One:
    """The only number of a table with that value."""

    def read(value: str) -> Measured:
        file = tmp_path / "mine.yaml"
        file.write_text(f"title: mine\nrows: [selector]\nvalues: ['{value}']\n")
        (cell,) = table(str(file), sweeps=("controls",)).cells.values()
        (found,) = cell.measured
        return found

    return read


def shown(value: str, number: float, error: float | None = None) -> str:
    """A cell's text."""
    column = Column((), metric(value))
    measured = Measured(
        run=None, benchmark=None, metric=column.metric, value=number, error=error, file=Path(), facts={}
    )  # type: ignore[arg-type]
    return parts(Cell([measured]), column, most=1).text


FACTS = {
    "mean": (0.625, 0.015625),
    "greedy": (0.75, 0.03125),
    "length": (40.5, None),
    "pass@2": (0.8125, None),
    "maj@4": (0.6875, None),
    "best@4": (0.875, None),
    "result.seconds": (12.5, None),
    "result.cost": (3.0, 0.5),
}


@pytest.mark.parametrize("value", FACTS)
def test_a_number_of_a_result_and_its_own_error(value: str, run: Path, one: One) -> None:
    set_result(
        run,
        mean=0.625,
        mean_se=0.015625,
        greedy=0.75,
        greedy_se=0.03125,
        mean_length=40.5,
        pass_at={"1": 0.1, "2": 0.8125, "4": 0.2},
        maj_at={"2": 0.1, "4": 0.6875},
        best_at={"2": 0.1, "4": 0.875},
        seconds=12.5,
        cost=3,
        cost_se=0.5,
    )
    found = one(value)
    assert (found.value, found.error, found.benchmark) == (*FACTS[value], "arithmetic")


HELD = {"perplexity": (7.5, 0.25), "reverse_kl": (1.5, 0.125), "forward_kl": (2.5, 0.375)}


@pytest.mark.parametrize("value", HELD)
def test_a_number_on_held_out_texts(value: str, run: Path, one: One) -> None:
    numbers = {name: number for name, (number, _) in HELD.items()}
    to_held_out(run, **numbers, **{f"{name}_se": error for name, (_, error) in HELD.items()})
    found = one(value)
    assert (found.value, found.error, found.benchmark) == (*HELD[value], None)


def test_a_value_that_is_no_number_is_none(run: Path, table: Make) -> None:
    set_result(run, greedy=True)
    assert [column.metric.name for column in table("controls").columns if column.metric.name == "greedy"] == []


def test_a_key_is_the_mean_of_its_last_ten_lines(run: Path, one: One) -> None:
    # 1 to 12, of which 3 to 12 count: 7.5. Lines without the key are none.
    lines: list[dict[str, Any]] = [{"x/y": float(i)} for i in range(1, 13)]
    set_lines(run, [{}, *lines[:5], {"other": 1}, *lines[5:], {"x/y": None}])
    assert one("x/y").value == 7.5


def test_what_is_kept_is_a_mean_over_all_steps(run: Path, one: One) -> None:
    shares = [0.25, 0.5, 0.75]
    set_lines(run, [{}, *({"select/kept_frac": share, "quadrant/q1_frac_of_kept": share / 2} for share in shares), {}])
    assert one("kept").value == 0.5
    assert one("q1").value == 0.25


def test_memory_is_the_highest_peak_of_a_training_step(run: Path, one: One) -> None:
    # MiB; an evaluation's does not count.
    phases = [
        {"memory/score_mib": 100, "memory/train_mib": 2000},
        {"memory/rollout_mib": 3000, "memory/eval_mib": 9000},
    ]
    set_lines(run, [{}, *phases, {"memory/select_mib": 2500}])
    assert one("memory").value == pytest.approx(3000 * 1048576 / 1_000_000_000)


@pytest.mark.parametrize(
    ("facts", "share"),
    [
        ({"clipped_ratio": 0.25, "outcomes": {"correct": 6, "truncated": 2}}, 0.25),
        ({"clipped_ratio": 0.5, "outcomes": {"correct": 6, "truncated": 2}}, 0.5),
        ({"clipped_ratio": 0.125, "outcomes": {"correct": 6, "truncated": 2}}, 0.25),
        ({"clipped_ratio": 0.125, "outcomes": {}}, 0.125),
        ({"clipped_ratio": 0.125, "outcomes": {"correct": 8}}, 0.125),
    ],
)
def test_truncated_is_the_larger_share(facts: dict[str, Any], share: float, run: Path, one: One) -> None:
    set_result(run, **facts)
    assert one("truncated").value == share


def test_which_end_is_better() -> None:
    ends = {name: FIXED[name].better for name in FIXED}
    assert {name for name, end in ends.items() if end == "high"} == {"mean", "gap", "greedy"}
    assert {name for name, end in ends.items() if end == "low"} == {
        "truncated",
        "perplexity",
        "reverse_kl",
        "forward_kl",
        "memory",
    }
    assert [metric(name).better for name in ("pass@2", "maj@2", "best@2", "select/reverse_kl_all", "result.x")] == [
        *["high"] * 3,
        *[None] * 2,
    ]


@pytest.mark.parametrize(
    ("value", "number", "error", "text"),
    [
        ("mean", 0.65625, 0.0125, "65.6 ± 1.2"),
        ("kept", 0.2, None, "20.0"),
        ("q3", 0.0876, None, "8.8"),
        ("pass@4", 1.0, None, "100.0"),
        ("perplexity", 15.51234, 0.9, "15.512 ± 0.900"),
        ("length", 40.04, None, "40.0"),
        ("memory", 3.145728, None, "3.15"),
        ("select/reverse_kl_all", 0.51264, None, "0.513"),
    ],
)
def test_numbers_as_they_are_shown(value: str, number: float, error: float | None, text: str) -> None:
    assert shown(value, number, error) == text


def test_pass_at_k_of_each_problem(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    # 4 samples: 0, 1, 2 and 4 right give pass@2 of 0, 1/2, 5/6 and 1.
    made = sweep(grid=[*FULL, ["selector=random", "ratio=0.2"]], seeds=2)
    for path in made:
        right = [0, 0.25, 0.5, 1] if "random" in path.name else [0, 0, 0, 0]
        set_scores(path, right, n=4, pass_at={"2": sum(right) / 4})
    file = tmp_path / "mine.yaml"
    file.write_text("title: x\nrows: [selector]\nvalues: [pass@2]\nbaseline: {selector: full}\n")
    cells = table(str(file), sweeps=("controls",)).cells
    (test,) = (cell.test for cell in cells.values() if cell.test)
    assert test.result.difference == pytest.approx((0 + 1 / 2 + 5 / 6 + 1) / 4)
    assert test.method == "two-way"


def test_before_is_of_the_same_evaluation(run: Path, one: One, table: Make, tmp_path: Path) -> None:
    last = json.loads(set_result(run).read_text())
    first = copy_first(run, mean=0.125)
    # None of these is the same evaluation, and all come first by name.
    others = {"n": 99, "temperature": 0.5, "problems_sha256": "other", "template": {"chat": True}, "top_p": 0.9}
    for i, (key, value) in enumerate(others.items()):
        add_result(run, 0, f"aa-{i}", last | {"mean": 0.9, key: value})
    assert one("before").value == 0.125
    first.unlink()
    file = tmp_path / "mine.yaml"
    file.write_text("title: mine\nrows: [selector]\nvalues: [before, mean]\n")
    columns = table(str(file), sweeps=("controls",)).columns
    assert [column.metric.name for column in columns] == ["mean"]


def test_before_of_another_grader_is_noted(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    new, old = {"version": 2, "readings": {}}, {"version": 1, "readings": {}}
    made = sweep(grid=[*FULL, ["selector=random", "ratio=0.2"]], result={"grading": new})
    for path in made:
        copy_first(path, mean=0.125, grading=old if "random" in path.name else new)
    file = tmp_path / "mine.yaml"
    file.write_text("title: x\nrows: [selector]\nvalues: [before, mean]\n")

    def notes() -> list[str]:
        return [note for note in table(str(file), sweeps=("controls",)).notes if "by another version" in note]

    said = "arithmetic before training, %: graded by another version of the grader than after training, not comparable"
    assert notes() == [f"{said}: random"]
    # Where both versions graded it, the same one counts.
    for path in made[3:]:
        add_result(path, 0, "zz-again", json.loads(set_result(path).read_text()) | {"mean": 0.25})
    assert notes() == []
    column = table(str(file), sweeps=("controls",)).columns[0]
    cell = table(str(file), sweeps=("controls",)).cell(("random",), column)
    assert [one.value for one in cell.measured] == [0.25] * 3


def test_of_several_results_that_with_the_usual_settings_counts(sweep: Sweep, table: Make) -> None:
    made = sweep(grid=FULL, seeds=3)
    for i, path in enumerate(made):
        set_scores(path, [0.25, 0.5, 0.25, 0.5])
        if i:
            continue
        facts = json.loads(set_result(path).read_text())
        add_result(path, 3, "zz-more-samples", facts | {"n": 64, "mean": 0.9})
        add_result(path, 3, "aa-cooler", facts | {"temperature": 0.5, "mean": 0.9})
    cell = next(iter(table().cells.values()))
    assert [one.value for one in cell.measured] == [0.375] * 3


def test_of_equally_usual_results_the_whole_and_then_the_larger_counts(run: Path, one: One) -> None:
    facts = json.loads(set_result(run, mean=0.25, partial=True, n=64).read_text())
    add_result(run, 3, "whole", facts | {"mean": 0.5, "partial": False, "n": 4})
    assert one("mean").value == 0.5
    add_result(run, 3, "larger", facts | {"mean": 0.75, "partial": False, "n": 8})
    assert one("mean").value == 0.75


def test_quadrants_is_short_for_four_values(sweep: Sweep, table: Make) -> None:
    for path in sweep(grid=[["selector=q3_only", "ratio=0.2"]]):
        shares = {f"quadrant/q{q}_frac_of_kept": share for q, share in enumerate((0.8125, 0.0, 0.1875, 0.0), 1)}
        set_lines(path, [{}, *[{"select/kept_frac": 0.2} | shares] * 3])
    made = table("controls")
    heads = [made.head(column) for column in made.columns if column.metric.source == "run"]
    assert heads == ["tokens kept, %", *(f"kept from Q{q}, %" for q in (1, 2, 3, 4))]
    assert notes_of(made)[-1] == (
        "quadrants of the step's tokens: Q1 unsure, wrong; Q2 unsure, agreeing; Q3 sure, wrong; Q4 solved"
    )
    (row,) = made.rows
    assert [made.cell(row, column).mean for column in made.columns[-4:]] == [0.8125, 0, 0.1875, 0]


def test_the_column_of_quadrants_is_there_without_a_report(sweep: Sweep, table: Make) -> None:
    sweep("mine")
    assert [column.metric.name for column in table("mine").columns] == ["mean", "kept", "q1", "q2", "q3", "q4"]
