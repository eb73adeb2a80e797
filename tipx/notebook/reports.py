"""Comparisons and reports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tipx.notebook.loaded import LoadedRun
from tipx.notebook.words import Place, Words, split
from tipx.report import Ask, comparison, formats, long, make
from tipx.report.figures import draw
from tipx.report.table import Table


def compare(
    a: Place | LoadedRun, b: Place | LoadedRun, benchmark: str | None = None, runs_dir: Place = "runs"
) -> pd.DataFrame:
    """Is B better than A? Paired over the same problems; one row for each benchmark and measure.

    A and B are runs (their last evaluation), folders of results, or result.json files. `measure` is mean@n of the
    samples, or greedy; `a`, `b` and `difference` (B - A) are accuracies from 0 to 1; `low` to `high` is the 95 %
    interval of the difference over problems, and `p` that of a permutation test, for greedy of McNemar's, which has no
    interval. `noise` says why the difference of the samples may be none, and is empty if nothing does. Raises RunError
    or DataError where nothing can be compared.
    """
    sides = [str(one.path) if isinstance(one, LoadedRun) else str(one) for one in (a, b)]
    found = comparison.compare(sides[0], sides[1], benchmark, Path(runs_dir))
    return pd.DataFrame([row for one in found for row in measures(one.record())])


def measures(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of one benchmark."""
    a, b, test, greedy = (record[name] for name in ("a", "b", "sampled", "greedy"))
    place = {"benchmark": record["benchmark"], "problems": record["problems"], "n": record["n"]}
    files = {"file_a": a["result"], "file_b": b["result"]}
    tested = {name: test[name] for name in ("difference", "low", "high", "p")}
    tested["noise"] = "; ".join(record["noise"])
    rows = [place | {"measure": f"mean@{record['n']}", "a": a["mean"], "b": b["mean"]} | tested | files]
    if greedy is not None:
        tested = {"difference": b["greedy"] - a["greedy"], "low": None, "high": None, "p": greedy["p"], "noise": ""}
        rows.append(place | {"measure": "greedy", "a": a["greedy"], "b": b["greedy"]} | tested | files)
    return rows


@dataclass(frozen=True, repr=False)
class ReportTable:
    """A report with its tests and notes; `tipx.make_report` makes one. A notebook shows it as a table."""

    table: Table

    @property
    def frame(self) -> pd.DataFrame:
        """One row a cell: row and column values, `metric`, `mean` with `se`, `n` runs, the test against the baseline.

        Numbers are not scaled: accuracies are from 0 to 1. `se_over` says over what the error is (seeds or problems),
        `p_holm` is adjusted for the rows of a column, `missing` counts runs that are not there.
        """
        return formats.cells(self.table)

    @property
    def runs(self) -> pd.DataFrame:
        """One row for each run, benchmark and metric behind the cells: the number, its file, and the run's keys."""
        return long.frame([one for cell in self.table.filled for one in cell.measured])

    @property
    def notes(self) -> list[str]:
        """What must be known to read the table."""
        return [*formats.notes_of(self.table), *self.table.names]

    def markdown(self) -> str:
        """The table as `tipx report` writes it, with its notes."""
        return formats.markdown(self.table)

    def figures(self) -> dict[str, Figure]:
        """The report's pictures by name."""
        return draw(self.table)

    def __repr__(self) -> str:
        return f"ReportTable({self.table.report.title!r}, {len(self.table.filled)} cells)"

    def _repr_markdown_(self) -> str:
        return self.markdown()


def make_report(
    name: str,
    sweep: Words = (),
    where: Words = (),
    *,
    partial: bool = False,
    report_dir: Place | None = None,
    runs_dir: Place = "runs",
) -> ReportTable:
    """The table of `tipx report NAME`: a report that ships, a YAML file, or a group of runs. Nothing is written.

    `sweep` names the groups to read, `where` takes a part of the runs (`"seed=0,1 selector=full,soft_or"`), `partial`
    takes a table that has cells missing. Raises ReportError as the command does.
    """
    own = Path(report_dir) if report_dir else None
    table, _ = make(Ask(name, Path(runs_dir), tuple(split(sweep)), partial, own, tuple(split(where))))
    return ReportTable(table)
