"""Each row against the baseline of its column, and against the best of it, in pairs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tipx.report.keys import label
from tipx.report.long import Measured, setting
from tipx.report.table import Cell, Column, Method, Table, Test, Values, is_baseline
from tipx.stats.clustered import adjust_holm, compare_over_seeds, compare_two_way, t_test
from tipx.stats.difference import Difference
from tipx.stats.estimates import mean_and_error

METHODS: dict[Method, str] = {
    "two-way": "paired over seeds and problems: the larger p of a two-way and a seeds-only t test",
    "seeds": "greedy, perplexity and divergence: paired t test over seeds",
}
ONE_SEED = (
    "one seed has no stars: its p-values (in table.csv) are permutations over problems and say nothing about the noise "
    "of training"
)
LEVEL = 0.05
"""Below it two cells are told apart."""


class CannotPair(Exception):
    """Two cells that are not over the same problems or seeds."""


def add_tests(table: Table) -> None:
    """Fill in the tests, Holm-adjusted over the rows of each column, and say in notes what could not be tested."""
    used: set[Method] = set()
    for column in table.columns:
        found: dict[Values, Test] = {}
        untested: dict[str, list[str]] = {}
        for row in table.rows:
            base = baseline_of(row, table)
            cell, against = table.cell(row, column), table.cell(base, column) if base else Cell()
            if base is None or row == base or not (cell.n and against.n and column.metric.tested):
                continue
            try:
                method, difference = compare(cell, against, column)
            except CannotPair as reason:
                untested.setdefault(f"no test against {label(base)}: {reason}", []).append(label(row))
                continue
            used.add(method)
            found[row] = Test(label(base), difference, difference.p, method)
        for why, names in untested.items():
            table.notes.append(f"{', '.join(names)}, {table.head(column)}: {why}")
        for (row, test), p in zip(found.items(), adjust_holm([t.result.p for t in found.values()]), strict=True):
            table.cells[row, column].test = replace(test, adjusted=p)
    if "permutation" in used:
        table.notes.insert(0, ONE_SEED)
    if used & METHODS.keys():
        how = "; ".join(text for name, text in METHODS.items() if name in used)
        tests = [cell.test for cell in table.cells.values() if cell.test and cell.test.method in METHODS]
        bases = ", ".join(dict.fromkeys(test.baseline for test in tests))
        table.notes.insert(
            0, f"* p < 0.05, ** p < 0.01 against {bases}, Holm-adjusted over the rows of a column ({how})"
        )


def mark_best(table: Table) -> None:
    """Of each column that has a better end: the best, and what cannot be told from it by the same tests.

    Nothing is marked where one seed is all there is, and where a cell cannot be tested against the best.
    """
    for column in table.columns:
        cells = {row: cell for row in table.rows if (cell := table.cell(row, column)).n}
        if column.metric.better is None or len(cells) < 2:
            continue
        ends = max if column.metric.better == "high" else min
        top = ends(cells, key=lambda row: cells[row].mean)
        others = [row for row in cells if row != top]
        if cells[top].n < 2:
            continue
        try:
            ps = adjust_holm([compare(cells[row], cells[top], column)[1].p for row in others])
        except CannotPair as reason:
            table.notes.append(
                f"{table.head(column)}: no bold, as not all can be tested against {label(top)}: {reason}"
            )
            continue
        for row, p in zip([top, *others], [1.0, *ps], strict=True):
            cells[row].best = p >= LEVEL


def baseline_of(row: Values, table: Table) -> Values | None:
    """The row that this one is tested against: alike but for the baseline's values, or the only one that has them."""
    report = table.report
    if not report.baseline:
        return None
    alike = tuple(report.baseline.get(k, v) for k, v in zip(report.rows, row, strict=True))
    if alike in table.rows:
        return alike
    candidates = [one for one in table.rows if is_baseline(one, report)]
    return candidates[0] if len(candidates) == 1 else None


def compare(cell: Cell, base: Cell, column: Column) -> tuple[Method, Difference]:
    """(method, cell - base); raises CannotPair with the reason."""
    pairs = paired(cell, base)
    if column.metric.problems is None:
        if len(pairs) < 2:
            raise CannotPair("one seed, and no value for each problem")
        return "seeds", compare_over_seeds([a.value - b.value for a, b in pairs])
    differences_SP = by_problem(pairs, column)
    if len(differences_SP) > 1:
        return "two-way", compare_two_way(differences_SP)
    return "permutation", over_problems(differences_SP[0])


def paired(cell: Cell, base: Cell) -> list[tuple[Measured, Measured]]:
    """Runs of the same seed."""
    ours, theirs = ({one.run.seed: one for one in c.measured} for c in (cell, base))
    if ours.keys() != theirs.keys():
        listed = [", ".join(map(str, sorted(side))) for side in (ours, theirs)]
        raise CannotPair(f"seeds {listed[0]} and {listed[1]} differ")
    return [(ours[seed], theirs[seed]) for seed in sorted(ours)]


def by_problem(pairs: Sequence[tuple[Measured, Measured]], column: Column) -> np.ndarray:
    """Differences, seeds x problems."""
    read = column.metric.problems
    if read is None:
        raise CannotPair("no value for each problem")
    if len({setting(one.facts) for pair in pairs for one in pair}) > 1:
        raise CannotPair("they were evaluated in different ways, or on different problems")
    values = [(read(a.facts), read(b.facts)) for a, b in pairs]
    ids = list(values[0][0])
    if not ids:
        raise CannotPair("results of before hold no score for each problem; evaluate again")
    if any(list(side) != ids for pair in values for side in pair):
        raise CannotPair("their problems differ")
    return np.array([[a[p] - b[p] for p in ids] for a, b in values])


def over_problems(differences_P: np.ndarray) -> Difference:
    """Permutation test, with a t interval over problems."""
    from tipx.stats.paired import permutation_test_signs

    if len(differences_P) < 2:
        raise CannotPair("one seed and one problem")
    mean, error = mean_and_error(differences_P.tolist())
    p, _ = permutation_test_signs(differences_P, 0)
    return replace(t_test(mean, error or 0.0, len(differences_P) - 1), p=p)
