"""From a cell to its files."""

from collections.abc import Iterator
from typing import Any

from tipx.errors import ReportError
from tipx.report.keys import label, shown
from tipx.report.table import Cell, Column, Table, Values


def cell_named(table: Table, words: str) -> tuple[Values, Column, Cell]:
    """The cell of `ROW,COL`, as they are shown; raises ReportError with the names there are."""
    row_word, _, column_word = (part.strip() for part in words.partition(","))
    rows = {label(row): row for row in table.lines}
    columns = {table.head(column): column for column in table.columns}
    row, column = rows.get(row_word), one_of(column_word, columns)
    if row is None or column is None:
        what, names = ("row", rows) if row is None else ("column", columns)
        word = row_word if row is None else column_word
        raise ReportError(
            f"--trace {words!r}: no {what} {word!r}; expected ROW,COL, and {what}s are: {'; '.join(names)}"
        )
    return row, column, table.cell(row, column)


def one_of(word: str, columns: dict[str, Column]) -> Column | None:
    """By its whole name, or by beginnings of words that only one has."""
    if word in columns or not word:
        return columns.get(word)
    words = word.split()
    fits = [c for name, c in columns.items() if all(any(n.startswith(w) for n in name.split()) for w in words)]
    return fits[0] if len(fits) == 1 else None


def records(cell: Cell) -> Iterator[dict[str, Any]]:
    """What is behind it, one for each run."""
    for one in cell.measured:
        start = one.run.start
        commit = shown(start.get("commit"))[:8]
        yield {
            "run": one.run.name,
            "seed": shown(one.run.seed),
            "value": one.value,
            "commit": f"{commit} (changed)" if start.get("dirty") else commit,
            "path": str(one.run.path),
            "file": str(one.file),
        }
    for missing in cell.missing:
        yield {"run": missing.name, "state": missing.state}
