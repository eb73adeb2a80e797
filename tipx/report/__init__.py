"""`tipx report`: tables and figures from run directories. Needs neither torch nor hydra."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from tipx.board import Board
from tipx.errors import ReportError
from tipx.report import guards, spec
from tipx.report.beside import add_paper, mark_best
from tipx.report.figures import draw
from tipx.report.keys import insist
from tipx.report.plain import plain
from tipx.report.significance import add_tests
from tipx.report.spec import Report
from tipx.report.store import Store, read_store
from tipx.report.table import Table, build


@dataclass(frozen=True)
class Ask:
    """What was typed. Without `sweeps` those of the report are read, or the group of its name."""

    name: str
    runs_dir: Path
    sweeps: tuple[str, ...] = ()
    partial: bool = False
    own: Path | None = None


def make(ask: Ask) -> tuple[Table, Path]:
    """The table with tests, marks and notes, and the folder of the (first) group it is about. Raises ReportError."""
    found = spec.load(ask.name, ask.own)
    if found is None and not ask.sweeps and not (ask.runs_dir / ask.name).is_dir():
        raise ReportError(
            f"no report and no group of runs {ask.name!r}; reports are {', '.join(spec.available(ask.own))}; "
            f"groups are the folders of {ask.runs_dir}, or give your own report as a file: tipx report mine.yaml"
        )
    name = Path(ask.name).stem if ask.name.endswith(".yaml") else ask.name
    groups = ask.sweeps or (found.sweep if found else ()) or (name,)
    store = read_store(ask.runs_dir, groups)
    if not store.finished:
        raise ReportError(
            f"{', '.join(groups)}: none of {len(store.runs)} runs is finished; `{Board(store.groups[0]).command}` "
            f"makes them, `tipx runs group={groups[0]}` shows how far they are"
        )
    return table_of(found or plain(name, store), store, partial=ask.partial), store.groups[0]


def table_of(report: Report, store: Store, *, partial: bool) -> Table:
    insist(report.keys, store.finished, "rows and columns")
    guards.refuse_confounds(store.finished, report.keys)
    table = build(report, store)
    guards.refuse_missing(table, Board(store.groups[0]).command, partial=partial)
    guards.note_seeds(table)
    add_paper(table)
    add_tests(table)
    mark_best(table)
    guards.note_results(table)
    guards.note_code(table)
    return table


def figures(table: Table) -> dict[str, Figure]:
    """By file name."""
    return draw(table)
