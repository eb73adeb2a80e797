"""Stars, intervals and bold against arithmetic done here.

Four problems, three seeds. Every problem moves by the same amount, so that the test over seeds is all there is. Over
`full` seeds 0, 1 and 2 move by (a, a, b), for which t = (2a + b) / |b - a| at 2 degrees of freedom and, in closed form,
p = 1 - t / sqrt(2 + t^2); units are 1/64:

    row        a    b    mean  t    p        Holm
    soft_or   13   16   14     14   0.00506  3 p = 0.0152: one star; unadjusted it would be two
    q3_only    5    8    6      6   0.0267   2 p = 0.0533: none; unadjusted it would be one
    random    -3   -6   -4     -4   0.0572   p
"""

from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import pytest

from tests.report.by_hand import p_of_t, set_result, set_scores, t_test, to_held_out
from tipx.report import Table
from tipx.report.formats import grid, notes_of
from tipx.report.table import Cell

Sweep = Callable[..., list[Path]]
Make = Callable[..., Table]
GRID = [
    ["selector=full"],
    ["selector=soft_or", "ratio=0.5"],
    ["selector=q3_only", "ratio=0.2"],
    ["selector=random", "ratio=0.2"],
]
BASE = [0.25, 0.5, 0.25, 0.5]
MOVES = {"full": (0, 0, 0), "soft_or": (13, 13, 16), "q3_only": (5, 5, 8), "random": (-3, -3, -6)}
REACH = 0.95 / sqrt(2 * 0.975 * 0.025)
"""The 97.5 % point of t at 2 degrees of freedom, in closed form: 4.30."""


def column_of(table: Table, name: str) -> dict[str, Cell]:
    """The cells of a value, by selector."""
    (column,) = (column for column in table.columns if column.metric.name == name)
    return {row[0]: table.cell(row, column) for row in table.rows}


def bold(table: Table, name: str) -> list[str]:
    return [row for row, cell in column_of(table, name).items() if cell.best]


@pytest.fixture
def moved(sweep: Sweep) -> Callable[..., list[Path]]:
    """A store whose scores are the base's and what each seed moves it by."""

    def build(moves: dict[str, Sequence[float]] = MOVES, seeds: int = 3, unit: float = 1 / 64) -> list[Path]:
        grid = [words for words in GRID if words[0].partition("=")[2] in moves]
        made = sweep(grid=grid, seeds=seeds)
        steps = [by for one in moves.values() for by in one]
        for run, by in zip(made, steps, strict=True):
            set_scores(run, [score + by * unit for score in BASE])
        return made

    return build


@pytest.fixture
def own(table: Make, tmp_path: Path) -> Callable[[str], Table]:
    """A table of the group `controls` with these values."""

    def build(values: str) -> Table:
        file = tmp_path / "mine.yaml"
        file.write_text(f"title: mine\nrows: [selector, ratio]\nvalues: [{values}]\nbaseline: {{selector: full}}\n")
        return table(str(file), sweeps=("controls",))

    return build


def test_the_table(moved: Callable[..., list[Path]], table: Make) -> None:
    moved()
    made = table()
    cells = column_of(made, "mean")
    assert [cell.mean for cell in cells.values()] == [0.375, 0.375 + 14 / 64, 0.375 + 6 / 64, 0.375 - 4 / 64]
    # Seeds a, a, b: standard deviation |b - a| / sqrt(3), over sqrt(3).
    assert [cell.error for cell in cells.values()] == pytest.approx([0, 1 / 64, 1 / 64, 1 / 64])
    assert cells["full"].test is None
    ts = {"soft_or": 14, "q3_only": 6, "random": -4}
    p = {row: 1 - abs(t) / sqrt(2 + t * t) for row, t in ts.items()}
    adjusted = {"soft_or": 3 * p["soft_or"], "q3_only": 2 * p["q3_only"], "random": p["random"]}
    for row, t in ts.items():
        test = cells[row].test
        assert test is not None
        assert (test.baseline, test.method) == ("full", "two-way")
        assert test.result.difference == pytest.approx(t / 64)
        assert (test.result.low, test.result.high) == pytest.approx(((t - REACH) / 64, (t + REACH) / 64))
        assert (test.result.p, test.adjusted) == pytest.approx((p[row], adjusted[row]))
    texts = [line[0].text for line in grid(made)]
    assert texts == ["37.5 ± 0.0", "59.4 ± 1.6*", "46.9 ± 1.6", "31.2 ± 1.6"]
    assert notes_of(made)[1] == (
        "* p < 0.05, ** p < 0.01 against full, Holm-adjusted over the rows of a column (paired over seeds and "
        "problems: the larger p of a two-way and a seeds-only t test; greedy, perplexity and divergence: paired t test "
        "over seeds)"
    )


