"""tipx watch"""

from pathlib import Path
from typing import Annotated

import typer

from tipx.cli.options import PATH, AsJson, RunsDir, group, path


def watch(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GROUP] [runs_dir=DIR]", help="One group [those written in the last day]"),
    ] = None,
    html: Annotated[Path | None, typer.Option(**PATH, help="Also write a page there, which loads itself again")] = None,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the state once, and end")] = False,
    as_json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Watch runs and sweeps: how far each is, when it ends, and what is wrong with what to do. Ctrl-C ends it.

    It only reads the runs' files: training is neither slowed nor changed, and may run in another terminal.
    """
    from tipx.signals import orderly
    from tipx.watch.job import print_state, watch_runs
    from tipx.watch.snapshot import Watcher

    name, folder = parse_words(words or [], runs_dir)
    with orderly("watch"):
        if once or as_json:
            print_state(Watcher(folder, name), html, as_json=as_json)
        else:
            watch_runs(Watcher(folder, name), html, every)


def parse_words(words: list[str], runs_dir: Path) -> tuple[str | None, Path]:
    """The group and the runs folder; raises BadParameter for anything else."""
    name: str | None = None
    for word in words:
        if word.startswith("runs_dir="):
            runs_dir = path(word.partition("=")[2])
        elif name is not None or "=" in word:
            raise typer.BadParameter(f"expected one group and runs_dir=DIR, got {word!r}")
        else:
            name = group(word)
    return name, runs_dir
