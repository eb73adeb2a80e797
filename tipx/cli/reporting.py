"""What `tipx report` prints."""

import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from rich.table import Table
from rich.text import Text

from tipx.cli.options import runs_option
from tipx.display.console import console
from tipx.display.output import Form, print_frame
from tipx.files.yamls import first_comment
from tipx.report import Ask, make
from tipx.report.figures import draw
from tipx.report.formats import cells, notes_of, number, terminal
from tipx.report.keys import label
from tipx.report.output import save
from tipx.report.spec import available
from tipx.report.trace import cell_named, records
from tipx.runs.find import all_runs
from tipx.train.loggers import check_wandb, log_report


def list_reports(own: Path | None, runs_dir: Path, form: Form) -> None:
    """The reports, each with the first comment line of its file, and the groups that have finished runs."""
    reports = [(name, first_comment(file)) for name, file in available(own).items()]
    groups = [(name, f"{done} of {count} runs finished") for name, done, count in finished_groups(runs_dir)]
    kinds = {"report": ("reports", reports), "group": (f"groups of runs under {runs_dir}", groups)}
    if form is not Form.TABLE:
        rows = [
            {"kind": kind, "name": name, "description": line, "typed": f"tipx report {name}{runs_option(runs_dir)}"}
            for kind, (_, described) in kinds.items()
            for name, line in described
        ]
        print_frame(pd.DataFrame(rows), "reports", form)
        return
    for title, described in kinds.values():
        table = Table("", "", title=title, title_justify="left", show_header=False, box=None)
        for name, line in described:
            table.add_row(Text(name, "bold"), line)
        if described:
            console().print(table, "")


def finished_groups(runs_dir: Path) -> list[tuple[str, int, int]]:
    """(group, finished runs, all runs) of each group under the runs folder that has a finished run, by name."""
    groups: dict[str, list[bool]] = {}
    for run in all_runs(runs_dir):
        groups.setdefault(run.path.parent.name, []).append(run.finished)
    return [(name, sum(finished), len(finished)) for name, finished in sorted(groups.items()) if any(finished)]


def print_trace(ask: Ask, words: str, form: Form) -> None:
    """The runs behind one cell."""
    table, _ = make(ask)
    row, column, cell = cell_named(table, words)
    if form is not Form.TABLE:
        print_frame(pd.DataFrame(records(cell)), f"{label(row)}, {table.head(column)}", form)
        return
    screen = console(soft_wrap=True, highlight=False)
    screen.print(f"{label(row)}, {table.head(column)}")
    for record in records(cell):
        if "value" in record:
            record["value"] = number(record["value"], column.metric)
        screen.print("  ".join(str(value) for key, value in record.items() if key != "run"))


def print_report(ask: Ask, out: Path | None, form: Form, *, wandb: bool) -> None:
    """The table, its notes, and where the files are; for programs one row a cell, and all else on standard error."""
    mode = os.environ.get("WANDB_MODE") or "offline"
    if wandb:
        check_wandb(mode, f"--wandb with WANDB_MODE={mode}", "leave out WANDB_MODE=online")
    table, group = make(ask)
    drawn = draw(table)
    runs = {one.run.path for cell in table.filled for one in cell.measured}
    made = (
        f"{len(runs)} runs of {group}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {shlex.join(['tipx', *sys.argv[1:]])}."
    )
    folder = out or group / "report" / Path(ask.name).stem
    paths = save(table, drawn, folder, made, chosen=out is not None)
    screen = console(stderr=form is not Form.TABLE)
    screen.print(table.opening, highlight=False)
    if form is Form.TABLE:
        screen.print(terminal(table))
    else:
        print_frame(cells(table), table.report.title, form)
    for note in [*notes_of(table), *table.names]:
        screen.print(f"- {note}", style="dim", highlight=False)
    screen.print(f"report   {paths[-1]}\nfiles    {folder}", soft_wrap=True, highlight=False)
    if wandb:
        frame = pd.read_csv(folder / "table.csv")
        pictures = {path.stem: path for path in paths if path.suffix == ".png"}
        log_report(group.name, f"report {Path(ask.name).stem}", frame, pictures, folder, mode)
        screen.print(f"wandb    {folder / 'wandb'} ({mode})", soft_wrap=True, highlight=False)
