"""From numbers to a table: rows, columns, cells, and what is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from tipx.errors import ReportError
from tipx.report.keys import label, planned_value, value
from tipx.report.long import Measured, measure
from tipx.report.metrics import Metric, metric
from tipx.report.paper_numbers import Fact
from tipx.report.spec import Report
from tipx.report.store import Store
from tipx.runs.reader import StoredRun
from tipx.stats.difference import Difference
from tipx.stats.estimates import standard_error

Values = tuple[Any, ...]


@dataclass(frozen=True)
class Column:
    """Values of the column keys, and what is shown."""

    values: Values
    metric: Metric


Method = Literal["two-way", "seeds", "permutation"]


@dataclass(frozen=True)
class Test:
    """Against the baseline of the column; `adjusted` is Holm's p over the rows of the column.

    `permutation` is over the problems of one seed.
    """

    baseline: str
    result: Difference
    adjusted: float
    method: Method

    @property
    def stars(self) -> int:
        """One for p < 0.05, two for p < 0.01; none for one seed, which says nothing about the noise of training."""
        return 0 if self.method == "permutation" else (self.adjusted < 0.05) + (self.adjusted < 0.01)


@dataclass(frozen=True)
class Missing:
    """A run that a cell lacks, and why."""

    row: Values | None
    column: Values | None
    name: str
    state: str


@dataclass
class Cell:
    """Mean over seeds with its standard error; of one seed the error is over problems."""

    measured: list[Measured] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    test: Test | None = None
    paper: Fact | None = None
    best: bool = False
    undefined: bool = False
    """Whether there are runs, but their number has no meaning."""

    @property
    def n(self) -> int:
        return len(self.measured)

    @property
    def mean(self) -> float:
        return fmean(one.value for one in self.measured)

    @property
    def error(self) -> float | None:
        if self.n > 1:
            return standard_error([one.value for one in self.measured])
        return self.measured[0].error if self.measured else None


@dataclass
class Table:
    """Cells by row and column; some rows have no cell in some columns, because nobody planned it.

    `references` are cells of models that no row trained: they are shown above the rows, and neither tested nor drawn.
    `names` are notes that name runs and files, `opening` is the table in one line.
    """

    report: Report
    rows: list[Values]
    columns: list[Column]
    cells: dict[tuple[Values, Column], Cell]
    missing: list[Missing]
    notes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    references: dict[tuple[Values, Column], Cell] = field(default_factory=dict)
    opening: str = ""

    @property
    def lines(self) -> list[Values]:
        """References and rows, as they are printed."""
        return [*unique(row for row, _ in self.references), *self.rows]

    @property
    def column_keys(self) -> list[str]:
        return column_keys(self.report)

    def head(self, column: Column) -> str:
        """`qwen3 math500`, with the metric where there are several."""
        name = label(column.values)
        title = self.titled(column)
        many = len({c.metric for c in self.columns}) > 1
        return f"{name} {title}".strip() if many or not name else name

    def titled(self, column: Column) -> str:
        """The metric, with its unit."""
        return column.metric.headed([one.facts for row in self.rows for one in self.cell(row, column).measured])

    def cell(self, row: Values, column: Column) -> Cell:
        return self.cells.get((row, column)) or self.references.get((row, column)) or Cell()

    @property
    def filled(self) -> Sequence[Cell]:
        return [cell for cell in self.cells.values() if cell.n]


def column_keys(report: Report) -> list[str]:
    """Benchmark comes last where it is not named."""
    extra = [] if "benchmark" in (*report.rows, *report.columns) else ["benchmark"]
    return [*report.columns, *extra]


def build(report: Report, store: Store) -> Table:
    """Raises ReportError when no finished run has any of the values."""
    measured = measure(store.finished, [metric(name) for name in report.values])
    if not measured:
        done = len(store.finished)
        raise ReportError(
            f"{', '.join(report.values)}: none of {len(store.runs)} runs has it ({done} are finished); see `tipx runs "
            f"group={store.groups[0].name}`, or choose other values"
        )
    keys = column_keys(report)
    cells: dict[tuple[Values, Column], Cell] = {}
    for one in measured:
        row, column = (tuple(one.key(k) for k in report.rows), Column(tuple(one.key(k) for k in keys), one.metric))
        cells.setdefault((row, column), Cell()).measured.append(one)
    absent = missing_points(report, store)
    rows = unique([row for row, _ in cells] + [m.row for m in absent if m.row is not None])
    table = Table(report, sort_rows(rows, report), sort_columns([c for _, c in cells], report), cells, absent)
    table.missing += unmeasured(table, store.finished)
    if not store.points:
        table.missing += holes(table)
    attach(table)
    return table


def missing_points(report: Report, store: Store) -> list[Missing]:
    """Planned, or begun, and not finished."""
    runs = {run.path: run for run in store.runs}
    keys = [k for k in column_keys(report) if k != "benchmark"]
    found = []
    for point in store.points:
        run = runs.get(point.path)
        if run is None:
            row, column = (tuple(planned_value(point, k, store.runs) for k in names) for names in (report.rows, keys))
            failure = point.failure()
            found.append(Missing(row, column, point.path.name, f"failed: {failure}" if failure else "not started"))
        elif not run.finished:
            failure = None if run.locked else point.failure()
            found.append(unfinished(run, report, f"failed: {failure}" if failure else run.state))
    planned = {point.path for point in store.points}
    others = [run for run in store.runs if run.path not in planned and not run.finished]
    return found + [unfinished(run, report, run.state) for run in others]


def unfinished(run: StoredRun, report: Report, state: str) -> Missing:
    row = tuple(value(run, k) for k in report.rows if k != "benchmark")
    column = tuple(value(run, k) for k in column_keys(report) if k != "benchmark")
    return Missing(row if "benchmark" not in report.rows else None, column, run.name, state)


def unmeasured(table: Table, runs: Iterable[StoredRun]) -> list[Missing]:
    """Finished runs without a number that others in the same column have."""
    if "benchmark" in table.report.rows:
        return []
    found = []
    has = {(one.run.path, column) for (_, column), cell in table.cells.items() for one in cell.measured}
    for run in runs:
        row = tuple(value(run, k) for k in table.report.rows)
        for column in table.columns:
            pairs = zip(table.column_keys, column.values, strict=True)
            mine = all(k == "benchmark" or value(run, k) == v for k, v in pairs)
            if mine and (run.path, column) not in has:
                state = f"finished, but without {table.head(column)}"
                found.append(Missing(row, column.values, run.name, state))
    return found


def holes(table: Table) -> list[Missing]:
    """Without a plan every row is expected in every column."""
    known = {m.row for m in table.missing}
    there = {(row, without_benchmark(table, column)) for row, column in table.cells}
    return [
        Missing(row, place, ", ".join(filter(None, (label(row), label(place)))), "no run")
        for row in table.rows
        for place in unique(without_benchmark(table, column) for column in table.columns)
        if (row, place) not in there and row not in known
    ]


def without_benchmark(table: Table, column: Column) -> Values:
    """A column's values of what runs differ in."""
    return tuple(v for k, v in zip(table.column_keys, column.values, strict=True) if k != "benchmark")


