"""metrics.jsonl: one line a step, in order, appended while the run trains.

A kill or a power cut may leave a last line without its end. That line is none: the step is trained again and writes the
same line. A line that is damaged before that ends what can be trusted, and the run goes back to a checkpoint before it.
"""

import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any, overload

from tipx.files.atomic import append_text, parse_object, write_parts
from tipx.runs.metric_keys import STEP, with_current_keys

Row = dict[str, Any]
NUMBERS = frozenset({bool, int, float, NoneType})
"""What a value of a line may be."""
CHUNK = 1024
"""Lines that are in memory as they are."""


Column = MutableSequence[Any]
CODES = {float: "d", int: "q"}
"""The arrays that hold a kind of number exactly."""


def make_column(values: Sequence[Any]) -> Column:
    """An array where all are fractions or all are counts, else a list."""
    kinds = set(map(type, values))
    code = CODES.get(next(iter(kinds))) if len(kinds) == 1 else None
    try:
        return array(code, values) if code else list(values)
    except OverflowError:  # more than 64 bits
        return list(values)


def join_columns(column: Column, new: Column) -> Column:
    """The first with the second at its end; a list where they are of two kinds."""
    if isinstance(column, array) and isinstance(new, array) and column.typecode == new.typecode:
        column.extend(new)
        return column
    return [*column, *new]


class RowStream:
    """The lines before the first that is missing or is none, one after another, each read once.

    `line` is the last one as it is written today; `problem` is, after the last, what is wrong with the next one, and
    None if nothing is.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.line = b""
        self.problem: str | None = None

    def __iter__(self) -> Iterator[Row]:
        before = None
        if not self.file.exists():
            return
        try:
            with self.file.open("rb") as handle:
                for number, line in enumerate(handle, 1):
                    if not line.endswith(b"\n"):
                        return
                    try:
                        stored = parse_stored_row(line[:-1], before)
                    except ValueError as error:
                        self.problem = f"line {number} {error}"
                        return
                    row = with_current_keys(stored)
                    before, self.line = row[STEP], line if row is stored else write_row(row)
                    yield row
        except OSError as error:
            self.problem = f"it cannot be read ({error.strerror})"


class RowsAlike:
    """Lines with the same keys, a column for each: eight bytes a number where all are fractions, or all are counts."""

    def __init__(self, names: tuple[str, ...], kind: int) -> None:
        self.names, self.kind = names, kind
        self.columns: list[Column] = []
        self.new: list[Iterable[Any]] = []

    @property
    def steps(self) -> Sequence[int]:
        return self.columns[self.names.index(STEP)]

    def take_in(self) -> None:
        """Put the new lines into the columns."""
        new = [make_column(values) for values in zip(*self.new, strict=True)]
        self.columns = [*map(join_columns, self.columns, new)] if self.columns else new
        self.new = []

    def row(self, step: int) -> Row:
        at = bisect_left(self.steps, step)
        return {name: column[at] for name, column in zip(self.names, self.columns, strict=True)}

    def __iter__(self) -> Iterator[Row]:
        for values in zip(*self.columns, strict=True):
            yield dict(zip(self.names, values, strict=True))


class MetricRows(Sequence[Row]):
    """Lines of metrics, in order of steps and none left out; kept by column, in the memory that their numbers take."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._alike: dict[tuple[str, ...], RowsAlike] = {}
        self._kinds = array("q")
        """Of each line, which of `_alike` has it."""
        rest = iter(rows)
        while chunk := list(islice(rest, CHUNK)):
            new: dict[int, RowsAlike] = {}
            for row in chunk:
                names = tuple(row)
                alike = self._alike.get(names)
                if alike is None:
                    alike = self._alike[names] = RowsAlike(names, len(self._alike))
                alike.new.append(row.values())
                self._kinds.append(alike.kind)
                new[alike.kind] = alike
            for alike in new.values():
                alike.take_in()

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[Row]:
        kinds = [iter(alike) for alike in self._alike.values()]
        return (next(kinds[kind]) for kind in self._kinds)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        i = range(len(self))[at]
        first = min(alike.steps[0] for alike in self._alike.values())
        return [*self._alike.values()][self._kinds[i]].row(first + i)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(a == b for a, b in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"MetricRows({[*self]})"

    @property
    def names(self) -> dict[str, None]:
        """Every key, in the order in which they came."""
        return dict.fromkeys(name for names in self._alike for name in names)

    def having(self, wanted: Callable[[str], Any]) -> list[Row]:
        """The lines with a key that is wanted."""
        some = [alike for names, alike in self._alike.items() if any(map(wanted, names))]
        return sorted((row for alike in some for row in alike), key=lambda row: row[STEP])

    def series(self, name: str) -> dict[int, Any]:
        """The values of a key by step, where there is one."""
        some = [(alike, alike.names.index(name)) for names, alike in self._alike.items() if name in names]
        pairs = [pair for alike, at in some for pair in zip(alike.steps, alike.columns[at], strict=True)]
        return {step: value for step, value in sorted(pairs, key=lambda pair: pair[0]) if value is not None}


def read_rows(file: Path) -> tuple[MetricRows, str | None]:
    """The lines before the first that is missing or is none, and what is wrong there; None if nothing is."""
    stream = RowStream(file)
    return MetricRows(stream), stream.problem


def append_row(file: Path, row: Row) -> None:
    """Add one line; raises RunFailed when the disk does not take it."""
    append_text(file, write_row(row).decode())


def write_rows(file: Path, lines: Iterable[bytes]) -> None:
    """Put these lines in the place of the file, whole or not at all. They may come from the file itself."""
    write_parts(file, lines)


def write_row(row: Row) -> bytes:
    """A line, with its end."""
    return json.dumps(row).encode() + b"\n"


def parse_row(line: bytes, before: int | None) -> Row:
    """A line of metrics that follows the one of step `before`, with the keys of today.

    Raises ValueError, in a few words, if it is none.
    """
    return with_current_keys(parse_stored_row(line, before))


def parse_stored_row(line: bytes, before: int | None) -> Row:
    """The same with the keys that it has."""
    try:
        row = parse_object(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("is no text") from error
    step = row.get(STEP)
    if type(step) is not int or not NUMBERS.issuperset(map(type, row.values())):
        raise ValueError("does not hold a step's numbers")
    if step not in ((0, 1) if before is None else (before + 1,)):
        raise ValueError(f"is of step {step}, {'the first' if before is None else f'after step {before}'}")
    return row
