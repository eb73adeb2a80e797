"""Tables that fit the width they are given, and break no word for it."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

READABLE = 24
"""Characters of a cell that are never wrapped, be they several words: narrower prose is hard to read."""


class FittedTable(Table):
    """A table in which every word is whole, however narrow the console is.

    Cells are first wrapped at blanks, those of `no_wrap` columns (numbers, names, paths) never. If that is not enough,
    the columns named in `least` are left out one after another, from the first, and a line below says which; `more` is
    the option that prints all of them. If what is left is too wide, every row becomes lines of a column's name and its
    value, with all columns. A console that is no terminal is as wide as the table, so nothing is left out of a pipe.
    """

    def __init__(self, title: str, *, least: Sequence[str] = (), more: str = "--json", caption: str = "") -> None:
        super().__init__(title=title, caption=caption, box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        self.least, self.more = [name for name in least if name], more

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield from wrap_words(Text(str(self.title), "table.title"), options.max_width)
        for left_out in accumulate(([name] for name in self.least), initial=list[str]()):
            columns = [column for column in self.columns if str(column.header) not in left_out]
            ranges = [column_range(console, options, column) for column in columns]
            # A blank after each column, and one between two.
            if (widths := share_width(ranges, options.max_width - 2 * len(columns) + 1)) is not None:
                yield self.with_widths(columns, widths)
                if left_out:
                    said = f"not shown: {', '.join(left_out)}; a wider terminal or {self.more} shows all"
                    yield from wrap_words(Text(said, "dim"), options.max_width)
                break
        else:
            yield from row_lines(self.columns, options.max_width)
        if self.caption:
            yield from wrap_words(Text(str(self.caption), "table.caption"), options.max_width)

    def with_widths(self, columns: Sequence[Column], widths: Sequence[int]) -> Table:
        """Some of the columns, in widths that hold their words."""
        table = Table(box=self.box, show_edge=False, padding=self.padding)
        for column, width in zip(columns, widths, strict=True):
            table.add_column(column.header, justify=column.justify, width=width)
        for cells in zip(*(column.cells for column in columns), strict=True):
            table.add_row(*cells)
        return table


def column_range(console: Console, options: ConsoleOptions, column: Column) -> Measurement:
    """The least width in which no word of a column is broken, and the width in which nothing is wrapped."""
    head = as_text(column.header).__rich_measure__(console, options)
    cells = [as_text(cell).__rich_measure__(console, options) for cell in column.cells]
    least = [cell.maximum if column.no_wrap else max(cell.minimum, min(cell.maximum, READABLE)) for cell in cells]
    return Measurement(max([head.minimum, *least]), max([head.maximum, *(cell.maximum for cell in cells)]))


def share_width(ranges: Sequence[Measurement], width: int) -> list[int] | None:
    """Widths of columns that are at most `width` together, the widest made narrower first; None if there are none."""
    if sum(one.minimum for one in ranges) > width:
        return None
    widths = [one.maximum for one in ranges]
    while sum(widths) > width:
        elastic = [i for i, one in enumerate(ranges) if widths[i] > one.minimum]
        widths[max(elastic, key=lambda i: widths[i])] -= 1
    return widths


def row_lines(columns: Sequence[Column], width: int) -> Iterator[Text]:
    """Each row as lines of a column's name and its value, with an empty line between two rows."""
    names = [as_text(column.header).plain for column in columns]
    indent = max(map(len, names), default=0) + 2
    for number, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        if number:
            yield Text()
        for name, cell in zip(names, cells, strict=True):
            first, *rest = wrap_words(as_text(cell), max(width - indent, READABLE))
            yield Text.assemble((f"{name:<{indent}}", "bold"), first, no_wrap=True, overflow="ignore")
            for line in rest:
                yield Text.assemble(" " * indent, line, no_wrap=True, overflow="ignore")


def wrap_words(text: Text, width: int) -> list[Text]:
    """Lines of at most `width`, broken at blanks alone: a word that is longer than a line has one to itself."""
    lines: list[Text] = []
    for line in text.split(allow_blank=True):
        breaks = [0]
        for word in re.finditer(r"\S+", line.plain):
            if word.start() > breaks[-1] and cell_len(line.plain[breaks[-1] : word.end()]) > width:
                breaks.append(word.start())
        lines += line.divide(breaks[1:])
    for line in lines:
        line.rstrip()
        line.no_wrap, line.overflow = True, "ignore"
    return lines


def as_text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))
