"""What is printed when a job is over."""

import os

from rich.console import Console

from tipx.plots import learning_curve
from tipx.run import Run
from tipx.tables import before_after, held_out


def print_run(run: Run, *, worked: bool) -> None:
    """What was measured before and after, and where the rest is."""
    if os.environ.get("RANK", "0") != "0":
        return
    console = Console()
    if not worked:
        console.print(f"already finished: {run.path} (--fresh to start over)", soft_wrap=True, highlight=False)
    for table in (before_after(run), held_out(run)):
        if table is not None:
            console.print(table)
    if worked:
        run.save_figure("curve.png", learning_curve(run))
    console.print(f"run      {run.path}\npicture  {run.path / 'curve.png'}", soft_wrap=True, highlight=False)
