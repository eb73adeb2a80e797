"""tipx runs, and tipx runs rm"""

from typing import Annotated

import typer

from tipx.cli.completion import complete_filters, complete_run
from tipx.cli.options import WORDS, AsCsv, AsJson, RunsDir, take_runs_dir


def runs(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Only runs with selector=soft_or, optim.lr=1e-4, state=finished, ...; x,y is either",
            autocompletion=complete_filters,
        ),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(**WORDS, help="A key (upwards), or a metric such as math500.mean (high first)")
    ] = None,
    columns: Annotated[str | None, typer.Option(**WORDS, help="Keys and metrics to show, with commas")] = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List runs: what each is, how far it got, and its accuracy before and after. `tipx runs rm` removes runs.

    `tipx runs selector=soft_or,q3_only --sort math500.mean`: as JSON or CSV with every key of a run, not rounded.
    """
    from tipx.display.console import console
    from tipx.display.output import Form, choose_form, print_frame
    from tipx.errors import ReportError
    from tipx.report.listing import chosen, listed

    form = choose_form(as_json=as_json, as_csv=as_csv)
    filters, place = take_runs_dir(words, runs_dir)
    if "rm" in filters:
        raise ReportError("'rm': expected `tipx runs rm RUN...`, with every option after it")
    rows = chosen(place, filters)
    said = console(stderr=form is not Form.TABLE, soft_wrap=True, highlight=False)
    if not rows:
        fitting = f" that fit {' '.join(filters)}" if filters else ""
        hint = "`tipx runs` lists all" if filters else "`tipx train` makes one"
        said.print(f"no runs{fitting} under {place}; {hint}")
        if form is Form.TABLE:
            return
    frame = listed(rows, sort, columns.split(",") if columns else [], wide=form is not Form.TABLE)
    print_frame(frame, f"{len(frame)} run{'s' * (len(frame) != 1)} under {place}", form)
    for run in rows:
        if run.damage:
            said.print(f"damaged: {run.damage}", style="yellow")


def remove(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|KEY=VALUE",
            help="Runs by path, name, beginning or hash, or @last; or all that fit, as in selector=random",
            autocompletion=complete_run,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    runs_dir: RunsDir = None,
) -> None:
    """Remove runs with all that is in their directories; asks first. What tipx did not make stays.

    `tipx runs rm selector=random state=stopped`
    """
    from tipx.display.console import print_text
    from tipx.report.listing import to_remove

    rest, place = take_runs_dir(words, runs_dir)
    doomed = to_remove(place, rest)
    for run in doomed:
        print_text(f"{run.path}\n")
    if not yes:
        typer.confirm(f"remove {len(doomed)} run{'s' * (len(doomed) != 1)}?", abort=True)
    for run in doomed:
        run.directory.remove(place)
