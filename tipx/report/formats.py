"""A table as text: for the terminal, Markdown, LaTeX and CSV."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.text import Text
from tabulate import tabulate

from tipx.display.console import clean_text
from tipx.display.fit import FittedTable
from tipx.display.markdown import escape_markdown
from tipx.display.palette import QUADRANTS
from tipx.report.keys import shown
from tipx.report.metrics import Metric
from tipx.report.table import Cell, Column, Table
from tipx.runs import metric_keys as keys

BOLD = "bold: the best of a column, and what cannot be told from it (p >= 0.05 by the same paired tests, Holm-adjusted)"
QUADRANT_NAMES = f"quadrants of the step's tokens: {'; '.join(text for text, _ in QUADRANTS.values())}"
TEX = str.maketrans(
    {
        "_": r"\_",
        "%": r"\%",
        "&": r"\&",
        "#": r"\#",
        "$": r"\$",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": r"\ensuremath{<}",
        ">": r"\ensuremath{>}",
        "±": r"\ensuremath{\pm}",
    }
)


@dataclass(frozen=True)
class Parts:
    """A cell's text in pieces, so that each format dresses them in its own way."""

    value: str
    error: str
    stars: str
    n: str
    paper: str
    best: bool

    @property
    def text(self) -> str:
        """As in `79.1 ± 0.8** (n=2) [78.6 ± 0.6]`."""
        error = f" ± {self.error}" if self.error else ""
        n = f" (n={self.n})" if self.n else ""
        return f"{self.value}{error}{self.stars}{n}{f' [{self.paper}]' if self.paper else ''}"


def number(value: float, metric: Metric) -> str:
    return f"{value * metric.scale:.{metric.digits}f}"


def parts(cell: Cell, column: Column, most: int) -> Parts:
    """`most` is the number of seeds that most cells have; others say theirs."""
    fact = cell.paper
    paper = "" if fact is None else f"{fact.value:g}{f' ± {fact.spread:g}' if fact.spread is not None else ''}"
    if not cell.n:
        return Parts("—" if cell.missing or cell.undefined else "", "", "", "", paper, best=False)
    return Parts(
        number(cell.mean, column.metric),
        "" if cell.error is None else number(cell.error, column.metric),
        "*" * (cell.test.stars if cell.test else 0),
        "" if cell.n == most else str(cell.n),
        paper,
        cell.best,
    )


def grid(table: Table) -> list[list[Parts]]:
    """Every cell's text, by row and column."""
    most = max((cell.n for cell in table.filled), default=1)
    return [[parts(table.cell(row, column), column, most) for column in table.columns] for row in table.lines]


def heads(table: Table) -> list[str]:
    """Of the row keys, then of the columns."""
    return [*(key.rsplit(".", 1)[-1] for key in table.report.rows), *(table.head(column) for column in table.columns)]


def dressed(table: Table, dress: Callable[[Parts], Any], plain: Callable[[str], Any]) -> list[list[Any]]:
    """Rows of row labels and dressed cells."""
    pairs = zip(table.lines, grid(table), strict=True)
    return [[*(plain(shown(one)) for one in row), *(dress(part) for part in line)] for row, line in pairs]


def markdown(table: Table) -> str:
    """GitHub's, notes below."""

    def dress(part: Parts) -> str:
        value = f"**{part.value}**" if part.best else part.value
        return Parts(value, part.error, part.stars.replace("*", r"\*"), part.n, part.paper, part.best).text

    rows = dressed(table, dress, escape_markdown)
    align = ["left"] * len(table.report.rows) + ["right"] * len(table.columns)
    body = tabulate(
        rows, [escape_markdown(head) for head in heads(table)], tablefmt="github", colalign=align, disable_numparse=True
    )
    notes = "".join(f"- {escape_markdown(note)}\n" for note in [*notes_of(table), *table.names])
    return f"# {escape_markdown(table.report.title)}\n\n{escape_markdown(table.opening)}\n\n{body}\n\n{notes}"


