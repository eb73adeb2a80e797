"""tipx runs"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import WORDS, RunsDir


def runs(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="selector=soft_or, optim.lr=1e-4, state=finished; or rm RUN..."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(**WORDS, help="A key (upwards), or a metric such as math500.mean (high first)")
    ] = None,
    columns: Annotated[str | None, typer.Option(**WORDS, help="Keys and metrics to show, with commas")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="rm: do not ask")] = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """List runs: what each is, how far it got, and its accuracy before and after. `tipx runs rm RUN` removes one."""
    from tipx.display.console import console, print_text
    from tipx.display.tables import show_frame
    from tipx.report.listing import chosen, listed, to_remove

    if words and words[0] == "rm":
        doomed = to_remove(runs_dir, words[1:])
        for one in doomed:
            print_text(f"{one.path}\n")
        if not yes:
            typer.confirm(f"remove {len(doomed)} runs?", abort=True)
        for one in doomed:
            one.directory.remove(runs_dir)
        return
    found = chosen(runs_dir, words or [])
    if not found:
        fitting = f" that fit {' '.join(words)}" if words else ""
        hint = "`tipx runs` lists all" if words else "`tipx train` makes one"
        console().print(f"no runs{fitting} under {runs_dir}; {hint}", highlight=False, soft_wrap=True)
        return
    frame = listed(found, sort, columns.split(",") if columns else [])
    console().print(show_frame(frame, f"{len(frame)} run{'s' * (len(frame) != 1)} under {runs_dir}"))
    for one in found:
        if one.damage:
            console().print(f"damaged: {one.damage}", style="yellow", soft_wrap=True, highlight=False)
