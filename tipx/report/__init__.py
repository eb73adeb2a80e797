"""`tipx report`: tables and figures from run directories. Needs neither torch nor hydra."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from tipx.errors import ReportError
from tipx.report import guards, spec
from tipx.report.beside import add_paper
from tipx.report.gap import fill_gaps
from tipx.report.keys import refuse_unknown_keys, where
from tipx.report.opening import opening
from tipx.report.plain import plain
from tipx.report.references import add_references
from tipx.report.savings import fill_savings
from tipx.report.significance import add_tests, mark_best
from tipx.report.spec import Report
from tipx.report.store import Store, groups_of, read_store
from tipx.report.table import Table, build
from tipx.runs.sweep_folder import SweepFolder


@dataclass(frozen=True)
class Ask:
    """What was typed. Without `sweeps` those of the report are read, or the group of its name; `where` filters runs."""

    name: str
    runs_dir: Path
    sweeps: tuple[str, ...] = ()
    partial: bool = False
    own: Path | None = None
    where: tuple[str, ...] = ()


def make(ask: Ask) -> tuple[Table, Path]:
    """The table with tests, marks and notes, and the folder of the (first) group it is about. Raises ReportError."""
    found = spec.load(ask.name, ask.own)
    if found is None and not (ask.name.strip() and (ask.runs_dir / ask.name).is_dir()):
        raise ReportError(unknown(ask))
    name = Path(ask.name).stem if ask.name.endswith(".yaml") else ask.name
    groups = ask.sweeps or (found.sweep if found else ()) or (name,)
    store = read_store(ask.runs_dir, groups)
    if ask.where:
        store = where(store, ask.where)
    if not store.finished:
        damaged = f", {len(store.damaged)} more are damaged" if store.damaged else ""
        raise ReportError(
            f"{', '.join(groups)}: none of {len(store.runs)} runs is finished{damaged}; "
            f"`{SweepFolder(store.groups[0]).command}` makes them, `tipx runs group={groups[0]}` shows how far they are"
        )
    table = table_of(found or plain(name, store), store, partial=ask.partial)
    if ask.where:
        table.notes.append(f"only runs with {', '.join(ask.where)}")
    return table, store.groups[0]


def unknown(ask: Ask) -> str:
    """What to say of a name that is neither a report nor a group."""
    names = list(spec.available(ask.own))
    near = difflib.get_close_matches(ask.name, [*names, *groups_of(ask.runs_dir)], n=1)
    return (
        f"no report and no group of runs {ask.name!r}{f', did you mean {near[0]}?' if near else ''}; reports are "
        f"{', '.join(names)}; groups are the folders of {ask.runs_dir}, or give your own report as a file: tipx report "
        "mine.yaml"
    )


def table_of(report: Report, store: Store, *, partial: bool) -> Table:
    refuse_unknown_keys(report.keys, store.finished, "rows and columns")
    guards.refuse_confounds(store.finished, report.keys)
    table = build(report, store)
    guards.refuse_missing(table, SweepFolder(store.groups[0]).command, partial=partial)
    add_references(table, store.groups[0].parent)
    fill_gaps(table)
    fill_savings(table)
    guards.note_seeds(table)
    add_paper(table)
    add_tests(table)
    mark_best(table)
    guards.note_results(table)
    guards.note_code(table)
    guards.note_damage(table, store)
    table.opening = opening(table)
    return table
