"""One HTML page with everything in it: no network, no other file."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tipx.report import formats
from tipx.report.keys import shown
from tipx.report.table import Cell, Column, Table
from tipx.report.trace import records

TEMPLATE = "page.html.j2"


def page(table: Table, figures: dict[str, str], texts: dict[str, str], made: str) -> str:
    """`figures` are SVG by name, `texts` the other formats by file name, `made` says when and from what."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(TEMPLATE).render(
        title=table.report.title,
        opening=table.opening,
        heads=formats.heads(table),
        keys=len(table.report.rows),
        rows=[
            {"names": [shown(one) for one in row], "cells": cells}
            for row, cells in zip(table.lines, cells_of(table), strict=True)
        ],
        notes=[*formats.notes_of(table), *table.names],
        figures={name: Markup(svg) for name, svg in figures.items()},  # noqa: S704 - matplotlib's, which escapes
        texts=texts,
        made=made,
    )


def cells_of(table: Table) -> list[list[dict[str, Any]]]:
    """Text and trace of each cell."""
    return [
        [cell_of(part, table.cell(row, column), column) for part, column in zip(line, table.columns, strict=True)]
        for line, row in zip(formats.grid(table), table.lines, strict=True)
    ]


def cell_of(part: formats.Parts, cell: Cell, column: Column) -> dict[str, Any]:
    runs = list(records(cell))
    for run in runs:
        if "value" in run:
            run["value"] = formats.number(run["value"], column.metric)
    return {"part": part, "facts": facts(cell, column), "runs": runs}


def facts(cell: Cell, column: Column) -> list[str]:
    """Lines for whoever points at a cell."""
    if not cell.n:
        return []
    scale, digits = column.metric.scale, column.metric.digits + 1
    lines = [f"mean {cell.mean * scale:.{digits}f} of n={cell.n}"]
    if cell.error is not None:
        lines.append(f"standard error {cell.error * scale:.{digits}f} over {'seeds' if cell.n > 1 else 'problems'}")
    if (test := cell.test) is not None:
        result = test.result
        ends = " to ".join("-" if end is None else f"{end * scale:+.{digits}f}" for end in (result.low, result.high))
        lines.append(f"against {test.baseline}: {result.difference * scale:+.{digits}f}, 95 % interval {ends}")
        lines.append(f"p = {result.p:.3g}, Holm-adjusted {test.adjusted:.3g} ({test.method})")
    if cell.paper is not None:
        lines.append(f"the paper, table {cell.paper.table}: {cell.paper.value:g}")
    return lines
