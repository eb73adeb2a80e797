"""tipx report"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.completion import complete_group, complete_report
from tipx.cli.options import GROUP, PATH, PLACE, WORDS, AsCsv, AsJson, RunsDir, refuse_words, take_runs_dir

FILTER = WORDS | {"metavar": "KEY=VALUE"}
TRACE = WORDS | {"metavar": "ROW,COL"}


def report(  # noqa: PLR0913 - each is an option of its own
    words: Annotated[
        list[str] | None,
        typer.Argument(
            **PLACE,
            metavar="NAME",
            help="A report, a YAML file of your own, or a group of runs; leave out to list them",
            autocompletion=complete_report,
        ),
    ] = None,
    *,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            **GROUP,
            help="Group of runs to read, by default the report's; may be repeated",
            autocompletion=complete_group,
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(**FILTER, help="Only runs of that selector, seed, optim.lr, ...; may be repeated, x,y is either"),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Also with cells missing")] = False,
    trace: Annotated[str | None, typer.Option(**TRACE, help="Only the runs and files of one cell")] = None,
    wandb: Annotated[bool, typer.Option("--wandb", help="Also log it there; offline unless WANDB_MODE=online")] = False,
    out: Annotated[Path | None, typer.Option(**PATH, help="Where to write, by default RUNS/GROUP/report/NAME")] = None,
    report_dir: Annotated[Path | None, typer.Option(**PATH, help="A folder with reports of your own")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Name the reports and groups there are")] = False,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Tables and figures of finished runs: Markdown, LaTeX, CSV, one HTML page, PNG, PDF and SVG.

    `tipx report controls --where seed=0,1`: as JSON or CSV one row a cell, as in table.csv.
    """
    from tipx.cli.reporting import list_reports, print_report, print_trace
    from tipx.display.output import choose_form
    from tipx.report import Ask

    form = choose_form(as_json=as_json, as_csv=as_csv)
    names, place = take_runs_dir(words, runs_dir)
    refuse_words(names[1:], "report")
    if listing or not names:
        list_reports(report_dir, place, form)
        return
    ask = Ask(names[0], place, tuple(sweep or ()), partial, report_dir, tuple(where or ()))
    if trace is not None:
        print_trace(ask, trace, form)
    else:
        print_report(ask, out, form, wandb=wandb)