def notes_of(table: Table) -> list[str]:
    """What must be known to read it; not which runs are missing or damaged, which `names` tells."""
    best = [BOLD] if any(cell.best for cell in table.filled) else []
    one = {c.metric: c for c in table.columns}
    what = [table.titled(c) for c in one.values()] if len(one) == 1 else []
    seen = [QUADRANT_NAMES] if any(c.metric.name in keys.QUADRANTS for c in table.columns) else []
    return [*what, *best, *table.notes, *seen]


def latex(table: Table) -> str:
    r"""A table environment with booktabs rules; needs \usepackage{booktabs}. Names of runs are comments."""

    def dress(part: Parts) -> str:
        value = rf"\textbf{{{part.value}}}" if part.best else part.value
        error = rf" {{\scriptsize$\pm$\,{part.error}}}" if part.error else ""
        stars = f"$^{{{part.stars}}}$" if part.stars else ""
        beside = part.paper.replace("±", r"$\pm$")
        paper = rf" {{\scriptsize [{beside}]}}" if part.paper else ""
        n = rf" {{\scriptsize ($n={part.n}$)}}" if part.n else ""
        return f"{value}{error}{stars}{n}{paper}".replace("—", "--")

    names = [escape(head) for head in heads(table)]
    # Two columns may have one name; the Styler wants its own labels to be unique.
    frame = pd.DataFrame(dressed(table, dress, escape), columns=range(len(names)))
    styler = frame.style.hide(axis="index").format_index(lambda i: names[int(str(i))], axis="columns")
    comments = "".join(f"% {escape(name)}\n" for name in table.names)
    return comments + styler.to_latex(
        hrules=True,
        column_format="l" * len(table.report.rows) + "r" * len(table.columns),
        position="t",
        position_float="centering",
        caption=" ".join([f"{escape(table.report.title)}.", *(f"{escape(n)}." for n in notes_of(table))]),
        label="tab:" + "-".join(re.findall(r"\w+", table.report.title.lower())[:4]),
    )


def escape(text: str) -> str:
    return clean_text(" ".join(text.split("\n"))).translate(TEX)


def csv(table: Table) -> str:
    """`cells` as text."""
    return str(cells(table).to_csv(index=False))


def cells(table: Table) -> pd.DataFrame:
    """One row a cell: the number, its error, n, the test, and the files it comes from."""
    lines = [line(table, row, column) for row in table.lines for column in table.columns]
    return pd.DataFrame([one for one in lines if one])


def line(table: Table, row: Sequence[Any], column: Column) -> dict[str, Any]:
    """Plain numbers, not scaled for display; {} for a cell that nobody planned."""
    cell = table.cell(tuple(row), column)
    if not (cell.n or cell.missing):
        return {}
    test, place = cell.test, dict(zip(table.report.rows, row, strict=True))
    place |= dict(zip(table.column_keys, column.values, strict=True))
    return {
        **place,
        "metric": column.metric.name,
        "mean": cell.mean if cell.n else None,
        "se": cell.error,
        "n": cell.n,
        "se_over": ("seeds" if cell.n > 1 else "problems") if cell.error is not None else None,
        "missing": len(cell.missing),
        "baseline": test and test.baseline,
        "difference": test and test.result.difference,
        "low": test and test.result.low,
        "high": test and test.result.high,
        "p": test and test.result.p,
        "p_holm": test and test.adjusted,
        "test": test and test.method,
        "paper": cell.paper and cell.paper.value,
        "files": " ".join(str(one.file) for one in cell.measured),
    }


def terminal(table: Table) -> FittedTable:
    """With bold for the best; row labels and numbers are never wrapped. The last columns say least."""
    names, keys = heads(table), len(table.report.rows)
    found = FittedTable(table.report.title, least=names[:keys:-1])
    for i, head in enumerate(names):
        found.add_column(Text(head), justify="left" if i < keys else "right", no_wrap=True)

    def dress(part: Parts) -> Text:
        return Text.assemble((part.value, "bold" if part.best else ""), part.text.removeprefix(part.value))

    for row in dressed(table, dress, Text):
        found.add_row(*row)
    return found
