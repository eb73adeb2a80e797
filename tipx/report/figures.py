"""Pictures of a table: readable in print and without colours, with error bars and what they are."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tipx.display.palette import GREY, HATCHES, MARKERS, PALETTE
from tipx.display.plots import STYLE
from tipx.errors import ReportError
from tipx.report.curves import curves, legend, quadrants, scatter, titled
from tipx.report.keys import label, value
from tipx.report.spec import FigureSpec
from tipx.report.table import Cell, Column, Table, Values

PANELS = 4
"""In one line."""
UPRIGHT = 7
"""Bars of a group that can still be told apart."""
ERRORS = {"elinewidth": 1, "capsize": 2, "ecolor": "#333333"}


def draw(table: Table) -> dict[str, Figure]:
    """The report's figures by file name; raises ReportError for a value that cannot be drawn."""
    found = {}
    for one in table.report.figures:
        name = one.kind if one.value is None else f"{one.kind}-{one.value.replace('/', '_').replace('@', '_at_')}"
        with mpl.rc_context(STYLE):
            found[name] = KINDS[one.kind](table, one)
    return found


def columns_of(table: Table, one: FigureSpec) -> list[Column]:
    """Those with the figure's value; raises ReportError."""
    name = one.value or table.report.values[0]
    found = [column for column in table.columns if column.metric.name == name]
    if not found:
        names = dict.fromkeys(column.metric.name for column in table.columns)
        raise ReportError(f"figures: {one.kind} of {name!r}: the table has no such value; it has {', '.join(names)}")
    return found


def errors_of(cells: Sequence[Cell]) -> str:
    """What the error bars are."""
    counts = sorted({cell.n for cell in cells if cell.n})
    if counts == [1]:
        return "± 1 standard error over problems, one seed"
    return f"± 1 standard error over {'-'.join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))} seeds"


def bars(table: Table, one: FigureSpec) -> Figure:
    """Upright, a group for each column; or lying, a panel for each column, where there are many. Paper: diamonds."""
    columns = columns_of(table, one)
    rows = [row for row in table.rows if any(table.cell(row, c).n for c in columns)]
    figure = lying(table, rows, columns) if len(rows) > UPRIGHT else upright(table, rows, columns)
    errors = errors_of([table.cell(row, c) for row in rows for c in columns])
    titled(figure, table.report.title, errors)
    return figure