def attach(table: Table) -> None:
    """Tell each cell what it lacks."""
    for missing in table.missing:
        for column in table.columns:
            if missing.row in table.rows and missing.column in (without_benchmark(table, column), column.values):
                table.cells.setdefault((missing.row, column), Cell()).missing.append(missing)


def unique(values: Iterable[Values]) -> list[Values]:
    return list(dict.fromkeys(values))


def is_baseline(row: Values, report: Report) -> bool:
    """Whether a row has the values that the report gives its baseline."""
    place = dict(zip(report.rows, row, strict=True))
    return bool(report.baseline) and all(place.get(k) == v for k, v in report.baseline.items())


def sort_rows(rows: Sequence[Values], report: Report) -> list[Values]:
    """The baseline first, then as planned; numbers from high to low."""
    ranked = ranks(rows)
    return sorted(rows, key=lambda row: (not is_baseline(row, report), ranked(row)))


def sort_columns(columns: Sequence[Column], report: Report) -> list[Column]:
    """As planned, what belongs to no benchmark last."""
    ranked = ranks([column.values for column in columns])
    order = list(report.values)
    return sorted(dict.fromkeys(columns), key=lambda c: (ranked(c.values), order.index(c.metric.name)))


def ranks(places: Sequence[Values]) -> Any:
    """A sort key for tuples: each value by its first appearance, numbers descending, None before numbers else last."""
    seen: list[dict[Any, int]] = [{} for _ in (places[0] if places else ())]
    for place in places:
        for known, one in zip(seen, place, strict=True):
            known.setdefault(one, len(known))
    numeric = [all(isinstance(v, (int, float)) or v is None for v in known) for known in seen]

    def rank(place: Values) -> list[float]:
        found = []
        for known, one, numbers in zip(seen, place, numeric, strict=True):
            if one is None:
                found.append(float("-inf") if numbers and len(known) > 1 else float("inf"))
            else:
                found.append(-float(one) if numbers else float(known[one]))
        return found

    return rank
