"""Saved of the step: how much shorter a row's steps are than those of the baseline."""

from dataclasses import replace

from tipx.errors import ReportError
from tipx.report.gap import leave_out
from tipx.report.keys import label
from tipx.report.metrics import SAVED
from tipx.report.significance import baseline_of
from tipx.report.table import Cell, Table

MEANING = (
    "saved of the step: 1 - seconds a step / those of {base}, rollouts included, medians over steps; it holds where "
    "both ran alone on one kind of machine"
)


def fill_savings(table: Table) -> None:
    """Turn the columns `saved`, which hold seconds a step until now, into shares of the baseline's; a note says so.

    With t the seconds of a run and b those of the baseline, averaged over its seeds, what is saved is 1 - t / b. It is
    below 0 where steps are longer. Raises ReportError where no column is left.
    """
    for column in [column for column in table.columns if column.metric.name == SAVED]:
        seconds = {row: cell for row in table.rows if (cell := table.cell(row, column)).n}
        bases = {row: base for row in seconds if (base := baseline_of(row, table)) in seconds and base is not None}
        if not bases:
            table.notes.append(f"{table.head(column)}: no baseline to compare with")
            leave_out(table, column)
            continue
        for row, cell in seconds.items():
            saved = Cell(missing=cell.missing, undefined=True)
            if row in bases:
                whole = seconds[bases[row]].mean
                saved = replace(cell, measured=[replace(one, value=1 - one.value / whole) for one in cell.measured])
            table.cells[row, column] = saved
        devices = {str(one.run.start.get("device")) for cell in seconds.values() for one in cell.measured}
        different = f"; here they ran on {', '.join(sorted(devices))}" if len(devices) > 1 else ""
        named = ", ".join(dict.fromkeys(map(label, bases.values())))
        table.notes.append(MEANING.format(base=named) + different)
    if not table.columns:
        raise ReportError(f"{SAVED}: {'; '.join(table.notes)}; give the report a baseline, or name other values")