def upright(table: Table, rows: Sequence[Values], columns: Sequence[Column]) -> Figure:
    width, scale = 0.84 / len(rows), columns[0].metric.scale
    wide = max(4.5, min(14.0, 2.4 + 0.42 * len(rows) * len(columns)))
    figure = Figure(figsize=(wide, 3.6), layout="constrained")
    axes = figure.subplots()
    for i, row in enumerate(rows):
        there = [(x, cell) for x, column in enumerate(columns) if (cell := table.cell(row, column)).n]
        places = [x - 0.42 + (i + 0.5) * width for x, _ in there]
        heights, errors = lengths([cell for _, cell in there], scale)
        axes.bar(places, heights, width * 0.92, yerr=errors, label=label(row), error_kw=ERRORS, **looks(i))
        for place, height, error in zip(places, heights, errors, strict=True):
            text = f"{height:.{columns[0].metric.digits}f}"
            turn = 0 if wide * width / len(columns) > 0.3 else 90
            axes.annotate(
                text,
                (place, height + error),
                (0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                rotation=turn,
            )
        paper = [(place, cell.paper.value) for place, (_, cell) in zip(places, there, strict=True) if cell.paper]
        if paper:
            axes.plot(*zip(*paper, strict=True), "D", mfc="white", mec="black", ms=4)
    axes.set_xticks(range(len(columns)), [label(column.values) for column in columns])
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(table.titled(columns[0]))
    axes.margins(y=0.12)
    legend(figure, axes)
    return figure


def lying(table: Table, rows: Sequence[Values], columns: Sequence[Column]) -> Figure:
    figure = Figure(figsize=(2.0 + 2.9 * len(columns), 1.0 + 0.2 * len(rows)), layout="constrained")
    names = {name: i for i, name in enumerate(dict.fromkeys(rule(row, table) for row in rows))}
    for axes, column in zip(figure.subplots(1, len(columns), squeeze=False, sharey=True)[0], columns, strict=True):
        there = [(y, row, cell) for y, row in enumerate(rows) if (cell := table.cell(row, column)).n]
        sizes, errors = lengths([cell for _, _, cell in there], column.metric.scale)
        for (y, row, cell), size, error in zip(there, sizes, errors, strict=True):
            axes.barh(y, size, 0.78, xerr=error, error_kw=ERRORS, **looks(names[rule(row, table)]))
            text = f"{size:.{column.metric.digits}f}"
            axes.annotate(text, (size + error, y), (3, 0), textcoords="offset points", va="center", fontsize=7)
            if cell.paper:
                axes.plot(cell.paper.value, y, "D", mfc="white", mec="black", ms=4)
        axes.set_yticks(range(len(rows)), [label(row) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_title(label(column.values))
        axes.set_xlabel(table.titled(column))
        axes.margins(x=0.14)
    return figure


def lengths(cells: Sequence[Cell], scale: float) -> tuple[list[float], list[float]]:
    """Means and their errors, as they are displayed."""
    return [cell.mean * scale for cell in cells], [(cell.error or 0) * scale for cell in cells]


def looks(i: int) -> dict[str, Any]:
    """Of the i-th kind of bar."""
    return {
        "color": PALETTE[i % len(PALETTE)],
        "hatch": HATCHES[i % len(HATCHES)],
        "edgecolor": "white",
        "linewidth": 0.4,
    }


def against_ratio(table: Table, one: FigureSpec) -> Figure:
    """A panel for each column, a line for each rule; rows that keep every token are a level line with its error."""
    columns = columns_of(table, one)
    figure = Figure(figsize=(1.6 + 3.0 * min(len(columns), PANELS), 3.2 * (1 + (len(columns) - 1) // PANELS)))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(-(-len(columns) // PANELS), min(len(columns), PANELS), squeeze=False).flat
    for axes, column in zip(panels, columns, strict=False):
        draw_lines(axes, table, column)
        axes.set_title(label(column.values))
        axes.set_xlabel("tokens kept, %")
        axes.set_ylabel(table.titled(column))
    for axes in list(panels)[len(columns) :]:
        axes.set_axis_off()
    legend(figure, figure.axes[0])
    cells = [table.cell(row, c) for row in table.rows for c in columns]
    titled(figure, table.report.title, errors_of(cells))
    return figure


def draw_lines(axes: Any, table: Table, column: Column) -> None:
    rules: dict[str, list[tuple[float, Cell]]] = {}
    for row in table.rows:
        cell, scale = table.cell(row, column), column.metric.scale
        if not cell.n:
            continue
        ratio = value(cell.measured[0].run, "ratio")
        if ratio is None:
            level, error = cell.mean * scale, (cell.error or 0) * scale
            axes.axhline(level, color=GREY, ls="--", label=label(row))
            axes.axhspan(level - error, level + error, color=GREY, alpha=0.15, lw=0)
        else:
            rules.setdefault(rule(row, table), []).append((100 * ratio, cell))
    for i, (name, points) in enumerate(rules.items()):
        points.sort(key=lambda point: point[0])
        axes.errorbar(
            [x for x, _ in points],
            [cell.mean * column.metric.scale for _, cell in points],
            yerr=[(cell.error or 0) * column.metric.scale for _, cell in points],
            color=PALETTE[i % len(PALETTE)],
            marker=MARKERS[i % len(MARKERS)],
            ms=5,
            capsize=2,
            label=name,
        )
        paper = [(x, cell.paper.value) for x, cell in points if cell.paper]
        if paper:
            colour = PALETTE[i % len(PALETTE)]
            axes.plot(*zip(*paper, strict=True), "D", mfc="white", mec=colour, ms=5, label=f"{name}, paper")
    axes.set_xlim(left=0)


def rule(row: Values, table: Table) -> str:
    """A row's name without its ratio."""
    return label(v for k, v in zip(table.report.rows, row, strict=True) if k not in ("ratio", "selector.pick.ratio"))


KINDS = {"bars": bars, "against_ratio": against_ratio, "curves": curves, "quadrants": quadrants, "scatter": scatter}
