"""What is printed when a job is over."""

from tipx.display.console import console
from tipx.display.plots import learning_curve
from tipx.display.tables import before_after, held_out
from tipx.runs.directory import Run
from tipx.runs.reader import StoredRun
from tipx.signals import is_main


def print_run(run: Run, *, worked: bool) -> None:
    """What was measured before and after, and where the rest is."""
    if not is_main():
        return
    screen = console()
    if not worked:
        screen.print(f"already finished: {run.path} (--fresh to start over)", soft_wrap=True, highlight=False)
    stored = StoredRun(run)
    for table in (before_after(stored), held_out(stored)):
        if table is not None:
            screen.print(table)
    if worked or not (run.path / "curve.png").exists():  # an earlier start may have ended just before
        run.save_figure("curve.png", learning_curve(stored))
    screen.print(f"run      {run.path}\npicture  {run.path / 'curve.png'}", soft_wrap=True, highlight=False)