def test_problems_are_draws_too(moved: Callable[..., list[Path]], table: Make) -> None:
    # Seeds hardly differ and problems do: on average 1/8, 0, 1/8 and 1/2 - the test over problems has the larger p.
    made = moved({"full": (0, 0, 0), "soft_or": (0, 0, 0)})
    differences = [[0.125, 0.0, 0.125, 0.5], [0.125, 0.0, 0.125, 0.5], [0.125, 0.0, 0.125, 0.4375]]
    for run, by in zip(made[3:], differences, strict=True):
        set_scores(run, [score + d for score, d in zip(BASE, by, strict=True)])
    by_seed = [fmean(line) for line in differences]
    by_problem = [fmean(line) for line in zip(*differences, strict=True)]
    of_seeds, of_problems = stdev(by_seed) ** 2 / 3, stdev(by_problem) ** 2 / 4
    freedom = (of_seeds + of_problems) ** 2 / (of_seeds**2 / 2 + of_problems**2 / 3)
    test = column_of(table(), "mean")["soft_or"].test
    assert test is not None
    assert test.result.difference == pytest.approx(fmean(by_seed))
    assert test.result.p == pytest.approx(p_of_t(fmean(by_seed) / sqrt(of_seeds + of_problems), freedom), abs=1e-9)
    assert t_test(by_seed) < 0.01 < test.result.p


def test_two_stars(moved: Callable[..., list[Path]], table: Make) -> None:
    # t = (2 * 29 + 32) / 3 = 30, p = 1 - 30 / sqrt(902) = 0.0011, once.
    moved({"full": (0, 0, 0), "random": (-29, -29, -32)}, unit=1 / 256)
    assert [line[0].stars for line in grid(table())] == ["", "**"]


