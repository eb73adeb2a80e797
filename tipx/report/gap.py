"""Gap recovered: how much of the way from the student before training to its teacher a run came."""

from dataclasses import replace

from tipx.errors import ReportError
from tipx.report.formats import number
from tipx.report.long import Measured
from tipx.report.metrics import GAP
from tipx.report.metrics import scores as scores_of
from tipx.report.references import START, TEACHER, place_of
from tipx.report.table import Cell, Column, Table

ERROR = (
    "gap recovered: (after - start) / (teacher - start), start and teacher as in their rows. Its error is that of "
    "after; the errors of start and teacher would move all rows together and are not in it"
)


def fill_gaps(table: Table) -> None:
    """Turn the columns `gap`, which hold the mean until now, into gaps; leave out those whose ends are not known.

    With m the mean of a run, s that of the start and t that of the teacher, each averaged over seeds, a gap is
    (m - s) / (t - s). It is linear in m, and so are the scores of problems, from which tests are made: a row differs
    from the baseline in its gap just as it does in its mean. Where t <= s there is nothing to recover. Raises
    ReportError where no column is left.
    """
    for column in [column for column in table.columns if column.metric.name == GAP]:
        ends = [table.references.pop((place_of(table, name), column), None) for name in (START, TEACHER)]
        start, teacher = (end.mean if end else None for end in ends)
        if start is None or teacher is None:
            leave_out(table, column)
            continue
        if teacher <= start:
            shown = [number(end, column.metric) for end in (teacher, start)]
            table.notes.append(
                f"{table.head(column)}: no gap, as the teacher ({shown[0]}) is not above the start ({shown[1]})"
            )
        elif ERROR not in table.notes:
            table.notes.append(ERROR)
        for row in table.rows:
            if (cell := table.cell(row, column)).n:
                table.cells[row, column] = (
                    replace(cell, measured=[recovered(one, start, teacher) for one in cell.measured])
                    if teacher > start
                    else Cell(missing=cell.missing, undefined=True)
                )
    if not table.columns:
        raise ReportError(f"gap: start or teacher is not known; {'; '.join(table.notes) or 'name other values'}")


def recovered(one: Measured, start: float, teacher: float) -> Measured:
    """The gap of a run, and of each of its problems."""
    whole = teacher - start
    scores = {problem: (score - start) / whole for problem, score in scores_of(one.facts).items()}
    error = None if one.error is None else one.error / whole
    return replace(one, value=(one.value - start) / whole, error=error, facts=one.facts | {"scores": scores})


def leave_out(table: Table, column: Column) -> None:
    table.columns.remove(column)
    table.cells = {place: cell for place, cell in table.cells.items() if place[1] != column}
    table.references = {place: cell for place, cell in table.references.items() if place[1] != column}
