"""A table in one line: teacher, start, the best row and whether it is told from the baseline, seeds, machine hours."""

from tipx.report.formats import number
from tipx.report.keys import label
from tipx.report.metrics import GAP
from tipx.report.references import ROLES, START, place_of, shared
from tipx.report.significance import LEVEL, baseline_of
from tipx.report.table import Cell, Column, Table, Values
from tipx.runs import metric_keys as keys
from tipx.runs.reader import StoredRun


def opening(table: Table) -> str:
    """About the first column that has a better end.

    As in `arithmetic mean@4, %: teacher 99.6, start 25.2; best: full with 52.5 ± 1.1, the baseline, not told apart from
    q3_only 0.2; 3 seeds; 0.9 machine hours`.
    """
    column = next((column for column in table.columns if column.metric.better), None)
    parts = [seeds(table), hours(table)]
    if column is None or not any(table.cell(row, column).n for row in table.rows):
        return "; ".join(parts)
    alike = [other for other in table.columns if other.metric == column.metric]
    which = f" (the first of {len(alike)} such columns)" if len(alike) > 1 else ""
    head = f"{label(column.values)} {table.titled(column)}".strip() + which
    return f"{head}: {'; '.join([*filter(None, [', '.join(ends(table, column))]), best(table, column), *parts])}"


def ends(table: Table, column: Column) -> list[str]:
    """Teacher and start, or that they are not known; nothing of a column that has no such rows."""
    if column.metric.source == "run" or column.metric.name == GAP:
        return []
    measured = [one for row in table.rows for one in table.cell(row, column).measured]
    said = []
    for name, role in ROLES.items():
        cell = table.cell(place_of(table, name), column)
        if cell.n:
            said.append(f"{name} {number(cell.mean, column.metric)}")
        elif not shared(role, measured):
            said.append(f"no common {name}")
        elif column.metric.source == "benchmark" or name == START:
            said.append(f"{name} not measured")
    return said


def best(table: Table, column: Column) -> str:
    """The best row with its number, and what it can be told from."""
    cells = {row: cell for row in table.rows if (cell := table.cell(row, column)).n}
    end = max if column.metric.better == "high" else min
    row = end(cells, key=lambda row: cells[row].mean)
    cell = cells[row]
    error = "" if cell.error is None else f" ± {number(cell.error, column.metric)}"
    text = f"{label(row) or 'all runs'} with {number(cell.mean, column.metric)}{error}"
    if len(cells) == 1:
        return text
    base = baseline_of(row, table)
    return f"best: {text}, {against_others(row, cells) if row == base else against_baseline(base, cell)}"


def against_baseline(base: Values | None, cell: Cell) -> str:
    """Of the best row, when it is not the baseline."""
    if base is None:
        return "no baseline to test against"
    if cell.test is None:
        return f"not tested against {label(base)}"
    if cell.test.method == "permutation":
        return f"one seed, so not tested against {label(base)}"
    told = "better than" if cell.test.adjusted < LEVEL else "not told apart from"
    return f"{told} {label(base)} (p = {cell.test.adjusted:.2g})"


def against_others(row: Values, cells: dict[Values, Cell]) -> str:
    """Of the best row, when it is the baseline."""
    if not cells[row].best:
        return "the baseline; the others were not tested against it"
    alike = [label(other) for other, cell in cells.items() if cell.best and other != row]
    return f"the baseline, not told apart from {', '.join(alike)}" if alike else "the baseline, better than the others"


def seeds(table: Table) -> str:
    """Of the cells."""
    counts = sorted({cell.n for cell in table.filled})
    low, high = counts[0], counts[-1]
    return f"{high if low == high else f'{low} to {high}'} seed{'' if high == 1 else 's'}"


def hours(table: Table) -> str:
    """Logged times of the table's runs, times their processes. Start-up and steps done twice are not in it."""
    runs = {one.run.path: one.run for cell in table.filled for one in cell.measured}
    times = [machine_seconds(run) for run in runs.values()]
    total = sum(times) / 3600
    if not total:
        return "run times not logged"
    least = "at least " if 0 in times else ""
    return f"{least}{total:.1f} machine hours" if total >= 0.1 else f"{least}{60 * total:.1f} machine minutes"


def machine_seconds(run: StoredRun) -> float:
    """Of all phases that were timed, evaluations included."""
    logged = sum(value for phase in keys.PHASES for value in run.values(keys.TIME.of(phase)))
    processes = run.start.get("processes")  # as the run says, which may be somebody else's
    return logged * (processes if type(processes) is int else 1)
