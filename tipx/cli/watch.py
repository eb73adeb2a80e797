"""tipx watch"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.completion import complete_group
from tipx.cli.options import PATH, AsJson, RunsDir, group, take_runs_dir


def watch(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="GROUP", help="One group; by default those written in the last day", autocompletion=complete_group
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(**PATH, help="Also write a page there, which loads itself again")] = None,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the state once, and end")] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = None,
) -> None:
    """Watch runs and sweeps: how far each is, when it ends, and what is wrong with what to do. Ctrl-C ends it.

    It only reads the runs' files: training is neither slowed nor changed, and may run in another terminal.

    `tipx watch controls --html watch.html`
    """
    from tipx.signals import orderly
    from tipx.watch.job import print_state, watch_runs
    from tipx.watch.snapshot import RunsWatcher

    rest, folder = take_runs_dir(words, runs_dir)
    name = parse_group(rest)
    with orderly("watch"):
        if once or as_json:
            print_state(RunsWatcher(folder, name), html, as_json=as_json)
        else:
            watch_runs(RunsWatcher(folder, name), html, every)


def parse_group(words: list[str]) -> str | None:
    """The one group that is named, or None; raises BadParameter for anything else."""
    if len(words) > 1 or any("=" in word for word in words):
        raise typer.BadParameter(f"expected one group and runs_dir=PATH, got {words[-1]!r}")
    return group(words[0]) if words else None
