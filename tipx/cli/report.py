"""tipx report"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import GROUP, PATH, PLACE, WORDS, RunsDir

FILTER = WORDS | {"metavar": "KEY=VALUE"}
TRACE = WORDS | {"metavar": "ROW,COL"}


def report(  # noqa: PLR0913 - each is an option of its own
    name: Annotated[
        str | None,
        typer.Argument(**PLACE, metavar="NAME", help="A report (see --list), a YAML file of your own, or a group"),
    ] = None,
    *,
    sweep: Annotated[
        list[str] | None, typer.Option(**GROUP, help="Group of runs to read [the report's]; may be repeated")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(**FILTER, help="Only runs of that selector, seed, optim.lr, ...; may be repeated, x,y is either"),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Also with cells missing")] = False,
    trace: Annotated[str | None, typer.Option(**TRACE, help="Only the runs and files of one cell")] = None,
    wandb: Annotated[bool, typer.Option("--wandb", help="Also log it there; offline unless WANDB_MODE=online")] = False,
    out: Annotated[Path | None, typer.Option(**PATH, help="Where to write [runs/GROUP/report/NAME]")] = None,
    report_dir: Annotated[Path | None, typer.Option(**PATH, help="A folder with reports of your own")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Name the reports there are")] = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Tables and figures of finished runs: Markdown, LaTeX, CSV, one HTML page, PNG, PDF and SVG."""
    from tipx.cli.reporting import list_reports, print_report, print_trace
    from tipx.report import Ask

    ask = Ask(name or "", runs_dir, tuple(sweep or ()), partial, report_dir, tuple(where or ()))
    if listing or not name:
        list_reports(report_dir)
    elif trace is not None:
        print_trace(ask, trace)
    else:
        print_report(ask, out, wandb=wandb)
