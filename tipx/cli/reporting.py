"""What `tipx report` prints."""

import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from rich.table import Table
from rich.text import Text

from tipx.display.console import console
from tipx.files.yamls import first_comment
from tipx.report import Ask, figures, make
from tipx.report.formats import notes_of, number, terminal
from tipx.report.keys import label
from tipx.report.output import save
from tipx.report.spec import available
from tipx.report.trace import cell_named, records
from tipx.train.loggers import check_wandb, log_report


def list_reports(own: Path | None) -> None:
    """Each with the first comment line of its file."""
    table = Table("", "", title="reports", title_justify="left", show_header=False, box=None)
    for name, file in available(own).items():
        table.add_row(Text(name, "bold"), first_comment(file))
    console().print(table)


def print_trace(ask: Ask, words: str) -> None:
    """The runs behind one cell."""
    table, _ = make(ask)
    row, column, cell = cell_named(table, words)
    screen = console(soft_wrap=True, highlight=False)
    screen.print(f"{label(row)}, {table.head(column)}")
    for record in records(cell):
        if "value" in record:
            record["value"] = number(record["value"], column.metric)
        screen.print("  ".join(str(value) for key, value in record.items() if key != "run"))


def print_report(ask: Ask, out: Path | None, *, wandb: bool) -> None:
    """The table, its notes, and where the files are."""
    mode = os.environ.get("WANDB_MODE") or "offline"
    if wandb:
        check_wandb(mode, f"--wandb with WANDB_MODE={mode}", "leave out WANDB_MODE=online")
    table, group = make(ask)
    drawn = figures(table)
    runs = {one.run.path for cell in table.filled for one in cell.measured}
    made = (
        f"{len(runs)} runs of {group}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {shlex.join(['tipx', *sys.argv[1:]])}."
    )
    folder = out or group / "report" / Path(ask.name).stem
    paths = save(table, drawn, folder, made, chosen=out is not None)
    screen = console()
    screen.print(table.opening, highlight=False)
    screen.print(terminal(table))
    for note in [*notes_of(table), *table.names]:
        screen.print(f"- {note}", style="dim", highlight=False)
    screen.print(f"report   {paths[-1]}\nfiles    {folder}", soft_wrap=True, highlight=False)
    if wandb:
        frame = pd.read_csv(folder / "table.csv")
        pictures = {path.stem: path for path in paths if path.suffix == ".png"}
        log_report(group.name, f"report {Path(ask.name).stem}", frame, pictures, folder, mode)
        screen.print(f"wandb    {folder / 'wandb'} ({mode})", soft_wrap=True, highlight=False)