def test_a_baseline_of_its_own_for_each_stratum(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    # Rows are tested against the row that is alike but for the baseline's values; here the ratios differ.
    rules = [[f"selector={s}", f"ratio={r}"] for r in ("0.5", "0.2") for s in ("soft_or", "random")]
    for run, mean in zip(sweep(grid=rules, seeds=1), (0.5, 0.25, 0.375, 0.125), strict=True):
        set_scores(run, [mean, mean, mean + 0.125, mean - 0.125])
    file = tmp_path / "mine.yaml"
    file.write_text("title: x\nrows: [selector, ratio]\nbaseline: {selector: soft_or}\n")
    made = table(str(file), sweeps=("controls",))
    found = {row: cell.test for (row, _), cell in made.cells.items()}
    assert {row: test and (test.baseline, test.result.difference) for row, test in found.items()} == {
        ("soft_or", 0.5): None,
        ("soft_or", 0.2): None,
        ("random", 0.5): ("soft_or 0.5", -0.25),
        ("random", 0.2): ("soft_or 0.2", -0.25),
    }


def test_two_baselines_are_none(sweep: Sweep, table: Make, tmp_path: Path) -> None:
    # No row of soft_or has ratio 0.3, and two others have: none of them is the one.
    rules = [["selector=soft_or", "ratio=0.5"], ["selector=soft_or", "ratio=0.2"], ["selector=random", "ratio=0.3"]]
    sweep(grid=rules)
    file = tmp_path / "mine.yaml"
    file.write_text("title: x\nrows: [selector, ratio]\nbaseline: {selector: soft_or}\n")
    assert not any(cell.test for cell in table(str(file), sweeps=("controls",)).cells.values())


def test_without_problems_seeds_are_tested(moved: Callable[..., list[Path]], own: Callable[[str], Table]) -> None:
    greedy = {"full": (0.5, 0.5, 0.6), "soft_or": (0.6, 0.7, 0.75), "random": (0.45, 0.4, 0.5)}
    made = moved(dict.fromkeys(greedy, (0, 0, 0)))
    for run, value in zip(made, [one for values in greedy.values() for one in values], strict=True):
        set_result(run, greedy=value, greedy_se=0.02)
    cells = column_of(own("greedy"), "greedy")
    for row, sign in (("soft_or", 1), ("random", -1)):
        test, differences = cells[row].test, [a - b for a, b in zip(greedy[row], greedy["full"], strict=True)]
        assert test is not None
        assert test.method == "seeds"
        assert test.result.difference == pytest.approx(fmean(differences))
        assert sign * test.result.difference > 0
        assert test.result.p == pytest.approx(t_test(differences), abs=1e-9)


def test_one_seed_has_no_star(moved: Callable[..., list[Path]], table: Make) -> None:
    # Twelve problems, all better by 1/8 or 3/8: of 2^12 ways to swap, only 2 are as far from 0, so p = 1/2048.
    made = moved({"full": (0,), "soft_or": (0,)}, seeds=1)
    by = [0.125, 0.375] * 6
    set_scores(made[0], [0.25] * 12)
    set_scores(made[1], [0.25 + one for one in by])
    found = table()
    test = column_of(found, "mean")["soft_or"].test
    assert test is not None
    assert (test.result.p, test.adjusted, test.result.difference) == pytest.approx((2 / 2**12, 2 / 2**12, 0.25))
    # t at 11 degrees of freedom: 2.20099.
    reach = 2.20099 * stdev(by) / sqrt(12)
    assert (test.result.low, test.result.high) == pytest.approx((0.25 - reach, 0.25 + reach), abs=1e-6)
    assert [(line[0].stars, line[0].best) for line in grid(found)] == [("", False), ("", False)]
    notes = notes_of(found)
    assert not [note for note in notes if note.startswith(("*", "bold"))]
    assert [note for note in notes if note.startswith("one seed has no stars: its p-values")]
    assert "± one standard error over problems; one seed, so nothing about the noise of training" in notes


def test_p_over_problems_by_hand(moved: Callable[..., list[Path]], table: Make) -> None:
    # Three problems of four move, all up: of 2^3 ways to swap, 2 are as far from 0.
    made = moved({"full": (0,), "soft_or": (0,)}, seeds=1)
    set_scores(made[1], [BASE[0] + 0.25, BASE[1] + 0.25, BASE[2] + 0.25, BASE[3]])
    test = column_of(table(), "mean")["soft_or"].test
    assert test is not None
    assert test.result.p == pytest.approx(0.25)


def test_bold_is_the_best_and_what_cannot_be_told_from_it(
    moved: Callable[..., list[Path]], own: Callable[[str], Table]
) -> None:
    # Against soft_or: q3_only differs by (-1, -3, 0) / 64, t = -1.5 -> p = 0.27; full and random are clearly lower.
    moved({"full": (0, 1, 0), "soft_or": (20, 22, 20), "q3_only": (19, 19, 20), "random": (-10, -9, -12)})
    made = own("mean")
    assert bold(made, "mean") == ["soft_or", "q3_only"]
    assert notes_of(made)[1].startswith("bold: the best of a column, and what cannot be told from it (p >= 0.05")


def test_bold_takes_holm_s_p(moved: Callable[..., list[Path]], own: Callable[[str], Table]) -> None:
    # Both others are below soft_or by t = 6: p = 0.0267 each, 0.0533 adjusted for two tests.
    moved({"full": (-5, -5, -8), "soft_or": (0, 0, 0), "random": (-5, -5, -8)})
    assert bold(own("mean"), "mean") == ["full", "soft_or", "random"]


def test_bold_is_alone_where_all_others_are_told_apart(
    moved: Callable[..., list[Path]], own: Callable[[str], Table]
) -> None:
    # t = (2 * 4 + 6) / 2 = 7 for both: p = 1 - 7 / sqrt(51) = 0.0198, 0.0396 adjusted.
    moved({"full": (-4, -4, -6), "soft_or": (0, 0, 0), "random": (-4, -4, -6)})
    assert bold(own("mean"), "mean") == ["soft_or"]


def test_low_is_better_for_perplexity(sweep: Sweep, own: Callable[[str], Table]) -> None:
    values = {"full": (10, 11, 12), "soft_or": (8, 9.5, 10), "random": (20, 21.5, 22)}
    made = sweep(grid=[GRID[0], GRID[1], GRID[3]])
    for run, value in zip(made, [one for row in values.values() for one in row], strict=True):
        to_held_out(run, perplexity=value, perplexity_se=0.5)
    found = own("perplexity")
    # full - soft_or: 2, 1.5, 2 -> t = 11, p = 0.008; 0.016 with random's.
    assert t_test([2, 1.5, 2]) == pytest.approx(1 - 11 / sqrt(123))
    assert bold(found, "perplexity") == ["soft_or"]
    test = column_of(found, "perplexity")["soft_or"].test
    assert test is not None
    assert (test.result.difference, test.result.p) == pytest.approx((-11 / 6, 1 - 11 / sqrt(123)))


def test_what_has_no_better_end_has_no_bold(moved: Callable[..., list[Path]], own: Callable[[str], Table]) -> None:
    moved()
    made = own("mean, kept, length")
    assert (bold(made, "mean"), bold(made, "kept"), bold(made, "length")) == (["soft_or"], [], [])


def test_no_bold_where_a_cell_cannot_be_tested(moved: Callable[..., list[Path]], table: Make) -> None:
    made = moved()
    set_result(made[-1], temperature=0.5)
    found = table()
    assert bold(found, "mean") == []
    assert (
        "arithmetic mean@4, %: no bold, as not all can be tested against soft_or 0.5: they were evaluated in different "
        "ways, or on different problems"
    ) in found.notes


def test_rows_that_cannot_be_tested_for_one_reason_have_one_note(sweep: Sweep, table: Make) -> None:
    sweep(seeds=1)
    assert [note for note in table().notes if "no test against" in note] == [
        "soft_or 0.5, random 0.2, arithmetic greedy, %: no test against full: one seed, and no value for each problem"
    ]


def test_other_seeds_are_no_pairs(sweep: Sweep, table: Make) -> None:
    # soft_or lacks seed 0, random seed 2: two runs each, and one seed in common.
    sweep(skip=(2, 3, 8))
    made = table(partial=True)
    said = [note for note in made.notes if "no test against full" in note and "mean@4" in note]
    assert [note.partition(": no test against full: ")[2] for note in said] == ["seeds 1, 2 and 0, 1 differ"]
    cells = column_of(made, "mean")
    assert cells["soft_or"].test is None
    assert cells["random"].test is not None
